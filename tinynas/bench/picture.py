"""The picture of a bench: a bar per model, median to p90."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search_spaces.files import replacing
from tinynas.bench.comparison import Row


def write_picture(rows: Sequence[Row], title: str, path: Path) -> None:
    """Write a PNG: per model the median as a bar, p90 as its whisker, the predicted latency as a mark, AP where known."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.5 * len(rows)), layout="constrained")
    places = range(len(rows))
    medians = [row.model.median_ms for row in rows]
    tails = [row.model.p90_ms - row.model.median_ms for row in rows]
    axes.barh(places, medians, xerr=[[0.0] * len(rows), tails], height=0.6, color="#1d7ed6", capsize=3)
    shown = [(place, row.predicted_ms) for place, row in zip(places, rows) if row.predicted_ms is not None]
    if shown:
        axes.plot(
            [ms for _, ms in shown], [place for place, _ in shown], "|", color="#e63946", ms=16, label="predicted"
        )
        axes.legend(loc="lower right", frameon=False)
    for place, row in zip(places, rows):
        ap = "" if row.ap is None else f", AP {row.ap:.3f}"
        axes.text(0, place + 0.42, f"{row.model.median_ms:.2f} ms{ap}", va="center", fontsize=8)
    axes.set_yticks(places, [f"{Path(row.name).name}\n{row.precision}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("ms per run, median; whisker: 90 % of the runs")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, dpi=130, format="png")
    pyplot.close(figure)
