"""`tinynas compare`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from search_spaces.errors import UserError


def run(
    structures: Annotated[list[str], typer.Argument(metavar="A B [C ...]", help="Structure files or shipped names.")],
    device: Annotated[
        list[str] | None, typer.Option(help="Latency table: t4, cpu, an id or a path. May be given several times.")
    ] = None,
    image_size: Annotated[str | None, typer.Option(help="H or HxW in pixels, instead of each structure's.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Classes, instead of each structure's.")] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="With cpu: use a shipped table instead of adapting one to this CPU.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show structures side by side, with differences in percent to the first."""
    from search_spaces.image_size import parse_image_size
    from search_spaces.text import resolve_structure
    from tinynas.comparison import compare

    if len(structures) < 2:
        raise UserError(f"compare takes two structures or more, found only {structures[0]}; for one: tinynas explain")
    loaded = [resolve_structure(name) for name in structures]
    if image_size is not None:
        loaded = [structure.with_image_size(*parse_image_size(image_size)) for structure in loaded]
    if num_classes is not None:
        loaded = [structure.with_classes(num_classes) for structure in loaded]
    rows = compare(loaded, _tables(device or [], loaded, measure=not no_measure))
    show = _print_json if json else _print_table
    show(structures, loaded, rows)


def _tables(devices: list[str], structures: list[Any], *, measure: bool) -> list[Any]:
    if not devices:
        return []
    from tinynas.devices import Wanted, find_device

    wanted = Wanted(
        sizes=[structure.image_size for structure in structures],
        classes=[structure.head.num_classes for structure in structures],
    )
    tables = [find_device(device, wanted, measure=measure) for device in devices]
    ids = [table.id for table in tables]
    for index, table_id in enumerate(ids):
        if table_id in ids[:index]:
            raise UserError(f"--device {devices[index]}: {table_id} was named before; name each table once")
    return tables


def _print_json(names: list[str], structures: list[Any], rows: list[Any]) -> None:
    import json

    data = [
        {
            "structure": name, "space": structure.backbone.space, "image_size": list(structure.image_size),
            "num_classes": structure.head.num_classes,
            **{row.key: row.values[index] for row in rows},
            "percent_to_first": {row.key: row.percent(index) for row in rows},
            "trust": {row.key: row.trust[index].data() for row in rows if row.trust},
        }
        for index, (name, structure) in enumerate(zip(names, structures, strict=True))
    ]  # fmt: skip
    print(json.dumps(data, indent=1))


def _print_table(names: list[str], structures: list[Any], rows: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from tinynas.comparison import stage_text

    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    table.add_row("space", *(structure.backbone.space for structure in structures))
    table.add_row("image size", *("x".join(map(str, structure.image_size)) for structure in structures))
    table.add_row("classes", *(str(structure.head.num_classes) for structure in structures))
    stages = [stage_text(structure) for structure in structures]
    for number, texts in enumerate(zip(*stages, strict=True)):
        table.add_row(f"stage {number}" if number else "stem", *texts)
    for row in rows:
        cells = [row.shown(0)] + [
            row.shown(index) + (" " * 11 if (percent := row.percent(index)) is None else f" {percent:+8.1f} %")
            for index in range(1, len(names))
        ]
        table.add_row(row.label, *cells)
    # a pipe has no width: figures must not wrap there
    console = Console()
    wanted = 30 + 30 * len(names)
    console = Console(width=max(console.width, wanted), highlight=False)
    console.print(table)
    for row in rows:
        for text in dict.fromkeys(trust.text for trust in row.trust):
            console.print(f"{row.label}: {text}", soft_wrap=True)
    if len({structure.image_size for structure in structures}) > 1:
        console.print("image sizes differ: costs are each at its own; --image-size compares at one")
