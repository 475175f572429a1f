"""Batches whose loss or gradient was not finite, kept for a look at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from detector.data.loader import Batch
from search_spaces.files import replacing

MOST_FILES = 5
PATTERN = "bad-step-*.pt"


@dataclass(frozen=True, slots=True)
class BadSteps:
    """Writes into `folder` at most `MOST_FILES` batches per process and run, those of earlier starts counted in."""

    folder: Path
    rank: int = 0

    def keep(self, step: int, batch: Batch, numbers: Mapping[str, float]) -> str:
        """Write bad-step-STEP-RANK.pt: the batch's tensors by name (images uint8, boxes, labels), and `numbers`.

        Returns what became of it, for the user. A full disk is no reason to stop: it is said, and nothing is left.
        """
        if len(list(self.folder.glob(f"bad-step-*-{self.rank}.pt"))) >= MOST_FILES:
            return f"its batch is not kept, {MOST_FILES} are already"
        path = self.folder / f"bad-step-{step:07}-{self.rank}.pt"
        tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
        content = {name: value.cpu() for name, value in tensors.items() if isinstance(value, torch.Tensor)}
        try:
            with replacing(path) as temporary:
                torch.save({"step": step, **dict(numbers), **content}, temporary)
        except (OSError, RuntimeError) as error:
            return f"its batch could not be written to {path} ({str(error).splitlines()[0][:100]})"
        return f"its batch is kept in {path}"
