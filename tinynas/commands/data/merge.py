"""`tinynas data merge`: several data sets as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import UserError
from tinynas.commands.data.convert import DataFormat, Images


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Data folders or YAMLs of any formats.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist.")],
    to: Annotated[DataFormat, typer.Option(help="Format to write: coco, voc or yolo.")] = DataFormat.coco,
    images: Annotated[Images, typer.Option(help="copy, or link: hard links on the same disk.")] = Images.copy,
) -> None:
    """Write several data sets as one: classes are matched by name, splits by theirs."""
    from detector.data.merge import merge

    if len(sources) < 2:
        raise UserError(f"{sources[0]}: one data set; expected two or more to merge, or use tinynas data convert")
    done = merge(sources, out, str(to), link=images is Images.link)
    for report in done.reports:
        print(report)
    for line in done.lost:
        print(f"not kept: {line}")
    print(f"wrote {out}: {len(sources)} data sets -> {to}")
