"""`tinynas convert`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import UserError


class StructureFormat(StrEnum):
    """Formats that can be written."""

    tinynas = "tinynas"
    damo = "damo"
    nas = "nas"


SAID = {
    StructureFormat.tinynas: "a structure file",
    StructureFormat.damo: "the public detector's backbone text",
    StructureFormat.nas: "a result of the public search tool",
}


def run(
    source: Annotated[str, typer.Argument(metavar="IN", help="A structure in any format, or a shipped name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write.")],
    to: Annotated[
        StructureFormat,
        typer.Option(help="tinynas, damo (public detector's backbone text) or nas (public search result)."),
    ] = StructureFormat.tinynas,
    space: Annotated[
        str | None, typer.Option(help="Blocks of a text in a public format that does not name them: mob.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Turn a structure file into one of two public formats, or one of those into a structure file."""
    from search_spaces.files import check_new_file, write_text
    from search_spaces.public_formats import not_held, write_public
    from search_spaces.text import format_structure, resolve_structure

    structure = resolve_structure(source, space)
    if _same_file(source, out):
        raise UserError(f"{out}: is SOURCE itself; expected another OUT")
    check_new_file(out, overwrite=overwrite, option="OUT")
    text = (
        format_structure(structure)
        if to is StructureFormat.tinynas
        else write_public(structure, "damo" if to is StructureFormat.damo else "nas")
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    print(f"wrote {out}: {SAID[to]}, {structure.backbone.space}, {len(structure.backbone.stages)} stages")
    if to is StructureFormat.tinynas:
        _say_filled_in(source)
        return
    print("the format holds the backbone's convs only: no image size, neck, head or classes; a reader takes its own")
    lost = not_held(structure)
    if lost:
        print(f"not what {structure.backbone.space} detectors usually have, and lost: {', '.join(lost)}")
    if to is StructureFormat.damo and structure.backbone.space == "mob":
        print("it looks like a res backbone: read it with --space mob")


def _same_file(source: str, out: Path) -> bool:
    return out.exists() and Path(source).exists() and Path(source).samefile(out)


def _say_filled_in(source: str) -> None:
    from search_spaces.files import read_text
    from search_spaces.public_formats import is_public_text

    path = Path(source)
    if path.is_file() and is_public_text(read_text(path, "a structure file")):
        print("image size, neck, head and classes were not in it: they are the family's; edit the file to change them")
