"""What a training left in its folder, as far as a report tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import UserError
from search_spaces.files import read_text

LOSSES = ("total", "cls", "dfl", "giou")
TERMS = ("distill", "soft_scores", "soft_boxes", "pseudo")
"""What may join them: a teacher's features, scores and boxes, and its boxes on pictures without annotations."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """settings: config.yaml; rows: one per epoch, as in metrics.jsonl (None where there is no number); augmented: the
    bytes of augmented.jpg, None without it."""

    path: Path
    settings: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    augmented: bytes | None

    @classmethod
    def read(cls, path: Path) -> RunFolder | None:
        """The run in `path`; None when no epoch of one is recorded there. Raises UserError for files that are broken."""
        metrics, config, augmented = (path / name for name in ("metrics.jsonl", "config.yaml", "augmented.jpg"))
        if not metrics.is_file():
            return None
        rows = _rows(metrics)
        settings = _settings(config) if config.is_file() else {}
        picture = augmented.read_bytes() if augmented.is_file() else None
        return cls(path, settings, rows, picture) if rows else None

    @property
    def losses(self) -> tuple[str, ...]:
        """Columns of the losses: the detector's own, and those of the terms beside them."""
        further = dict.fromkeys(name for row in self.rows for name in TERMS if row.get(name) is not None)
        return (*LOSSES, *further)

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """The rows that have an AP."""
        return [row for row in self.rows if row.get("ap") is not None]

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The first row with the highest AP, the one that best.pt is of."""
        return max(self.evaluations, key=lambda row: float(row["ap"]), default=None)

    @property
    def finished(self) -> bool:
        """Whether all its epochs are done."""
        return int(self.rows[-1]["epoch"]) >= int(self.settings.get("epochs") or 0) > 0

    @property
    def skipped(self) -> int:
        """Steps that were not finite, over the whole run."""
        return int(self.rows[-1].get("skipped") or 0)


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(read_text(path, "a run's metrics").splitlines(), start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise UserError(
                f"{path}:{number}: expected an epoch's numbers as JSON, as the training wrote them"
            ) from None
    return rows


def _settings(path: Path) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(read_text(path, "a run's settings")) or {})
    except (yaml.YAMLError, ValueError, TypeError):
        raise UserError(f"{path}: expected settings as YAML, as the training wrote them") from None
