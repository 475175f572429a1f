"""`tinynas predict` on videos and in tiles, from every kind of model file."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detector.detector import Detector
from tests.detector.deploy.conftest import NAMES, picture
from tests.detector.deploy.test_predict import KINDS
from tests.detector.prediction.clips import clip
from tinynas.cli import main

CROWD = ("--score-threshold", "0.1")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("video") / "clip.mp4", 7)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_video(kind: str, models: dict[str, Path], video: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(models[kind]), str(video), "--out", str(out), *CROWD]) == 0
    printed = capsys.readouterr().out
    found = lines(out / "detections.jsonl")
    assert [entry["frame"] for entry in found] == list(range(7))
    assert f"{sum(len(entry['detections']) for entry in found)} detections in 7 images and frames" in printed
    capture, detector = cv2.VideoCapture(str(video)), Detector.load(models[kind])
    for entry in found:
        expected = detector.predict(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB), score_threshold=0.1)
        assert [row["name"] for row in entry["detections"]] == list(expected.names)
        boxes = [row["box_xyxy"] for row in entry["detections"]]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), expected.boxes_xyxy, atol=0.02)
    assert any(entry["detections"] for entry in found)
    assert cv2.VideoCapture(str(out / "clip.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 7


@pytest.mark.parametrize("kind", ["onnx-nms", "openvino-raw"])
def test_a_video_through_an_export_imports_no_torch(
    kind: str, models: dict[str, Path], video: Path, tmp_path: Path
) -> None:
    arguments = ["predict", str(models[kind]), str(video), "--tile", "--out", str(tmp_path / "out"), "--format", "coco"]
    code = (
        f"import sys; from tinynas.cli import main; code = main({arguments!r});"
        "print([name for name in ('torch', 'matplotlib', 'onnx') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_list_on_standard_input(
    models: dict[str, Path], video: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{video}\n{pictures / 'a/one.jpg'}\n"))
    assert main(["predict", str(models["onnx-nms"]), "-", "--out", str(tmp_path / "out"), "--every", "3"]) == 0
    found = lines(tmp_path / "out/detections.jsonl")
    assert [entry.get("frame") for entry in found] == [0, 3, 6, None]
    assert all((tmp_path / "out" / entry["image"]).is_file() for entry in found)


def test_a_threshold_for_a_class(models: dict[str, Path], pictures: Path, tmp_path: Path, capsys: Any) -> None:
    def scores(out: str, *more: str) -> dict[str, list[float]]:
        arguments = ["predict", str(models["onnx-raw"]), str(pictures / "a"), "--out", str(tmp_path / out), "--no-draw"]
        assert main([*arguments, *more]) == 0
        (entry,) = json.loads((tmp_path / out / "detections.json").read_text())["images"]
        return {name: [row["score"] for row in entry["detections"] if row["name"] == name] for name in NAMES}

    low, mixed = scores("low", "--score-threshold", "0.05"), scores("mixed", "--class-threshold", "cell=0.05")
    assert mixed["cell"] == low["cell"]
    assert min(low["cell"]) < 0.3
    for name in NAMES[1:]:
        assert mixed[name] == [score for score in low[name] if score > 0.3]
    assert [path.name for path in (tmp_path / "low").iterdir()] == ["detections.json"]
    base = ["predict", str(models["onnx-nms"]), str(pictures / "a"), "--out", str(tmp_path / "x")]
    for more, message in (
        (["--class-threshold", "cel=0.5"], "did you mean cell"), (["--class-threshold", "cell"], "expected NAME=SCORE"),
        (["--class-threshold", "cell=0.001"], "NMS is built in"), (["--format", "cvs"], "did you mean csv"),
        (["--tile", "7"], "--tile 7: expected the side of a tile"), (["--every", "0"], "greater than or equal to 1"),
        (["--crops", str(pictures)], "choose another --crops"),
    ):  # fmt: skip
        capsys.readouterr()
        assert main([*base, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("tile", [["--tile"], ["--tile", "96"], ["--tile", "auto"], ["--tile=80"]])
def test_tiles(tile: list[str], models: dict[str, Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), picture(5, 200, 300))
    arguments = ["predict", str(models["onnx-raw"]), *tile, str(tmp_path / "large.png"), "--out", str(tmp_path / "out")]
    assert main([*arguments, *CROWD]) == 0
    (entry,) = json.loads((tmp_path / "out/detections.json").read_text())["images"]
    (whole,) = Detector.load(models["onnx-raw"]).with_thresholds(score=0.1).detect([picture(5, 200, 300)])
    assert len(entry["detections"]) > len(whole)
    boxes = np.array([row["box_xyxy"] for row in entry["detections"]])
    assert (boxes >= 0).all()
    assert (boxes <= [300, 200] * 2).all()


def test_no_screen(
    models: dict[str, Path], video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["predict", str(models["onnx-raw"]), str(video), "--out", str(tmp_path / "out"), "--show"]) == 2
    assert "there is no screen here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_what_was_done(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from detector.prediction.outputs import _drawn

    write, calls = _drawn.Writer.write, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(_drawn.Writer, "write", interrupted)
    video = clip(tmp_path / "long.mp4", 40)
    assert main(["predict", str(models["onnx-raw"]), str(video), "--out", str(tmp_path / "out")]) == 130
    printed = capsys.readouterr()
    assert "in 4 images and frames until it was stopped; wrote" in printed.out
    assert "interrupted" in printed.err
    assert len(lines(tmp_path / "out/detections.jsonl")) == 4
    assert sorted(os.listdir(tmp_path / "out")) == ["detections.jsonl", "long.mp4"]
