"""Which tables there are: shipped ones and the user's, by id, short name, unique prefix or path; and which is this host's.

`cpu` is this CPU: `cpu[-RUNTIME][-PRECISION][-tN]` means a table of this very processor, by default OpenVINO's in fp32 on one
thread. Where there is none, it means the shipped table of that name, which is another processor's.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latency_tables.host import differences, is_this_host
from latency_tables.metadata import TableMetadata, read_metadata
from latency_tables.on_device.host import host_processor
from latency_tables.tables import Table, read_table
from search_spaces.errors import UserError, nearest
from search_spaces.files import check_file

SHIPPED = Path(__file__).parent / "devices"
HOST_NAME = re.compile(
    r"cpu(-(?P<runtime>openvino|onnxruntime|torch))?(-(?P<precision>fp32|fp16|bf16|int8))?(-t(?P<threads>[1-9][0-9]*))?"
)


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

    A short name is the table's that claims it as its default; a user's table wins over a shipped one. A name of the host
    (`cpu`, `cpu-onnxruntime-t2`) is its own table's, if there is one. `batch` and
    `precision`, where given, choose among the tables that a prefix fits, and refuse a table of another. Warns when a CPU
    table was measured on another processor than this host's. Raises UserError listing the choices when nothing or
    several fit.
    """
    name = str(device)
    wanted = _Wanted(batch, precision)
    if name.endswith((".csv", ".yaml")):
        check_file(Path(name), "a latency table, a .csv with a .yaml beside it")
        table = read_table(name)
        wanted.check(name, table.metadata, [])
    else:
        tables = list_tables()
        of_host = parse_host_name(name, precision)
        own = host_tables(of_host, tables) if of_host is not None else []
        table = read_table(own[0] if own else _path_of(_shipped_name(name, of_host, tables), tables, wanted))
        wanted.check(name, table.metadata, [metadata for metadata, _ in tables])
    _warn_of_other_processor(table.metadata)
    return table


def _shipped_name(name: str, of_host: HostName | None, tables: Sequence[tuple[TableMetadata, Path]]) -> str:
    """A name of the host as another device's table may claim it: with the precision that was asked for, if one does."""
    said = parse_host_name(name)
    if of_host is None or said is None:
        return name
    return of_host.name if any(of_host.name in metadata.short_names for metadata, _ in tables) else said.name


@dataclass(frozen=True, slots=True)
class HostName:
    """What a short name of this host asks for."""

    runtime: str = "openvino"
    precision: str = "fp32"
    threads: int = 1

    @property
    def name(self) -> str:
        """The shortest way to say it."""
        words = ["cpu"]
        words += [self.runtime] * (self.runtime != "openvino") + [self.precision] * (self.precision != "fp32")
        return "-".join(words + [f"t{self.threads}"] * (self.threads != 1))

    def fits(self, metadata: TableMetadata) -> bool:
        """Whether a table is of a CPU, and of this runtime, precision and number of threads, at batch 1."""
        return (metadata.kind, metadata.runtime, metadata.precision, metadata.threads or 1, metadata.batch) == (
            "cpu", self.runtime, self.precision, self.threads, 1,
        )  # fmt: skip


def parse_host_name(name: str, precision: str | None = None) -> HostName | None:
    """`cpu`, `cpu-t2`, `cpu-onnxruntime`, `cpu-openvino-int8-t4`; None for another name. `precision`: what a name that says
    none means, fp32 if not given."""
    found = HOST_NAME.fullmatch(name.lower())
    if found is None:
        return None
    return HostName(
        found["runtime"] or "openvino", found["precision"] or precision or "fp32", int(found["threads"] or 1)
    )


def host_tables(wanted: HostName, tables: Sequence[tuple[TableMetadata, Path]]) -> list[Path]:
    """The tables of this very processor that fit, the best first: the user's before shipped ones, those that claim `cpu`
    first, then those with more measured kernels behind them (a profile before an adaptation)."""
    fitting = [(m, path) for m, path in tables if wanted.fits(m) and is_this_host(m)]
    fitting.sort(key=lambda pair: (
        pair[1].parent == SHIPPED, wanted.name not in pair[0].short_names, pair[0].adapted is not None,
    ))  # fmt: skip
    return [path for _, path in fitting]


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
    if metadata.kind == "cpu" and metadata.processor and differences(metadata):
        warnings.warn(
            f"table {metadata.id} was measured on {metadata.processor}, this host has {host_processor()}: its figures "
            f"rank networks, but the milliseconds will differ; measure this host with: tinynas profile --adapt {metadata.id}",
            stacklevel=3,
        )
