"""One optimiser step: the gradients of a batch, whether all is finite, and the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from detector.data.loader import Batch
from detector.training.optimizer import set_rate
from detector.training.optimizer.ema import Ema
from detector.training.optimizer.schedule import Schedule
from detector.training.step.bad_steps import BadSteps
from detector.training.step.gradients import Gradients
from detector.training.step.terms import LossTerm

_LEAST_SCALE = 2.0**-10


@dataclass(slots=True, kw_only=True)
class Stepper:
    """All that changes with a step. `network`: the network inside the gradients' module, which the average follows.

    terms: the losses beside the criterion's, by name. clip_norm: largest gradient norm, None to leave gradients as they
    are. step: steps done.
    """

    network: nn.Module
    terms: Mapping[str, LossTerm]
    gradients: Gradients
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    peak_rate: float
    ema: Ema
    clip_norm: float | None
    bad_steps: BadSteps
    step: int = 0

    @property
    def module(self) -> nn.Module:
        """What a step runs: a TrainingModule, perhaps wrapped."""
        return self.gradients.module

    @property
    def rate(self) -> float:
        """The learning rate of the coming step."""
        return self.peak_rate * self.schedule.factor(self.step)

    @property
    def skipped(self) -> int:
        """Steps that were not finite, so far."""
        return self.bad_steps.total

    def run(self, batch: Batch) -> dict[str, float]:
        """Forward, backward, update; the losses as numbers (means over the batch, `num_positives` the sum).

        A step with a non-finite loss, gradient or running statistic changes neither weights nor optimiser nor
        statistics nor the average; it counts in `skipped`, and the schedule goes on. Raises UserError with advice
        after too many in a row, and when not even one image fits into memory.
        """
        set_rate(self.optimizer, self.rate)
        for term in self.terms.values():
            term.at_step(self.step, self.schedule)
        statistics, scaler = self.gradients.statistics, self.gradients.scaler
        statistics.keep()
        losses = self.gradients.of(batch)
        scaler.unscale_(self.optimizer)
        learning = [p for p in self.module.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in learning if p.grad is not None], foreach=True)
        sizes = torch._foreach_norm([buffer for buffer in statistics.buffers if buffer.is_floating_point()])
        values = torch.stack([*losses.values(), norm.float(), *(size.float() for size in sizes)])
        *found, finite, finite_loss = torch.cat([values, _finite_everywhere(values, losses["total"])]).tolist()
        numbers = dict(zip([*losses, "gradient_norm"], found))
        for name, term in self.terms.items():
            term.after_step(numbers[name])
        if finite:
            self._update(learning, norm)
        else:
            self._skip(batch, numbers, finite_loss=bool(finite_loss))
        self.step += 1
        return {name: numbers[name] for name in losses}

    def _update(self, learning: list[nn.Parameter], norm: Tensor) -> None:
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(learning, self.clip_norm, norm, foreach=True)
        # Not through the scaler: it would ask the GPU once more whether the gradients, unscaled above, are finite.
        self.optimizer.step()
        self.gradients.scaler.update()
        self.ema.update()
        self.bad_steps.in_a_row = 0

    def _skip(self, batch: Batch, numbers: dict[str, float], *, finite_loss: bool) -> None:
        """finite_loss: that of every process, so that all of them count alike."""
        self.gradients.undo()
        scaler = self.gradients.scaler
        scale = scaler.get_scale()
        # fp16's scaler finds its scale by overflowing: that is no fault until the scale is down to 1.
        calibrating = scaler.is_enabled() and scale > 1 and finite_loss
        if scaler.is_enabled():
            scaler.update(max(scale / 2, _LEAST_SCALE))
        told = {**numbers, "rate": self.rate, "scale": scale}
        self.bad_steps.note(self.step, batch, told, calibrating=calibrating)


def _finite_everywhere(values: Tensor, loss: Tensor) -> Tensor:
    """Whether all values, and the loss, are finite in every process (2,), as 0 and 1: all of them decide alike."""
    finite = torch.stack([torch.isfinite(values).all(), torch.isfinite(loss)]).float()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
    return finite
