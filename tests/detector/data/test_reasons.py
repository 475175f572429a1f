"""Reasons that are said: capped AP, look-alikes across splits, dark samples, boxes that vanish."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.annotations import Annotations, RawBoxes, pack
from detector.data.check import Finding, check_data
from detector.data.check.pictures import draw_worst
from detector.data.dataset import check_images
from detector.data.formats import load_split
from detector.data.vanishing import tell_of_vanishing
from detector.evaluation import crowding_note, evaluate
from detector.evaluation.ceiling import crowded_images
from detector.evaluation.detections import SplitDetections
from detector.evaluation.settings import detections_for
from search_spaces.errors import UserError
from tests.detector.data.test_divide import heap, noise
from tests.detector.data.tool_exports import text


def crowd(*counts: int) -> Annotations:
    """One image per count, with that many boxes of class 0, and a box of class 1 in the first."""
    image = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([np.arange(count) for count in counts])
    corners = np.stack([places % 40 * 8, places // 40 * 8], axis=1).astype(np.float64)
    boxes = np.concatenate([np.concatenate([corners, corners + 7], axis=1), [[300, 300, 319, 319]]])
    labels = np.append(np.zeros(len(places), np.int64), 1)
    raw = RawBoxes(image=np.append(image, 0), boxes_xyxy=boxes, labels=labels, ignore=np.zeros(len(labels), np.bool_))
    paths = [Path(f"{i}.png") for i in range(len(counts))]
    return pack("t", ("cell", "dog"), paths, np.full((len(counts), 2), 320, np.int32), raw)[0]


def perfect(annotations: Annotations) -> SplitDetections:
    found = [annotations.boxes_of(i) for i in range(len(annotations))]
    return SplitDetections.pack([(boxes, np.linspace(1, 0.9, len(labels)), labels) for boxes, labels, _ in found])


@pytest.mark.parametrize("counts", [(300, 300), (101, 20), (250, 90, 10), (1000,), (100, 5)])
@pytest.mark.parametrize("limit", [100, 20])
def test_the_ceiling_is_what_a_perfect_detector_has(counts: tuple[int, ...], limit: int) -> None:
    annotations = crowd(*counts)
    images, ceiling = crowded_images(annotations.image_index(), annotations.labels.astype(np.int64), limit)
    assert images == sum(count > limit for count in counts)
    assert evaluate(perfect(annotations), annotations, max_detections=limit).ap == pytest.approx(ceiling, abs=1e-9)
    assert bool(crowding_note(annotations, limit)) == bool(images)


@pytest.mark.parametrize("backend", ["pycocotools", "hotcoco"])
def test_more_detections_count_when_told(backend: str) -> None:
    if backend == "hotcoco":
        pytest.importorskip("hotcoco")
    annotations = crowd(300, 300)
    found = perfect(annotations)
    assert evaluate(found, annotations, backend=backend).class_ap["cell"] == pytest.approx(34 / 101)
    more = evaluate(found, annotations, backend=backend, max_detections=300)
    assert more.ap == more.ar_100 == more.class_ap["cell"] == 1.0
    assert more.ar_10 == pytest.approx((10 / 300 + 1) / 2)


def findings(root: Path, kind: str) -> list[Finding]:
    found = check_data(root)
    assert kind not in {finding.kind for finding in found.problems}
    return [finding for finding in found.notes if finding.kind == kind]


def split_set(root: Path) -> None:
    for k, split in enumerate(("train", "val")):
        for i in range(3):
            noise(root / f"images/{split}/{split}{i}.png", 10 * k + i)
            text(root / f"labels/{split}/{split}{i}.txt", "0 .5 .5 .5 .5\n")
    text(root / "data.yaml", "train: images/train\nval: images/val\nnames: [cat]\n")


def test_crowded_splits_are_noted(tmp_path: Path) -> None:
    split_set(tmp_path)
    lines = "".join(f"0 {(i % 20) / 20 + 0.02} {(i // 20) / 20 + 0.02} .02 .02\n" for i in range(150))
    text(tmp_path / "labels/val/val0.txt", lines)
    (note,) = findings(tmp_path, "crowded")
    assert note.split == "val"
    assert note.reason.startswith("1 image has more than 100 boxes of one class: AP counts the 100 best detections")


def test_look_alikes_across_splits_are_noted(tmp_path: Path) -> None:
    split_set(tmp_path)
    assert not findings(tmp_path, "near-leak")
    pixels = cv2.imread(str(tmp_path / "images/train/train1.png"))
    cv2.imwrite(str(tmp_path / "images/val/again.jpg"), cv2.resize(pixels, (48, 36)), [cv2.IMWRITE_JPEG_QUALITY, 60])
    cv2.imwrite(str(tmp_path / "images/train/again.jpg"), cv2.resize(pixels, (48, 38)), [cv2.IMWRITE_JPEG_QUALITY, 60])
    (note,) = findings(tmp_path, "near-leak")
    assert (note.split, Path(note.where).name) == ("val", "again.jpg")
    assert "in train (a frame of the same video, or saved again?)" in note.reason
    assert draw_worst([note], check_data(tmp_path).raw) is not None


def test_twelve_bits_in_sixteen_are_said(tmp_path: Path) -> None:
    split_set(tmp_path)
    samples = np.random.default_rng(0).integers(0, 4096, (48, 64), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "images/train/train0.png"), samples)
    (note,) = findings(tmp_path, "dark-samples")
    assert "stay below 4096 (12 bits in 16)" in note.reason
    with pytest.warns(
        UserWarning, match=r"train0\.png \(and 0 more 16-bit pictures\): 16-bit samples that stay below 4096"
    ):
        check_images(load_split(tmp_path, "train")[0])
    cv2.imwrite(str(tmp_path / "images/train/train0.png"), samples * 16)
    assert not findings(tmp_path, "dark-samples")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_images(load_split(tmp_path, "train")[0])


def test_a_heap_is_offered_a_split(tmp_path: Path) -> None:
    heap(tmp_path, ["a.png", "b.png"], [0, 1])
    (note,) = findings(tmp_path, "missing-split")
    assert note.reason == f"the pictures are in one heap; split it with: tinynas data split {tmp_path} --val 0.2"
    text(tmp_path / "data.yaml", "names: [cat, dog, cow]\n")
    (tmp_path / "labels").rename(tmp_path / "texts")
    assert [finding.kind for finding in check_data(tmp_path).problems] == ["no-split"]


@pytest.mark.parametrize(("side", "said"), [(320, ""), (96, "note: 75% of the boxes have a side under 2 px at 96x96")])
def test_boxes_that_vanish_at_the_image_size_are_said(side: int, said: str) -> None:
    annotations = crowd(3)
    lines: list[str] = []
    tell_of_vanishing(annotations, (side, side), 2.0 if side == 320 else 2.2, lines.append)
    assert [line.replace("2.2 px", "2 px").partition(" and are")[0] for line in lines] == ([said] if said else [])


def test_a_training_in_which_all_boxes_vanish_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"--image-size 32x32: all 4 boxes have a side under 2 px .*raise --image-size, or cut"
    ):
        tell_of_vanishing(crowd(3), (32, 32), 2.0, print)


@pytest.mark.parametrize(
    ("most", "counted", "kept"), [(500, 100, 500), (3, 100, 3), (500, 300, 500), (500, 900, 900), (3, 20, 3)]
)
def test_as_many_detections_are_kept_as_are_to_count(most: int, counted: int, kept: int) -> None:
    assert detections_for(most, counted) == kept
