"""A model file's promises, kept and broken."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from detector.checkpoint import Checkpoint
from detector.data.sample import write_sample_data
from detector.export import ExportSettings, export_checkpoint
from tinynas.cli import main


@pytest.fixture(scope="module")
def model(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "m.onnx"
    export_checkpoint(tiny, path, "onnx", ExportSettings())
    return path


def checks(capsys: pytest.CaptureFixture[str]) -> tuple[bool, dict[str, bool]]:
    content = json.loads(capsys.readouterr().out)
    return content["kept"], {one["name"].split(",")[0].split(" on ")[0]: one["kept"] for one in content["checks"]}


@pytest.mark.parametrize(
    ("limits", "code", "broken"),
    [
        (["--budget", "10s", "--min-ap", "0"], 0, set()),
        (["--budget", "1us"], 1, {"latency"}),
        (["--min-ap", "0.99"], 1, {"AP"}),
        ([], 0, set()),
    ],
)
def test_exit_code_and_checks(
    limits: list[str], code: int, broken: set[str], model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(model), "--data", str(data), *limits, "--seconds", "0.1", "--json"]) == code
    kept, found = checks(capsys)
    assert kept == (code == 0)
    assert set(found) == {"golden picture", "latency", "AP"}
    assert {name for name, held in found.items() if not held} == broken


def test_a_changed_file_is_noticed(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = onnx.load(model)
    for weight in changed.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.ndim == 4:
            weight.CopyFrom(onnx.numpy_helper.from_array(values * values.dtype.type(1.3), weight.name))
    onnx.save(changed, tmp_path / "m.onnx")
    assert main(["verify", str(tmp_path / "m.onnx"), "--seconds", "0.1"]) == 1
    assert "no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--min-ap", "0.5"], "--min-ap needs --data"),
        (["--budget", "5ms", "--device", "t4"], "is not the machine that this runs on"),
        (["--budget", "5parsecs"], "5parsecs"),
        (["--data", "absent"], "absent"),
        (["--split", "test"], "--split does nothing without --data"),
        (["--device", "nonsense"], "nonsense"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(model), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_data_of_other_classes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample_data(tmp_path / "data", 1, 2, (64, 96))
    assert main(["verify", str(model), "--data", str(tmp_path / "data")]) == 2
    assert "class" in capsys.readouterr().err


def test_a_foreign_file(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(foreign)]) == 2
    assert "not an export of this project" in capsys.readouterr().err
