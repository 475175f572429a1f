"""`tinynas eval`: COCO metrics of a checkpoint on a split."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.evaluation import Metrics


def run(
    checkpoint: Annotated[Path, typer.Argument(help="best.pt or last.pt of a training run.")],
    data: Annotated[Path | None, typer.Option(help="Data folder or YAML. Default: ./data.yaml or ./data.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print the twelve COCO metrics and AP per class."""
    from detector.detector import Detector
    from detector.training.processes import choose_device
    from tinynas.commands.train import find_data

    metrics = Detector.load(checkpoint, choose_device(device)).evaluate(find_data(data), split, batch_size=batch_size)
    if json_:
        print(json.dumps(as_json(metrics), indent=2))
    else:
        _print_table(metrics, f"{checkpoint} on {split}")


def as_json(metrics: Metrics) -> dict[str, object]:
    """The twelve numbers by name, and `classes` with ap and ap50 by name; null where there is nothing to find."""
    classes = {
        name: {"ap": _number(metrics.class_ap[name]), "ap50": _number(metrics.class_ap50[name])}
        for name in metrics.class_ap
    }
    return {**{name: _number(value) for name, value in metrics.numbers().items()}, "classes": classes}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _print_table(metrics: Metrics, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("metric", "value", title=title)
    for name, value in metrics.numbers().items():
        table.add_row(name, "-" if math.isnan(value) else f"{value:.4f}")
    console.print(table)
    per_class = Table("class", "AP", "AP50")
    for name in metrics.class_ap:
        found = (metrics.class_ap[name], metrics.class_ap50[name])
        per_class.add_row(name, *("-" if math.isnan(value) else f"{value:.4f}" for value in found))
    console.print(per_class)
