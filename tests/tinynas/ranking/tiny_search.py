"""A search space whose networks are trained in a moment, data for it, and rungs of a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.data.sample import write_sample_data
from tinynas.cli import main
from tinynas.ranking import candidates, contest, rungs

SPACE = """
name: tiny
block: res
image_size: [64, 64]
stem: {kind: focus, out: [8, 16]}
stages:
  - {out: [8, 16], hidden: [0.5, 2.0], depth: [1, 2], stride: 2}
  - {out: [8, 24], hidden: [0.5, 2.0], depth: [1, 2], stride: 2}
  - {out: [16, 32], hidden: [0.5, 2.0], depth: [1, 2], stride: 2}
  - {out: [16, 32], hidden: [0.5, 2.0], depth: [1, 2], stride: 1}
  - {out: [16, 48], hidden: [0.5, 2.0], depth: [1, 2], stride: 2}
activation: relu
neck: {kind: repgfpn, depth: 0.34, hidden_ratio: 0.5, activation: relu}
head: {kind: zero, reg_max: 7, kernel: 1}
score: {weights: [0, 0, 1, 1, 16]}
"""
SETTINGS = ("batch_size=4", "workers=0", "checkpoint_minutes=0", "amp=off")
TRAINED = [word for setting in SETTINGS for word in ("--set", setting)]


def make_space(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(SPACE)
    return path


def make_data(folder: Path, train: int = 12, val: int = 6) -> Path:
    write_sample_data(folder, images_train=train, images_val=val, size=(64, 64))
    return folder


def search_words(space: Path, out: Path) -> list[str]:
    """A search without the second stage."""
    return [
        "search", "--max-macs", "14M", "--num-classes", "3", "--space", str(space), "--evaluations", "2000", "--population",
        "32", "--out", str(out),
    ]  # fmt: skip


def rank(space: Path, data: Path, out: Path, *more: str) -> int:
    """Search and rank four candidates by training; the exit code."""
    ranked = ["--rank-by-training", "--data", str(data), "--candidates", "4", *TRAINED]
    return main([*search_words(space, out), *ranked, *more])


def short_rungs(patch: pytest.MonkeyPatch) -> None:
    """Rungs of two and of four epochs, whatever the hours and this machine's pace; candidates that are found
    quickly; and whatever little is learnt in so few steps counts."""
    patch.setattr(candidates, "GENERATIONS", 8)
    patch.setattr(contest, "LEARNT", 0.0)
    patch.setattr(rungs, "MOST_EPOCHS", 6)
    patch.setattr(rungs, "MOST_STEPS", 1)
    patch.setattr(rungs, "FEWEST_STEPS", 1)
