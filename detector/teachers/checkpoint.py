"""A detector of this project as teacher: its checkpoint's best weights, branches merged and norms folded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from detector.checkpoint import load_checkpoint
from detector.network import Network
from detector.teachers import Teacher, prepared
from search_spaces.structure import TAP_STRIDES

NECK = ("neck1", "neck2", "neck3")
TAPS = ("tap1", "tap2", "tap3")


class _Features(nn.Module):
    def __init__(self, network: Network, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self._names = network, tuple(names)

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network.features(images, self._names)


def load(path: Path, names: Sequence[str] = NECK) -> Teacher:
    """The teacher in a checkpoint (best.pt or last.pt), on the CPU: the features called `names`.

    Raises UserError for a file that is missing, damaged or no checkpoint of this project.
    """
    checkpoint = load_checkpoint(path)
    network = checkpoint.network().deploy()
    return Teacher(
        name=str(path),
        module=prepared(_Features(network, names)),
        channels=network.feature_channels(names),
        strides=TAP_STRIDES,
        class_names=checkpoint.class_names,
        image_size=checkpoint.structure.image_size,
    )
