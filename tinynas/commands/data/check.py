"""`tinynas data check`: what is wrong with a data set, before it is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from detector.data.check import DataCheck, Finding

SHOWN_PER_KIND = 8


def run(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Data folder, or a YOLO-style YAML file.")],
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and images. Default: NAME-check.")] = None,
    pictures: Annotated[bool, typer.Option(help="Whether to write the folder --out.")] = True,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images; 0: as many as cores.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace files in --out.")] = False,
) -> None:
    """Look at every record, box and image of all splits. Exit code 0: no problems, 1: some (notes do not count)."""
    from detector.data.check import check_data
    from search_spaces.cores import available_cores
    from search_spaces.files import claim_outputs

    folder = _folder(data, out)
    if pictures:
        claim_outputs(folder, ["report.json", "box-sizes.png", "worst.jpg"], overwrite or out is None)
    found = check_data(data, workers=workers or available_cores())
    written = _write(found, folder) if pictures else []
    if json_:
        print(json.dumps({**found.as_json(), "files": [str(path) for path in written]}, indent=2))
    else:
        _print(found, written)
    if found.problems:
        raise typer.Exit(1)


def _folder(data: Path, out: Path | None) -> Path:
    """--out, else a folder here named after the data set that is not there yet."""
    if out is not None:
        return out
    name = f"{data.resolve().stem if data.is_file() else data.resolve().name}-check"
    number, folder = 1, Path(name)
    while folder.exists():
        number += 1
        folder = Path(f"{name}-{number}")
    return folder


def _write(found: DataCheck, folder: Path) -> list[Path]:
    from detector.data.check.pictures import draw_sizes, draw_worst
    from search_spaces.files import replacing, write_text

    folder.mkdir(parents=True, exist_ok=True)
    report, sizes, worst = folder / "report.json", folder / "box-sizes.png", folder / "worst.jpg"
    write_text(report, json.dumps(found.as_json(), indent=2))
    with replacing(sizes) as temporary:
        draw_sizes(found.raw, temporary)
    sheet = draw_worst([*found.problems, *found.notes], found.raw)
    if sheet is None:
        worst.unlink(missing_ok=True)
        return [report, sizes]
    with replacing(worst) as temporary:
        sheet.save(temporary, format="JPEG", quality=88)
    return [report, sizes, worst]


def _print(found: DataCheck, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from detector.lettering import lettering

    console = Console()
    title = Text(f"{found.source} ({found.format})")
    table = Table("", *found.splits, title=title, title_justify="left")
    for field in ("images", "images_without_boxes", "boxes", "ignored"):
        table.add_row(field.replace("_", " "), *(str(getattr(split, field)) for split in found.splits.values()))
    table.add_section()
    names = list(dict.fromkeys(name for split in found.splits.values() for name in split.per_class))
    for name in names:
        table.add_row(Text(name), *(str(split.per_class.get(name, "-")) for split in found.splits.values()))
    console.print(table)
    _print_findings(found.problems, "problem")
    _print_findings(found.notes, "note")
    for path in written:
        print(f"wrote {path}")
    for line in lettering(tuple(names)).legend if written else ():
        print(f"in the pictures, {line}")
    print(f"problems: {len(found.problems)}, notes: {len(found.notes)}")


def _print_findings(findings: tuple[Finding, ...], word: str) -> None:
    from detector.data.check.findings import KINDS

    for kind, meaning in KINDS.items():
        some = [finding for finding in findings if finding.kind == kind]
        if some:
            print(f"{word}: {meaning}: {len(some)}")
        for finding in some[:SHOWN_PER_KIND]:
            print(f"  {finding.split + ': ' if finding.split else ''}{finding}")
        if len(some) > SHOWN_PER_KIND:
            print(f"  and {len(some) - SHOWN_PER_KIND} more")
