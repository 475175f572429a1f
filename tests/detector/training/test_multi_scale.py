"""Batches of many sizes: drawn alike everywhere, boxes with their pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.data.loader import Batch, collate
from detector.training import loop
from detector.training.epoch import at_drawn_size, drawn_size, largest_size, phase_of
from detector.training.loop import fit
from detector.training.settings.config import TrainConfig, validate
from detector.training.start import load_splits, new_run
from search_spaces.errors import UserError
from search_spaces.structure import Structure


def settings(**changes: object) -> TrainConfig:
    return validate({"epochs": 10, "schedule": {"no_aug_max_share": 0.2}, "multi_scale": [64, 160], **changes})


@pytest.fixture(scope="module")
def batch(sample: Path) -> Batch:
    data = DetectionDataset(load_split(sample, "train")[0], (64, 96))
    return collate([data[index] for index in range(4)])


def test_phases() -> None:
    phases = [phase_of(settings(), epoch) for epoch in range(10)]
    assert [phase.strong for phase in phases] == [True] * 8 + [False] * 2
    assert [phase.progress for phase in phases] == [(0.125 * e, 0.125 * (e + 1)) for e in range(8)] + [(1.0, 1.0)] * 2
    assert not phase_of(settings(epochs=1, schedule={"no_aug_max_share": 1.0}), 0).strong
    assert phase_of(settings(epochs=2, schedule={"no_aug_max_share": 0.5, "no_aug_epochs": 1}), 0) == (True, (0.0, 1.0))


def test_a_run_has_its_data_draw_what_each_epoch_calls_for(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = validate(
        {
            "epochs": 4,
            "batch_size": 4,
            "workers": 0,
            "device": "cpu",
            "amp": "off",
            "schedule": {"no_aug_max_share": 0.25},
        }
    )
    run = new_run(tiny, load_splits(sample, lambda _: None), config, tmp_path / "run", lambda _: None)
    seen = []

    def recorded(batch: Batch, config: TrainConfig, epoch: int, index: int) -> Batch:
        seen.append((epoch, run.train_set.epoch, bool(run.train_set._state[1])))
        return at_drawn_size(batch, config, epoch, index)

    monkeypatch.setattr(loop, "at_drawn_size", recorded)
    fit(run)
    assert list(dict.fromkeys(seen)) == [(0, 0, True), (1, 1, True), (2, 2, True), (3, 3, False)]


def test_sizes_are_all_drawn_and_depend_on_the_seed_alone() -> None:
    drawn = Counter(drawn_size((320, 416), (256, 416), [0, epoch, index]) for epoch in range(10) for index in range(60))
    assert sorted(drawn) == [(192, 256), (224, 288), (256, 320), (256, 352), (288, 384), (320, 416)]
    assert min(drawn.values()) > 60
    assert drawn_size((64, 64), (64, 640), [3, 4, 5]) == drawn_size((64, 64), (64, 640), [3, 4, 5])
    assert drawn_size((32, 640), (128, 128), [0]) == (32, 128)
    assert largest_size((64, 96), settings()) == (96, 160)
    assert largest_size((320, 320), settings()) == (320, 320)
    assert largest_size((64, 96), settings(multi_scale=None)) == (64, 96)


def test_boxes_follow_the_picture(batch: Batch) -> None:
    seen = set()
    for index in range(12):
        out = at_drawn_size(batch, settings(), 0, index)
        height, width = out.images.shape[2:]
        seen.add((height, width))
        scale = torch.tensor([width / 96, height / 64])
        torch.testing.assert_close(out.boxes_xyxy, batch.boxes_xyxy * scale.repeat(2))
        torch.testing.assert_close(out.scale_xy, batch.scale_xy * scale)
        torch.testing.assert_close(out.images.float().mean(), batch.images.float().mean(), rtol=0.02, atol=1.0)
        assert out.images.dtype == (torch.uint8 if (height, width) == (64, 96) else torch.float32)
        for name in ("labels", "valid", "ignore", "indices"):
            assert torch.equal(getattr(out, name), getattr(batch, name))
    assert len(seen) > 2
    assert {side % 32 for size in seen for side in size} == {0}


def test_off_by_default_and_in_the_last_epochs(batch: Batch) -> None:
    for index in range(8):
        assert at_drawn_size(batch, settings(multi_scale=None), 0, index) is batch
        assert at_drawn_size(batch, settings(), 8, index) is batch
    assert validate({}).multi_scale is None


@pytest.mark.parametrize("sides", [[60, 128], [128, 64], [0, 64], [64], "big"])
def test_bad_ranges_are_one_line(sides: object) -> None:
    with pytest.raises(UserError, match="multi_scale") as error:
        settings(multi_scale=sides)
    assert "\n" not in str(error.value)


def test_training_sees_many_sizes_and_evaluates_at_its_own(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    config = validate(
        {
            "epochs": 5, "batch_size": 4, "workers": 0, "device": "cpu", "amp": "off", "multi_scale": [32, 96],
            "augment": {"sada": 1.0}, "eval": {"every_epochs": 5},
        }
    )  # fmt: skip
    run = new_run(tiny, load_splits(sample, print), config, tmp_path / "r", print)
    sizes: list[tuple[int, tuple[int, ...]]] = []

    def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes.append((run.progress.epoch, tuple(inputs[0].shape[2:])))

    run.stepper.module.register_forward_pre_hook(note)
    metrics = fit(run)
    assert metrics is not None
    assert {size for epoch, size in sizes if epoch < 4} == {(32, 32), (64, 64), (96, 96)}
    assert {size for epoch, size in sizes if epoch == 4} == {(64, 64)}
    assert run.stepper.skipped == 0
    assert (run.folder / "augmented.jpg").is_file()
