"""`tinynas eval`: COCO metrics of a model on a split, and a report of it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinynas.commands._options import check_companions

if TYPE_CHECKING:
    from detector.evaluation import Assessment


def run(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="best.pt or last.pt of a training run, or an export.")],
    data: Annotated[Path | None, typer.Option(help="Data folder or YAML. Default: ./data.yaml or ./data.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test, or all of an unsplit set.")] = "val",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per step.")] = 16,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N; for exports as their runtime names it.")
    ] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for report.html, with tables and images beside it.")
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lowest score of a detection in the report's confusion matrix and images."),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(min=1, help="Detections that count per image and class. Default: as in the training, 100."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the report's random images.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier report.")] = False,
) -> None:
    """Print the twelve COCO metrics and a table of the classes; --report adds curves, confusion matrix and images."""
    from detector.data.formats import load_split
    from detector.detector import Detector
    from detector.evaluation import assess, crowding_note
    from search_spaces.files import claim_outputs
    from tinynas.commands.train import find_data
    from tinynas.results.training import RunFolder, Subject, output_names, write_training_report

    check_companions(context, dict.fromkeys(("--score-threshold", "--seed", "--overwrite"), "--report"))
    if report is not None:
        claim_outputs(report, output_names(), overwrite, "--report")
    detector = Detector.load(checkpoint, device)
    made_by = RunFolder.read(checkpoint.parent) if report and checkpoint.name in ("best.pt", "last.pt") else None
    source = find_data(data)
    annotations, _ = load_split(source, split, detector.class_names, of_model=True)
    evaluation = detector.evaluate_split(annotations, batch_size=batch_size, max_detections=max_detections)
    note = crowding_note(annotations, evaluation.max_detections)
    if note:
        print(f"note: {note}", file=sys.stderr)
    assessment = assess(evaluation, annotations, score_threshold)
    if report is not None:
        subject = Subject(
            checkpoint=checkpoint, structure=detector.structure, data=str(source), split=split, assessment=assessment,
            run=made_by,
        )  # fmt: skip
        path = write_training_report(subject, report, seed)
    if json_:
        print(json.dumps(as_json(assessment), indent=2))
        return
    _print_table(assessment, f"{checkpoint} on {split}")
    if report is not None:
        print(f"wrote {path}")


def as_json(assessment: Assessment) -> dict[str, Any]:
    """COCO's twelve numbers by name, and `classes`: the rest of each ClassRow by name; null where there is no number.

    Where the images are of several data sets, `sets`: the rest of each SetRow by name.
    """
    classes, sets = _by_name(assessment.classes), _by_name(assessment.sets)
    return {
        **{name: _number(value) for name, value in assessment.evaluation.metrics.numbers().items()},
        "max_detections": assessment.evaluation.max_detections,
        "classes": classes,
        **({"sets": sets} if sets else {}),
    }


def _by_name(rows: Sequence[Any]) -> dict[str, dict[str, Any]]:
    named = {row.name: {key: _number(value) for key, value in asdict(row).items()} for row in rows}
    for numbers in named.values():
        del numbers["name"]
    return named


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _print_table(assessment: Assessment, title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def shown(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.4f}"

    console = Console()
    table = Table("metric", "value", title=Text(title))
    counted = assessment.evaluation.max_detections
    for name, value in assessment.evaluation.metrics.numbers().items():
        table.add_row(f"ar_{counted}" if name == "ar_100" else name, shown(value))
    console.print(table)
    names = ("ap", "ap50", "precision", "recall", "score_threshold")
    columns = ("class", "images", "boxes", "AP", "AP50", "precision", "recall", "score from")
    per_class = Table(*columns, caption="precision and recall: at the score where F1 is best, IoU 0.5")
    for row in assessment.classes:
        per_class.add_row(
            Text(row.name), str(row.images), str(row.boxes), *(shown(getattr(row, name)) for name in names)
        )
    console.print(per_class)
    if assessment.sets:
        of_sets = Table("data set", "images", "boxes", "classes", "AP", "AP50", "AP75", caption="on its own images")
        for of in assessment.sets:
            counts = (str(of.images), str(of.boxes), str(of.classes))
            of_sets.add_row(Text(of.name), *counts, *(shown(value) for value in (of.ap, of.ap50, of.ap75)))
        console.print(of_sets)
