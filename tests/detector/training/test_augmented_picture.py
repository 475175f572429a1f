"""The picture of what training will see, and the script that makes it without training."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.drawing import CAPTION_PX
from detector.training.record.augmented_picture import COLUMNS, TILE_PX, write_augmented_picture
from detector.training.settings.config import validate

SCRIPT = Path(__file__).parents[3] / "scripts" / "augmented_samples.py"


def test_one_row_per_phase(sample: Path, tmp_path: Path) -> None:
    train, _ = load_split(sample, "train")
    config = validate({"epochs": 10, "augment": {"sada": 1.0}})
    data = DetectionDataset(train, (64, 96), config.augment)
    write_augmented_picture(data, config, tmp_path / "augmented.jpg")
    picture = cv2.imread(str(tmp_path / "augmented.jpg"))
    height = round(TILE_PX * 64 / 96)
    assert picture.shape == (3 * (height + CAPTION_PX), COLUMNS * TILE_PX, 3)
    rows = [picture[row * (height + CAPTION_PX) + CAPTION_PX :][:height] for row in range(3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(rows[one].astype(int) - rows[other]).mean() > 5
    write_augmented_picture(data, config, tmp_path / "again.jpg")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "again.jpg")), picture)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.jpg", "augmented.jpg"]


def test_a_single_epoch_and_no_data(sample: Path, tmp_path: Path) -> None:
    train, _ = load_split(sample, "train")
    config = validate({"epochs": 1})
    write_augmented_picture(
        DetectionDataset(train.subset([0, 1]), (64, 64), config.augment), config, tmp_path / "a.jpg"
    )
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == (TILE_PX + CAPTION_PX, 2 * TILE_PX, 3)
    write_augmented_picture(DetectionDataset(train.subset([]), (64, 64), config.augment), config, tmp_path / "b.jpg")
    assert not (tmp_path / "b.jpg").exists()


def test_the_script(
    sample: Path, tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(SCRIPT))["main"]
    arguments = [str(SCRIPT), str(tiny_file), str(sample), str(tmp_path / "s.jpg"), "--set", "augment.sada=1"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 0
    assert cv2.imread(str(tmp_path / "s.jpg")) is not None
    assert main() == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1
