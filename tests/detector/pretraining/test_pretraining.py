"""Pre-training: what it draws, that it learns, that nothing is lost, and what training takes from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detector.checkpoint import load_checkpoint
from detector.data.sample import write_sample_data
from detector.prediction.sources import find_pictures
from detector.pretraining import run as pretraining_run
from detector.pretraining import start
from detector.pretraining.pictures import Crops, Pictures, _crop
from search_spaces.errors import UserError
from search_spaces.text import format_structure
from tests.detector.tiny_structures import tiny_res
from tinynas.cli import main

SIZE = (64, 96)


class Averages(nn.Module):
    """A teacher: means and contrasts of the image's patches at strides 8, 16 and 32, 4 channels each."""

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = []
        for stride in (8, 16, 32):
            mean = nn.functional.avg_pool2d(images, stride)
            square = nn.functional.avg_pool2d(images.mean(1, keepdim=True) ** 2, stride)
            maps.append(torch.cat([mean, square.sqrt()], 1))
        return maps


def averages() -> nn.Module:
    return Averages()


class Weighted(Averages):
    """Another teacher by its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def weighted() -> nn.Module:
    return Weighted()


def with_argument(name: str) -> nn.Module:
    raise AssertionError(name)


TEACHER = f"{__name__}:averages"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(8, 8, 8, 2), (8, 12, 8, 2), (12, 16, 12, 2), (16, 16, 12, 1), (16, 16, 12, 2)]
    structure = tiny_res(rows, SIZE)
    path = tmp_path_factory.mktemp("student") / "student.txt"
    path.write_text(format_structure(structure))
    return path


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(folder, images_train=10, images_val=4, size=(96, 128))
    return folder


def call(student: Path, sample: Path, out: Path, *more: object, steps: int = 6) -> int:
    options = ("--teacher", TEACHER, "--images", sample, "-o", out, "--batch", 4, "--amp", "off")
    return main([str(word) for word in ("pretrain", student, *options, "--steps", steps, *more)])


def weights_of(path: Path) -> dict[str, Tensor]:
    return dict(load_checkpoint(path).weights)


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_draws_depend_on_seed_epoch_and_index_alone(sample: Path, tmp_path: Path) -> None:
    paths = find_pictures([sample], tmp_path)
    one, other = (Pictures(paths, SIZE, seed=3) for _ in range(2))
    first = [one[0, index] for index in range(4)]
    again = [other[0, index] for index in (3, 2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert first[0].shape == (3, *SIZE)
    assert first[0].dtype == torch.uint8
    assert not torch.equal(one[1, 0], first[0])
    assert not torch.equal(Pictures(paths, SIZE, seed=4)[0, 0], first[0])
    assert sorted(one.order(2)) == list(range(len(paths)))


def test_memory_changes_nothing(sample: Path, tmp_path: Path) -> None:
    paths = find_pictures([sample], tmp_path)
    kept, read = Pictures(paths, SIZE, seed=0), Pictures(paths, SIZE, seed=0, cache_bytes=0)
    for epoch in range(2):
        assert torch.equal(kept[epoch, 1], read[epoch, 1])


def test_crops_lie_in_the_picture_and_have_the_share_of_its_area() -> None:
    rng, crops = np.random.default_rng(0), Crops(area=(0.2, 1.0), aspect=(0.75, 1.5))
    shares = []
    for _ in range(500):
        left, top, width, height = _crop((100, 160), (64, 96), crops, rng)
        assert 0 <= left <= 160 - width
        assert 0 <= top <= 100 - height
        shares.append(width * height / 16000)
        assert (width, height) == (160, 100) or 0.7 < width / height / 1.5 < 1.6
    assert min(shares) < 0.25
    assert max(shares) > 0.9


def test_unsound_and_double_pictures_are_left_out(sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((40, 40, 3), np.uint8))
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "c.png").symlink_to(folder / "a.png")
    with pytest.warns(UserWarning, match=r"1 pictures are left out; .*b\.png"):
        assert [path.name for path in find_pictures([folder, folder], tmp_path / "x")] == ["a.png"]
    (folder / "a.png").unlink()
    (folder / "c.png").unlink()
    with pytest.raises(UserError, match="not one sound picture"):
        find_pictures([folder], tmp_path / "x")


# ---- learning --------------------------------------------------------------------------------------------------------


def test_it_learns_the_teachers_maps(student: Path, sample: Path, tmp_path: Path) -> None:
    assert call(student, sample, tmp_path / "start.pt", "--learning-rate", 0.2, steps=40) == 0
    metrics = load_checkpoint(tmp_path / "start.pt").metrics
    assert metrics["steps"] == 40
    assert metrics["last_loss"] < 0.85 * metrics["first_loss"]
    assert [path.name for path in tmp_path.iterdir()] == ["start.pt"]


def test_without_the_neck_the_neck_stays_as_it_was(student: Path, sample: Path, tmp_path: Path) -> None:
    for name, option in (("both", "--neck"), ("backbone", "--no-neck")):
        assert call(student, sample, tmp_path / f"{name}.pt", option, steps=3) == 0
    torch.manual_seed(0)
    fresh = load_checkpoint(tmp_path / "both.pt").structure
    from detector.network import Network

    start = Network(fresh).state_dict()
    both, backbone = weights_of(tmp_path / "both.pt"), weights_of(tmp_path / "backbone.pt")
    convs = [key for key in start if start[key].ndim == 4]
    for part, found, changed in (("neck.", both, True), ("neck.", backbone, False), ("backbone.", backbone, True)):
        moved = [not torch.equal(found[key], start[key]) for key in convs if key.startswith(part)]
        assert all(moved) if changed else not any(moved), part


def test_a_training_takes_it_over(
    student: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, folder = tmp_path / "start.pt", tmp_path / "r"
    assert call(student, sample, start) == 0
    train = [
        "train",
        str(student),
        "--data",
        str(sample),
        "--weights",
        str(start),
        "--epochs",
        "1",
        "--out",
        str(folder),
    ]
    settings = ["--set", "optimizer.learning_rate_per_image=1e-12", "--set", "workers=0", "--set", "ema.decay=0"]
    assert main([*train, *settings]) == 0
    trained, given = weights_of(folder / "best.pt"), weights_of(start)
    for key, value in given.items():
        if value.ndim == 4 and key.startswith("backbone."):
            torch.testing.assert_close(trained[key], value, rtol=1e-3, atol=1e-4)
    assert "disc, square, triangle" in capsys.readouterr().out


# ---- nothing is lost -------------------------------------------------------------------------------------------------


def test_stopped_and_taken_up_equals_uninterrupted(
    student: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(student, sample, tmp_path / "whole.pt", "--distiller", "mgd", steps=7) == 0
    step = pretraining_run.take_step

    def stopping(run: Any, images: Tensor) -> float:
        if run.step == 4:
            raise KeyboardInterrupt
        return step(run, images)

    with monkeypatch.context() as patch:
        patch.setattr(pretraining_run, "take_step", stopping)
        assert call(student, sample, tmp_path / "stopped.pt", "--distiller", "mgd", steps=7) == 130
    assert not (tmp_path / "stopped.pt").exists()
    assert call(student, sample, tmp_path / "stopped.pt", steps=7) == 2
    assert "pass --resume to go on with it" in capsys.readouterr().err
    torch.rand(3)
    assert call(student, sample, tmp_path / "stopped.pt", "--resume", "--teacher", f"{__name__}:weighted") == 2
    assert "stopped.last.pt: began with another teacher" in capsys.readouterr().err
    assert call(student, sample, tmp_path / "stopped.pt", "--resume") == 0  # its own settings count
    assert "what the command says otherwise does not count: --steps\n" in capsys.readouterr().out
    whole, again = (load_checkpoint(tmp_path / name) for name in ("whole.pt", "stopped.pt"))
    assert all(torch.equal(again.weights[key], value) for key, value in whole.weights.items())
    assert again.metrics["last_loss"] == whole.metrics["last_loss"]
    assert not (tmp_path / "stopped.last.pt").exists()


def test_a_time_is_kept_to_the_number_of_steps(
    student: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The steps that are timed leave no trace: the run is that of so many steps."""
    monkeypatch.setattr(
        pretraining_run, "_seconds_per_step", lambda trial: (pretraining_run.take_step(trial, _any()), 2.0)[1]
    )
    options = ["--teacher", TEACHER, "--images", str(sample), "--batch", "4", "--amp", "off"]
    assert main(["pretrain", str(student), *options, "-o", str(tmp_path / "timed.pt"), "--time", "10s"]) == 0
    assert "time 10s: 5 steps of 2 s, 1.4 times over the pictures" in capsys.readouterr().out
    assert call(student, sample, tmp_path / "steps.pt", steps=5) == 0
    timed, counted = weights_of(tmp_path / "timed.pt"), weights_of(tmp_path / "steps.pt")
    assert all(torch.equal(timed[key], value) for key, value in counted.items())


def _any() -> Tensor:
    return torch.randint(0, 256, (4, 3, *SIZE), dtype=torch.uint8)


def test_refusals(student: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*more: object, out: str = "start.pt") -> str:
        assert call(student, sample, tmp_path / out, *more) == 2
        return capsys.readouterr().err

    assert "--time and --steps" in said("--time", "5m")
    assert "expected auto, off, bf16 or fp16" in said("--amp", "fp8")
    assert "no such file or folder" in said("--images", tmp_path / "nowhere")
    assert "start.last.pt: no such file" in said("--resume")
    assert "missing a required argument: 'name'; expected" in said("--teacher", f"{__name__}:with_argument")
    assert "distiller 'cdw' is not known" in said("--distiller", "cdw")
    assert "expected three numbers" in said("--teacher-mean", "1,2")
    assert "are options of an ONNX teacher" in said("--teacher-outputs", "a")
    (tmp_path / "start.pt").write_text("")
    assert "exists already" in said()


def test_a_new_folder_a_large_batch_and_few_steps(
    student: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new folder" / "start.pt"
    assert call(student, sample, out, "--batch", 64, steps=2) == 0
    shown = capsys.readouterr().out
    assert "batches of 14, not 64: there are no more pictures" in shown
    assert re.search(r"the loss was [\d.]+ in 2 steps", shown)
    assert f"--weights '{out}' --data" in shown


def test_stopped_before_its_first_step_nothing_is_promised(
    student: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "find_pictures", stopped)
    assert call(student, sample, tmp_path / "s.pt") == 130
    assert "stopped; there was nothing to save yet" in capsys.readouterr().out


def test_a_state_of_another_network_or_other_pictures(
    student: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopping(run: Any, images: Tensor) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretraining_run, "take_step", stopping)
        assert call(student, sample, tmp_path / "s.pt") == 130
    assert (
        call(student, next(path for path in sample.rglob("*val*") if path.is_dir()), tmp_path / "s.pt", "--resume") == 2
    )
    assert "began with 14 pictures, found are 4" in capsys.readouterr().err
    other = tmp_path / "other.txt"
    other.write_text(student.read_text().replace("reg_max: 7", "reg_max: 8"))
    assert call(other, sample, tmp_path / "s.pt", "--resume") == 2
    assert "its structure is another" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops(
    student: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(run: Any, images: Tensor) -> float:
        run.step += 1
        return float("nan")

    monkeypatch.setattr(pretraining_run, "take_step", broken)
    assert call(student, sample, tmp_path / "s.pt", steps=20) == 2
    assert "not finite 10 steps in a row" in capsys.readouterr().err
