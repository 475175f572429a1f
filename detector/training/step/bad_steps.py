"""Steps whose loss, gradient or statistics were not finite: how many there were, and their batches, kept for a look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from detector.data.loader import Batch
from search_spaces.errors import UserError
from search_spaces.files import replacing
from search_spaces.saying import Say

MOST_FILES = 5
PATTERN = "bad-step-*.pt"


class Diverged(UserError):
    """Too many steps in a row were not finite: the network or its settings are at fault, not the machine."""


@dataclass(slots=True, kw_only=True)
class BadSteps:
    """Counts them; writes at most `MOST_FILES` batches per process and run, those of earlier starts counted in.

    most_in_a_row: after so many, training stops. folder: of the run, None to write nothing. total, in_a_row: so far.
    """

    most_in_a_row: int
    folder: Path | None
    rank: int
    say: Say
    total: int = 0
    in_a_row: int = 0

    def note(self, step: int, batch: Batch, numbers: Mapping[str, float], *, calibrating: bool) -> None:
        """One more. `numbers`: the losses and `gradient_norm` at least. calibrating: fp16's scaler is finding its scale by
        overflowing, which is no fault. Raises Diverged with advice after `most_in_a_row`.
        """
        self.total += 1
        self.in_a_row = 0 if calibrating else self.in_a_row + 1
        loss = numbers["total"]
        found = f"step {step}: loss {loss:.4g}, gradient norm {numbers['gradient_norm']:.4g}"
        if self.in_a_row == 1:
            # Of several processes, those with a bad loss keep their batch, and the first for bad gradients.
            keeps = self.folder is not None and (not math.isfinite(loss) or self.rank == 0)
            fate = "; " + self._keep(step, batch, numbers) if keeps else ""
            self.say(f"{found}: skipped, nothing was changed by it{fate}")
        if self.in_a_row >= self.most_in_a_row:
            raise Diverged(
                f"training stopped at {found}, not finite {self.most_in_a_row} steps in a row; "
                "lower optimizer.learning_rate_per_image, set optimizer.clip_norm, or use amp=off, in a new run "
                "(--weights with this run's best.pt keeps what was learnt); the bad batch is in the run folder"
            )

    def _keep(self, step: int, batch: Batch, numbers: Mapping[str, float]) -> str:
        """Write bad-step-STEP-RANK.pt: the batch's tensors by name (images uint8, boxes, labels), and `numbers`.

        Returns what became of it, for the user. A full disk is no reason to stop: it is said, and nothing is left.
        """
        assert self.folder is not None
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
