"""Measurements of a profile under way: a CSV that is appended to and flushed batch by batch, so a kill loses nothing."""

from __future__ import annotations

import os
from pathlib import Path

from latency_tables.kernels import Kernel
from latency_tables.tables import COLUMNS, Row, format_row, parse_row, parse_rows, row_key
from search_spaces.errors import UserError

Key = tuple[object, ...]


class Partial:
    """`rows` by row_key: of several measurements of one kernel the fastest, since disturbances only ever slow; `looks`:
    how many there were."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a kill cut short is dropped. Raises UserError for a damaged file."""
        self.path = path
        self.rows: dict[Key, Row] = {}
        self.looks: dict[Key, int] = {}
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        lines = whole.splitlines()
        if whole:
            self._check(lines)
        for line in lines[1:]:
            self._take(parse_row(line))
        path.parent.mkdir(parents=True, exist_ok=True)
        if whole != text or not whole:
            path.write_text(whole or ",".join(COLUMNS) + "\n")

    def add(self, measured: list[tuple[Kernel, float, float]]) -> None:
        """Append (kernel, latency in ms, spread), and have them on the disk before this returns."""
        rows = [Row(kernel, latency, spread) for kernel, latency, spread in measured]
        with self.path.open("a") as file:
            file.write("".join(format_row(row) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
        for row in rows:
            self._take(parse_row(format_row(row)))  # as a resumed profile will read it

    def _take(self, row: Row) -> None:
        key = row_key(row.kernel)
        known = self.rows.get(key)
        self.looks[key] = self.looks.get(key, 0) + 1
        self.rows[key] = row if known is None or row.latency_ms <= known.latency_ms else known

    def _check(self, lines: list[str]) -> None:
        """Second looks repeat a kernel on purpose; otherwise what holds for a table's CSV holds here."""
        first: dict[tuple[str, ...], str] = {}
        for line in lines[1:]:
            first.setdefault(tuple(line.split(",")[:9]), line)
        try:
            parse_rows("\n".join([lines[0], *first.values()]) + "\n", str(self.path))
        except UserError as error:
            raise UserError(f"{error}; remove {self.path} to measure anew") from None
