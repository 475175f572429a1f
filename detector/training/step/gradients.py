"""The gradients of a batch: in one part or several, and in smaller ones once memory runs out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from detector.data.loader import Batch
from detector.training.machine.memory import is_out_of_memory
from search_spaces.errors import UserError
from search_spaces.saying import Say


@dataclass(slots=True)
class Statistics:
    """The buffers of a module (running statistics of its norms), and how they were before a pass changed them."""

    module: nn.Module
    buffers: list[Tensor] = field(init=False)
    _before: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.buffers = list(self.module.buffers())
        self._before = [torch.empty_like(buffer) for buffer in self.buffers]

    def keep(self) -> None:
        torch._foreach_copy_(self._before, self.buffers)

    def put_back(self) -> None:
        torch._foreach_copy_(self.buffers, self._before)


@dataclass(slots=True, kw_only=True)
class Gradients:
    """How the gradients of a batch are found. `module`: a TrainingModule, perhaps wrapped.

    part_size: images of this process that go through the network at once, None for the whole batch; a batch of more
    is accumulated over several passes, with the same learning rate and one update. It is halved when memory runs out.
    """

    module: nn.Module
    scaler: torch.amp.GradScaler
    statistics: Statistics
    part_size: int | None
    say: Say

    def of(self, batch: Batch) -> dict[str, Tensor]:
        """Gradients of the batch into the parameters; its losses. When memory runs out, again in parts of half the
        size, for good.

        On a GPU once more at the same size before: its cached memory may be in pieces (of other sizes, say), not short.
        Raises UserError when not even one image fits.
        """
        cached = torch.cuda.is_available() and not isinstance(self.module, DistributedDataParallel)
        while True:
            try:
                return self._in_parts(batch)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
            # Here, not in the handler: the error's traceback holds the failed pass's tensors.
            self.undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not cached:
                self._halve_parts(len(batch))
            cached = False

    def undo(self) -> None:
        """As before the pass: the statistics put back, no gradients."""
        self.statistics.put_back()
        self.module.zero_grad(set_to_none=True)

    def _in_parts(self, batch: Batch) -> dict[str, Tensor]:
        """A part counts by its number of positives over all processes, the divisor of its loss: so the classification
        loss is that of the whole batch. The box losses nearly are: their divisors are sums of scores. So are further
        terms, of which each part's mean counts alike.
        """
        self.module.zero_grad(set_to_none=True)
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
                    torch._foreach_mul_([p.grad for p in self.module.parameters() if p.grad is not None], kept)
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


def split(batch: Batch, size: int) -> list[Batch]:
    """The batch in parts of `size` images, the last one perhaps smaller."""
    if size >= len(batch):
        return [batch]
    names = [f.name for f in fields(batch)]
    columns: Iterator[tuple[Tensor, ...]] = zip(*(getattr(batch, name).split(size) for name in names))
    return [Batch(**dict(zip(names, column))) for column in columns]


def _sum_over_processes(value: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        value = value.clone()
        distributed.all_reduce(value)
    return value
