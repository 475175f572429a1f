"""List the latency tables that --device can name: yours first, then the shipped ones; verify checks one."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def run(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the latency tables that --device can name: yours first, then the shipped ones; verify checks one."""
    if context.invoked_subcommand is not None:
        return
    from latency_tables import list_tables, read_table

    rows = [_row(read_table(path)) for _, path in list_tables()]
    if json:
        from json import dumps

        print(dumps(rows, indent=1))
    else:
        _print(rows)


def _row(table: Any) -> dict[str, Any]:
    from latency_tables import trust_of

    metadata, counts = table.metadata, table.counts()
    keys = (
        "id",
        "short_names",
        "kind",
        "device",
        "runtime",
        "runtime_version",
        "precision",
        "batch",
        "threads",
        "date",
    )
    sources = {source: round(number / max(len(table), 1), 4) for source, number in counts.items() if number}
    return {
        **{key: getattr(metadata, key) for key in keys},
        "rows": len(table),
        "sources": sources,
        "overhead_ms": metadata.overhead_ms, "error": metadata.error, "trust": trust_of(metadata, sources).data(),
        "path": table.source, "hash": table.hash,
    }  # fmt: skip


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from latency_tables.registry import SHIPPED, user_folder

    shown = Table(title="latency tables", header_style="bold")
    shown.add_column("id", no_wrap=True)
    shown.add_column("default for", overflow="fold", width=7)
    shown.add_column("device", overflow="fold", max_width=12)
    shown.add_column("date", no_wrap=True)
    shown.add_column("rows", justify="right")
    shown.add_column("figures", overflow="fold", max_width=12)
    shown.add_column("checked error")
    for row in rows:
        figures = ", ".join(f"{100 * share:.0f} % {source}" for source, share in row["sources"].items())
        shown.add_row(
            row["id"], ", ".join(row["short_names"]), row["device"], row["date"], f"{row['rows']:,}", figures,
            row["trust"]["checked"],
        )  # fmt: skip
    # a narrow terminal folds cells; a pipe has no width at all
    console = Console(width=None if Console().width >= 120 else 120)
    console.print(shown)
    print(f"yours: {user_folder()}\nshipped: {SHIPPED}\n--json tells more of each")
