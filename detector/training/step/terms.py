"""Losses beside the detector's own: the place where something else that a network shall learn joins the step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from detector.assigners import Targets
from detector.network import Network, RawOutput
from detector.training.optimizer.schedule import Schedule


class LossTerm(nn.Module):
    """A loss that is added to the criterion's total, with parameters of its own where it needs any.

    Its parameters learn with the network's (same optimiser, same peak rate; those of two or more axes decay) and its
    gradients count in the norm that is clipped. Its state dict is saved in last.pt and taken up by `--resume`; neither
    best.pt nor an export has it, and it is not averaged. Kept out of its state dict, parameters and buffers: what a run
    gets from elsewhere (a teacher's weights), held in a plain list, say.
    """

    def forward(self, images: Tensor, raw: RawOutput, targets: Targets) -> Tensor:
        """A scalar: the mean over the batch, weighted as it shall count.

        images: (B, 3, H, W) float32, RGB 0..255, as the network saw them (augmented, stretched to the drawn size); raw:
        the network's outputs with the named features. Called under the network's autocast. Every parameter must take
        part in every call (DistributedDataParallel waits for all), if with a weight of zero.
        """
        raise NotImplementedError

    def at_step(self, step: int, schedule: Schedule) -> None:
        """Called before every step (from 0), for a weight that follows the run: it has `schedule.total_steps` steps, the last
        `schedule.floor_steps` of them without strong augmentation. A function of both alone resumes to the bit."""

    def after_step(self, value: float) -> None:
        """Called after every step with this process's value of the loss, finite or not, before it is decided whether the
        step counts. Raises UserError with advice where going on is no use."""


Terms = Callable[[Network], Mapping[str, LossTerm]]
"""Makes the terms of a run, by the name that they have in its metrics, for its network (placed, in training form)."""


def no_terms(_: Network) -> Mapping[str, LossTerm]:
    """The criterion alone."""
    return {}
