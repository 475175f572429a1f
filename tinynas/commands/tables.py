"""`tinynas tables`."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def run(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the latency tables that --device can name: yours first, then the shipped ones."""
    from latency_tables import list_tables, read_table

    rows = [_row(read_table(path)) for _, path in list_tables()]
    if json:
        from json import dumps

        print(dumps(rows, indent=1))
    else:
        _print(rows)


def _row(table: Any) -> dict[str, Any]:
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
    return {
        **{key: getattr(metadata, key) for key in keys},
        "rows": len(table),
        "sources": {source: round(number / max(len(table), 1), 4) for source, number in counts.items() if number},
        "overhead_ms": metadata.overhead_ms, "error": metadata.error, "path": table.source, "hash": table.hash,
    }  # fmt: skip


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title="latency tables", header_style="bold")
    for column in ("id", "default for", "device", "runtime"):
        shown.add_column(column, overflow="fold")
    for column in ("precision", "batch", "threads", "rows"):
        shown.add_column(column, justify="right")
    for column in ("figures", "checked error", "path"):
        shown.add_column(column, overflow="fold")
    for row in rows:
        figures = ", ".join(f"{100 * share:.0f} % {source}" for source, share in row["sources"].items())
        shown.add_row(
            row["id"], ", ".join(row["short_names"]), row["device"], f"{row['runtime']} {row['runtime_version']}",
            row["precision"], str(row["batch"]), str(row["threads"] or ""), f"{row['rows']:,}", figures,
            _error(row["error"]), row["path"],
        )  # fmt: skip
    # a narrow terminal folds cells; a pipe has no width at all
    console = Console(width=None if Console().width >= 150 else 150)
    console.print(shown)


def _error(error: dict[str, Any]) -> str:
    """The figures of a table's check in a few words."""
    if "median" in error:
        text = f"median {error['median']} %"
        text += f", {error['within_10_percent']} % within 10 %" if "within_10_percent" in error else ""
        return text + (f" ({error['detectors']} detectors)" if "detectors" in error else "")
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in error.items() if isinstance(value, float))
