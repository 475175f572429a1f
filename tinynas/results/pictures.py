"""Pictures of a search and of a network (matplotlib, imported when first drawn)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.files import replacing
from tinynas.results.drawing import Drawing

INK, PALE, ACCENT = "#1f2937", "#e5e7eb", "#c2410c"
COLOURS = {"backbone": "#2563eb", "neck": "#0d9488", "head": "#b45309", "overhead": "#9ca3af"}
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
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
    drawing: Drawing, shares: Mapping[str, float], title: str, path: Path, unit: str = "predicted ms"
) -> None:
    """The detector drawn to scale, and where its time goes.

    `shares`: a cost per scope of the drawing (`scope_of`), or of parts that are not drawn (`overhead`), in `unit`.
    """
    figure = new_figure(13, 7.6)
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 2])
    figure.suptitle(title, color=INK)
    _draw_slabs(top, drawing)
    parts = {node.scope: node.part for node in drawing.nodes}
    names = list(shares)
    values = [shares[name] for name in names]
    colours = [COLOURS[parts.get(name, name)] for name in names]
    bars = bottom.bar(range(len(names)), values, color=colours)
    total = sum(values) or 1.0
    bottom.bar_label(bars, [f"{100 * value / total:.0f} %" for value in values], fontsize=8, color=INK)
    bottom.set_xticks(range(len(names)), names, fontsize=8)
    bottom.set(ylabel=unit, title="Where the cost lies")
    bottom.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _draw_slabs(axes: Any, drawing: Drawing) -> None:
    """Every node's slabs, darker where more of the cost lies, its lines of text below, and the links behind."""
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path as Curve

    curve = [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4]
    for link in drawing.links:
        axes.add_patch(PathPatch(Curve(link.points, curve), fc="none", ec="#c3cad6", zorder=0))
    for node in drawing.nodes:
        top = node.y - node.height / 2
        for left in node.slabs:
            for colour, strength in (("white", 1.0), (COLOURS[node.part], node.strength)):  # no link shines through
                corner, size = (left, top), (node.slab_width, node.height)
                axes.add_patch(Rectangle(corner, *size, fc=colour, alpha=strength, lw=0))
        text = "\n".join(node.lines)
        axes.text(node.x + node.width / 2, top + node.height + 3, text, ha="center", va="top", color=INK, fontsize=7)
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.set_aspect("equal")
    axes.axis("off")


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches, without pyplot and its windows, which would double the time to the first picture."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix[1:])
