"""Draws depend on (seed, epoch, index) alone; batches are padded; shards cover everything."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from detector.data.annotations import Annotations
from detector.data.augment import AugmentConfig
from detector.data.dataset import DetectionDataset, check_images
from detector.data.formats import load_split
from detector.data.loader import Batch, ShardedSampler, build_loader, collate
from detector.data.sample import write_sample_data
from search_spaces.errors import UserError


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Annotations:
    root = tmp_path_factory.mktemp("sample") / "data"
    write_sample_data(root, 10, 0, (72, 96))
    return load_split(root, "train")[0]


def epoch_of(data: DetectionDataset, epoch: int, workers: int = 0, strong: bool = True) -> list[Batch]:
    data.set_epoch(epoch, strong=strong)
    return list(build_loader(data, 4, shuffle=True, workers=workers))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.boxes_xyxy, b.boxes_xyxy)
        and torch.equal(a.indices, b.indices)
        for a, b in zip(one, other)
    )


def test_epochs_repeat_and_differ(annotations: Annotations) -> None:
    data = DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=1)
    first = epoch_of(data, 0)
    second = epoch_of(data, 1)
    assert not same(first, second)
    assert same(first, epoch_of(data, 0))
    assert not same(first, epoch_of(data, 0, strong=False))
    assert not same(first, epoch_of(DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=2), 0))


def test_no_cache_changes_nothing(annotations: Annotations) -> None:
    cached = DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=1)
    plain = DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=1, cache_bytes=0)
    moved = pickle.loads(pickle.dumps(cached))
    assert same(epoch_of(cached, 0), epoch_of(plain, 0))
    assert same(epoch_of(moved, 0), epoch_of(plain, 0))


def test_persistent_workers_see_the_epoch(annotations: Annotations) -> None:
    data = DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=1)
    expected = [epoch_of(data, epoch) for epoch in range(3)]
    loader = build_loader(data, 4, shuffle=True, workers=2)
    for epoch in range(3):
        data.set_epoch(epoch)
        assert same(list(loader), expected[epoch])
    data.set_epoch(0, strong=False)
    assert same(list(loader), epoch_of(data, 0, strong=False))


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_does_not_reach_the_workers(annotations: Annotations) -> None:
    """A terminal sends it to all processes, also to one that has just started; the main process ends the others."""
    data = DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=1)
    expected = epoch_of(data, 0)
    batches = iter(build_loader(data, 4, shuffle=True, workers=1))
    os.kill(batches._workers[0].pid, signal.SIGINT)
    assert same(list(batches), expected)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])  # here it is heard


def test_global_generator_is_left_alone(annotations: Annotations) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    epoch_of(DetectionDataset(annotations, (64, 64), AugmentConfig(), seed=1), 0)
    assert torch.equal(before, torch.get_rng_state())


def test_plain_samples_are_stretched(annotations: Annotations) -> None:
    data = DetectionDataset(annotations, (64, 64))
    for index in range(len(data)):
        sample = data[index]
        assert sample.image.shape == (3, 64, 64)
        assert sample.image.dtype == torch.uint8
        scale = torch.tensor(sample.scale_xy * 2)
        original = torch.from_numpy(annotations.boxes_of(index).boxes_xyxy)
        torch.testing.assert_close(sample.boxes_xyxy / scale, original)


def test_batches_are_padded(annotations: Annotations) -> None:
    data = DetectionDataset(annotations, (64, 64))
    samples = [data[index] for index in range(len(data))]
    batch = collate(samples)
    counts = [len(sample.labels) for sample in samples]
    assert batch.boxes_xyxy.shape == (10, max(counts), 4)
    assert batch.valid.sum(1).tolist() == counts
    assert not batch.boxes_xyxy[~batch.valid].any()
    assert batch.to("cpu").indices.tolist() == list(range(10))
    without = annotations.subset([i for i, count in enumerate(counts) if count == 0] or [0])
    assert collate([DetectionDataset(without, (64, 64))[0]]).boxes_xyxy.shape[1] >= 1


def test_shards_cover_everything(annotations: Annotations) -> None:
    data = DetectionDataset(annotations, (64, 64))
    for shuffle in (True, False):
        shards = [ShardedSampler(data, shuffle=shuffle, rank=rank, world_size=3) for rank in range(3)]
        drawn = [list(shard) for shard in shards]
        assert [len(indices) for indices in drawn] == [len(shard) for shard in shards]
        assert {index for indices in drawn for index in indices} == set(range(10))
        if shuffle:
            assert {len(indices) for indices in drawn} == {4}
        else:
            assert sum(len(indices) for indices in drawn) == 10


@pytest.mark.parametrize("workers", [0, 1])
def test_empty_data_gives_no_batches(annotations: Annotations, workers: int) -> None:
    data = DetectionDataset(annotations.subset([]), (64, 64), AugmentConfig())
    for shuffle in (True, False):
        assert list(build_loader(data, 2, shuffle=shuffle, workers=workers)) == []


def test_size_off_the_stride_is_refused(annotations: Annotations) -> None:
    with pytest.raises(UserError, match="divisible by 32"):
        DetectionDataset(annotations, (100, 64))


def test_bad_images_are_found_before_work_starts(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", 4, 0, (64, 64))
    found, _ = load_split(tmp_path / "data", "train")
    check_images(found)
    for path in found.image_paths[1:3]:
        path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=r"train_00001.jpg: .*cut short.* \(and 1 more bad image files\)"):
        check_images(found)


def test_sample_data_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists and is not empty"):
        write_sample_data(tmp_path, 1, 1, (64, 64))
    write_sample_data(tmp_path, 1, 1, (64, 64), overwrite=True)
    assert not (tmp_path / "notes.txt").exists()
    with pytest.raises(UserError, match="unknown sample class 'disk'; did you mean disc"):
        write_sample_data(tmp_path / "new", classes=("disk",))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file: it is a file, expected a folder"):
        write_sample_data(tmp_path / "file" / "data", 1, 1, (64, 64))
    assert [path.name for path in tmp_path.parent.iterdir() if path.name.startswith(f".{tmp_path.name}")] == []


def test_real_mosaics_hold_boxes(real_data: Path) -> None:
    train, _ = load_split(real_data / "bccd", "train")
    data = DetectionDataset(train.subset(range(8)), (64, 64), AugmentConfig(), seed=0)
    counts = [len(data[index].labels) for index in range(8)]
    assert np.mean(counts) > 4
