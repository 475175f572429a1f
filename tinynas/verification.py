"""A table against whole random detectors of search spaces; scale and overhead are fitted on other detectors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_tables import Table, find_table
from latency_tables.verify import Check, check, fit_networks, refuse_to_store, scatter
from latency_tables.verify import store as store_figures
from search_spaces.graph import Graph
from search_spaces.space import Space
from tinynas.sampling import ImageSize, random_detectors

CHECKED, FITTED = 0, 1
"""Second word of a random seed: which of the two sets it draws."""


@dataclass(frozen=True, slots=True)
class VerifiedTable:
    """`table`: with the scale and the overhead that were checked. `error`: the figures that its metadata stores."""

    table: Table
    result: Check
    error: dict[str, Any]

    @property
    def overhead_ms(self) -> float:
        return self.table.metadata.overhead_ms

    def store(self) -> None:
        """Write scale, overhead and figures into the table's metadata."""
        store_figures(self.table, self.error)

    def plot(self, path: Path) -> None:
        """Predicted over measured, as a PNG."""
        title = f"{self.table.id}: {self.error['detectors']} random detectors, median error {self.error['median']} %"
        path.parent.mkdir(parents=True, exist_ok=True)
        scatter(self.result, self.overhead_ms, title, path)

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "table": self.table.id, "overhead_ms": round(self.overhead_ms, 4),
            "scale": {kind: round(factor, 4) for kind, factor in self.table.metadata.scale.items()}, **self.error,
            "each": self.result.each(self.overhead_ms),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """`number` detectors are checked; `fit_number` others, never among those, give scale and overhead (0: the table's)."""

    device: str
    spaces: Sequence[Space]
    sizes: Sequence[ImageSize]
    num_classes: int
    number: int
    seed: int
    fit_number: int

    @property
    def measurements(self) -> int:
        return self.number + self.fit_number

    def run(self, progress: Callable[[int], object] | None = None, *, to_store: bool = False) -> VerifiedTable:
        """Measure and compare; `to_store`: the outcome is going to be stored.

        Raises UserError for an unknown table, for a kernel that it lacks, and, before anything is measured, when the
        outcome could not be stored.
        """
        table = find_table(self.device)
        if to_store:
            refuse_to_store(table)
        checked, fitted = self.detectors()

        def show(done: int) -> None:
            if progress is not None:
                progress(done)

        origin = "as stored before the check"
        if fitted:
            table = fit_networks(table, list(fitted.items()), show)
            origin = (
                f"fitted on {len(fitted)} other random detectors (seed {self.seed}, {FITTED}), none of them checked"
            )
        result = check(table, list(checked.items()), show)
        overhead_ms = table.metadata.overhead_ms
        names = ", ".join(space.name for space in self.spaces)
        drawn = f"{names} (seed {self.seed}, {CHECKED}), uniformly; never fitted to"
        sides = f"{_pixels(self.sizes[0])} to {_pixels(self.sizes[-1])}"
        error = {**result.summary(overhead_ms), "drawn_from": drawn, "image_sizes": sides, "scale_and_overhead": origin}
        return VerifiedTable(table, result, error)

    def detectors(self) -> tuple[dict[str, Graph], dict[str, Graph]]:
        """Those to check and those to fit scale and overhead on; no detector is in both."""

        def draw(number: int, which: int, exclude: Collection[str] = ()) -> dict[str, Graph]:
            return random_detectors(
                self.spaces, self.sizes, number, num_classes=self.num_classes, seed=(self.seed, which), exclude=exclude
            )

        checked = draw(self.number, CHECKED)
        return checked, draw(self.fit_number, FITTED, checked)


def _pixels(size: ImageSize) -> str:
    return f"{size[0]}x{size[1]}"
