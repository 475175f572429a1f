"""Training, evaluation and the checkpoint at an input that is not square, on pictures of another shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detector.checkpoint import load_checkpoint
from detector.data.sample import write_sample_data
from tinynas.cli import main


def test_training_and_evaluation_that_are_not_square(
    tmp_path: Path, tiny_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detector.network.CLASS_PRIOR", 0.3)  # boxes are found before anything is learnt
    data, run = str(tmp_path / "d"), tmp_path / "run"
    write_sample_data(Path(data), 6, 3, (96, 64), format="yolo")
    options = ["--image-size", "320x416", "--epochs", "1", "--batch-size", "3", "--device", "cpu", "--out", str(run)]
    assert main(["train", str(tiny_file), "--data", data, *options]) == 0
    assert main(["eval", str(run / "best.pt"), "--data", f"{data}/data.yaml", "--json"]) == 0
    printed = capsys.readouterr().out
    trained = load_checkpoint(run / "best.pt").metrics
    found = json.loads(printed[printed.index("{\n") :])
    assert {name: found[name] for name in ("ap", "ar_100")} == pytest.approx(
        {name: trained[name] for name in ("ap", "ar_100")}, abs=1e-6
    )
    assert trained["ar_100"] > 0
    assert "[320, 416]" in (run / "structure.txt").read_text()
