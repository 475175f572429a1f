"""Every data format reads what it writes, names its splits, and answers bad input with one line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data import formats
from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.sample import write_sample_data
from search_spaces.errors import UserError

NAMES = formats.writable_names()
CLASSES = ("alpha", "beta & co", "gamma")
SIZES = ((48, 64), (64, 40), (32, 32))
Row = tuple[int, int, int, int, int, int]

ROW = st.tuples(
    st.integers(0, len(SIZES) - 1),
    st.integers(0, len(CLASSES) - 1),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(1, 12),
    st.integers(1, 12),
)


def written(root: Path, name: str, rows: list[Row], split: str = "train") -> Annotations:
    """A data set of blank pictures with the given boxes, in format `name`; returns what went in."""
    plugin = formats.writable(name)
    folder = plugin.image_folder(root, split)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{split}_{i}.png" for i in range(len(SIZES))]
    for path, size in zip(paths, SIZES):
        cv2.imwrite(str(path), np.zeros((*size, 3), dtype=np.uint8))
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1).astype(np.float64)
    raw = RawBoxes(image=table[:, 0], boxes_xyxy=boxes, labels=table[:, 1], ignore=np.zeros(len(table), dtype=np.bool_))
    annotations, _ = pack("given", CLASSES, paths, np.array(SIZES, dtype=np.int32), raw)
    plugin.write(root, split, annotations)
    return annotations


FLOAT = st.integers(0, 30_000).map(lambda thousandths: thousandths / 1000)
SIDE = st.integers(2_000, 30_000).map(lambda thousandths: thousandths / 1000)


@pytest.mark.parametrize("name", NAMES)
@given(corners=st.lists(st.tuples(FLOAT, FLOAT, SIDE, SIDE), max_size=8))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_boxes_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, name: str, corners: list[tuple[float, float, float, float]]
) -> None:
    root = tmp_path_factory.mktemp(name)
    written(root, name, [])
    plugin = formats.writable(name)
    table = np.array(corners, dtype=np.float32).reshape(-1, 4)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], axis=1)
    count = len(boxes)
    raw = RawBoxes(
        image=np.zeros(count, np.int64),
        boxes_xyxy=boxes,
        labels=np.zeros(count, np.int64),
        ignore=np.zeros(count, dtype=np.bool_),
    )
    before, _ = formats.load_split(root, "train")
    given_, _ = pack("given", CLASSES, before.image_paths, np.array(SIZES, dtype=np.int32), raw)
    plugin.write(root, "train", given_)
    found, _ = formats.load_split(root, "train")
    np.testing.assert_array_equal(found.boxes_xyxy, given_.boxes_xyxy)


def assert_same(found: Annotations, given_: Annotations) -> None:
    assert found.class_names == given_.class_names
    assert [path.name for path in found.image_paths] == [path.name for path in given_.image_paths]
    for field in ("sizes_hw", "offsets", "labels", "ignore", "category_ids"):
        np.testing.assert_array_equal(getattr(found, field), getattr(given_, field), err_msg=field)
    np.testing.assert_allclose(found.boxes_xyxy, given_.boxes_xyxy, atol=1e-4)
    np.testing.assert_allclose(found.areas, given_.areas, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@given(rows=st.lists(ROW, max_size=12))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_back_what_it_wrote(tmp_path_factory: pytest.TempPathFactory, name: str, rows: list[Row]) -> None:
    root = tmp_path_factory.mktemp(name)
    expected = written(root, name, rows)
    assert formats.detect(root) == name
    found, report = formats.load_split(root, "train")
    assert_same(found, expected)
    assert report.boxes == len(rows)
    assert report.clipped == report.dropped == 0


@pytest.mark.parametrize("name", NAMES)
def test_train_and_val_meet_by_name(tmp_path: Path, name: str) -> None:
    written(tmp_path, name, [(0, 0, 1, 1, 9, 9), (1, 2, 3, 3, 9, 9)], "train")
    written(tmp_path, name, [(0, 2, 1, 1, 9, 9)], "val")
    with pytest.warns(UserWarning, match="other order"):
        val, _ = formats.load_split(tmp_path, "val", ("gamma", "alpha", "beta & co"))
    assert val.class_names == ("gamma", "alpha", "beta & co")
    assert val.labels.tolist() == [0]
    assert len(set(val.category_ids.tolist())) == 3


@pytest.mark.parametrize("name", NAMES)
def test_class_unknown_in_train_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path, name, [(0, 2, 1, 1, 9, 9)], "val")
    with pytest.raises(UserError, match=r"class 'gamma' is not among the training classes.*did you mean gama"):
        formats.load_split(tmp_path, "val", ("alpha", "gama"))
    with pytest.raises(
        UserError, match=r"class 'gamma' is not among the model's \(alpha, gama\); take data of the model's"
    ):
        formats.load_split(tmp_path, "val", ("alpha", "gama"), of_model=True)


@pytest.mark.parametrize("name", NAMES)
def test_missing_split_lists_those_that_exist(tmp_path: Path, name: str) -> None:
    written(tmp_path, name, [(0, 0, 1, 1, 9, 9)], "train")
    written(tmp_path, name, [], "test")
    with pytest.raises(UserError, match="no 'val' split; found: train, test"):
        formats.load_split(tmp_path, "val")


@pytest.mark.parametrize("name", NAMES)
def test_missing_image_is_named(tmp_path: Path, name: str) -> None:
    expected = written(tmp_path, name, [(0, 0, 1, 1, 9, 9)])
    if name == "yolo":  # A folder of pictures has no list that one could be missing from.
        (tmp_path / "list.txt").write_text("images/train/train_7.png\n")
        (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [alpha]\n")
    else:
        expected.image_paths[1].unlink()
    with pytest.raises(UserError, match=r"missing image.*(add it|remove)"):
        formats.load_split(tmp_path, "train")


@pytest.mark.parametrize("name", NAMES)
def test_sample_data_is_the_same_in_every_format(tmp_path: Path, name: str) -> None:
    write_sample_data(tmp_path / "a", 4, 2, (64, 96), format=name)
    write_sample_data(tmp_path / "b", 4, 2, (64, 96), format="coco")
    for split in ("train", "val"):
        found, report = formats.load_split(tmp_path / "a", split)
        reference, _ = formats.load_split(tmp_path / "b", split)
        assert_same(found, reference)
        assert report.dropped == 0
        for one, other in zip(found.image_paths, reference.image_paths):
            assert one.read_bytes() == other.read_bytes()
