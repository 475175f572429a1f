"""A score threshold for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.errors import UserError, nearest

OPTION = "--class-threshold"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """others: of the classes that are not named (None: the command's default); named: by class name, 0..1."""

    others: float | None = None
    named: Mapping[str, float] | None = None

    @classmethod
    def parse(cls, others: float | None, texts: Sequence[str]) -> Thresholds:
        """From `NAME=SCORE` texts. Raises UserError for others."""
        named = {}
        for text in texts:
            name, equals, value = text.rpartition("=")
            try:
                score = float(value)
            except ValueError:
                score = -1.0
            if not (name and equals and 0 <= score <= 1):
                raise UserError(
                    f"{OPTION} {text}: expected NAME=SCORE, a class and a number from 0 to 1, e.g. person=0.5"
                )
            named[name] = score
        return cls(others, named)

    def least(self, default: float) -> float:
        """The lowest of all: what the model must report."""
        return min([default if self.others is None else self.others, *(self.named or {}).values()])

    def by_label(self, class_names: Sequence[str], default: float) -> npt.NDArray[np.float32]:
        """(classes,) scores. Raises UserError for a name that is no class of the model."""
        others = default if self.others is None else self.others
        result = np.full(len(class_names), others, dtype=np.float32)
        for name, score in (self.named or {}).items():
            labels = [label for label, known in enumerate(class_names) if known == name]
            if not labels:
                raise UserError(f"{OPTION} {name}={score:g}: the model has no such class; {nearest(name, class_names)}")
            result[labels] = score
        return result
