"""What training refuses before work starts, in one line and without a folder; and Ctrl-C while it works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detector.checkpoint import load_checkpoint
from detector.training import start
from detector.training.start import load_splits
from search_spaces.errors import UserError
from search_spaces.saying import silent
from tinynas.cli import main

Change = Callable[[dict[str, Any]], object]
QUICK = ("--epochs", "1", "--batch-size", "4", "--set", "workers=0", "--device", "cpu")


def _copy(sample: Path, folder: Path, split: str = "train", change: Change | None = None) -> Path:
    shutil.copytree(sample, folder)
    if change is not None:
        path = folder / "annotations" / f"instances_{split}.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return folder


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command is refused with."""
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_cut_picture_is_found_before_the_first_step(
    split: str, tiny_file: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = _copy(sample, tmp_path / "data")
    _cut(data / "images" / split / f"{split}_00001.jpg")
    error = _refused(["train", str(tiny_file), "--data", str(data), "--out", str(tmp_path / "r"), *QUICK], capsys)
    assert f"{split}_00001.jpg: the image file is cut short" in error
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("split", "change", "expected"),
    [
        ("train", lambda d: d.update(annotations=[]), "training split has 10 images but not one box, nothing can be"),
        (
            "train",
            lambda d: [box.update(bbox=[0.1, 0.1, 0.5, 0.5]) for box in d["annotations"]],
            r"dropped, with less than",
        ),
        ("val", lambda d: d.update(annotations=[]), "validation split has 4 images but not one box, no epoch"),
        ("train", lambda d: [box.update(iscrowd=1) for box in d["annotations"]], "not one box .* crowd or difficult"),
        ("train", lambda d: d.update(images=[], annotations=[]), "no images"),
        ("train", lambda d: d.update(categories=d["categories"][1:]), "category_id 1, which 'categories' lacks"),
        ("val", lambda d: d["categories"][0].update(name="disk"), "class 'disk' is not among .*did you mean disc"),
        ("train", lambda d: d["images"][0].update(width=96), "the image is 64x64 but its annotations say 96x64"),
    ],
)
def test_unsound_data(split: str, change: Change, expected: str, sample: Path, tmp_path: Path) -> None:
    data = _copy(sample, tmp_path / "data", split, change)
    with pytest.raises(UserError, match=expected):
        load_splits(data, silent)


def test_boxes_that_change_are_reported(sample: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        boxes = ([-10, -10, 200, 200], [500, 500, 10, 10], [5, 5, 0, 10])
        for entry, box in zip(document["annotations"], boxes):
            entry["bbox"] = box

    said: list[str] = []
    load_splits(_copy(sample, tmp_path / "data", "train", change), said.append)
    assert "1 boxes clipped at the border, 2 dropped (under 1 px)" in said[0]


def test_weights_of_another_model(
    tiny_file: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(sample), *QUICK]
    assert main(["train", str(tiny_file), "--out", str(tmp_path / "a"), *data]) == 0
    best = tmp_path / "a" / "best.pt"
    error = _refused(["train", "S", "--weights", str(best), "--out", str(tmp_path / "b"), *data], capsys)
    assert "nothing in it fits this structure (backbone: its blocks are mob, here res" in error
    assert not (tmp_path / "b").exists()
    shutil.copy(best, tmp_path / "a" / "last.pt")
    assert "holds no training state" in _refused(["train", "--resume", str(tmp_path / "a")], capsys)


def test_stopped_before_its_first_save_a_run_offers_no_other_ones(
    tiny_file: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last.pt in the folder is that of the run which it would have replaced."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "last.pt").write_bytes(b"an earlier run's")
    monkeypatch.setattr(start, "load_checkpoint", stopped)
    command = ["train", str(tiny_file), "--data", str(sample), "--out", str(tmp_path / "r"), "--overwrite", *QUICK]
    assert main([*command, "--weights", str(tiny_file)]) == 130
    assert "Go on with" not in capsys.readouterr().out


def test_run_folders_that_cannot_be(
    tiny_file: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = ["train", str(tiny_file), "--data", str(sample), *QUICK]
    (tmp_path / "file").write_text("x")
    assert "is a file, expected a folder" in _refused([*begin, "--out", str(tmp_path / "file" / "r")], capsys)
    monkeypatch.setattr(os, "access", lambda _, mode, **__: not mode & os.W_OK)
    assert "is read-only" in _refused([*begin, "--out", str(tmp_path / "r")], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("workers", "number", "code"), [(0, signal.SIGINT, 130), (1, signal.SIGINT, 130), (1, signal.SIGTERM, 143)]
)
def test_ctrl_c_keeps_the_last_epoch(
    workers: int, number: signal.Signals, code: int, tiny_file: Path, sample: Path, tmp_path: Path
) -> None:
    out, root = tmp_path / "r", str(Path(__file__).parents[3])
    command = [
        sys.executable, "-m", "tinynas", "train", str(tiny_file), "--data", str(sample), "--out", str(out),
        "--device", "cpu", "--epochs", "5000", "--batch-size", "4", "--set", f"workers={workers}", "--set", "amp=off",
        "--set", "checkpoint_minutes=0",
    ]  # fmt: skip
    # a group of its own: a terminal's Ctrl-C reaches the loader's workers too, as a job's end does
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
    )  # fmt: skip
    log, deadline = out / "metrics.jsonl", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        # last.pt follows the log's row
        if log.is_file() and log.read_text().count("\n") >= 2:
            break
        time.sleep(0.05)
    os.killpg(process.pid, number)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == code, errors[-2000:]
    assert "Traceback" not in errors
    assert f"tinynas train --resume {out}" in said
    assert load_checkpoint(out / "last.pt").training["epoch"] >= 1
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
