"""Pictures of a search and of a network (matplotlib, imported when first drawn)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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
class SearchPicture:
    """What the search picture shows: per network its name and (evaluations, best score) so far; the Pareto front as cost
    and score; each network's place on it, and its limit (None where the cost is not limited)."""

    curves: Mapping[str, Sequence[tuple[int, float]]]
    front_cost: Sequence[float]
    front_score: Sequence[float]
    places: Mapping[str, Point]
    limits: Mapping[str, float | None]
    cost_label: str


def draw_search(picture: SearchPicture, path: Path) -> None:
    """Convergence on the left, the Pareto front with what was chosen from it on the right."""
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2)
    for name, points in picture.curves.items():
        if points:
            left.plot(*zip(*points, strict=True), linewidth=2, label=name)
    left.set(xlabel="candidates evaluated", ylabel="best score within budget", title="Convergence")
    draw_front_on(right, picture)
    if len(picture.curves) > 1:
        left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        plain_axes(axes)
    save_figure(figure, path)


def draw_front(picture: SearchPicture, path: Path) -> None:
    """The Pareto front alone, the family's members named."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    draw_front_on(axes, picture)
    plain_axes(axes)
    save_figure(figure, path)


def draw_front_on(axes: Any, picture: SearchPicture) -> None:
    """The front as a line, networks as stars with their names, limits as dashed lines."""
    axes.plot(picture.front_cost, picture.front_score, color=COLOURS["neck"], linewidth=1.5, label="Pareto front")
    for limit in sorted({limit for limit in picture.limits.values() if limit is not None}):
        axes.axvline(limit, color=INK, linestyle="--", linewidth=0.8)
    places = list(picture.places.items())
    axes.scatter(
        *zip(*(place for _, place in places), strict=True), s=80, color=ACCENT, marker="*", zorder=3, label="chosen"
    )
    for name, place in places if len(places) > 1 else []:
        axes.annotate(name, place, xytext=(6, -12), textcoords="offset points", fontsize=8, color=INK)
    axes.set(xlabel=picture.cost_label, ylabel="score", title="Pareto front")
    axes.legend(frameon=False, fontsize=8)


def plain_axes(axes: Any) -> None:
    """A pale grid, and no frame above and at the right."""
    axes.grid(color=PALE)
    axes.spines[["top", "right"]].set_visible(False)


def draw_network(
    structure: Structure, graph: Graph, shares: Mapping[str, float], title: str, path: Path, unit: str = "predicted ms"
) -> None:
    """The detector as boxes (height: resolution, width: channels), and where its time goes.

    `shares`: a cost per scope, as `scope_of` names them, in `unit`.
    """
    figure = new_figure(13, 7.6)
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 2])
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
    save_figure(figure, path)


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


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches, without pyplot and its windows, which would double the time to the first picture."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    figure.savefig(partial, dpi=110)
    partial.replace(path)
