from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import Pricer, list_tables
from latency_tables.holes import fill_holes
from latency_tables.kernels import Group, Kernel
from latency_tables.metadata import TableMetadata, format_metadata, parse_metadata
from latency_tables.tables import HOLE, Row, Table, format_rows, parse_row, parse_rows, read_table, write_table
from search_spaces.errors import UserError
from tests.latency_tables.conftest import METADATA, conv, site_of

MakeTable = Callable[[list[Row]], Table]
GROUP = Group("conv", 1, 1, "any", False)


def test_round_trip(make_table: MakeTable, conv_rows: list[Row], metadata: TableMetadata) -> None:
    table = make_table(conv_rows)
    assert table.metadata == metadata
    assert len(table) == len(conv_rows)
    lines = format_rows(conv_rows).splitlines()[1:]
    again = [parse_row(line) for line in lines]
    assert format_rows(again).splitlines()[1:] == lines
    assert {row.kernel for row in again} == {row.kernel for row in conv_rows}


def test_hash_covers_both_files(make_table: MakeTable, conv_rows: list[Row], tmp_path: Path) -> None:
    table = make_table(conv_rows)
    path = Path(table.source)
    assert table.hash == hashlib.sha256(path.read_bytes() + b"\0" + path.with_suffix(".yaml").read_bytes()).hexdigest()
    path.with_suffix(".yaml").write_text(path.with_suffix(".yaml").read_text().replace("Toy", "Toys"))
    changed = read_table(path)
    assert changed.hash != table.hash
    path.write_text(path.read_text().replace("0.02,measured", "0.03,measured", 1))
    assert read_table(path.with_suffix(".yaml")).hash not in (table.hash, changed.hash)


def test_unknown_kernel_names_what_there_is(make_table: MakeTable, conv_rows: list[Row]) -> None:
    table = make_table(conv_rows)
    with pytest.raises(UserError, match="no kernel depthwise 5x5; it has conv"):
        table.grid(Group("depthwise", 5, 1, "any", False))
    with pytest.raises(UserError, match=r"no kernel conv 3x3 stride 2 \+ silu \+ add; .*conv 1x1"):
        table.grid(Group("conv", 3, 2, "silu", True))


def test_a_hole_in_the_grid_is_extrapolated(make_table: MakeTable, conv_rows: list[Row]) -> None:
    hole = conv_rows[-1]
    grid = make_table(conv_rows[:-1]).grid(GROUP)
    assert (grid.origin == HOLE).sum() == 1
    assert grid.origin[-1, -1, -1] == HOLE
    assert np.isfinite(grid.log_ms).all()
    pricer = Pricer(make_table(conv_rows[:-1]))
    assert pricer.site(site_of(hole.kernel)).origins == (0, 0, 0, 0, 0, 1)
    near = replace(hole.kernel, out_channels=64)
    assert pricer.site(site_of(near)).origins[-1] == 1
    known = replace(hole.kernel, in_channels=32)
    assert pricer.site(site_of(known)).origins[0] == 1


def test_holes_continue_their_neighbours() -> None:
    knots = [np.log([8.0, 16, 32]), np.log([8.0, 32]), np.log([100.0, 400])]
    full = knots[0][:, None, None] * 0.5 + knots[1][None, :, None] * 0.7 + knots[2][None, None, :] * 1.0
    holes = full.copy()
    holes[2, 1, 1] = np.nan
    assert fill_holes(holes, knots)[2, 1, 1] == pytest.approx(full[2, 1, 1])
    alone = np.full((3, 2, 2), np.nan)
    alone[1, 0, 0] = 1.0
    filled = fill_holes(alone, knots)
    assert np.isfinite(filled).all()
    assert filled[1, 0, 1] == pytest.approx(1.0 + np.log(4))  # in proportion


def test_part_filled_channel_blocks_are_a_grid_of_their_own(tmp_path: Path, metadata: TableMetadata) -> None:
    rows = [
        Row(conv(16, outputs, 10), float(ms)) for outputs, ms in ((16, 1), (24, 2), (32, 2), (40, 3), (64, 4), (72, 5))
    ]
    blocked = metadata.model_copy(update={"tail_block": 16})
    table = read_table(write_table(tmp_path, blocked, rows))
    full, tail = table.grids(GROUP)
    assert tail is not None
    assert full.axes[1].tolist() == [16, 32, 64]
    assert tail.axes[1].tolist() == [24, 40, 72]
    pricer = Pricer(table)

    def latency(outputs: int) -> float:
        return pricer.site(site_of(conv(16, outputs, 10))).latency_ms

    assert latency(48) == pytest.approx(2 * 2 ** (np.log(1.5) / np.log(2)))
    assert latency(40) == pytest.approx(3)
    assert latency(24) == latency(32) == pytest.approx(2)
    assert read_table(write_table(tmp_path, metadata, rows)).grids(GROUP)[1] is None


def test_rows_by_source(make_table: MakeTable, conv_rows: list[Row]) -> None:
    rows = [replace(row, source="fitted") if row.kernel.in_channels == 8 else row for row in conv_rows]
    assert make_table(rows).counts() == {"measured": 12, "fitted": 6, "derived": 0, "adapted": 0}


def test_shipped_tables_load_in_milliseconds() -> None:
    for _, path in list_tables():
        size = path.stat().st_size
        start = time.process_time()
        read_table(path)
        # about 2 us per row; ten times that is a change of kind, not a slow machine
        assert time.process_time() - start < 0.02 + 20e-6 * size / 50


def test_same_area_twice_is_refused(make_table: MakeTable, conv_rows: list[Row]) -> None:
    twin = Row(
        Kernel(kind="conv", in_channels=8, out_channels=8, height=5, width=20, kernel=1, stride=1, activation="any"),
        1.0,
    )
    with pytest.raises(UserError, match="two rows have the same channels and map area"):
        make_table([*conv_rows, twin]).grid(GROUP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("stride,", "", 1), ":1: the column 'stride' is missing"),
        (lambda t: t.replace("spread,source", "source,spread", 1), ":1: the columns are in another order"),
        (lambda t: "", ":1: the column 'kind' is missing"),
        (lambda t: t.replace(",measured\n", ",measured,1\n", 1), ":2: 13 cells found, 12 expected"),
        (lambda t: t + t.splitlines()[1] + "\n", ":20: the kernel of line 2 again"),
        (lambda t: t.replace("conv,8", "conf,8", 1), ":2: unknown kind 'conf'; did you mean conv"),
        (lambda t: t.replace(",measured", ",guessed", 1), ":2: source 'guessed' found; "),
        (lambda t: t.replace("conv,8,8,1,1,10,10", "conv,8,8,1,1,ten,10", 1), ":2: 'ten' found, a number expected"),
        (lambda t: t.replace("conv,8,8,1,1", "conv,8,8,x,1", 1), ":2: kernel 'x' found, a whole number from 1"),
        (lambda t: t.replace("conv,8,8,1,1", "conv,8,8,01,1", 1), ":2: kernel '01' found, a whole number from 1"),
        (lambda t: t.replace("conv,8,8,1,1", "conv,8,8,1,0", 1), ":2: stride '0' found, a whole number from 1"),
        (lambda t: t.replace("any,0", "any,2", 1), ":2: fused_add '2' found, 0 or 1"),
        (
            lambda t: t.replace("conv,8,8,", "conv,8.5,8,", 1),
            ":2: sizes and latency must be positive numbers (sizes whole",
        ),
        (lambda t: t.replace(",0.02,measured", ",wide,measured", 1), ":2: 'wide' found, a number expected"),
        (lambda t: t.replace(",0.02,measured", ",-1,measured", 1), "the spread not negative"),
        (lambda t: t[:-5], "the file ends in the middle of a line"),
        (lambda t: t.replace("conv,8,8,", "conv,0,8,", 1), ":2: sizes and latency must be positive"),
        (lambda t: _latency(t, "0"), ":2: sizes and latency must be positive"),
        (lambda t: _latency(t, "-1"), ":2: sizes and latency must be positive"),
        (lambda t: _latency(t, "nan"), ":2: sizes and latency must be positive"),
    ],
)
def test_bad_csv(change: Callable[[str], str], message: str, conv_rows: list[Row]) -> None:
    with pytest.raises(UserError) as caught:
        parse_rows(change(format_rows(conv_rows)), "t.csv")
    assert message in str(caught.value)


def test_a_table_cut_off_behind_its_header(make_table: MakeTable, conv_rows: list[Row]) -> None:
    path = Path(make_table(conv_rows).source)
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(UserError, match="no rows found"):
        read_table(path)


def test_a_byte_order_mark_is_no_matter(make_table: MakeTable, conv_rows: list[Row]) -> None:
    path = Path(make_table(conv_rows).source)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_table(path)) == len(conv_rows)


def _latency(text: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    cells = lines[1].split(",")
    cells[9] = value
    return lines[0] + ",".join(cells) + "".join(lines[2:])


def test_metadata_round_trip(metadata: TableMetadata) -> None:
    assert parse_metadata(format_metadata(metadata), "again") == metadata
    assert metadata.default_space == "res"
    full = metadata.model_copy(update={"clocks": "1590 MHz", "tail_block": 16})
    assert parse_metadata(format_metadata(full), "again") == full


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("device: Toy", "devise: Toy", "toy: devise: unknown key; did you mean device"),
        ("warm_up: 0", "warmup: 0", "toy: measured.warmup: unknown key; did you mean warm_up"),
        ("batch: 1", "batch: 32", "toy: id: 'toy-tensorrt-fp16-b1' found, by the other keys it must end in"),
        ("fp16\n", "fp17\n", "toy: precision: 'fp17' found; expected 'fp32'"),
        ("kind: gpu\n", "", "toy: kind: this key is missing"),
        ("measured:", "#", "one of `measured` and `derived`"),
        (
            "id: toy-tensorrt-fp16-b1",
            "id: Toy",
            "toy: id: 'Toy' found; lower-case letters, digits, _ and - between them",
        ),
        ("[toy]", "[Toy]", "toy: short_names.1: 'Toy' found; lower-case letters"),
        ('"2024-01-01"', "2024-01-01", "toy: date: 2024-01-01 found; text expected, in quotes"),
        ("overhead_ms: 0.25", "overhead_ms: -1", "overhead_ms: -1 found"),
        ("id: ", "id: [", "not YAML"),
    ],
)
def test_bad_metadata(old: str, new: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_metadata(METADATA.replace(old, new), "toy")
    assert message in str(caught.value)


def test_metadata_that_is_no_mapping() -> None:
    with pytest.raises(UserError, match="a table's metadata expected"):
        parse_metadata("- 1", "toy")


def test_missing_files(make_table: MakeTable, conv_rows: list[Row], tmp_path: Path) -> None:
    path = Path(make_table(conv_rows).source)
    path.unlink()
    with pytest.raises(UserError, match=r"every table has a .csv and a .yaml"):
        read_table(path)
    with pytest.raises(UserError, match=r"nowhere.yaml: cannot be read"):
        read_table(tmp_path / "nowhere.csv")
