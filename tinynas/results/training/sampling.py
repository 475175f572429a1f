"""A picture of what a training draws against what there is: data sets, and classes from the most boxes to the fewest."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.lettering import font_families, lettering, plotted
from detector.training.record.sampling import COLUMNS, FILE_NAME
from search_spaces.errors import UserError
from search_spaces.files import read_text
from tinynas.results.pictures import ACCENT, COLOURS, INK, new_figure, plain_axes, save_figure

PICTURE_FILE = "sampling.png"
MOST_NAMES = 40


@dataclass(frozen=True, slots=True)
class Sampled:
    """Names, and for each what is there, what an epoch is to draw and what the first one draws: (n, 3)."""

    names: tuple[str, ...]
    counts: Any


def read_sampling(folder: Path) -> dict[str, Sampled]:
    """By kind (images of data sets, boxes of classes), as the training wrote it into its folder; empty where it did not.

    Raises UserError for a file that is broken.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return {}
    rows = list(csv.reader(io.StringIO(read_text(path, "a table of draws"))))
    try:
        found: dict[str, list[tuple[str, list[float]]]] = {}
        for kind, name, *values in rows[1:]:
            numbers = [float(value) for value in values]
            if len(numbers) != len(COLUMNS) - 2:
                raise ValueError
            found.setdefault(kind, []).append((name, numbers))
    except ValueError:
        raise UserError(f"{path}: expected the columns {', '.join(COLUMNS)}, as the training wrote them") from None
    return {
        kind: Sampled(tuple(name for name, _ in some), np.array([numbers for _, numbers in some]))
        for kind, some in found.items()
    }


def draw_sampling(found: dict[str, Sampled], path: Path) -> None:
    """Data sets as bars of images, classes as curves of boxes, both on a logarithmic scale."""
    parts = [kind for kind in ("images", "boxes") if kind in found]
    figure = new_figure(5.5 * len(parts), 4.2)
    for axes, kind in zip(np.atleast_1d(figure.subplots(1, len(parts))), parts):
        (_bars if kind == "images" else _curves)(axes, found[kind])
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        plain_axes(axes)
    save_figure(figure, path)


def _bars(axes: Any, sets: Sampled) -> None:
    places = np.arange(len(sets.names))
    for shift, (column, label, colour) in enumerate(
        ((0, "there", COLOURS["overhead"]), (1, "an epoch, in the mean", COLOURS["neck"]), (2, "first epoch", ACCENT))
    ):
        axes.bar(places + 0.27 * (shift - 1), sets.counts[:, column], 0.25, color=colour, label=label)
    axes.set_xticks(places, [plotted(name) for name in sets.names], rotation=20, ha="right", fontsize=8)
    axes.set(ylabel="images")
    axes.set_title("Data sets", pad=24)


def _curves(axes: Any, classes: Sampled) -> None:
    order = np.argsort(-classes.counts[:, 0], kind="stable")
    counts, places = classes.counts[order], np.arange(len(order))
    axes.plot(places, counts[:, 0], color=INK, linewidth=1.5, label="there")
    axes.plot(places, counts[:, 1], color=COLOURS["neck"], linewidth=1.5, label="an epoch, in the mean")
    axes.plot(places, counts[:, 2], ".", color=ACCENT, markersize=4, label="first epoch")
    axes.set(ylabel="boxes")
    axes.set_title("Classes, by their boxes", pad=24)
    if len(order) <= MOST_NAMES:
        texts = lettering(classes.names).texts
        family = font_families(texts)
        axes.set_xticks(places, [plotted(texts[one]) for one in order], rotation=90, fontsize=6, family=family)
    else:
        axes.set_xlabel("classes, from the most boxes to the fewest")
