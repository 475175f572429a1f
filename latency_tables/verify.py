"""Predicted against measured: whole detectors, end to end, on the device of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.metadata import TableMetadata
from latency_tables.predictor import predict
from latency_tables.tables import Table, read_table, write_metadata
from search_spaces.builder import to_multiple_of_8
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin
from search_spaces.structure import Stage, Structure
from search_spaces.text import resolve_structure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Check:
    """Predictions are kernel sums, without overhead."""

    names: tuple[str, ...]
    kernels_ms: Floats
    measured_ms: Floats

    def errors(self, overhead_ms: float = 0.0) -> Floats:
        """Signed relative errors of the predictions."""
        return (self.kernels_ms + overhead_ms) / self.measured_ms - 1

    def best_overhead_ms(self) -> float:
        """The constant, not negative, with the least mean absolute relative error."""
        gaps = self.measured_ms - self.kernels_ms
        candidates = [0.0, *(float(gap) for gap in gaps if gap > 0)]
        return min(candidates, key=lambda overhead: float(np.abs(self.errors(overhead)).mean()))

    def summary(self, overhead_ms: float) -> dict[str, Any]:
        """Figures for a table's metadata; percentages of the measured latency."""
        size = np.abs(self.errors(overhead_ms))
        return {
            "unit": "percent of the measured latency of whole detectors; overhead_ms is fitted on the same ones",
            "detectors": len(self.names),
            "median": round(100 * float(np.median(size)), 2),
            "percentile_90": round(100 * float(np.quantile(size, 0.9)), 2),
            "within_5_percent": round(100 * float((size <= 0.05).mean()), 1),
            "within_10_percent": round(100 * float((size <= 0.10).mean()), 1),
            "kendall_tau": round(kendall_tau(self.kernels_ms, self.measured_ms), 4),
            "each": {name: round(100 * float(e), 2) for name, e in zip(self.names, self.errors(overhead_ms))},
        }


def check(table: Table, graphs: Sequence[tuple[str, Graph]]) -> Check:
    """Measure networks on this machine by the table's runtime and price them from the table."""
    plugin = load_plugin("latency_tables.runtimes", table.metadata.runtime)
    predicted = [predict(graph, table) for _, graph in graphs]
    measured = plugin.network_ms(
        [graph for _, graph in graphs], threads=table.metadata.threads or 1, precision=table.metadata.precision
    )
    kernels = np.array([item.total_ms - item.overhead_ms for item in predicted])
    return Check(tuple(name for name, _ in graphs), kernels, np.array(measured))


def store(table: Table, result: Check) -> Table:
    """Write a check's overhead and figures into the table's metadata; the table as it is then."""
    overhead = round(result.best_overhead_ms(), 4)
    changes = {"overhead_ms": overhead, "error": result.summary(overhead)}
    metadata = TableMetadata.model_validate({**table.metadata.model_dump(), **changes})
    write_metadata(Path(table.source).with_suffix(".yaml"), metadata)
    return read_table(table.source)


def released_detectors(cases: Sequence[tuple[str, int]]) -> list[tuple[str, Graph]]:
    """Released detectors at image sides: ("Ns", 416)."""
    return [(f"{n} at {s}", emit_detector(resolve_structure(n).with_image_size(s, s))) for n, s in cases]


def standard_detectors() -> list[tuple[str, Graph]]:
    """The 20 detectors that shipped CPU tables are checked on: released ones, and random ones from a fixed seed."""
    cases = [(name, side) for name in ("Ns", "Nm", "Nl") for side in (320, 416)]
    cases += [(name, side) for name in ("T", "S") for side in (320, 640)]
    return [
        *released_detectors(cases), *random_detectors(np.random.default_rng(0), 10, (256, 320, 416, 512, 640))
    ]  # fmt: skip


def kendall_tau(first: Floats, second: Floats) -> float:
    """Share of pairs in the same order less the share in the other one (no correction for ties)."""
    upper = np.triu_indices(len(first), 1)
    signs = np.sign(np.subtract.outer(first, first)) * np.sign(np.subtract.outer(second, second))
    return float(signs[upper].mean()) if len(upper[0]) else 1.0


def random_detectors(rng: np.random.Generator, number: int, sides: Sequence[int]) -> list[tuple[str, Graph]]:
    """Random mob and res detectors in turn, around the released ones, at random image sides."""
    found = []
    for index in range(number):
        space = ("mob", "res")[index % 2]
        side = int(rng.choice(sides))
        graph = emit_detector(_random_structure(rng, space).with_image_size(side, side))
        found.append((f"random {space} {index + 1} at {side}", graph))
    return found


def _random_structure(rng: np.random.Generator, space: str) -> Structure:
    base = resolve_structure("Ns" if space == "mob" else "S")

    def width(low: int, high: int) -> int:
        return 8 * int(rng.integers(low // 8, high // 8 + 1))

    ranges = {"mob": [(16, 48), (32, 80), (64, 160), (80, 160), (160, 320)],
              "res": [(48, 128), (64, 128), (128, 192), (128, 256), (256, 512)]}[space]  # fmt: skip
    channels = stem = width(16, 32)
    stages = []
    for low_high, stage in zip(ranges, base.backbone.stages):
        out = max(width(*low_high), channels)
        hidden = to_multiple_of_8(out, rng.uniform(2, 6) if space == "mob" else rng.uniform(0.15, 0.75))
        kernel = int(rng.choice([3, 5])) if space == "mob" else 3
        stages.append(Stage(channels, out, int(hidden), int(rng.integers(1, 5)), stage.stride, kernel))
        channels = out
    widths = (stages[1].out_channels, stages[3].out_channels, stages[4].out_channels)
    backbone = replace(base.backbone, stem=replace(base.backbone.stem, out_channels=stem), stages=tuple(stages))
    return replace(base, backbone=backbone, neck=replace(base.neck, in_channels=widths, out_channels=widths))
