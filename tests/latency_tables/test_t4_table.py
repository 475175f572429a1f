"""The T4 derivation, on V100 rows made up from a known device."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from latency_tables.kernels import Kernel
from latency_tables.predictor import predict
from latency_tables.tables import read_table
from scripts.derivation.gpu_grid import grid_kernels
from scripts.derivation.t4 import (
    PRIOR,
    SHIPPED_FORM,
    Device,
    Form,
    calibrate,
    kernel_work,
    latency_ms,
    network_kernels,
    network_ms,
)
from scripts.derivation.t4_published import published_structures
from scripts.derivation.t4_table import build_t4_table
from scripts.derivation.v100 import read_v100, work
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError

HEADER = "precision,conv_type,batch,in_channels,in_h,in_w,out_channels,kernel,stride,fused_add,latency_ms\n"
PUBLISHED = """source,model,base,change,t4_trt_fp16_ms,gflops,ap
Table 9,T,T,as released,2.78,18.1,42.0
Table 9,S,S,as released,3.83,37.8,46.0
Table 9,M,M,as released,5.62,61.8,49.2
Table 9,L,L,as released,7.95,97.3,50.8
Table 3,neck depth 2 width 192-192-192,S,equal neck widths,3.53,34.9,44.2
Table 3,neck depth 2 width 128-256-512,S,,3.72,36.1,45.1
Table 3,neck depth 3 width 160-160-160,S,,3.91,38.2,44.9
Table 3,neck depth 4 width 64-128-256,S,,3.85,99.9,45.3
Table 4,no queen-fusion,S,,3.62,33.3,44.2
Table 4,upsampling links,S,,4.19,37.7,44.5
Table 4,both links,S,,4.58,42.8,45.9
Table 5,Conv,S,,3.64,44.3,40.2
Table 5,CSP + Reparam,S,,3.72,36.7,45.0
"""


@pytest.fixture(scope="module")
def v100_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("v100") / "conv.csv.gz"
    lines = []
    for kind, size, stride, add in product(("regular", "depthwise"), (1, 3, 5), (1, 2), (0, 1)):
        for inputs, ratio, side in product((8, 64, 512), (0.5, 1, 2), (6, 42, 280)):
            if kind == "depthwise" and (ratio != 1 or add):
                continue
            out = int(inputs * ratio)
            name = "depthwise" if kind == "depthwise" else "conv"
            kernel = Kernel.square(
                name, inputs, out, side, kernel=size, stride=stride, activation="any", fused_add=bool(add)
            )
            macs, moved = work(kernel)
            ms = 0.014 + ((macs / 40e9) ** 2 + (moved / 750e6) ** 2) ** 0.5
            lines.append(f"fp16,{kind},1,{inputs},{side},{side},{out},{size},{stride},{add},{ms:.6g}\n")
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "".join(lines))
    return path


@pytest.fixture
def published_csv(tmp_path: Path) -> Path:
    path = tmp_path / "t4_published.csv"
    path.write_text(PUBLISHED)
    return path


def test_only_rows_that_can_be_rebuilt_count(published_csv: Path) -> None:
    names = [item.name for item in published_structures(published_csv)]
    assert names[:4] == ["T", "S", "M", "L"]
    assert "neck depth 4 width 64-128-256" not in names  # its GFLOPs were changed above
    assert len(names) == len(set(names)) == 12
    published_csv.write_text(PUBLISHED.replace("Table 9,M,M", "Table 9,X,X"))
    with pytest.raises(UserError, match="the row Table 9, M is missing"):
        published_structures(published_csv)
    published_csv.write_text(PUBLISHED.replace("3.64,44.3", "3.64,"))
    with pytest.raises(UserError, match="Table 5, Conv: numbers in"):
        published_structures(published_csv)


def test_v100_curve_gives_back_its_measurements(v100_csv: Path) -> None:
    v100 = read_v100(v100_csv)
    kernels = [
        Kernel.square("conv", 64, 64, 42, kernel=3, activation="any"),
        Kernel.square("depthwise", 64, 64, 42, kernel=5, stride=2, activation="any"),
    ]
    for kernel, found in zip(kernels, v100.latency_ms(kernels)):
        macs, moved = work(kernel)
        assert found == pytest.approx(0.014 + ((macs / 40e9) ** 2 + (moved / 750e6) ** 2) ** 0.5, rel=0.05)
    with pytest.raises(UserError, match="have no"):
        v100.latency_ms([Kernel.square("conv", 8, 8, 8, kernel=11, activation="any")])
    with pytest.raises(UserError, match="no rows of int8, batch 1"):
        read_v100(v100_csv, "int8")


def test_calibration_finds_the_device_that_made_the_figures(v100_csv: Path, published_csv: Path) -> None:
    v100 = read_v100(v100_csv)
    structures = published_structures(published_csv)
    works = [kernel_work(network_kernels(item.structure), v100) for item in structures]
    for device in (PRIOR, Device(launch_ms=0.014, rate=10e9, bandwidth=270e6, overhead_ms=0.3)):
        made = [replace(s, latency_ms=network_ms(w, device)) for s, w in zip(structures, works)]
        found = calibrate(made, v100, (SHIPPED_FORM,))
        assert max(abs(error) for error in found.left_out.values()) < 0.02
        assert found.left_out == pytest.approx(found.nested)
        assert found.device.rate == pytest.approx(device.rate, rel=0.1)
        if device is PRIOR:
            assert found.device.logs() == pytest.approx(PRIOR.logs(), abs=1e-3)


def test_the_nested_check_chooses_the_form_that_made_the_figures(v100_csv: Path, published_csv: Path) -> None:
    v100 = read_v100(v100_csv)
    structures = published_structures(published_csv)[4:9]
    copying = Form(carry=0.0, copied_concats=True)
    works = [kernel_work(network_kernels(item.structure), v100) for item in structures]
    made = [replace(s, latency_ms=network_ms(w, PRIOR, copying)) for s, w in zip(structures, works)]
    found = calibrate(made, v100, (SHIPPED_FORM, copying))
    assert max(abs(error) for error in found.nested.values()) < 1e-3 < max(abs(e) for e in found.left_out.values())


def test_elided_concats_cost_nothing(v100_csv: Path) -> None:
    v100 = read_v100(v100_csv)
    concat, add = (
        Kernel.square("concat", 256, 256, 80),
        Kernel.square("add", 256, 256, 80, activation="any"),
    )
    elided = latency_ms(kernel_work([concat, add], v100), PRIOR, Form(copied_concats=False))
    copied = latency_ms(kernel_work([concat, add], v100), PRIOR, Form(copied_concats=True))
    assert elided[0] == 0
    assert copied[0] == pytest.approx(PRIOR.launch_ms + 2 * 2 * 256 * 6400 / PRIOR.bandwidth)
    assert elided[1] == copied[1]


def test_build_writes_a_table_that_prices_networks(v100_csv: Path, published_csv: Path, tmp_path: Path) -> None:
    calibration = build_t4_table(v100_csv, published_csv, tmp_path, date(2024, 1, 1), (SHIPPED_FORM,))
    table = read_table(tmp_path / "t4-tensorrt-fp16-b1.csv")
    assert len(table) == len(list(grid_kernels()))
    for item in published_structures(published_csv):
        found = predict(emit_detector(item.structure), table).total_ms
        assert found / item.latency_ms - 1 == pytest.approx(calibration.fitted[item.name], abs=0.03)


@pytest.mark.skipif("TINYNAS_TEST_DATA" not in os.environ, reason="needs TINYNAS_TEST_DATA")
def test_shipped_rows_come_from_the_public_measurements() -> None:
    v100 = read_v100(Path(os.environ["TINYNAS_TEST_DATA"]) / "v100_tensorrt_conv" / "conv.csv.gz")
    shipped = read_table(Path(__file__).parents[2] / "latency_tables" / "devices" / "t4-tensorrt-fp16-b1.csv")
    parameters = shipped.metadata.derived.parameters if shipped.metadata.derived else {}
    kernels = [kernel for kernel in grid_kernels() if kernel.kind == "conv"][::500]
    device = Device(
        parameters["launch_ms"], parameters["rate_macs_per_ms"], parameters["bandwidth_bytes_per_ms"],
        shipped.metadata.overhead_ms,
    )  # fmt: skip
    expected = latency_ms(kernel_work(kernels, v100), device)
    lines = Path(shipped.source).read_text().splitlines()
    for kernel, ms in zip(kernels, expected):
        key = f"conv,{kernel.in_channels},{kernel.out_channels},{kernel.kernel},{kernel.stride},{kernel.height},"
        found = [line for line in lines if line.startswith(key) and line.split(",")[8] == str(int(kernel.fused_add))]
        np.testing.assert_allclose(float(found[0].split(",")[9]), ms, rtol=1e-3)
