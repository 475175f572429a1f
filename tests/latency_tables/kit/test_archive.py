"""What is in a kit: models that run, weights that do not distort, kernels in an order that makes sense."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from latency_tables.completion import expected_error, fit
from latency_tables.fusion import fusion_rules
from latency_tables.kernels import Kernel
from latency_tables.kit import weights
from latency_tables.kit.plan import estimate_from, ordered, planned
from latency_tables.kit.weights import KitWriter, SharedWeights
from latency_tables.reach import reach
from latency_tables.registry import find_table
from latency_tables.runtimes._models import write_batch
from latency_tables.tables import Row, row_key
from search_spaces.errors import UserError
from tests.latency_tables.fake_runtime import fake_ms
from tests.latency_tables.kit.conftest import small_request
from tests.latency_tables.profile_fake import graphs
from tinynas.kit import make_kit

GRIDS = reach(graphs(), fusion_rules("openvino"))


def test_all_that_is_needed_is_in_the_archive(archive: Path, unpacked: Path) -> None:
    assert archive.stat().st_size < 40e6
    kit = json.loads((unpacked / "kit.json").read_text())
    names = {item.relative_to(unpacked).as_posix() for item in unpacked.rglob("*") if item.is_file()}
    models = [kit["reference"], *kit["weights"], *(item["file"] for item in [*kit["models"], *kit["detectors"]])]
    assert names == {"kit.json", "measure.py", "commands.sh", *(f"models/{name}" for name in models)}
    kernels = [tuple(kernel) for model in kit["models"] for kernel in model["kernels"]]
    assert len(kernels) == len(set(kernels)) == kit["kernels"] > 50
    assert sorted(index for group in kit["groups"] for index in group) == list(range(len(kit["models"])))
    assert len(kit["detectors"]) == len(kit["header"]["detectors"]) == 8
    with zipfile.ZipFile(archive) as file:
        assert file.getinfo("tinynas_kit_openvino/measure.py").external_attr >> 16 & 0o111


def test_the_same_kit_is_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    make_kit(again, small_request())
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(archive.read_bytes()).digest()


def test_another_kit_has_another_id(unpacked: Path, tmp_path: Path) -> None:
    header = json.loads((unpacked / "kit.json").read_text())["header"]
    make_kit(tmp_path / "kit.zip", small_request(precision="bf16"))
    with zipfile.ZipFile(tmp_path / "kit.zip") as file:
        other = json.loads(file.read("tinynas_kit_openvino/kit.json"))["header"]
    assert header["id"] != other["id"]


@pytest.mark.parametrize("apart", [False, True])
def test_models_with_shared_weights_run_and_stay_in_range(apart: bool, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    shared = SharedWeights()
    kernels = [
        Kernel.square("conv", 64, 64, 8, kernel=3, activation="relu"),
        Kernel.square("conv", 256, 64, 8),
        Kernel.square("depthwise", 24, 24, 8, kernel=5),
    ]
    (tmp_path / "model.onnx").write_bytes(write_batch(kernels, KitWriter(shared, bias_apart=apart)).SerializeToString())
    for name, data in shared.files().items():
        (tmp_path / name).write_bytes(data)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((1, 3, 8, 8), dtype=np.float32)
    for found in session.run(None, {"images": image}):
        assert 0.01 < np.abs(found).mean() < 100
        assert np.isfinite(found).all()


def test_weights_are_no_zeros_and_no_denormals() -> None:
    shared = SharedWeights()
    shared.slice(weights.SECTION, 9)
    shared.slice(4096, 4608)
    shared.slice(4096, None)
    for name, data in shared.files().items():
        values = np.frombuffer(data, "<f4")
        assert np.isfinite(values).all()
        assert np.abs(values).min() > 1e-5, name
        # as spread out as what the profiler uses: the same order of size, both signs, few of them twice
        assert 0.4 < (values > 0).mean() < 0.6
        assert len(np.unique(values)) > 200


def test_convs_of_one_network_have_weights_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SECTION", 2**22)
    shared = SharedWeights()
    size = 4 * 512 * 512 * 9  # more than a section
    large = [shared.slice(size, 4608) for _ in range(40)]
    small = [shared.slice(4 * 64 * 9, 9) for _ in range(4000)]
    assert len(set(large)) == len(large)
    assert all(len(set(small[start : start + 500])) == 500 for start in range(0, 3500, 100))
    places = large + small
    files = shared.files()
    assert all(
        start + (size if name == "weights16384.bin" else 4 * 64 * 9) <= len(files[name]) for name, start in places
    )
    assert sum(map(len, files.values())) < size + 41 * 4096 + weights.SECTION + 4096


def test_kernels_come_first_that_improve_the_table_most() -> None:
    rounds = planned(GRIDS, fake_ms)
    chosen = [kernel for kernels in rounds for kernel in kernels]
    assert len(set(chosen)) == len(chosen)

    def error_after(kernels: list[Kernel]) -> float:
        rows = {row_key(kernel): Row(kernel, fake_ms(kernel)) for kernel in kernels}
        return expected_error([fit(grid, rows) for grid in GRIDS])

    number = len(chosen) // 2
    rng = np.random.default_rng(0)
    everything = [kernel for grid in GRIDS for kernel in grid.kernels]
    at_random = [everything[index] for index in rng.permutation(len(everything))[:number]]
    assert error_after(chosen[:number]) < 0.8 * error_after(at_random)
    assert len(planned(GRIDS, fake_ms, most=100)[-1]) <= 100


def test_no_grid_that_matters_waits_for_the_end_of_its_round() -> None:
    kernels = planned(GRIDS, fake_ms)[0]
    batches = [kernels[start : start + 4] for start in range(0, len(kernels), 4)]
    found = ordered(batches, GRIDS, fake_ms)
    assert sorted(map(repr, found)) == sorted(map(repr, batches))
    grid_of = {row_key(kernel): index for index, grid in enumerate(GRIDS) for kernel in grid.kernels}
    carried = Counter[int]()
    for index, grid in enumerate(GRIDS):
        carried[index] = sum(float(visits) * fake_ms(kernel) for kernel, visits in zip(grid.kernels, grid.visits))
    first = {grid_of[row_key(kernel)] for batch in found[: len(found) // 2] for kernel in batch}
    assert sum(carried[index] for index in first) > 0.85 * sum(carried.values())


def test_estimates_come_from_a_table_and_from_bytes_where_it_has_none() -> None:
    table = find_table("t4-tensorrt-fp16-b1")
    estimate = estimate_from(table)
    known = Kernel.square("conv", 64, 64, 40, kernel=3, activation="any")
    assert 1e-3 < estimate(known) < 1
    unknown = Kernel.square("conv", 64, 64, 40, kernel=7, stride=3, activation="any")
    assert 1e-3 < estimate(unknown) < 1
    assert estimate_from(None)(known) > 0


@pytest.mark.parametrize(
    ("name", "request_changes", "message"),
    [
        ("kit.tar", {}, "a name that ends in .zip expected"),
        ("there.zip", {}, "exists already; give another name or remove it"),
        ("kit.zip", {"runtime": "torch"}, "no kits for runtime 'torch'"),
        ("kit.zip", {"precision": "int8"}, "kits hold no quantised models; take --precision fp32"),
        ("kit.zip", {"precision": "fp16"}, "runtime openvino measures fp32, bf16, int8 here"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(
    name: str, request_changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "there.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match=message):
        make_kit(tmp_path / name, small_request(**request_changes))
    assert [path.name for path in tmp_path.iterdir()] == ["there.zip"]
    assert (tmp_path / "there.zip").read_bytes() == b"mine"


def test_nothing_is_left_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(UserError, match="No space left on device"):
        make_kit(tmp_path / "kit.zip", small_request())
    assert list(tmp_path.iterdir()) == []
