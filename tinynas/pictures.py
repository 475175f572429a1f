"""Pictures of a search and of a network (matplotlib, imported when first drawn)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.graph import Graph
from search_spaces.structure import Structure

INK, PALE, ACCENT = "#1f2937", "#e5e7eb", "#c2410c"
COLOURS = {"backbone": "#2563eb", "neck": "#0d9488", "head": "#b45309", "overhead": "#9ca3af"}
Point = tuple[float, float]
LINKS = (
    ("stem", "stage5"), ("stage5", "m3"), ("stage4", "m3"), ("stage4", "m4"), ("stage2", "m4"), ("m3", "m4"),
    ("stage2", "o3"), ("m4", "o3"), ("m4", "o4"), ("o3", "o4"), ("m3", "o5"), ("m4", "o5"), ("o4", "o5"),
    ("o3", "head0"), ("o4", "head1"), ("o5", "head2"),
)  # fmt: skip
FUSION_PLACES = {"m3": (0, 2), "m4": (0, 1), "o3": (1, 0), "o4": (1, 1), "o5": (1, 2)}


@dataclass(frozen=True, slots=True)
class SearchTrace:
    """What the search picture shows: best score after so many evaluations; score and cost of the final pool."""

    evaluated: Sequence[int]
    best_score: Sequence[float]
    pool_score: npt.NDArray[np.float64]
    pool_cost: npt.NDArray[np.float64]
    cost_label: str
    limit: float


def draw_search(trace: SearchTrace, path: Path) -> None:
    """Convergence on the left, the final pool against the budget on the right."""
    plt = _pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    left.plot(trace.evaluated, trace.best_score, color=COLOURS["backbone"], linewidth=2)
    left.set(xlabel="candidates evaluated", ylabel="best score within budget", title="Convergence")
    right.scatter(trace.pool_cost, trace.pool_score, s=9, color=COLOURS["neck"], alpha=0.6, linewidths=0)
    right.scatter(trace.pool_cost[:1], trace.pool_score[:1], s=70, color=ACCENT, marker="*", zorder=3, label="the best")
    right.axvline(trace.limit, color=INK, linestyle="--", linewidth=1, label="budget")
    right.set(xlabel=trace.cost_label, ylabel="score", title=f"The {len(trace.pool_score)} survivors")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(color=PALE)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_network(
    structure: Structure, graph: Graph, shares: Mapping[str, float], title: str, path: Path, unit: str = "predicted ms"
) -> None:
    """The detector as boxes (height: resolution, width: channels), and where its time goes.

    `shares`: a cost per scope, as `scope_of` names them, in `unit`.
    """
    plt = _pyplot()
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(13, 7.6), height_ratios=[3, 2], layout="constrained")
    figure.suptitle(title, color=INK)
    _draw_boxes(top, structure, graph)
    names = list(shares)
    values = [shares[name] for name in names]
    colours = [COLOURS[_part(name)] for name in names]
    bars = bottom.bar(range(len(names)), values, color=colours)
    total = sum(values) or 1.0
    bottom.bar_label(bars, [f"{100 * value / total:.0f} %" for value in values], fontsize=8, color=INK)
    bottom.set_xticks(range(len(names)), names, fontsize=8)
    bottom.set(ylabel=unit, title="Where the cost lies")
    bottom.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def scope_of(path: str) -> str:
    """The drawn box that an op belongs to: `stem`, `stage1`..., `m3`..., `head`."""
    words = path.split(".")
    if words[0] == "head":
        return "head"
    if words[0] == "backbone" and not words[1].startswith("stage"):
        return "stem"
    return words[1] if len(words) > 1 else words[0]


def _part(scope: str) -> str:
    if scope in FUSION_PLACES:
        return "neck"
    return scope if scope in ("head", "overhead") else "backbone"


def _draw_boxes(axes: Any, structure: Structure, graph: Graph) -> None:
    """Backbone left to right; neck as two columns of fusions; head at the right; one row per stride."""
    height, stride, x = structure.image_size[0], 2, 0.0
    centres: dict[str, Point] = {}
    stem = structure.backbone.stem
    rows = [("stem", int(stem.out_channels), stride, stem.kind)]
    for number, stage in enumerate(structure.backbone.stages, start=1):
        stride *= stage.stride
        rows.append(
            (f"stage{number}", int(stage.out_channels), stride, f"hidden\n{stage.hidden_channels}\n\u00d7{stage.depth}")
        )
    for name, channels, step, note in rows:
        text = f"{name}\n{channels} ch\n{height // step} px"
        centres[name] = _box(axes, (x, 0.0), _width(channels), height // step, text, note, COLOURS["backbone"])
        x = 2 * centres[name][0] - x + 16
    start = x + 90
    for fusion, (column, row) in FUSION_PLACES.items():
        shape = next(op.shape for op in graph if op.path == f"neck.{fusion}.close")
        text = f"{fusion}\n{shape.channels} ch\n{shape.height} px"
        place = (start + column * 300, (1 - row) * 96.0)
        centres[fusion] = _box(axes, place, _width(int(shape.channels)), shape.height, text, "", COLOURS["neck"])
    for row, op in enumerate(op for op in graph if op.path.endswith(".cls")):
        text, place = f"stride {8 << row}\n{op.shape.channels} cls", (start + 620, (1 - row) * 96.0)
        centres[f"head{row}"] = _box(axes, place, 76, op.shape.height, text, "", COLOURS["head"])
    for source, target in LINKS:
        axes.annotate(
            "", centres[target], centres[source], zorder=0, arrowprops={"arrowstyle": "-", "color": "#9ca3af"}
        )
    axes.set_xlim(-20, start + 720)
    axes.set_ylim(-160, 160)
    axes.axis("off")


def _width(channels: int) -> float:
    return 48 + channels * 0.3


def _box(axes: Any, corner: Point, width: float, side: int, text: str, note: str, colour: str) -> Point:
    """One box from its left edge and middle height, as tall as the map's side says; returns its centre."""
    from matplotlib.patches import FancyBboxPatch

    (x, y), tall = corner, 16 + 9.0 * np.log2(max(side, 2))
    shape = "round,pad=0,rounding_size=5"
    axes.add_patch(FancyBboxPatch((x, y - tall / 2), width, tall, shape, fc=colour, ec="white", zorder=2))
    axes.text(x + width / 2, y, text, ha="center", va="center", color="white", fontsize=8, zorder=3)
    axes.text(x + width / 2, y - tall / 2 - 6, note, ha="center", va="top", color=INK, fontsize=8)
    return x + width / 2, y


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    figure.savefig(partial, dpi=110)
    partial.replace(path)
    plt.close(figure)
