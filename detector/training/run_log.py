"""metrics.csv and metrics.jsonl of a run: one row per epoch, rewritten whole so that they are never half a row."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path

from search_spaces.files import write_text


class RunLog:
    """Rows of a run in `folder`; with `keep_epochs`, those of the first epochs of an earlier start stay."""

    def __init__(self, folder: Path, keep_epochs: int = 0) -> None:
        self._folder = folder
        self.rows: list[dict[str, float | None]] = []
        path = folder / "metrics.jsonl"
        if keep_epochs and path.is_file():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            self.rows = [row for row in rows if row.get("epoch", 0) <= keep_epochs]

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row and write both files; values that are not finite are written as empty / null."""
        self.rows.append({key: value if math.isfinite(value) else None for key, value in row.items()})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self._folder / "metrics.csv", table.getvalue())
        write_text(self._folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
