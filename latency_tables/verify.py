"""Predicted against measured: whole detectors, end to end, on the device of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from latency_tables.kernels import KINDS
from latency_tables.metadata import TableMetadata
from latency_tables.on_device.host import host_processor
from latency_tables.predictor import Prediction, predict
from latency_tables.tables import Floats, Table, read_table, write_metadata
from search_spaces.errors import UserError
from search_spaces.files import check_folder, replacing
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin

WORTH_AN_OVERHEAD, LARGEST_OVERHEAD = 0.002, 0.3
"""By how much the mean relative error must fall for an overhead, and the largest part of the quickest network that it may be:
what a busy machine makes of a few networks is no overhead."""
CLASSES = ("stem", "conv", "depthwise", "others")
"""Kinds of kernels with a scale of their own."""
NOISES, CLASS_DEVIATIONS, MOST = (0.01, 0.02, 0.03, 0.05, 0.08), (0.0, 0.03, 0.06, 0.12, 0.25), 0.5
"""What may be left of a network's relative error once the scale is right, and standard deviations of a class's own factor
about the common one: the most likely of them count. Limit of such a factor."""
TOGETHER = 12
"""Networks whose runs are interleaved; more of them would only fill the memory."""


@dataclass(frozen=True, slots=True)
class Check:
    """n detectors. Predictions are kernel sums, the table's scale in them, without overhead: `classes_ms` (n, C) by CLASSES.
    `measured_ms` (n,). `extrapolated` (n,): the share of each from beyond the table."""

    names: tuple[str, ...]
    classes_ms: Floats
    measured_ms: Floats
    extrapolated: Floats

    @property
    def kernels_ms(self) -> Floats:
        """(n,) all kernels of each detector."""
        total: Floats = self.classes_ms.sum(axis=1)
        return total

    def errors(self, overhead_ms: float | Floats = 0.0) -> Floats:
        """Signed relative errors of the predictions. `overhead_ms`: one for all, or each detector's own."""
        return (self.kernels_ms + overhead_ms) / self.measured_ms - 1

    def best_fit(self) -> tuple[dict[str, float], float]:
        """(factor by kind of kernel, overhead in ms, not negative) that bring the predictions nearest to what was measured.

        The factors are a common one times one of each of CLASSES. The latter are drawn towards 1, the more so the fewer
        networks there are and the less they agree: how much, the likelihood decides. A class that carries little of the
        latency keeps the common factor. An overhead only where the mean absolute relative error falls by
        WORTH_AN_OVERHEAD.
        """
        shares, rest = self.classes_ms / self.measured_ms[:, None], 1 / self.measured_ms
        fits = []
        for overhead in np.linspace(0.0, LARGEST_OVERHEAD * float(self.measured_ms.min()), 101):
            factors = _factors(shares, 1 - overhead * rest)
            fits.append((float(np.abs(shares @ factors + overhead * rest - 1).mean()), float(overhead), factors))
        best = min(fits, key=lambda item: item[:2])
        _, overhead, factors = best if best[0] < fits[0][0] - WORTH_AN_OVERHEAD else fits[0]
        return {kind: float(factors[_class(kind)]) for kind in KINDS}, overhead

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
    table: Table,
    graphs: Sequence[tuple[str, Graph]],
    progress: Callable[[int], None] | None = None,
    *,
    rounds: int = 12,
) -> Check:
    """Measure networks on this machine by the table's runtime, in so many interleaved rounds, and price them from the table.

    `progress(n)` is called when n more are done. Raises UserError when there are none, when the table is for another batch
    than 1, when a kernel has no data, or when the device fails.
    """
    if not graphs:
        raise UserError("no detectors to compare; at least one is needed")
    metadata = table.metadata
    if metadata.batch != 1:
        raise UserError(f"table {table.id} is for batch {metadata.batch}; networks are measured at batch 1 only")
    priced = compared(table, dict(graphs), np.ones(len(graphs)))  # a kernel without data is said before any measuring
    plugin = load_plugin("latency_tables.runtimes", metadata.runtime)
    measured: list[float] = []
    for start in range(0, len(graphs), TOGETHER):
        chosen = [graph for _, graph in graphs[start : start + TOGETHER]]
        measured += _measured_ms(plugin, chosen, metadata, rounds)
        if progress is not None:
            progress(len(chosen))
    return replace(priced, measured_ms=np.array(measured))


def compared(table: Table, graphs: Mapping[str, Graph], measured_ms: Sequence[float] | Floats) -> Check:
    """Detectors, by name, as the table prices them, beside what they were measured to take. Raises as `predict` does."""
    predicted = [predict(graph, table, max_extrapolated=1.0) for graph in graphs.values()]
    return Check(
        tuple(graphs), np.array([_by_class(item) for item in predicted]), np.array(measured_ms, dtype=np.float64),
        np.array([item.shares["extrapolated"] for item in predicted]),
    )  # fmt: skip


def class_factors(factors: Mapping[str, float]) -> Floats:
    """(C,) factors by kind of kernel as factors on CLASSES."""
    return np.array([factors[kind] for kind in (*CLASSES[:-1], "add")])


def _by_class(prediction: Prediction) -> Floats:
    """(C,) latency by CLASSES."""
    found = np.zeros(len(CLASSES))
    for item in prediction.sites:
        found[_class(item.site.kernel.kind)] += item.latency_ms
    return found


def fit_networks(
    table: Table,
    graphs: Sequence[tuple[str, Graph]],
    progress: Callable[[int], None] | None = None,
    *,
    rounds: int = 12,
) -> Table:
    """The table with the scale and the overhead that whole detectors, measured here, call for. Raises as `check` does."""
    factors, overhead_ms = check(table, graphs, progress, rounds=rounds).best_fit()
    return table.with_fit(factors=factors, overhead_ms=overhead_ms)


def _measured_ms(plugin: ModuleType, graphs: Sequence[Graph], metadata: TableMetadata, rounds: int) -> list[float]:
    try:
        found: list[float] = plugin.network_ms(
            graphs, threads=metadata.threads or 1, precision=metadata.precision, rounds=rounds
        )
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


def store(table: Table, error: dict[str, Any]) -> Table:
    """Write a table's scale and overhead, and the figures of a check, into its metadata; the table as it is then."""
    changes = {
        "scale": {kind: round(factor, 4) for kind, factor in table.metadata.scale.items()},
        "overhead_ms": round(table.metadata.overhead_ms, 4),
        "error": error,
    }
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


def _factors(shares: Floats, wanted: Floats) -> Floats:
    """(C,) factors on the classes' shares (n, C) of the measured latency, so that they add up to `wanted` (n,)."""
    totals = shares.sum(axis=1)
    common = _weighted_median(wanted / totals, totals)
    scaled = common * shares
    left = wanted - scaled.sum(axis=1)
    # left = scaled @ own + noise, own normal about 0; every pair of deviations at once
    noise, deviation = np.array(list(product(NOISES, CLASS_DEVIATIONS))).T[:, :, None, None] ** 2
    factor = np.linalg.cholesky(deviation * (scaled @ scaled.T) + noise * np.eye(len(left)))
    half = np.linalg.solve(factor, np.broadcast_to(left[:, None], (len(factor), len(left), 1)))
    likelihood = -0.5 * (half**2).sum(axis=(1, 2)) - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    likeliest = int(np.argmax(likelihood))
    own = deviation[likeliest] * scaled.T @ np.linalg.solve(factor[likeliest].T, half[likeliest, :, 0])
    result: Floats = common * (1 + np.clip(own, -MOST, MOST))
    return result


def _class(kind: str) -> int:
    return CLASSES.index(kind) if kind in CLASSES else len(CLASSES) - 1


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _percent(share: Any) -> float:
    return round(100 * float(share), 2)
