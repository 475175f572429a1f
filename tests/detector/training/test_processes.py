"""Two processes under torchrun (gloo) against one with the same global batch, norms in evaluation mode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.data.dataset import DetectionDataset
from detector.data.loader import ShardedSampler
from detector.network import Network
from detector.training import assembly
from detector.training.machine.processes import Processes
from detector.training.record.state import _part_of
from detector.training.run import EpochPart
from detector.training.settings.config import build_config
from detector.training.start import load_splits
from search_spaces.text import read_structure
from tests.detector.data.several_sets import write_list, write_set
from tests.detector.training.alike import SETTINGS, frozen_norms, train
from tests.detector.training.test_resume import _assert_same_run, _rows

ROOT = str(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def two(tiny_file: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the runs of two processes, and what they said. A hang ends in the time limit."""
    out = tmp_path_factory.mktemp("two") / "runs"
    out.mkdir()
    for name, classes in (("rooms", ("sofa", "chair")), ("pets", ("cat", "Chair"))):
        boxes = [(image, classes[image % 2]) for image in range(5)]
        write_set(out.parent / name, classes, {"train": boxes, "val": boxes}, images=5)
    write_list(out.parent, "sets: {rooms: {path: rooms}, pets: {path: pets}}\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*launch, "-m", "tests.detector.training.alike", str(tiny_file), str(sample), str(out)],
        capture_output=True, text=True, timeout=240, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


@pytest.mark.parametrize(
    ("name", "changes"), [("plain", {}), ("parts", {"loss": {"dfl_weight": 0.0, "giou_weight": 0.0}})]
)
def test_two_processes_train_as_one(
    two: tuple[Path, str], name: str, changes: dict[str, Any], tiny_file: Path, sample: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With `parts`, each of the two accumulates over two parts, and only the classification loss counts."""
    frozen_norms(monkeypatch)
    train(tiny_file, sample, tmp_path / "one", **changes)
    for alone, shared in zip(_rows(tmp_path / "one"), _rows(two[0] / name), strict=True):
        assert shared["step"] == alone["step"]
        assert shared["cls"] == pytest.approx(alone["cls"], rel=1e-4)
        assert shared["total"] == pytest.approx(alone["total"], rel=1e-4)
    one, other = (load_checkpoint(folder / "last.pt") for folder in (tmp_path / "one", two[0] / name))
    for key, value in one.weights.items():
        torch.testing.assert_close(other.weights[key], value, rtol=1e-3, atol=1e-5)


def test_two_processes_resume_exactly(two: tuple[Path, str]) -> None:
    _assert_same_run(two[0] / "plain", two[0] / "resumed")
    assert len(load_checkpoint(two[0] / "plain" / "last.pt").training["ranks"]) == 2


def test_two_processes_are_taught_and_resume_exactly(two: tuple[Path, str]) -> None:
    """In the second stage no distiller's parameter has a loss: the processes must not wait for its gradient."""
    first, second = _rows(two[0] / "taught")
    assert first["distill"] > 0.1
    assert second["distill"] == 0
    _assert_same_run(two[0] / "taught", two[0] / "taught-resumed")


def test_two_processes_learn_from_several_sets_as_one_and_resume_exactly(
    two: tuple[Path, str], tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_same_run(two[0] / "several", two[0] / "several-resumed")
    frozen_norms(monkeypatch)
    changes = {"accumulate": 2, "sampling": {"class_aware": 0.9}}
    train(tiny_file, two[0].parent / "general.yaml", tmp_path / "one", **changes)
    for alone, shared in zip(_rows(tmp_path / "one"), _rows(two[0] / "several"), strict=True):
        assert shared["cls"] == pytest.approx(alone["cls"], rel=1e-4)


def test_a_process_without_boxes_does_not_hang(two: tuple[Path, str]) -> None:
    assert [row["step"] for row in _rows(two[0] / "empty")] == [3, 6]


def test_an_evaluation_is_shared_out(two: tuple[Path, str]) -> None:
    together, alone = (np.load(two[0] / f"{name}.npz") for name in ("together", "alone"))
    assert len(alone["scores"]) > 0
    np.testing.assert_array_equal(together["offsets"], alone["offsets"])
    np.testing.assert_array_equal(together["labels"], alone["labels"])
    np.testing.assert_allclose(together["scores"], alone["scores"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(together["boxes_xyxy"], alone["boxes_xyxy"], rtol=1e-4, atol=1e-3)


def test_everything_is_said_once(two: tuple[Path, str]) -> None:
    assert two[1].count("SyncBatchNorm refuses CPU tensors") == 11  # eight runs, three of them in two starts
    assert two[1].count("estimate: about") == 8  # the second start ends with its first epoch
    assert two[1].count("epoch 2/2") == 8
    assert two[1].count("mgd on the neck's outputs") == 3


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_shards_make_up_the_global_batches(world: int) -> None:
    """Batch k of all processes together is batch k of one, whatever their number; a pass can start later."""

    class Ten:
        def __len__(self) -> int:
            return 12

        def order(self) -> np.ndarray:
            return np.random.default_rng(3).permutation(12)

    dataset: Any = Ten()
    assert not isinstance(dataset, DetectionDataset)
    samplers = [ShardedSampler(dataset, shuffle=True, rank=r, world_size=world) for r in range(world)]
    alone = list(ShardedSampler(dataset, shuffle=True, rank=0, world_size=1))
    shards = [list(sampler) for sampler in samplers]
    share = 12 // world
    for first in range(0, share, 1):
        step = {shard[first] for shard in shards}
        assert step == set(alone[first * world : (first + 1) * world])
    samplers[0].start = 2
    assert list(samplers[0]) == shards[0][2:]
    assert len(samplers[0]) == share


def test_another_number_of_processes_takes_over_an_epoch() -> None:
    parts = [EpochPart(batches=3, steps=2, images=6, sums={"cls": loss}, seconds=1.5) for loss in (4.0, 8.0)]
    for world in (1, 2, 3):
        taken = [_part_of(Processes(rank, world, torch.device("cpu")), parts) for rank in range(world)]
        assert sum(part.images for part in taken) == 12
        assert {part.batches for part in taken} == {3}
        mean = sum(part.sums["cls"] for part in taken) / sum(part.steps for part in taken)
        assert mean == pytest.approx(12 / 4)


@pytest.mark.parametrize(("asked", "world", "batch"), [(5, 2, 4), (4, 2, 4), (5, 1, 5), (7, 3, 6)])
def test_a_batch_that_the_processes_cannot_share(
    asked: int, world: int, batch: int, tiny_file: Path, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "_wrapped", lambda module, *_: module)  # there are no other processes to talk to
    said: list[str] = []
    splits = load_splits(sample, lambda _: None)
    network = Network(read_structure(tiny_file).with_classes(splits.train.num_classes))
    config = build_config({**SETTINGS, "batch_size": asked})
    assembly.assemble(network, splits, config, tmp_path, Processes(0, world, torch.device("cpu")), said.append)
    line = f"batch {asked} does not divide by {world} processes: it is {batch}, as each one takes equally many images"
    assert sum(line in text for text in said) == (asked != batch)
    assert any(f"batch {batch}, 2 epochs" in text for text in said)
