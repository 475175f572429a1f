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
    from latency_tables.registry import SHIPPED, user_folder

    for row in rows:
        figures = ", ".join(f"{100 * share:.0f} % {source}" for source, share in row["sources"].items())
        print(row["id"] + "".join(f"  --device {name}" for name in _names(row)))
        print(f"    {row['device']}, {row['date']}; {row['rows']:,} kernels: {figures}")
        print(f"    {row['trust']['checked']}")
    print(f"\nyours: {user_folder()}\nshipped: {SHIPPED}\n--json tells more of each")
    print("--device cpu is this machine: where none of these is its own, tinynas adapts one")


def _names(row: dict[str, Any]) -> list[str]:
    """What `--device` may say for a table besides its id. A name of the host (`cpu`) means this machine's own table alone."""
    from latency_tables import list_tables
    from latency_tables.registry import HostName, host_tables, parse_host_name

    names = [name for name in row["short_names"] if parse_host_name(name) is None]
    if row["kind"] == "cpu" and row["batch"] == 1:
        host = HostName(row["runtime"], row["precision"], row["threads"] or 1)
        if [str(path) for path in host_tables(host, list_tables())[:1]] == [row["path"]]:
            names.append(host.name)
    return names
