"""Model files timed against one another."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.deploy import load_model
from detector.detector import Detector
from latency_tables import find_table, predict
from search_spaces.emit import emit_detector
from search_spaces.text import format_structure, resolve_structure
from tinynas.bench.comparison import predicted_ms
from tinynas.bench.contestants import Setting
from tinynas.bench.memory import peak_memory_mb
from tinynas.bench.timing import Timing, images_per_second, interleaved
from tinynas.cli import main


def test_a_timing_tells_the_first_from_the_last_part() -> None:
    began = np.arange(400) * 1.0
    took = np.where(began <= 200, 10.0, 20.0)
    took[5] = 100.0
    found = Timing.of(np.stack([began, took], axis=1))
    assert (found.first_ms, found.last_ms, found.runs) == (10, 20, 400)
    assert found.median_ms == 15
    assert found.p99_ms == 20
    hours = Timing.of(np.stack([began * 60, took], axis=1))
    assert (hours.first_ms, hours.last_ms) == (10, 20)


def test_models_take_turns() -> None:
    order: list[str] = []
    found = interleaved([lambda: order.append("a"), lambda: order.append("b")], threads=1, seconds=0)
    assert [one.runs for one in found] == [40, 40]
    text = "".join(order).removeprefix("aaabbb")
    assert text == ("a" * 5 + "b" * 5) * 10


def test_throughput_is_of_all_copies_together() -> None:
    def rest() -> None:
        time.sleep(0.01)

    one, two = (images_per_second([rest] * copies, 3, 0.5) for copies in (1, 2))
    assert 100 < one <= 300
    assert 1.5 < two / one < 2.5


def test_bench(
    models: dict[str, Path], foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    shot = tmp_path / "new" / "b.png"
    files = [str(models[kind]) for kind in ("openvino-nms", "onnx-raw")]
    command = ["bench", *files, "--against", str(foreign), "--batch", "2", "--image-size", "64", "--seconds", "0.1"]
    assert main([*command, "--json", "--picture", str(shot)]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [Path(row["name"]).name for row in rows] == ["nms.xml", "raw.onnx", "other.onnx"]
    for row in rows:
        model = row["model"]
        assert 0 < model["median_ms"] <= model["p90_ms"] <= model["p99_ms"]
        assert model["runs"] >= 40
        assert row["ratio"] == pytest.approx(model["median_ms"] / rows[2]["model"]["median_ms"])
        assert row["memory_mb"] > 20
        assert (row["whole"] is None) == (row["name"] == str(foreign))
    assert rows[0]["file_mb"] > 0.1
    picture = cv2.imread(str(shot))
    assert picture is not None
    assert picture.std() > 5
    assert main([*command, "--picture", str(shot)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(command) == 0
    assert "nms.xml" in capsys.readouterr().out


def test_memory_is_the_models_own(models: dict[str, Path]) -> None:
    """Not that of the process which asks: Linux would count it in."""
    held = np.ones(400_000_000 // 8)
    found = peak_memory_mb(models["onnx-raw"], Setting(batch=2))
    assert 20 < found < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - 200
    assert held.size


def test_predicted_beside_measured(models: dict[str, Path]) -> None:
    model = load_model(models["pt"])
    structure = resolve_structure("Ns").with_image_size(320, 320)
    card = replace(model.card, structure=format_structure(structure), image_size=(416, 416))
    table = find_table("t4")
    expected = predict(emit_detector(resolve_structure("Ns").with_image_size(416, 416)), table).total_ms
    assert predicted_ms(Detector(replace(model, card=card)), table) == pytest.approx(float(expected))
    assert predicted_ms(None, table) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.onnx"], "absent.onnx: no such file"),
        (["MODEL", "--batch", "3"], "takes 2 images at once"),
        (["MODEL", "--onnx-runtime", "tvm"], "expected onnxruntime or openvino"),
        (["FOREIGN", "--image-size", "100"], "not a multiple of 32"),
        (["junk.onnx"], "junk.onnx: not an ONNX model"),
        (["absent.onnx", "--picture", "new/x.png"], "absent.onnx: no such file"),
        (["MODEL", "--split", "test"], "--split does nothing without --data"),
        (["MODEL", "--no-measure"], "--no-measure does nothing without --device"),
    ],
)
def test_bad_arguments(
    arguments: list[str], message: str, models: dict[str, Path], foreign: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    places = {"MODEL": str(models["onnx-raw"]), "FOREIGN": str(foreign)}
    assert main(["bench", *(places.get(one, one) for one in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_openvino_runs_own_onnx_files_as_such(
    models: dict[str, Path], foreign: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With all that the file says of itself; of a foreign one, a note tells what there cannot be."""
    own, options = str(models["onnx-raw"]), ["--batch", "2", "--seconds", "0.1", "--data", str(data), "--json"]
    found = []
    for more in ([], [str(foreign), "--onnx-runtime", "openvino"]):
        assert main(["bench", own, *more, *options]) == 0
        shown = capsys.readouterr()
        found.append(json.loads(shown.out)["models"])
        assert (f"so without AP and prediction: {foreign}" in shown.err) is bool(more)
    (usual,), (row, other) = found
    assert row["precision"] == usual["precision"] != "?"
    assert row["ap"] == pytest.approx(usual["ap"], abs=1e-3)
    assert row["whole"] is not None
    assert (other["ap"], other["whole"]) == (None, None)
