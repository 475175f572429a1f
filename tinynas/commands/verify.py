"""`tinynas verify`: does a model file keep its promise? For a person, and as a step of a build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinynas.commands._options import check_companions

if TYPE_CHECKING:
    from tinynas.bench.promise import Promise


def run(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(help="An export of tinynas, or a checkpoint.")],
    data: Annotated[Path | None, typer.Option(help="Data folder, to measure the file's COCO AP.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test, or all of an unsplit set.")] = "val",
    min_ap: Annotated[float | None, typer.Option(min=0, max=1, help="Lowest accepted AP; needs --data.")] = None,
    budget: Annotated[str | None, typer.Option(help="Largest accepted latency, measured on this machine: 5ms.")] = None,
    device: Annotated[str, typer.Option(help="What is timed: this CPU (cpu, cpu-t2) or its table.")] = "cpu",
    seconds: Annotated[float, typer.Option(min=0.1, help="Duration of the timing.")] = 5.0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check a model file: its golden picture, its latency on this machine, its AP. Exit code 0 if all hold, else 1."""
    from tinynas.bench.promise import Limits, verify_file
    from tinynas.budgets import parse_latency

    check_companions(context, {"--split": "--data"})
    limits = Limits(None if budget is None else parse_latency(budget).limit, min_ap)
    found = verify_file(artifact, limits, data=data, split=split, device=device, seconds=seconds)
    if json_:
        content = {
            "artifact": str(artifact),
            "kept": all(one.kept for one in found),
            "checks": [one.data() for one in found],
        }
        print(json.dumps(content, indent=1))
    else:
        _print(artifact, found)
    if not all(one.kept for one in found):
        raise typer.Exit(1)


def _print(artifact: Path, found: list[Promise]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "found", "asked", "kept", title=Text(str(artifact)))
    for one in found:
        table.add_row(one.name, one.found, one.asked, Text("yes" if one.kept else "no", "green" if one.kept else "red"))
    Console(width=None if Console().width >= 100 else 100).print(table)
