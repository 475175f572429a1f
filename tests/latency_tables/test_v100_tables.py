"""The V100 tables: built from made-up measurements of a known device, and as shipped."""

from __future__ import annotations

import gzip
import os
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from latency_tables import find_table, list_tables, predict
from latency_tables.kernels import Kernel
from latency_tables.tables import read_table
from scripts.derivation.gpu_grid import grid_kernels
from scripts.derivation.v100 import CONV_KINDS, Setting, conv_type, fit_v100, read_measured, work
from scripts.derivation.v100_tables import BANDWIDTH, SETTINGS, build_v100_tables, launch_ms
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure, shipped_names

HEADER = "precision,conv_type,batch,in_channels,in_h,in_w,out_channels,kernel,stride,fused_add,latency_ms\n"
INT8_B32 = Setting("int8", 32)
IDS = [f"v100-tensorrt-{setting.precision}-b{setting.batch}" for setting in SETTINGS]


def truth_ms(kernel: Kernel) -> float:
    macs, moved = work(kernel, INT8_B32)
    return float(0.012 + ((macs / 30e9) ** 2 + (moved / 600e6) ** 2) ** 0.5)


@pytest.fixture(scope="module")
def v100_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("v100") / "conv.csv.gz"
    lines = []
    for kind, size, stride, add in product(("conv", "depthwise"), (1, 3, 5), (1, 2), (False, True)):
        for inputs, ratio, side in product((3, 12, 8, 32, 128, 512, 2048), (0.5, 1, 2), (5, 20, 80, 320)):
            out = int(inputs * ratio)
            if out > 2048 or (kind == "depthwise" and (ratio != 1 or add)):
                continue
            ms = truth_ms(
                Kernel.square(kind, inputs, out, side, kernel=size, stride=stride, activation="any", fused_add=add)
            )
            name = "regular" if kind == "conv" else kind
            lines.append(f"int8,{name},32,{inputs},{side},{side},{out},{size},{stride},{int(add)},{ms:.6g}\n")
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "".join(lines))
    return path


@pytest.fixture(scope="module")
def built(v100_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    build_v100_tables(v100_csv, folder, date(2024, 1, 1), [INT8_B32])
    return folder / "v100-tensorrt-int8-b32.csv"


def test_rows_say_where_they_come_from(built: Path) -> None:
    table = read_table(built)
    lines = [line.split(",") for line in built.read_text().splitlines()[1:]]
    assert len(lines) == len(list(grid_kernels())) <= 10_000
    assert all((line[-1] == "fitted") == (line[0] in CONV_KINDS) for line in lines)
    assert {line[-1] for line in lines} == {"fitted", "derived"}
    assert table.metadata.batch == 32
    assert table.metadata.precision == "int8"
    assert table.metadata.short_names == []


def test_fitted_rows_are_the_device_s(built: Path) -> None:
    rows = {tuple(line.split(",")[:9]): float(line.split(",")[9]) for line in built.read_text().splitlines()[1:]}
    for inputs, outputs, side, size, stride in ((64, 64, 40, 3, 1), (256, 128, 20, 1, 1), (32, 64, 160, 3, 2)):
        kernel = Kernel.square("conv", inputs, outputs, side, kernel=size, stride=stride, activation="any")
        key = ("conv", *map(str, (inputs, outputs, size, stride, side, side)), "any", "0")
        assert rows[key] == pytest.approx(truth_ms(kernel), rel=0.05)


def test_what_was_not_measured_is_bytes_over_bandwidth(v100_csv: Path, built: Path) -> None:
    convs = fit_v100(read_measured(v100_csv)[INT8_B32], INT8_B32)
    pool = Kernel.square("max_pool", 64, 64, 20, kernel=5)
    ms = next(
        float(line.split(",")[9])
        for line in built.read_text().splitlines()
        if line.startswith("max_pool,64,64,5,1,20,20,")
    )
    assert ms == pytest.approx(launch_ms(convs) + 32 * 2 * 64 * 400 / BANDWIDTH, rel=0.05)
    assert work(pool, INT8_B32)[1] == 32 * 2 * 64 * 400
    assert work(pool, Setting("fp32", 1))[1] == 4 * 2 * 64 * 400


def test_errors_are_those_of_rows_held_back(v100_csv: Path, tmp_path: Path) -> None:
    error = build_v100_tables(v100_csv, tmp_path, date(2024, 1, 1), [INT8_B32])["v100-tensorrt-int8-b32"]
    assert error["fit_median"] < 2  # a smooth device
    assert error["fit_median"] <= error["table_median"] < 15
    assert error["types"]["conv 3x3"]["rows"] > 0
    assert "stem" in error["types"]
    # Noise on the measurements shows.
    rng = np.random.default_rng(0)
    with gzip.open(v100_csv, "rt") as file:
        head, *lines = file.read().splitlines()
    noisy = [
        f"{line.rpartition(',')[0]},{float(line.rpartition(',')[2]) * rng.lognormal(0, 0.3):.6g}" for line in lines
    ]
    with gzip.open(tmp_path / "noisy.csv.gz", "wt") as file:
        file.write("\n".join([head, *noisy]) + "\n")
    worse = build_v100_tables(tmp_path / "noisy.csv.gz", tmp_path, date(2024, 1, 1), [INT8_B32])
    assert worse["v100-tensorrt-int8-b32"]["fit_median"] > 10


def test_a_missing_setting_is_named(v100_csv: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows of fp16, batch 1"):
        build_v100_tables(v100_csv, tmp_path, settings=[Setting("fp16", 1)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", IDS)
def test_shipped_tables_price_every_released_detector(name: str) -> None:
    table = find_table(name)
    for structure in map(resolve_structure, shipped_names()):
        for side in (320, 640, 1280):
            shares = predict(emit_detector(structure.with_image_size(side, side)), table).shares
            assert shares["extrapolated"] == 0
            assert shares["fitted"] > 0.9
    error = table.metadata.error
    named = {f"{kind} {size}x{size}" for kind, size in (("conv", 1), ("conv", 3), ("depthwise", 3), ("depthwise", 5))}
    assert named <= set(error["types"])
    assert error["table_median"] < 7
    assert error["table_percentile_90"] < 25


def test_shipped_tables_agree_with_each_other() -> None:
    graph = emit_detector(resolve_structure("M"))
    ms = {name.removeprefix("v100-tensorrt-"): predict(graph, find_table(name)).total_ms for name in IDS}
    for precision in ("fp32", "fp16", "int8"):
        assert 4 * ms[f"{precision}-b1"] < ms[f"{precision}-b32"] < 32 * ms[f"{precision}-b1"]
    assert ms["fp16-b32"] < ms["int8-b32"] < ms["fp32-b32"]  # tensor cores of a V100 know fp16 only
    assert find_table("v100").id == "v100-tensorrt-fp16-b1"
    assert {metadata.id for metadata, _ in list_tables()} >= set(IDS)


@pytest.mark.skipif("TINYNAS_TEST_DATA" not in os.environ, reason="needs TINYNAS_TEST_DATA")
def test_shipped_rows_come_from_the_measurements() -> None:
    measured = read_measured(Path(os.environ["TINYNAS_TEST_DATA"]) / "v100_tensorrt_conv" / "conv.csv.gz")
    kernels = [kernel for kernel in grid_kernels() if kernel.kind in CONV_KINDS][::400]
    types = {conv_type(kernel) for kernel in kernels}
    for setting, name in zip(SETTINGS, IDS):
        convs = fit_v100({key: rows for key, rows in measured[setting].items() if key in types}, setting)
        lines = Path(find_table(name).source).read_text().splitlines()
        shipped = {tuple(line.split(",")[:9]): float(line.split(",")[9]) for line in lines[1:]}
        for kernel, ms in zip(kernels, convs.latency_ms(kernels)):
            row = (kernel.kind, kernel.in_channels, kernel.out_channels, kernel.kernel, kernel.stride, kernel.height)
            key = (*map(str, row), str(kernel.width), kernel.activation, str(int(kernel.fused_add)))
            assert shipped[key] == pytest.approx(float(ms), rel=1e-3)
