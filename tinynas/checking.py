"""An account held to what another program counts on the torch module: the content of `tinynas explain --check`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from search_spaces.structure import Structure
from tinynas.account import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What `program` counted on the deployed module, beside the graph's `params` and `conv_macs`. `unseen`: learned
    scalars that stand in no module of a kind that it knows, so that it does not count them."""

    program: str
    params: int
    unseen: int
    conv_macs: int
    agrees: bool

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_by_thop(structure: Structure, account: Account) -> Checked:
    """Params and MACs of the convs as thop counts them in one pass of the detector (torch is imported)."""
    import torch
    from thop import profile
    from thop.vision.basic_hooks import zero_ops

    from detector.network import Network
    from detector.units import Detect

    network = Network(structure).eval().merge_branches()
    images = torch.zeros(1, 3, *structure.image_size)
    with torch.inference_mode():
        # its count of norms is of another kind: 4 operations an element, where the graph counts convs alone
        macs, params = profile(network, (images,), custom_ops={torch.nn.BatchNorm2d: zero_ops}, verbose=False)
    heads = (module for module in network.modules() if isinstance(module, Detect))
    unseen = sum(parameter.numel() for head in heads for parameter in head.parameters(recurse=False))
    agrees = (int(params) + unseen, int(macs)) == (account.params, account.conv_macs)
    return Checked(program="thop", params=int(params), unseen=unseen, conv_macs=int(macs), agrees=agrees)
