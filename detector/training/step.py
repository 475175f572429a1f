"""One optimiser step: its batch in one part or several, and what to do when it is not finite or does not fit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from detector.data.loader import Batch
from detector.training.bad_steps import BadSteps
from detector.training.ema import Ema
from detector.training.memory import is_out_of_memory
from detector.training.optimizer import set_rate
from detector.training.schedule import Schedule
from search_spaces.errors import UserError

MAX_BAD_STEPS = 10


def _silent(_: str) -> None:
    pass


@dataclass(slots=True)
class Stepper:
    """All that changes with a step. `module`: a TrainingModule, perhaps wrapped; `network`: the network inside it.

    part_size: images of this process that go through the network at once, None for the whole batch; a batch of more
    is accumulated over several passes, with the same learning rate and one update. bad_steps: keeps batches that were
    not finite.
    """

    module: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    peak_rate: float
    ema: Ema
    clip_norm: float | None = None
    part_size: int | None = None
    max_bad_steps: int = MAX_BAD_STEPS
    bad_steps: BadSteps | None = None
    say: Callable[[str], None] = _silent
    step: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    _buffers: list[Tensor] = field(init=False)
    _before: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self._buffers = list(self.network.buffers())
        self._before = [torch.empty_like(buffer) for buffer in self._buffers]

    @property
    def rate(self) -> float:
        """The learning rate of the coming step."""
        return self.peak_rate * self.schedule.factor(self.step)

    def run(self, batch: Batch) -> dict[str, float]:
        """Forward, backward, update; the losses as numbers (means over the batch, `num_positives` the sum).

        A step with a non-finite loss, gradient or running statistic changes neither weights nor optimiser nor
        statistics nor the average; it counts in `skipped`, and the schedule goes on. Raises UserError with advice
        after `max_bad_steps` in a row, and when not even one image fits into memory.
        """
        set_rate(self.optimizer, self.rate)
        torch._foreach_copy_(self._before, self._buffers)
        losses = self._gradients_that_fit(batch)
        self.scaler.unscale_(self.optimizer)
        learning = [p for p in self.network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in learning if p.grad is not None], foreach=True)
        statistics = torch._foreach_norm([buffer for buffer in self._buffers if buffer.is_floating_point()])
        values = torch.stack([*losses.values(), norm.float(), *(value.float() for value in statistics)])
        *found, finite, finite_loss = torch.cat([values, _finite_everywhere(values, losses["total"])]).tolist()
        numbers = dict(zip([*losses, "gradient_norm"], found))
        if finite:
            if self.clip_norm is not None:
                nn.utils.clip_grads_with_norm_(learning, self.clip_norm, norm, foreach=True)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.ema.update()
            self.bad_in_a_row = 0
        else:
            self._put_back()
            self._skip(batch, numbers, finite_loss=bool(finite_loss))
        self.step += 1
        return {name: numbers[name] for name in losses}

    def _gradients_that_fit(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients of the batch; when memory runs out, again in parts of half the size, for good.

        On a GPU once more at the same size before: its cached memory may be in pieces (of other sizes, say), not short.
        """
        cached = torch.cuda.is_available() and not isinstance(self.module, DistributedDataParallel)
        while True:
            try:
                return self._gradients(batch)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
            # Here, not in the handler: the error's traceback holds the failed pass's tensors.
            self._put_back()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not cached:
                self._halve_parts(len(batch))
            cached = False

    def _gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients into the parameters, part by part; the losses.

        A part counts by its number of positives over all processes, the divisor of its loss: so the classification loss
        is that of the whole batch. The box losses nearly are: their divisors are sums of scores.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = split(batch, self.part_size or len(batch))
        sums: dict[str, Tensor] = {}
        positives = everywhere = torch.zeros((), device=batch.images.device)
        for number, part in enumerate(parts, 1):
            with self._without_exchange(number < len(parts)):
                losses: dict[str, Tensor] = self.module(part.images, part)
                count = losses.pop("num_positives").detach().float()
                here = _sum_over_processes(count) if len(parts) > 1 else count
                before, everywhere = everywhere.clamp(min=1), everywhere + here
                # A running mean: sums would grow with the counts, and overflow in fp16.
                kept, share = before / everywhere.clamp(min=1), here.clamp(min=1) / everywhere.clamp(min=1)
                if number > 1:
                    torch._foreach_mul_([p.grad for p in self.network.parameters() if p.grad is not None], kept)
                self.scaler.scale(losses["total"] * share).backward()  # type: ignore[no-untyped-call]
            positives = positives + count
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros_like(share)) * kept + value.detach().float() * share
        return {**sums, "num_positives": positives}

    def _without_exchange(self, inner: bool) -> contextlib.AbstractContextManager[object]:
        """Processes exchange gradients with the last part only."""
        if inner and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()

    def _put_back(self) -> None:
        torch._foreach_copy_(self._buffers, self._before)
        self.optimizer.zero_grad(set_to_none=True)

    def _halve_parts(self, images: int) -> None:
        size = min(self.part_size or images, images)
        if isinstance(self.module, DistributedDataParallel):
            # The other processes wait in an exchange that this one has left.
            raise UserError(f"out of memory with {size} images at once on one process; start with --set accumulate=2")
        if size == 1:
            raise UserError("out of memory with a single image; choose a smaller image_size or a smaller structure")
        self.part_size = -(-size // 2)
        self.say(
            f"out of memory with {size} images at once: from here on {self.part_size} at once, gradients accumulated; "
            "same batch, same learning rate, BatchNorm statistics over fewer images"
        )

    def _skip(self, batch: Batch, numbers: dict[str, float], *, finite_loss: bool) -> None:
        """finite_loss: that of every process, so that all of them count alike."""
        self.skipped += 1
        scale, loss = self.scaler.get_scale(), numbers["total"]
        # fp16's scaler finds its scale by overflowing: that is no fault until the scale is down to 1.
        calibrating = self.scaler.is_enabled() and scale > 1 and finite_loss
        if self.scaler.is_enabled():
            self.scaler.update(max(scale / 2, 2.0**-10))
        self.bad_in_a_row = 0 if calibrating else self.bad_in_a_row + 1
        found = f"step {self.step}: loss {loss:.4g}, gradient norm {numbers['gradient_norm']:.4g}"
        if self.bad_in_a_row == 1:
            fate = ""
            # Of several processes, those with a bad loss keep their batch, and the first for bad gradients.
            if self.bad_steps is not None and (not math.isfinite(loss) or self.bad_steps.rank == 0):
                fate = "; " + self.bad_steps.keep(self.step, batch, {**numbers, "rate": self.rate, "scale": scale})
            self.say(f"{found}: skipped, nothing was changed by it{fate}")
        if self.bad_in_a_row >= self.max_bad_steps:
            raise UserError(
                f"training stopped at {found}, not finite {self.max_bad_steps} steps in a row; "
                "lower optimizer.learning_rate_per_image, set optimizer.clip_norm, or use amp=off, in a new run "
                "(--weights with this run's best.pt keeps what was learnt); the bad batch is in the run folder"
            )


def split(batch: Batch, size: int) -> list[Batch]:
    """The batch in parts of `size` images, the last one perhaps smaller."""
    if size >= len(batch):
        return [batch]
    columns: Iterator[tuple[Tensor, ...]] = zip(*(getattr(batch, f.name).split(size) for f in fields(batch)))
    return [Batch(*column) for column in columns]


def _sum_over_processes(value: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        value = value.clone()
        distributed.all_reduce(value)
    return value


def _finite_everywhere(values: Tensor, loss: Tensor) -> Tensor:
    """Whether all values, and the loss, are finite in every process (2,), as 0 and 1: all of them decide alike."""
    finite = torch.stack([torch.isfinite(values).all(), torch.isfinite(loss)]).float()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(finite, op=distributed.ReduceOp.MIN)
    return finite
