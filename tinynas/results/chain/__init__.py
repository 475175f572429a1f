"""A chain of trainings as one table: family.csv, and report.html with links to each member's own page."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from search_spaces.files import csv_text, write_text
from tinynas.family.links import Link
from tinynas.results.page import render_page
from tinynas.results.training.run_folder import RunFolder

TABLE_FILE, PAGE_FILE = "family.csv", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A member as trained. ap, ap50: of its best.pt on val, None before an evaluation; minutes: of its training; predicted,
    measured: milliseconds by table, at the size of the search."""

    name: str
    teacher: str | None
    params: int
    ap: float | None
    ap50: float | None
    minutes: float
    predicted: dict[str, float]
    measured: dict[str, float]


def rows_of(links: Sequence[Link], out: Path) -> list[Row]:
    """A row for each link that is trained to its end, in the order given."""
    rows = []
    for link in links:
        run = RunFolder.read(out / link.name)
        if run is None or not run.finished:
            continue
        best = run.best or {}
        rows.append(
            Row(
                name=link.name, teacher=link.teacher, params=link.member.params, ap=best.get("ap"), ap50=best.get("ap50"),
                minutes=float(run.rows[-1].get("seconds") or 0.0) / 60, predicted=dict(link.member.latency_ms),
                measured=dict(link.member.measured_ms),
            )
        )  # fmt: skip
    return rows


def write_chain(rows: Sequence[Row], out: Path, *, title: str, data: str) -> None:
    """Write family.csv and report.html into `out`. title: of the page; data: what was trained on."""
    write_text(out / TABLE_FILE, csv_text([columns_of(rows), *cells_of(rows)]))
    columns, shown, table = shown_of(rows)
    content = {
        "title": title, "tool": f"tinynas {importlib.metadata.version('tinynas')}", "kind": "family", "work": data,
        "notes": [], "commands": [], "settings": [], "charts": {}, "columns": columns, "table": table,
        "rows": [(cells, quote(f"{row.name}/{PAGE_FILE}")) for cells, row in zip(shown, rows, strict=True)],
    }  # fmt: skip
    write_text(out / PAGE_FILE, render_page("tinynas.results.chain", "chain.html.j2", "chain.js", content))


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The table's head; a pair of columns for each latency table."""
    tables = _tables(rows)
    latencies = [f"{what} ms ({table})" for table in tables for what in ("predicted", "measured")]
    return ["name", "teacher", "params", "AP", "AP50", *latencies, "minutes"]


def cells_of(rows: Sequence[Row]) -> list[list[object]]:
    """The table's rows; None where a value is not known."""
    return [
        [
            row.name, row.teacher, row.params, row.ap, row.ap50,
            *(found.get(table) for table in _tables(rows) for found in (row.predicted, row.measured)),
            round(row.minutes, 2),
        ]
        for row in rows
    ]  # fmt: skip


def _tables(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(table for row in rows for table in (*row.predicted, *row.measured)))


def shown_of(rows: Sequence[Row]) -> tuple[list[str], list[list[str]], str]:
    """For people: head and cells, and the latency table that all milliseconds are of, empty where there are several."""
    tables = _tables(rows)
    head = [name.split(" (")[0] if len(tables) == 1 else name for name in columns_of(rows)]
    places = {"AP": 3, "AP50": 3, "minutes": 1}
    cells = [
        [_shown(cell, places.get(name, 2)) for name, cell in zip(head, row, strict=True)] for row in cells_of(rows)
    ]
    return head, cells, tables[0] if len(tables) == 1 else ""


def _shown(cell: object, places: int) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.{places}f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
