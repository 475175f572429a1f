"""What the page of a training says: texts, rows and chart data."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinynas
from detector.data.image import Pixels
from detector.drawing import encoded
from detector.evaluation import Assessment, ClassRow
from detector.evaluation.assessment import BACKGROUND, SetRow
from detector.evaluation.pictures import COLOURS
from detector.lettering import lettering
from search_spaces.emit import emit_detector
from tinynas.account import account
from tinynas.quantities import QUANTITIES
from tinynas.results.page.settings import flat_settings
from tinynas.results.training.charts import MOST_CELLS, MOST_CURVES, curve_data, run_data
from tinynas.results.training.subject import Subject
from tinynas.results.training.warnings import warnings_of

NONE = "\u2013"
MOST_CONFUSIONS = 25
Tile = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One image with its two panels (H, W, 3) and its errors."""

    why: str
    name: str
    missed: int
    false: int
    truth: Pixels
    predicted: Pixels

    @property
    def panels(self) -> list[tuple[str, str]]:
        """Title and picture as a data address."""
        return [("truth", inlined(encoded(self.truth))), ("predicted", inlined(encoded(self.predicted)))]


def inlined(picture: bytes, kind: str = "jpeg") -> str:
    """A picture as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def page_content(subject: Subject, shown: Sequence[Shown], sampling: bytes = b"") -> dict[str, Any]:
    """All variables of the template. sampling: the PNG of what is drawn, if there is one."""
    assessment, run = subject.assessment, subject.run
    ignored = int(assessment.annotations.ignore.sum())
    charts = {"pr": curve_data(assessment), **(run_data(run) if run is not None else {})}
    return {
        "tool": f"tinynas {tinynas.__version__}",
        "kind": "training report" if run is not None else "evaluation report",
        "title": f"{subject.checkpoint.absolute().parent.name} on {subject.split}",
        "work": _work(subject),
        "notes": [],
        "warnings": warnings_of(assessment, subject.split, subject.train, run),
        "tiles": _tiles(subject),
        "facts": _facts(subject),
        "split": subject.split,
        "epochs": len(run.rows) if run is not None else 0,
        "evaluated": bool(run is not None and run.evaluations),
        "sets": [_set_cells(row) for row in assessment.sets],
        "classes": [_class_cells(row) for row in assessment.classes],
        "ignored": ignored,
        "threshold": f"{assessment.score_threshold:.2f}",
        "curves": len(charts["pr"]["series"]),
        "most_curves": MOST_CURVES,
        "confusion": _confusion(assessment),
        "confusions": _confusions(assessment),
        "legend": lettering(assessment.annotations.class_names).legend,
        "colours": {state: f"rgb{colour}" for state, colour in COLOURS.items()},
        "pictures": {why: [one for one in shown if one.why == why] for why in ("worst", "random")},
        "augmented": inlined(run.augmented) if run is not None and run.augmented else "",
        "sampling": inlined(sampling, "png") if sampling else "",
        "commands": _commands(subject),
        "settings": flat_settings(dict(run.settings)) if run is not None else [],
        "charts": charts,
    }


def _work(subject: Subject) -> str:
    run = subject.run
    if run is None:
        return f"{subject.checkpoint} on {subject.split} of {subject.data}"
    done, of = len(run.rows), run.settings.get("epochs", len(run.rows))
    epochs = f"{done} epochs" if done == of else f"{done} of {of} epochs"
    seconds = run.rows[-1].get("seconds")
    took = f" in {duration(float(seconds))}" if seconds is not None else ""
    return f"{epochs} on {subject.data}{took}, preset {run.settings.get('preset', 'unknown')}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _tiles(subject: Subject) -> list[Tile]:
    metrics, run = subject.assessment.evaluation.metrics, subject.run
    when = ""
    if run is not None and run.best is not None and subject.split == "val":
        when = f", epoch {run.best['epoch']:.0f} of {len(run.rows)}"
    counted = account(emit_detector(subject.structure)).counted()
    tiles = [
        (_number(metrics.ap), "", f"AP at IoU 0.50 to 0.95{when}"),
        (_number(metrics.ap50), "", "AP at IoU 0.50"),
        (_number(metrics.ap75), "", "AP at IoU 0.75"),
    ]
    for quantity in (QUANTITIES["params"], QUANTITIES["conv_macs"]):
        figure, _, unit = quantity.text(counted[quantity.key]).partition(" ")
        tiles.append((figure, unit, quantity.label))
    return tiles


def _facts(subject: Subject) -> list[tuple[str, str]]:
    """The run in a table: structure, data, recipe, speed, and COCO's other numbers."""
    structure, run = subject.structure, subject.run
    height, width = structure.image_size
    facts = [("structure", f"{structure.backbone.space}, {height} \u00d7 {width} px"), ("data", subject.data)]
    splits = [(subject.split, subject.assessment.annotations)]
    if subject.train is not None:
        splits.insert(0, ("train", subject.train))
    for name, part in splits:
        boxes = int((~part.ignore).sum())
        facts.append((name, f"{len(part):,} images, {boxes:,} boxes, {part.num_classes} classes"))
    if run is not None:
        optimizer = run.settings.get("optimizer") or {}
        speeds = [float(row["images_per_second"]) for row in run.rows if row.get("images_per_second")]
        facts += [
            ("recipe", f"preset {run.settings.get('preset')}, {optimizer.get('name', NONE)}, "
                       f"batch {run.settings.get('batch_size')}, seed {run.settings.get('seed')}"),
            ("training", f"{np.median(speeds):,.1f} images per second" if speeds else NONE),
        ]  # fmt: skip
    metrics = subject.assessment.evaluation.metrics
    sizes = [f"{name} {_number(getattr(metrics, f'ap_{name}'))}" for name in ("small", "medium", "large")]
    facts.append(("AP by size of the boxes", ", ".join(sizes)))
    facts.append(("recall with 100 detections", _number(metrics.ar_100)))
    return facts


def _number(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3f}"


def _class_cells(row: ClassRow) -> dict[str, Any]:
    numbers = {name: _number(getattr(row, name)) for name in ("ap50", "precision", "recall", "score_threshold")}
    bar = 0.0 if math.isnan(row.ap) else 100 * row.ap
    return {"name": row.name, "images": f"{row.images:,}", "boxes": f"{row.boxes:,}", "ap": _number(row.ap),
            "bar": f"{bar:.1f}", **numbers}  # fmt: skip


def _set_cells(row: SetRow) -> dict[str, str]:
    counts = {name: f"{getattr(row, name):,}" for name in ("images", "boxes", "classes")}
    return {"name": row.name, **counts, "ap": _number(row.ap), "ap50": _number(row.ap50)}


def _confusion(assessment: Assessment) -> list[tuple[str, list[tuple[str, str]]]]:
    """Rows of (name, cells of (count, share of the row in percent)); none for more classes than can be read."""
    names, counts = [*assessment.annotations.class_names, BACKGROUND], assessment.confusion
    if len(names) > MOST_CELLS:
        return []
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = zip(names, counts.tolist(), shares.tolist())
    return [(name, [(f"{n:,}" if n else "", f"{s:.1f}") for n, s in zip(row, share)]) for name, row, share in rows]


def _confusions(assessment: Assessment) -> list[tuple[str, str, str]]:
    """(true, predicted, count) of the most frequent errors."""
    names, counts = [*assessment.annotations.class_names, BACKGROUND], assessment.confusion.copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    cells = [(int(cell) // len(names), int(cell) % len(names)) for cell in order]
    return [(names[row], names[column], f"{counts[row, column]:,}") for row, column in cells if counts[row, column]]


def _commands(subject: Subject) -> list[dict[str, str]]:
    path, data = shlex.quote(str(subject.checkpoint)), shlex.quote(subject.data)
    lines = [
        ("Export for deployment", f"tinynas export {path}"),
        ("Detect in pictures", f"tinynas predict {path} DIR --score-threshold {subject.assessment.score_threshold:g}"),
    ]
    if subject.split == "val":
        test = f"tinynas eval {path} --data {data} --split test --report DIR"
        lines.append(("Evaluate on the test split, if there is one", test))
    return [{"says": says, "line": line} for says, line in lines]
