"""Curves and confusion matrix of an evaluation: as data for the page's charts, and as pictures for elsewhere."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from detector.drawing import class_colour
from detector.evaluation import Assessment
from detector.evaluation.assessment import BACKGROUND
from detector.evaluation.curves import RECALLS
from detector.evaluation.matching import Doubles
from detector.lettering import font_families, lettering, plotted
from tinynas.results.pictures import INK, new_figure, plain_axes, save_figure
from tinynas.results.training.run_folder import RunFolder

FURTHER_COLOURS = ("var(--fixed)", "#8a3fa8", "#c2417a", "#5c8a1f")
MOST_CURVES = 12
MOST_CELLS = 20
CURVES_FILE, CONFUSION_FILE = "pr_curves.png", "confusion.png"


def shown_classes(assessment: Assessment) -> list[int]:
    """Labels whose curves are drawn: those with boxes; of many, the ones with the lowest AP50."""
    labels = [label for label, row in enumerate(assessment.classes) if row.boxes]
    if len(labels) <= MOST_CURVES:
        return labels
    return sorted(sorted(labels, key=lambda label: assessment.classes[label].ap50)[:MOST_CURVES])


def mean_curve(assessment: Assessment) -> dict[str, Doubles]:
    """By its name, the mean precision (101,) over all classes with boxes; nothing where there are not several."""
    known = assessment.precision[~np.isnan(assessment.precision[:, 0])]
    return {f"mean of {len(known)}": known.mean(axis=0)} if len(known) > 1 else {}


def curve_data(assessment: Assessment) -> dict[str, Any]:
    """Precision at the recalls of each shown class, and their mean over all classes with boxes where there are several."""
    series = [
        {
            "name": assessment.classes[label].name,
            "colour": f"rgb{class_colour(label)}",
            "values": _rounded(assessment.precision[label]),
        }
        for label in shown_classes(assessment)
    ]
    for name, mean in mean_curve(assessment).items():
        series.append({"name": name, "colour": "var(--ink)", "values": _rounded(mean)})
    return {"x": _rounded(RECALLS), "series": series}


def run_data(run: RunFolder) -> dict[str, Any]:
    """Losses, AP and learning rate by epoch."""
    epochs = [int(row["epoch"]) for row in run.rows]
    colours = ("var(--ink)", "var(--backbone)", "var(--neck)", "var(--head)", *FURTHER_COLOURS)

    of_sets = tuple(dict.fromkeys(key for row in run.rows for key in row if key.startswith("ap@")))

    def chart(keys: tuple[str, ...], names: tuple[str, ...]) -> dict[str, Any]:
        series = [
            {"name": name, "colour": colour, "values": [row.get(key) for row in run.rows]}
            for key, name, colour in zip(keys, names, itertools.cycle(colours))
        ]
        return {"x": epochs, "series": [one for one in series if any(v is not None for v in one["values"])]}

    return {
        "losses": chart(run.losses, run.losses),
        "ap": chart(("ap", "ap50", *of_sets), ("AP", "AP50", *(key.removeprefix("ap@") for key in of_sets))),
        "rate": chart(("learning_rate",), ("learning rate",)),
    }


def draw_curves(assessment: Assessment, path: Path) -> None:
    """Precision against recall at IoU 0.5, a line per class."""
    figure = new_figure(7, 5)
    axes = figure.subplots()
    texts = lettering(assessment.annotations.class_names).texts
    for label in shown_classes(assessment):
        row = assessment.classes[label]
        colour = [channel / 255 for channel in class_colour(label)]
        text = f"{plotted(texts[label])} {row.ap50:.3f}"
        axes.plot(RECALLS, assessment.precision[label], color=colour, linewidth=2, label=text)
    for name, mean in mean_curve(assessment).items():
        axes.plot(RECALLS, mean, color=INK, linewidth=1.5, linestyle="--", label=f"{name} {mean.mean():.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision and recall at IoU 0.5")
    plain_axes(axes)
    if axes.lines:
        prop = {"size": 8, "family": font_families(texts)}
        axes.legend(title="class, AP50", frameon=False, prop=prop, loc="lower left")
    save_figure(figure, path)


def draw_confusion(assessment: Assessment, path: Path) -> None:
    """Counts coloured by their share of the true class's row; numbers where they can be read."""
    texts, counts = lettering(assessment.annotations.class_names).texts, assessment.confusion
    names, family = [*map(plotted, texts), BACKGROUND], font_families(texts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(4.2 + 0.55 * len(names), 20)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 9 if len(names) <= MOST_CELLS else 5
    if len(names) <= MOST_CELLS:
        for row, column in zip(*np.nonzero(counts)):
            ink = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=ink, fontsize=small)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), names, fontsize=small, family=family, **slanted)
    axes.set_yticks(range(len(names)), names, fontsize=small, family=family)
    title = f"Confusion matrix at IoU 0.5, scores from {assessment.score_threshold:.2f}"
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 4) for value in values]
