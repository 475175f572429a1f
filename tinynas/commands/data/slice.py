"""`tinynas data slice`: large pictures in tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tinynas.commands.data.convert import DataFormat


def run(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Data folder or YAML of any format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    size: Annotated[int, typer.Option(min=32, max=1 << 15, help="Side of a tile, pixels.")] = 640,
    overlap: Annotated[
        float, typer.Option(min=0, max=0.9, help="Overlap of neighbouring tiles, as a share of a tile.")
    ] = 0.2,
    visible: Annotated[
        float,
        typer.Option(min=0, max=1, help="If a smaller share of a box lies in a tile, it is a region to ignore there."),
    ] = 0.3,
    empty: Annotated[float, typer.Option(min=0, max=1, help="Share of the tiles without a box that is kept.")] = 0.1,
    to: Annotated[DataFormat, typer.Option(help="Format to write: coco, voc or yolo.")] = DataFormat.coco,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of tiles without a box.")] = 0,
) -> None:
    """Cut the images of all splits into overlapping tiles with their boxes, to train on small objects."""
    from detector.data.slicing import Slicing, slice_data

    done = slice_data(
        source, out, str(to), Slicing(size=size, overlap=overlap, visible=visible, empty=empty, seed=seed)
    )
    for name, pictures in done.pictures.items():
        print(f"{name}: {pictures} pictures in {done.tiles[name]} tiles, {done.boxes[name]} boxes")
    for line in done.lost:
        print(f"not kept: {line}")
    print(f"wrote {out}: tiles of {size} px -> {to}")
