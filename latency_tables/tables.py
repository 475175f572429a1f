"""A device's table: a CSV of fused kernels with their latency, and a YAML of provenance with the same stem.

Rows that agree in kind, kernel, stride, activation and fused add are a group. A group's rows are cells of a grid over
input channels, output channels and map area, so a lookup is plain multilinear interpolation (latency_tables.predictor). A
row's source is `measured` (timed on the device), `fitted` (interpolated or regressed from rows that were), `derived`
(computed from bytes, MACs and launches) or `adapted` (another device's figure times a ratio fitted to rows that were
timed). Cells without a row are holes: what is read from them counts as extrapolated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latency_tables.holes import fill_holes
from latency_tables.kernels import KINDS, TWO_CHANNEL_KINDS, Group, Kernel, in_tail
from latency_tables.metadata import TableMetadata, format_metadata, read_metadata
from search_spaces.errors import UserError, nearest
from search_spaces.files import write_text

COLUMNS = (
    "kind", "in_channels", "out_channels", "kernel", "stride", "height", "width", "activation", "fused_add",
    "latency_ms", "spread", "source",
)  # fmt: skip
SOURCES = ("measured", "fitted", "derived", "adapted")
HOLE = len(SOURCES)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the CSV. `spread`: relative spread of the repeats (0 where nothing was repeated)."""

    kernel: Kernel
    latency_ms: float
    spread: float = 0.0
    source: str = "measured"


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A group's latencies, the table's scale in them: log ms over (in channels, out channels, area). `axes` ascend; a
    kind with one channel axis has out channels of length 1. `origin`: a cell's place in SOURCES, or HOLE, whose latency
    continues its neighbours'."""

    axes: tuple[Floats, Floats, Floats]
    log_ms: Floats
    origin: npt.NDArray[np.int8]


@dataclass(slots=True, kw_only=True, eq=False)
class Table:
    """`hash` covers both files' bytes. Grids are made when first asked for."""

    metadata: TableMetadata
    rows: dict[Group, Floats]
    source: str
    hash: str
    _grids: dict[tuple[Group, bool], Grid | None] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.metadata.id

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    def with_fit(self, *, factors: Mapping[str, float], overhead_ms: float) -> Table:
        """The same rows, their scale times the factor of each kind (1 where there is none), with another overhead."""
        scale = {
            kind: self.metadata.scale.get(kind, 1.0) * factors.get(kind, 1.0)
            for kind in KINDS
            if kind in factors or kind in self.metadata.scale
        }
        changes = {"scale": scale, "overhead_ms": overhead_ms}
        return replace(self, metadata=self.metadata.model_copy(update=changes), _grids={})

    def bare(self) -> Table:
        """The same rows without scale and overhead."""
        return replace(self, metadata=self.metadata.model_copy(update={"scale": {}, "overhead_ms": 0.0}), _grids={})

    def counts(self) -> dict[str, int]:
        """Number of rows by source."""
        codes = np.concatenate([rows[:, 4] for rows in self.rows.values()]) if self.rows else np.empty(0)
        return {source: int((codes == code).sum()) for code, source in enumerate(SOURCES)}

    def grids(self, group: Group) -> tuple[Grid, Grid | None]:
        """The grid of widths that fill their channel blocks, and that of the others (None: there is but one grid).

        Raises UserError, naming the kernel, when the table has no such group.
        """
        full, tail = self._grid(group, False), self._grid(group, True)
        if full is None:
            assert tail is not None
            return tail, None
        return full, tail

    def grid(self, group: Group) -> Grid:
        """The first of `grids`."""
        return self.grids(group)[0]

    def _grid(self, group: Group, tail: bool) -> Grid | None:
        if (group, tail) not in self._grids:
            if group not in self.rows:
                alike = [str(other) for other in self.rows if other.kind == group.kind]
                rest = (
                    nearest(str(group), alike) if alike else f"it has {', '.join(sorted({g.kind for g in self.rows}))}"
                )
                raise UserError(f"table {self.id} has no kernel {group}; {rest}; {_remedy(self)}")
            rows = self.rows[group]
            chosen = rows[in_tail(group.kind, rows[:, 0], rows[:, 1], self.metadata.tail_block) == tail]
            scale = self.metadata.scale.get(group.kind, 1.0)
            self._grids[group, tail] = _grid(chosen, group, self.source, scale) if len(chosen) else None
        return self._grids[group, tail]


def read_table(path: str | Path) -> Table:
    """A table from its CSV or YAML (the other of the two lies beside it).

    Raises UserError with file and line for whatever is wrong with it.
    """
    csv_path = Path(path).with_suffix(".csv")
    metadata = read_metadata(csv_path.with_suffix(".yaml"))
    try:
        raw = csv_path.read_bytes()
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{csv_path}: cannot be read ({error}); every table has a .csv and a .yaml of one name"
        ) from None
    digest = hashlib.sha256(raw + b"\0" + csv_path.with_suffix(".yaml").read_bytes()).hexdigest()
    rows = parse_rows(text, str(csv_path))
    if not rows:
        raise UserError(f"{csv_path}: no rows found; a table has one per kernel")
    return Table(metadata=metadata, rows=rows, source=str(csv_path), hash=digest)


def read_rows(path: Path) -> list[Row]:
    """The rows of a table's CSV, which `read_table` found sound, one by one."""
    return [parse_row(line) for line in path.read_text(encoding="utf-8-sig").splitlines()[1:]]


def write_table(folder: Path, metadata: TableMetadata, rows: Iterable[Row]) -> Path:
    """Write CSV and YAML named after the id; the CSV's path. Each is written under another name and renamed.

    Raises UserError when that fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{metadata.id}.csv"
    write_text(path, format_rows(rows))
    write_metadata(path.with_suffix(".yaml"), metadata)
    return path


def write_metadata(path: Path, metadata: TableMetadata) -> None:
    """Write a table's YAML."""
    write_text(path, format_metadata(metadata))


def format_rows(rows: Iterable[Row]) -> str:
    """CSV text, header first, rows in a fixed order."""
    ordered = sorted(rows, key=lambda row: row_key(row.kernel))
    return "\n".join([",".join(COLUMNS), *(format_row(row) for row in ordered)]) + "\n"


def format_row(row: Row) -> str:
    k = row.kernel
    return (
        f"{k.kind},{k.in_channels},{k.out_channels},{k.kernel},{k.stride},{k.height},{k.width},{k.activation},"
        f"{int(k.fused_add)},{row.latency_ms:.5g},{row.spread:.2g},{row.source}"
    )


def parse_row(line: str) -> Row:
    """One sound line of a CSV."""
    kind, inputs, outputs, kernel, stride, height, width, activation, add, latency, spread, source = line.split(",")
    key = Kernel(
        kind=kind,
        in_channels=int(inputs),
        out_channels=int(outputs),
        height=int(height),
        width=int(width),
        kernel=int(kernel),
        stride=int(stride),
        activation=activation,
        fused_add=add == "1",
    )
    return Row(key, float(latency), float(spread), source)


def row_key(kernel: Kernel) -> tuple[Any, ...]:
    """What makes a row unique."""
    return (
        KINDS.index(kernel.kind), kernel.kernel, kernel.stride, kernel.activation, kernel.fused_add,
        kernel.in_channels, kernel.out_channels, kernel.area, kernel.height,
    )  # fmt: skip


def parse_rows(text: str, source: str, *, repeats: bool = False) -> dict[Group, Floats]:
    """Rows by group, each an array (rows, 5): in channels, out channels, area, latency in ms, place in SOURCES.

    `repeats`: a kernel may have several rows. Raises UserError with the line of what is wrong.
    """
    lines = text.splitlines()
    if not lines or tuple(lines[0].split(",")) != COLUMNS:
        found = lines[0].split(",") if lines else []
        missing = [name for name in COLUMNS if name not in found]
        what = f"the column {missing[0]!r} is missing" if missing else "the columns are in another order"
        raise UserError(f"{source}:1: {what}; expected {','.join(COLUMNS)}")
    if not text.endswith("\n"):
        raise UserError(f"{source}:{len(lines)}: the file ends in the middle of a line; it was cut off")
    grouped: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if len(cells) != len(COLUMNS):
            raise UserError(f"{source}:{number}: {len(cells)} cells found, {len(COLUMNS)} expected")
        first = seen.setdefault(tuple(cells[:9]), number)
        if first != number and not repeats:
            raise UserError(f"{source}:{number}: the kernel of line {first} again; each kernel has one row")
        kind, inputs, outputs, kernel, stride, height, width, activation, add, latency, spread, origin = cells
        if kind not in KINDS:
            raise UserError(f"{source}:{number}: unknown kind {kind!r}; {nearest(kind, KINDS)}")
        if origin not in SOURCES:
            raise UserError(f"{source}:{number}: source {origin!r} found; {nearest(origin, SOURCES)}")
        grouped.setdefault((kind, kernel, stride, activation, add), []).append(
            (inputs, outputs, height, width, latency, spread, str(number), str(SOURCES.index(origin)))
        )
    return {_group(key, cells[0][6], source): _numbers(cells, source) for key, cells in grouped.items()}


def _group(key: tuple[str, ...], line: str, source: str) -> Group:
    kind, kernel, stride, activation, add = key
    for name, text in (("kernel", kernel), ("stride", stride)):
        # Another spelling of a number ("03") would be another group of rows for the same kernels.
        if not text.isdecimal() or text.startswith("0"):
            raise UserError(f"{source}:{line}: {name} {text!r} found, a whole number from 1 expected")
    if add not in ("0", "1"):
        raise UserError(f"{source}:{line}: fused_add {add!r} found, 0 or 1 expected")
    return Group(kind, int(kernel), int(stride), activation, add == "1")


def _numbers(cells: list[tuple[str, ...]], source: str) -> Floats:
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        for row in cells:
            for cell in row:
                try:
                    float(cell)
                except ValueError:
                    raise UserError(f"{source}:{row[6]}: {cell!r} found, a number expected") from None
        raise
    bad = ~(np.isfinite(values[:, :5]) & (values[:, :5] > 0)).all(axis=1)
    bad |= (values[:, :4] % 1 != 0).any(axis=1) | ~(np.isfinite(values[:, 5]) & (values[:, 5] >= 0))
    if bad.any():
        raise UserError(
            f"{source}:{int(values[bad][0, 6])}: sizes and latency must be positive numbers (sizes whole ones), the spread "
            "not negative"
        )
    return np.column_stack([values[:, 0], values[:, 1], values[:, 2] * values[:, 3], values[:, 4], values[:, 7]])


def _remedy(table: Table) -> str:
    """What to do about a kernel that a table lacks."""
    if table.metadata.kind == "cpu":
        return f"make a table that has it: tinynas profile --adapt {table.id} --spaces mob,res,SPACE"
    return "profile a table that has it, or take another one"


def _grid(rows: Floats, group: Group, source: str, scale: float) -> Grid:
    two = group.kind in TWO_CHANNEL_KINDS
    coordinates = rows[:, :3] if two else np.column_stack([rows[:, 0], np.ones(len(rows)), rows[:, 2]])
    axes, places = [], []
    for column in coordinates.T:
        values, inverse = np.unique(column, return_inverse=True)
        axes.append(values)
        places.append(inverse)
    shape = tuple(len(axis) for axis in axes)
    flat = np.ravel_multi_index(tuple(places), shape)
    if len(np.unique(flat)) != len(flat):
        raise UserError(f"{source}: {group}: two rows have the same channels and map area")
    log_ms, origin = np.full(int(np.prod(shape)), np.nan), np.full(int(np.prod(shape)), HOLE, dtype=np.int8)
    log_ms[flat], origin[flat] = np.log(scale * rows[:, 3]), rows[:, 4].astype(np.int8)
    knots = [np.log(axis) for axis in axes]
    return Grid((axes[0], axes[1], axes[2]), fill_holes(log_ms.reshape(shape), knots), origin.reshape(shape))
