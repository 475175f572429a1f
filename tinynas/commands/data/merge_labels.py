"""`tinynas data merge-labels`: which classes of several data sets are one; a first proposal, for a person to look over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import UserError
from search_spaces.files import check_new_file, write_text

SHOWN = 40


def run(
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Data folders or YAMLs of any formats.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="YAML file to write.")] = Path(
        "general.yaml"
    ),
    overwrite: Annotated[bool, typer.Option(help="Replace the file, with any edits in it.")] = False,
) -> None:
    """Write the list of several data sets that --data takes, with what looks alike as one class; edit it afterwards."""
    from detector.data.label_space.proposal import find_sets, propose, text_of
    from detector.data.label_space.reading import read_label_space

    if len(sources) < 2:
        raise UserError(f"{sources[0]}: one data set; expected two or more, whose classes are to be one list")
    if out.suffix.lower() not in (".yaml", ".yml"):
        raise UserError(f"-o {out}: expected a name that ends in .yaml")
    check_new_file(out, overwrite=overwrite)
    proposal = propose(find_sets(sources))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text_of(proposal, out))
    space = read_label_space(out)
    for one in proposal.sets:
        print(
            f"{one.name}: {len(one.boxes)} classes, {sum(one.boxes.values())} boxes in its training split ({one.path})"
        )
    for name, others in list(proposal.aliases.items())[:SHOWN]:
        print(f"  {name} = {', '.join(others)}")
    if len(proposal.aliases) > SHOWN:
        print(f"  and {len(proposal.aliases) - SHOWN} more")
    for note in proposal.notes:
        print(f"look: {note}")
    total = sum(len(one.boxes) for one in proposal.sets)
    print(f"wrote {out}: {total} classes become {len(space.class_names)}; look it over before you train")
