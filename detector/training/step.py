"""One optimiser step, and what to do when it is not finite."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from detector.data.loader import Batch
from detector.training.ema import Ema
from detector.training.optimizer import set_rate
from detector.training.schedule import Schedule
from search_spaces.errors import UserError

MAX_BAD_STEPS = 10


@dataclass(slots=True)
class Stepper:
    """All that changes with a step. `module`: a TrainingModule, perhaps wrapped; `network`: the network inside it."""

    module: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    peak_rate: float
    ema: Ema
    clip_norm: float | None = None
    step: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0

    @property
    def rate(self) -> float:
        """The learning rate of the coming step."""
        return self.peak_rate * self.schedule.factor(self.step)

    def run(self, batch: Batch) -> dict[str, float]:
        """Forward, backward, update; the losses as numbers.

        A step with a non-finite loss or gradient changes neither weights nor running statistics nor the average; it is
        counted in `skipped`. Raises UserError with advice after 10 in a row.
        """
        set_rate(self.optimizer, self.rate)
        statistics, before = self._statistics()
        losses: dict[str, Tensor] = self.module(batch.images, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses["total"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        learning = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in learning if p.grad is not None], foreach=True)
        names = list(losses)
        values = torch.stack([*(losses[name].detach().float() for name in names), norm.float()])
        *numbers, gradient_norm = values.tolist()
        if _all_finite(values):
            if self.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(learning, self.clip_norm, norm, foreach=True)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.ema.update()
            self.bad_in_a_row = 0
        else:
            torch._foreach_copy_(statistics, before)
            self._skip(numbers[names.index("total")], gradient_norm)
        self.step += 1
        return dict(zip(names, numbers))

    def _statistics(self) -> tuple[list[Tensor], list[Tensor]]:
        """The running statistics, and a copy of them."""
        statistics = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        return statistics, [buffer.clone() for buffer in statistics]

    def _skip(self, loss: float, gradient_norm: float) -> None:
        self.skipped += 1
        scale = self.scaler.get_scale()
        # fp16's scaler finds its scale by overflowing: that is no fault until the scale is down to 1.
        calibrating = self.scaler.is_enabled() and scale > 1 and loss == loss and abs(loss) != float("inf")
        if self.scaler.is_enabled():
            self.scaler.update(max(scale / 2, 2.0**-10))
        self.bad_in_a_row = 0 if calibrating else self.bad_in_a_row + 1
        if self.bad_in_a_row >= MAX_BAD_STEPS:
            raise UserError(
                f"training stopped at step {self.step}: loss {loss:.4g}, gradient norm {gradient_norm:.4g}, not finite "
                f"{MAX_BAD_STEPS} steps in a row; lower optimizer.learning_rate_per_image, set optimizer.clip_norm, "
                "or use amp=off, then --resume from the last checkpoint"
            )


def _all_finite(values: Tensor) -> bool:
    """Whether every process's values are finite: all of them decide alike."""
    finite = torch.isfinite(values).all().float()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
    return bool(finite.item())
