"""Predicted against measured: whole detectors, end to end, on the device of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from latency_tables.metadata import TableMetadata
from latency_tables.predictor import predict
from latency_tables.registry import host_processor
from latency_tables.tables import Floats, Table, read_table, write_metadata
from search_spaces.errors import UserError
from search_spaces.files import check_folder, replacing
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin

TOGETHER = 12
"""Networks whose runs are interleaved; more of them would only fill the memory."""


@dataclass(frozen=True, slots=True)
class Check:
    """Predictions are kernel sums, without overhead. `extrapolated`: the share of each from beyond the table."""

    names: tuple[str, ...]
    kernels_ms: Floats
    measured_ms: Floats
    extrapolated: Floats

    def errors(self, overhead_ms: float | Floats = 0.0) -> Floats:
        """Signed relative errors of the predictions. `overhead_ms`: one for all, or each detector's own."""
        return (self.kernels_ms + overhead_ms) / self.measured_ms - 1

    def best_overhead_ms(self) -> float:
        """The constant, not negative, with the least mean absolute relative error."""
        gaps = self.measured_ms - self.kernels_ms
        candidates = [0.0, *(float(gap) for gap in gaps if gap > 0)]
        return min(candidates, key=lambda overhead: float(np.abs(self.errors(overhead)).mean()))

    def summary(self, overhead_ms: float | Floats) -> dict[str, Any]:
        """Figures for a table's metadata; percentages of the measured latency."""
        size = np.abs(self.errors(overhead_ms))
        return {
            "unit": "percent of the measured latency of whole detectors",
            "detectors": len(self.names),
            "median": _percent(np.median(size)),
            "percentile_90": _percent(np.quantile(size, 0.9)),
            "largest": _percent(size.max()),
            "mean_signed": _percent(self.errors(overhead_ms).mean()),
            "within_5_percent": _percent((size <= 0.05).mean()),
            "within_10_percent": _percent((size <= 0.10).mean()),
            "kendall_tau": round(kendall_tau(self.kernels_ms, self.measured_ms), 4),
            "largest_extrapolated_share": _percent(self.extrapolated.max()),
        }

    def each(self, overhead_ms: float) -> list[dict[str, Any]]:
        """Name, predicted and measured ms, and error in percent of every detector."""
        return [
            {
                "name": name, "predicted_ms": round(float(kernels + overhead_ms), 4),
                "measured_ms": round(float(measured), 4), "error_percent": _percent(error),
            }
            for name, kernels, measured, error in zip(
                self.names, self.kernels_ms, self.measured_ms, self.errors(overhead_ms)
            )
        ]  # fmt: skip


def check(
    table: Table, graphs: Sequence[tuple[str, Graph]], progress: Callable[[int], None] | None = None
) -> Check:  # fmt: skip
    """Measure networks on this machine by the table's runtime and price them from the table.

    `progress(n)` is called when n more are done. Raises UserError when there are none, when the table is for another batch
    than 1, when a kernel has no data, or when the device fails.
    """
    if not graphs:
        raise UserError("no detectors to compare; at least one is needed")
    metadata = table.metadata
    if metadata.batch != 1:
        raise UserError(f"table {table.id} is for batch {metadata.batch}; networks are measured at batch 1 only")
    predicted = [predict(graph, table, max_extrapolated=1.0) for _, graph in graphs]
    plugin = load_plugin("latency_tables.runtimes", metadata.runtime)
    measured: list[float] = []
    for start in range(0, len(graphs), TOGETHER):
        chosen = [graph for _, graph in graphs[start : start + TOGETHER]]
        measured += _measured_ms(plugin, chosen, metadata)
        if progress is not None:
            progress(len(chosen))
    return Check(
        tuple(name for name, _ in graphs), np.array([item.total_ms - item.overhead_ms for item in predicted]),
        np.array(measured), np.array([item.shares["extrapolated"] for item in predicted]),
    )  # fmt: skip


def _measured_ms(plugin: ModuleType, graphs: Sequence[Graph], metadata: TableMetadata) -> list[float]:
    try:
        found: list[float] = plugin.network_ms(graphs, threads=metadata.threads or 1, precision=metadata.precision)
    except UserError:
        raise
    except Exception as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{metadata.runtime} failed while whole detectors were measured ({what})") from error
    return found


def refuse_to_store(table: Table) -> None:
    """Raise UserError when figures measured on this machine do not belong into the table, or cannot be written there."""
    processor = table.metadata.processor
    if processor and processor != host_processor():
        raise UserError(
            f"table {table.id} was measured on {processor}, this host has {host_processor()}: what is measured here does "
            "not belong into it; leave out --store, or profile this host"
        )
    check_folder(Path(table.source).parent, "copy the table into a folder of your own")


def store(table: Table, overhead_ms: float, error: dict[str, Any]) -> Table:
    """Write an overhead and the figures of a check into the table's metadata; the table as it is then."""
    changes = {"overhead_ms": round(overhead_ms, 4), "error": error}
    metadata = TableMetadata.model_validate({**table.metadata.model_dump(), **changes})
    write_metadata(Path(table.source).with_suffix(".yaml"), metadata)
    return read_table(table.source)


def scatter(result: Check, overhead_ms: float, title: str, path: Path) -> None:
    """A PNG of predicted over measured latency, on logarithmic axes, with the band of 10 %."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(6, 6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    predicted = result.kernels_ms + overhead_ms
    ends = np.array([min(predicted.min(), result.measured_ms.min()) / 1.1,
                     max(predicted.max(), result.measured_ms.max()) * 1.1])  # fmt: skip
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color="0.9", label="within 10 %")
    axes.plot(ends, ends, color="0.5", linewidth=1)
    for family in dict.fromkeys(name.split()[0] for name in result.names):
        chosen = np.array([name.split()[0] == family for name in result.names])
        axes.scatter(result.measured_ms[chosen], predicted[chosen], s=18, label=family)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured [ms]", ylabel="predicted [ms]")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def kendall_tau(first: Floats, second: Floats) -> float:
    """Share of pairs in the same order less the share in the other one (no correction for ties)."""
    upper = np.triu_indices(len(first), 1)
    signs = np.sign(np.subtract.outer(first, first)) * np.sign(np.subtract.outer(second, second))
    return float(signs[upper].mean()) if len(upper[0]) else 1.0


def _percent(share: Any) -> float:
    return round(100 * float(share), 2)
