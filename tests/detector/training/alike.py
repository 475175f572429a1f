"""Runs that a test makes alone and torchrun makes on several processes, for comparison; see test_processes.py."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from detector.data.loader import Batch
from detector.training import loop
from detector.training.loop import fit
from detector.training.machine.processes import leave_processes
from detector.training.run import Run
from detector.training.settings.config import build_config
from detector.training.start import load_splits, new_run, resumed_run
from detector.training.step import Stepper
from detector.training.step.module import TrainingModule
from detector.training.validation import evaluate_run, evaluate_together
from search_spaces.text import read_structure

SETTINGS = {
    "epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu", "amp": "off", "checkpoint_minutes": 0,
    "optimizer": {"name": "sgd", "learning_rate_per_image": 1e-3, "clip_norm": 10.0},
    "augment": {"mosaic": 0.5}, "multi_scale": [64, 96], "eval": {"score_threshold": 1e-3},
}  # fmt: skip


def frozen_norms(patch: pytest.MonkeyPatch) -> None:
    """Norms in evaluation mode: on CPUs every process would have statistics of its own images."""
    train = TrainingModule.train

    def training(module: TrainingModule, mode: bool = True) -> TrainingModule:
        train(module, mode)
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return module

    patch.setattr(TrainingModule, "train", training)


def train(structure: Path, data: Path, folder: Path, **changes: Any) -> Run:
    """A whole run with the settings above."""

    def silent(_: str) -> None:
        pass

    config = build_config({**SETTINGS, **changes})
    run = new_run(read_structure(structure), load_splits(data, silent), config, folder, print)
    fit(run)
    return run


def taught(teacher: Path) -> dict[str, Any]:
    """Changes for a run with a teacher in its first epoch and none in its second."""
    two_stages = {"no_aug_epochs": 1, "no_aug_max_share": 0.5}
    return {"distill": {"teacher": str(teacher), "distiller": "mgd"}, "schedule": two_stages}


def train_and_resume(structure: Path, data: Path, folder: Path, patch: pytest.MonkeyPatch, **changes: Any) -> None:
    """The same run, stopped within its second epoch and taken up again."""
    run, left = Stepper.run, 4

    def counted(stepper: Stepper, batch: Batch) -> dict[str, float]:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return run(stepper, batch)

    with patch.context() as inner:
        inner.setattr(Stepper, "run", counted)
        with pytest.raises(KeyboardInterrupt):
            train(structure, data, folder, **changes)
    torch.rand(3)
    torch.distributed.barrier()  # the first process may be writing still
    again = resumed_run(folder, None, None, print)
    assert (again.progress.epoch, again.progress.part.batches) == (1, 1)
    fit(again)


def train_with_an_empty_process(structure: Path, data: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The second process never sees a box."""

    def emptied(batch: Batch, config: Any, epoch: int, index: int) -> Batch:
        if torch.distributed.get_rank() == 0:
            return batch
        return dataclasses.replace(batch, valid=torch.zeros_like(batch.valid))

    with patch.context() as inner:
        inner.setattr(loop, "at_drawn_size", emptied)
        run = train(structure, data, folder, accumulate=2)
    assert run.stepper.skipped == 0


def keep_evaluations(run: Run, out: Path) -> None:
    """What all processes together detect in the validation split, and what the first one detects alone."""
    together = evaluate_together(run)
    if together is None:
        return
    for name, found in (("together", together.detections), ("alone", evaluate_run(run).detections)):
        np.savez(out / f"{name}.npz", **{key: getattr(found, key) for key in found.__slots__})


def main() -> None:
    structure, data, out = map(Path, sys.argv[1:])
    with pytest.MonkeyPatch.context() as patch:
        frozen_norms(patch)
        keep_evaluations(train(structure, data, out / "plain"), out)
        train(structure, data, out / "parts", accumulate=2, loss={"dfl_weight": 0.0, "giou_weight": 0.0})
        train_and_resume(structure, data, out / "resumed", patch)
        train_with_an_empty_process(structure, data, out / "empty", patch)
        several = out.parent / "general.yaml"
        train(structure, several, out / "several", accumulate=2, sampling={"class_aware": 0.9})
        train_and_resume(
            structure, several, out / "several-resumed", patch, accumulate=2, sampling={"class_aware": 0.9}
        )
        teacher = taught(out / "plain" / "best.pt")
        train(structure, data, out / "taught", accumulate=2, **teacher)
        train_and_resume(structure, data, out / "taught-resumed", patch, accumulate=2, **teacher)
    leave_processes(together=True)


if __name__ == "__main__":
    main()
