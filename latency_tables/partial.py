"""Measurements of a profile under way: a CSV that is appended to and flushed batch by batch, so a kill loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from latency_tables.kernels import Kernel
from latency_tables.tables import COLUMNS, Row, format_row, parse_row, parse_rows, row_key
from search_spaces.errors import UserError
from search_spaces.files import lock, read_text, write_text

Key = tuple[object, ...]


@contextlib.contextmanager
def held(path: Path, conditions: Mapping[str, str]) -> Iterator[None]:
    """Keep the measurements in `path` for this process alone, and from being mixed with those of other `conditions`
    (what runs on what). A JSON beside them says under which they were made; it goes when the measurements do.

    Raises UserError when another process has them, or when they were made under other conditions.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".json")
    with note.open("a+", encoding="utf-8") as file:
        lock(file.fileno(), f"{path.parent}: another profile of this table is still running; wait for it")
        file.seek(0)
        try:
            before = json.loads(file.read()) if path.exists() else {}
        except ValueError:
            before = {}
        changed = [
            f"{key}: {before[key]} then, {now} now" for key, now in conditions.items() if before.get(key, now) != now
        ]
        if changed:
            raise UserError(
                f"{path}: measured under other conditions ({'; '.join(changed)}); restore them to --resume, or remove the "
                "file to measure anew"
            )
        file.truncate(0)
        file.write(json.dumps(dict(conditions), indent=1) + "\n")
        file.flush()
        try:
            yield
        finally:
            if not path.exists():
                note.unlink(missing_ok=True)


@contextlib.contextmanager
def kept_on_failure(partial: Partial, doing: str) -> Iterator[None]:
    """What a runtime may raise while kernels are measured, of whatever type, as one line that says that they are kept."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"the device or its runtime failed while {doing} ({what}); the {len(partial.rows)} kernels measured so far are "
            f"kept in {partial.path}; go on with the same command and --resume"
        ) from error


class Partial:
    """`rows` by row_key: of several measurements of one kernel the fastest, since disturbances only ever slow; `looks`:
    how many there were."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a kill cut short is dropped. Raises UserError for a damaged file.

        Nothing is written before there is something to keep.
        """
        self.path = path
        self.rows: dict[Key, Row] = {}
        self.looks: dict[Key, int] = {}
        text = read_text(path, "the measurements of a profile") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        lines = whole.splitlines()
        if whole:
            self._check(whole)
        for line in lines[1:]:
            self._take(parse_row(line))
        if whole != text:
            write_text(path, whole)

    def add(self, measured: list[tuple[Kernel, float, float]]) -> None:
        """Append (kernel, latency in ms, spread), and have them on the disk before this returns."""
        self.add_rows([Row(kernel, latency, spread) for kernel, latency, spread in measured])

    def add_rows(self, rows: list[Row]) -> None:
        """`add` of rows as they are."""
        if not rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            header = "" if file.tell() else ",".join(COLUMNS) + "\n"
            file.write(header + "".join(format_row(row) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
        for row in rows:
            self._take(parse_row(format_row(row)))  # as a resumed profile will read it

    def _take(self, row: Row) -> None:
        key = row_key(row.kernel)
        known = self.rows.get(key)
        self.looks[key] = self.looks.get(key, 0) + 1
        self.rows[key] = row if known is None or row.latency_ms <= known.latency_ms else known

    def _check(self, text: str) -> None:
        """Second looks repeat a kernel on purpose; otherwise what holds for a table's CSV holds here."""
        try:
            parse_rows(text, str(self.path), repeats=True)
        except UserError as error:
            raise UserError(f"{error}; remove {self.path} to measure anew") from None
