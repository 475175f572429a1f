"""`tinynas data convert`: a data set in another format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class DataFormat(StrEnum):
    """Formats that a data set can be written in."""

    coco = "coco"
    voc = "voc"
    yolo = "yolo"


class Images(StrEnum):
    """What becomes of the pictures."""

    copy = "copy"
    link = "link"


def run(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Data folder or YAML of any format.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must not exist.")],
    to: Annotated[DataFormat, typer.Option(help="Format to write: coco, voc or yolo.")],
    images: Annotated[Images, typer.Option(help="copy, or link: hard links on the same disk.")] = Images.copy,
) -> None:
    """Write all splits in another format, and say what it cannot hold."""
    from detector.data.convert import convert

    done = convert(source, out, str(to), link=images is Images.link)
    for report in done.reports:
        print(report)
    for line in done.lost:
        print(f"not kept: {line}")
    print(f"wrote {out}: {done.source_format} -> {to}")
