"""`tinynas data split`: training, validation and test pictures out of a data set without splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Data folder or YAML without splits, or with train alone.")
    ],
    val: Annotated[float, typer.Option(help="Share of the images for validation.")] = 0.2,
    test: Annotated[float, typer.Option(help="Share of the images for testing; 0: no test split.")] = 0.0,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Keep images of one source in one split: folder, name (up to its last number), or a regular expression.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the division.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images; 0: as many as cores.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace the lists of an earlier division.")] = False,
) -> None:
    """Write lists (no copies) that all commands follow: stratified by class, look-alikes and sources kept together."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from detector.data.splitting import split_data
    from search_spaces.cores import available_cores

    made = split_data(
        data, val, test, group_by=group_by, seed=seed, workers=workers or available_cores(), overwrite=overwrite
    )
    table = Table("", *made.pictures, title=Text(f"{data}: {made.groups} groups"), title_justify="left")
    table.add_row("images", *map(str, made.pictures.values()))
    table.add_section()
    for label, name in enumerate(made.class_names):
        table.add_row(Text(name), *(str(counts[label]) for counts in made.boxes.values()))
    Console().print(table)
    for note in made.notes:
        print(f"note: {note}")
    print(f"wrote {made.folder}; next: tinynas train Ns --data {data}")
