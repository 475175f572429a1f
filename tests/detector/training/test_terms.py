"""Losses beside the detector's own: they learn with it, are logged apart, resume to the bit and stay out of best.pt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detector.assigners import Targets
from detector.checkpoint import load_checkpoint
from detector.network import Network, RawOutput
from detector.training.loop import fit
from detector.training.optimizer.schedule import Schedule
from detector.training.run import Run
from detector.training.start import load_splits, new_run, resumed_run
from detector.training.step.terms import LossTerm
from search_spaces.saying import silent
from search_spaces.structure import Structure
from tests.detector.training.test_resume import _assert_same_run, _rows, _same, _stop_before_step
from tests.detector.training.test_training import _config


class Brightness(LossTerm):
    """A feature map is to tell each image's brightness, through an aligner with a norm; off in the last epochs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.align = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.BatchNorm2d(1))
        self.weight = 0.0

    def at_step(self, step: int, schedule: Schedule) -> None:
        strong = schedule.total_steps - schedule.floor_steps
        self.weight = 0.5 * max(0.0, 1 - step / strong)

    def forward(self, images: Tensor, raw: RawOutput, targets: Targets) -> Tensor:
        assert targets.valid.shape[0] == len(images)
        told = self.align(raw.features["neck1"]).mean(dim=(1, 2, 3))
        wrong: Tensor = (told.float() - images.mean(dim=(1, 2, 3)) / 255).square().mean()
        return self.weight * wrong


def _terms(network: Network) -> Mapping[str, LossTerm]:
    with torch.no_grad():
        height, width = network.structure.image_size
        features = network.eval().forward_raw(torch.zeros(1, 3, height, width)).features
    return {"brightness": Brightness(features["neck1"].shape[1])}


def _run(tiny: Structure, sample: Path, folder: Path, **changes: object) -> Run:
    schedule = {"warmup_epochs": 0, "no_aug_max_share": 0.34}
    config = _config(epochs=3, checkpoint_minutes=0, schedule=schedule, **changes)
    return new_run(tiny, load_splits(sample, silent), config, folder, silent, terms=_terms)


def test_a_term_learns_and_is_logged_apart(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    run = _run(tiny, sample, tmp_path / "r")
    term = run.stepper.terms["brightness"]
    before = {name: value.clone() for name, value in term.state_dict().items()}
    fit(run)
    assert all(not torch.equal(value, before[name]) for name, value in term.named_parameters())
    rows = _rows(run.folder)
    assert rows[0]["brightness"] > 0
    assert rows[2]["brightness"] == 0  # the last epoch of three is without strong augmentation
    for row in rows:
        parts = sum(row[name] for name in ("cls", "dfl", "giou", "brightness"))
        assert row["total"] == pytest.approx(parts, rel=1e-5)
    best = load_checkpoint(run.folder / "best.pt")
    assert not [key for key in best.weights if "align" in key]


def test_its_gradient_reaches_the_network(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    with_term = _run(tiny, sample, tmp_path / "with")
    config = with_term.config
    without = new_run(tiny, load_splits(sample, silent), config, tmp_path / "without", silent)
    found = []
    for run in (with_term, without):
        run.train_set.set_epoch(0)
        run.stepper.module.train()
        run.stepper.run(next(iter(run.train_loader)))
        found.append(run.stepper.network.get_parameter("backbone.stem.conv.weight").detach().clone())
    assert not torch.equal(*found)


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}], ids=["whole", "accumulated"])
def test_a_term_resumes_to_the_bit(
    tiny: Structure, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    whole = _run(tiny, sample, tmp_path / "whole", **changes)
    fit(whole)
    stopped = _run(tiny, sample, tmp_path / "stopped", **changes)
    with monkeypatch.context() as patch:
        _stop_before_step(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped)
    again = resumed_run(tmp_path / "stopped", None, None, silent, terms=_terms)
    assert (again.progress.epoch, again.progress.part.batches) == (1, 1)
    fit(again)
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    kept = [load_checkpoint(tmp_path / name / "last.pt").training["terms"] for name in ("whole", "stopped")]
    assert _same(*kept)
    assert kept[0]["brightness"].keys() == whole.stepper.terms["brightness"].state_dict().keys()


def test_a_bad_step_puts_its_statistics_back(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    run = _run(tiny, sample, tmp_path / "r", max_bad_steps=3)
    run.train_set.set_epoch(0)
    run.stepper.module.train()
    term = run.stepper.terms["brightness"]
    before = {name: value.clone() for name, value in term.state_dict().items()}
    handle = term.register_forward_hook(lambda *arguments: arguments[2] * float("nan"))
    run.stepper.run(next(iter(run.train_loader)))
    handle.remove()
    assert run.stepper.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in term.state_dict().items())
