"""Which tables there are: shipped ones and the user's, by id, short name, unique prefix or path."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latency_tables.metadata import TableMetadata, read_metadata
from latency_tables.tables import Table, read_table
from search_spaces.errors import UserError, nearest

SHIPPED = Path(__file__).parent / "devices"


def user_folder() -> Path:
    """Where a user's own tables live: `$TINYNAS_TABLES`, else `tinynas/tables` in the user's data folder."""
    if os.environ.get("TINYNAS_TABLES"):
        return Path(os.environ["TINYNAS_TABLES"])
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "tinynas" / "tables"


def list_tables() -> list[tuple[TableMetadata, Path]]:
    """Metadata and CSV path of every table, the user's first; a user's table hides a shipped one of the same id.

    Raises UserError when a metadata file is not sound.
    """
    found: dict[str, tuple[TableMetadata, Path]] = {}
    for folder in (user_folder(), SHIPPED):
        for path in _metadata_files(folder):
            metadata = read_metadata(path)
            found.setdefault(metadata.id, (metadata, path.with_suffix(".csv")))
    return list(found.values())


def _metadata_files(folder: Path) -> list[Path]:
    """Tables come in pairs: a YAML without a CSV beside it is something else."""
    return sorted(path for path in folder.glob("*.yaml") if path.with_suffix(".csv").exists())


def find_table(device: str | Path, *, batch: int | None = None, precision: str | None = None) -> Table:
    """The table that `device` names: an id, a short name (`t4`), a unique prefix of an id, or a path to a CSV or YAML.

    A short name is the table's that claims it as its default; a user's table wins over a shipped one. `batch` and
    `precision`, where given, choose among the tables that a prefix fits, and refuse a table of another. Warns when a CPU
    table was measured on another processor than this host's. Raises UserError listing the choices when nothing or
    several fit.
    """
    name = str(device)
    wanted = _Wanted(batch, precision)
    if name.endswith((".csv", ".yaml")):
        if not Path(name).is_file():
            raise UserError(f"no table at {name!r}: there is no such file")
        table = read_table(name)
        wanted.check(name, table.metadata, [])
    else:
        table = read_table(_path_of(name, list_tables(), wanted))
    _warn_of_other_processor(table.metadata)
    return table


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The batch and precision that a caller needs (None: any)."""

    batch: int | None
    precision: str | None

    def fits(self, metadata: TableMetadata) -> bool:
        return self.batch in (None, metadata.batch) and self.precision in (None, metadata.precision)

    def check(self, name: str, metadata: TableMetadata, others: Sequence[TableMetadata]) -> None:
        """Raise UserError when the table is of another batch or precision, naming those of `others` that fit."""
        if self.fits(metadata):
            return
        asked = [f"batch {self.batch}"] * (self.batch is not None)
        asked += [f"precision {self.precision}"] * (self.precision is not None)
        right = [other.id for other in others if self.fits(other)]
        remedy = f"take {' or '.join(right)}" if right else "take or measure another table"
        raise UserError(
            f"device {name!r} is table {metadata.id} of batch {metadata.batch}, precision {metadata.precision}; "
            f"{' and '.join(asked)} was asked for: {remedy}"
        )


def refuse_claimed(metadata: TableMetadata, folder: Path) -> None:
    """Raise UserError when another table in `folder` has claimed one of this one's short names."""
    for path in _metadata_files(folder) if metadata.short_names else []:
        other = read_metadata(path)
        taken = sorted(set(metadata.short_names) & set(other.short_names))
        if taken and other.id != metadata.id:
            raise UserError(
                f"short name {taken[0]!r} is {other.id}'s already; choose another or remove it from short_names in {path}"
            )


def host_clock() -> str:
    """The clock that the system reports for the first processor, `2600 MHz`; empty where it tells none."""
    reported = _cpu_info().get("cpu MHz", "")
    return f"{float(reported):.0f} MHz as the system reports it" if reported else ""


def _cpu_info() -> dict[str, str]:
    """The first value of each key of /proc/cpuinfo; nothing on systems without it."""
    info: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    except OSError:
        return {}
    return info


def host_processor() -> str:
    """The host's processor as tables name it: the model name, with family and model number where the system tells."""
    info = _cpu_info()
    if "model name" not in info:
        return platform.processor() or platform.machine()
    return f"{info['model name']} (family {info.get('cpu family', '?')}, model {info.get('model', '?')})"


def _path_of(name: str, tables: list[tuple[TableMetadata, Path]], asked: _Wanted) -> Path:
    wanted = name.lower()
    alike = [m for m, _ in tables if wanted and m.id.startswith(wanted)]
    for claimed, fits in (
        (True, [(m, path) for m, path in tables if m.id == wanted]),
        (True, [(m, path) for m, path in tables if wanted in m.short_names]),
        (False, [(m, path) for m, path in tables if m in alike and asked.fits(m)]),
    ):
        own = [(m, path) for m, path in fits if path.parent != SHIPPED]
        chosen = own or fits
        if len(chosen) == 1:
            metadata, path = chosen[0]
            if claimed:
                asked.check(name, metadata, alike)
            return path
        if chosen:
            raise UserError(
                f"device {name!r} fits several tables: {', '.join(m.id for m, _ in chosen)}; name one of them"
            )
    if alike:
        asked.check(name, alike[0], alike)
    choices = [word for m, _ in tables for word in (*m.short_names, m.id)]
    if not choices:
        raise UserError(f"unknown device {name!r}: no tables in {SHIPPED} or {user_folder()}")
    raise UserError(f"unknown device {name!r}: {nearest(name, choices)}; or give the path of a table's CSV")


def _warn_of_other_processor(metadata: TableMetadata) -> None:
    if metadata.kind == "cpu" and metadata.processor and metadata.processor != host_processor():
        warnings.warn(
            f"table {metadata.id} was measured on {metadata.processor}, this host has {host_processor()}: its figures "
            "rank networks, but the milliseconds will differ; measure this host with: tinynas profile",
            stacklevel=3,
        )
