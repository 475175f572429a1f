"""`tinynas sample-data`: generated pictures to try everything with."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer


def run(
    directory: Annotated[Path, typer.Argument(help="Folder to write.")],
    train: Annotated[int, typer.Option(min=1, help="Training images.")] = 320,
    val: Annotated[int, typer.Option(min=0, help="Validation images.")] = 40,
    size: Annotated[str, typer.Option(metavar="H[xW]", help="Image size in pixels; multiples of 32.")] = "320",
    format: Annotated[str, typer.Option(help="coco, voc or yolo.")] = "coco",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace what is in the folder.")] = False,
) -> None:
    """Write a small data set of textured discs, squares and triangles, learnable within minutes on a CPU."""
    from detector.data.sample import write_sample_data
    from search_spaces.image_size import parse_image_size

    height, width = parse_image_size(size)
    write_sample_data(
        directory,
        images_train=train,
        images_val=val,
        size=(height, width),
        seed=seed,
        format=format,
        overwrite=overwrite,
    )
    print(
        f"wrote {train} training and {val} validation images to {directory}; next: tinynas train Ns --data "
        f"{quote(str(directory))}"
    )
