"""`tinynas family train`: a family from its largest member down, each teaching the next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError
from tinynas.commands._teaching import of_teacher
from tinynas.commands._train_options import (
    BatchSize,
    Config,
    Data,
    Device,
    Epochs,
    ImageSize,
    Preset,
    Seed,
    Settings,
    Time,
)  # fmt: skip


def run(
    family: Annotated[Path, typer.Argument(metavar="FAMILY.YAML", help="What a search with several budgets wrote.")],
    data: Data = None,
    out: Annotated[Path, typer.Option(help="Folder for the run folders, one per network.")] = Path("runs/family"),
    by_itself: Annotated[
        bool, typer.Option("--by-itself", help="Train the largest twice, with its first training as teacher.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Train every network without a teacher, to compare.")] = False,
    epochs: Epochs = None,
    time: Time = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    preset: Preset = None,
    config: Config = None,
    set_: Settings = None,
    seed: Seed = None,
    device: Device = None,
    resume: Annotated[bool, typer.Option(help="Continue a family training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Train all networks in --out again.")] = False,
) -> None:
    """Train a family: the largest network first, each smaller one with the next larger one as teacher."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("family train runs as one process; with torchrun, train the members one by one (tinynas train)")
    if by_itself and alone:
        raise UserError("--by-itself and --alone: the first is about teachers, the second leaves them out; drop one")

    from tinynas.chain import claim, train_chain
    from tinynas.commands import train
    from tinynas.family.links import Link, links_of
    from tinynas.family.members import read_family
    from tinynas.results.chain import rows_of, write_chain

    if alone and _idle(config, set_ or []):
        raise UserError("--alone leaves teachers out, so settings of distill do nothing; drop one")
    links = links_of(read_family(family), by_itself=by_itself, alone=alone)
    found = train.find_data(data)
    options: dict[str, Any] = {
        "epochs": epochs, "time": time, "batch_size": batch_size, "image_size": image_size, "preset": preset,
        "config": config, "set_": set_, "seed": seed,
    }  # fmt: skip
    claim(out, _settings(links, found, options), resume=resume, overwrite=overwrite)

    def one(**more: Any) -> None:
        if "resume" in more:
            train.run(data=found, device=device, **more)
        else:
            train.run(data=found, device=device, **_own(options, more.get("teacher")), **more)

    def report(done: Sequence[Link]) -> None:
        write_chain(rows_of(done, out), out, title=str(family), data=str(found))

    try:
        train_chain(links, out, one, report)
    except KeyboardInterrupt:
        print("or with the whole family: the same command with --resume")
        raise
    _show(links, out)


def _own(options: dict[str, Any], teacher: Path | None) -> dict[str, Any]:
    """A member's options; without a teacher, those that are of one are left out."""
    idle = [] if teacher is not None else _idle(options["config"], options["set_"] or [])
    return {**options, "set_": [text for text in options["set_"] or [] if text not in idle]}


def _idle(config: Path | None, settings: list[str]) -> list[str]:
    """The settings that do nothing in a training without a teacher of the chain: all about teachers, unless they name one."""
    from detector.training.settings.config import build_config

    if build_config({}, config, settings).distill.teacher is not None:
        return []
    return [text for text in settings if of_teacher(text)]


def _settings(links: list[Any], data: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What a chain that is taken up again must not change."""
    told = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items() if value is not None
    }
    members = [{"name": link.name, "structure": str(link.member.structure), "teacher": link.teacher} for link in links]
    return {"members": members, "data": str(data), **told}


def _show(links: list[Any], out: Path) -> None:
    """The table, on the screen."""
    from rich.console import Console
    from rich.table import Table

    from tinynas.results.chain import rows_of, shown_of

    columns, rows, latency_table = shown_of(rows_of(links, out))
    table = Table(
        *columns, caption=f"milliseconds: {latency_table}, at the size of the search" if latency_table else None
    )
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)
    print(f"wrote {out / 'family.csv'} and {out / 'report.html'}")
