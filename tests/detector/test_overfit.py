"""The overfit check passes on a sound chain, and fails when training and evaluation see different boxes or classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.dataset import DetectionDataset, Sample
from detector.data.sample import write_sample_data
from detector.evaluation import Metrics
from detector.overfit.advice import advice, best_possible_ap50
from detector.overfit.images import choose_images, load_few, narrow_boxes
from detector.overfit.training import OverfitResult, Reading, overfit, overfit_run, settings
from detector.training.settings.config import build_config
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.structure import Structure
from search_spaces.text import format_structure
from tests.detector.tiny_structures import tiny_mob
from tinynas.cli import main

SIDE, STEPS = 96, 200


def _small() -> Structure:
    """A mob detector of some 56,000 parameters."""
    rows = [(16, 16, 32, 2), (16, 16, 32, 2), (16, 32, 64, 2), (32, 32, 64, 1), (32, 32, 64, 2)]
    return tiny_mob(rows, (SIDE, SIDE), kernel=3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overfit") / "data"
    write_sample_data(folder, images_train=24, images_val=1, size=(SIDE, SIDE))
    return folder


def _result(data: Path, folder: Path, steps: int = STEPS) -> OverfitResult:
    few = load_few(data, 8, 0, (SIDE, SIDE), lambda _: None)
    direct = {"device": "cpu", "amp": "off", "optimizer": {"learning_rate_per_image": 2.5e-3}}
    config = build_config(settings(8, steps), direct=direct)
    return overfit(overfit_run(_small(), few, str(data), config, folder, lambda _: None))


def test_a_sound_chain_passes(pictures: Path, tmp_path: Path) -> None:
    result = _result(pictures, tmp_path)
    assert result.passed, result.last
    assert result.last.metrics.ap50 > 0.95
    assert result.last.loss < result.highest_loss / 2
    assert [reading.step for reading in result.readings] == list(range(10, result.last.step + 1, 10))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "momentum"), [(8, 1.0), (16, 0.5)])
def test_running_statistics_are_those_of_the_latest_epoch(
    number: int, momentum: float, pictures: Path, tmp_path: Path
) -> None:
    few = load_few(pictures, number, 0, (SIDE, SIDE), silent)
    config = build_config(settings(number, 30), direct={"device": "cpu", "amp": "off"})
    run = overfit_run(_small(), few, str(pictures), config, tmp_path, silent)
    assert {
        round(n.momentum or 0.0, 9) for n in run.stepper.network.modules() if isinstance(n, torch.nn.BatchNorm2d)
    } == {momentum}


def _classes_shifted(sample: Sample) -> Sample:
    return dataclasses.replace(sample, labels=(sample.labels + 1) % 3)


def _axes_swapped(sample: Sample) -> Sample:
    return dataclasses.replace(sample, boxes_xyxy=sample.boxes_xyxy[:, [1, 0, 3, 2]])


@pytest.mark.parametrize("mistake", [_classes_shifted, _axes_swapped])
def test_a_mistake_in_the_loader_fails(
    mistake: Callable[[Sample], Sample], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = DetectionDataset.__getitem__
    monkeypatch.setattr(DetectionDataset, "__getitem__", lambda self, index: mistake(sound(self, index)))
    result = _result(pictures, tmp_path, steps=80)
    assert not result.passed
    assert result.last.metrics.ap50 < 0.3
    few = load_few(pictures, 8, 0, (SIDE, SIDE), lambda _: None)
    assert "what is learnt is not what is evaluated" in advice(result, few, (SIDE, SIDE), 0.65, 500)[0]


def _annotations(boxes: list[list[tuple[int, tuple[float, float, float, float]]]], classes: int = 3) -> Annotations:
    """One image of 100 x 100 px per list of (label, box)."""
    rows = [(image, label, box) for image, found in enumerate(boxes) for label, box in found]
    raw = RawBoxes(
        image=np.array([row[0] for row in rows], dtype=np.int64),
        boxes_xyxy=np.array([row[2] for row in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([row[1] for row in rows], dtype=np.int64),
        ignore=np.zeros(len(rows), dtype=np.bool_),
    )
    paths = [Path(f"{image}.jpg") for image in range(len(boxes))]
    names = [f"class {label}" for label in range(classes)]
    return pack("made up", names, paths, np.full((len(boxes), 2), 100, dtype=np.int32), raw)[0]


BOX = (10.0, 10.0, 40.0, 40.0)


@pytest.mark.parametrize("seed", range(5))
def test_chosen_images_show_every_class(seed: int) -> None:
    images = _annotations([[(0, BOX)] * 3] * 20 + [[]] * 5 + [[(1, BOX)], [(2, BOX), (0, BOX)]])
    chosen = choose_images(images, 4, seed, (100, 100))
    assert len(set(chosen.tolist())) == 4
    assert set(chosen.tolist()) >= {25, 26}
    assert not set(chosen.tolist()) & set(range(20, 25))
    assert chosen.tolist() == choose_images(images, 4, seed, (100, 100)).tolist()
    with pytest.raises(UserError, match=r"22 of the 27 training images have boxes to learn, 23 asked for"):
        choose_images(images, 23, seed, (100, 100))


def test_images_with_narrow_boxes_come_last() -> None:
    narrow = (10.0, 10.0, 17.0, 40.0)
    images = _annotations([[(0, BOX), (1, narrow)]] * 4 + [[(0, BOX)]] * 3)
    assert set(choose_images(images, 3, 0, (100, 100)).tolist()) == {4, 5, 6}
    assert set(choose_images(images, 4, 0, (100, 100)).tolist()) & {0, 1, 2, 3}, "three are too few"
    assert choose_images(images, 3, 0, (200, 200))[0] < 4, "both classes, which are wide enough at this size"


def test_a_small_data_set_is_taken_whole(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", images_train=4, images_val=1, size=(SIDE, SIDE))
    with_boxes = len(load_few(tmp_path / "data", None, 0, (SIDE, SIDE), lambda _: None))
    assert 1 <= with_boxes <= 4
    with pytest.raises(UserError, match=r"8 asked for; expected at most"):
        load_few(tmp_path / "data", 8, 0, (SIDE, SIDE), lambda _: None)


def test_what_no_training_can_reach() -> None:
    sound = _annotations([[(0, BOX), (1, BOX)], [(2, (50.0, 50.0, 60.0, 57.0))]])
    assert best_possible_ap50(sound, 0.65, 500) == pytest.approx(1.0)
    assert narrow_boxes(sound, (100, 100)).tolist() == [False, False, True]
    assert not narrow_boxes(sound, (200, 200)).any()
    doubled = _annotations([[(0, BOX), (0, (10.0, 10.0, 40.0, 41.0))]], classes=1)
    assert best_possible_ap50(doubled, 0.65, 500) == pytest.approx(51 / 101)


def _check(step: int, loss: float, ap50: float, classes: dict[str, float]) -> Reading:
    rest = dict.fromkeys(("ap", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100", "ar_small",
                          "ar_medium", "ar_large"), 0.0)  # fmt: skip
    return Reading(step, loss, Metrics(ap50=ap50, class_ap=classes, class_ap50=classes, **rest))


def test_advice_fits_what_was_seen() -> None:
    images = _annotations([[(0, BOX), (1, BOX)], [(2, (50.0, 50.0, 60.0, 57.0))]])
    half = {"class 0": 1.0, "class 1": 0.0, "class 2": 1.0}

    def said(*readings: Reading, highest: float = 2.0) -> str:
        return "\n".join(advice(OverfitResult(readings, highest, 1.0), images, (100, 100), 0.65, 500))

    stuck = [_check(10 * k, 1.9, 0.0, dict.fromkeys(half, 0.0)) for k in range(1, 9)]
    assert "the loss hardly fell (highest 2, last 1.9)" in said(*stuck)
    rising = [_check(10 * k, 0.2, 0.08 * k, half) for k in range(1, 9)]
    assert "give it --steps 160" in said(*rising)
    assert "AP50 is 0 for class 1 (1 boxes)" in said(*rising)
    assert "1 of 3 boxes have a side under 8 px at 100x100" in said(*rising)
    assert "twice" not in said(*rising)
    slowing = [_check(10 * k, 0.2, ap50, half) for k, ap50 in enumerate((0.5, 0.6, 0.741, 0.84, 0.881), 1)]
    assert "give it --steps 100" in said(*slowing)


def test_command(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.txt").write_text(format_structure(_small()))
    threads = torch.get_num_threads()
    call = ["overfit", "small.txt", "--data", str(pictures), "--images", "9", "--steps", "12", "--device", "cpu"]
    assert main(call) == 1
    torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "9 of 24 training images, seed 0: train_000" in said
    assert "batch 5, 6 epochs of 2 steps" in said
    assert "failed: AP50" in said
    assert "\n  - " in said
    assert [str(path) for path in Path("runs").rglob("*.*")] == ["runs/small-overfit/overfit.jpg"]
    assert main(call) == 2
    assert "exists already; choose another --out or say --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--images", "25"], "25 asked for; expected at most"),
        (["--image-size", "100"], "multiple of 32"),
        (["--set", "epoch=1"], "epochs"),
        (["--device", "tpu"], "expected auto, cpu, cuda"),
        (["--data", "nowhere"], "no such folder or file"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], expected: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["overfit", "Ns", "--data", str(pictures), *options]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
