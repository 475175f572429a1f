"""What a mirror does to classes: by name, by looks, in the augmentation and in the data check."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.augment import AugmentConfig, augment, mirrored_labels
from detector.data.check import check_data
from detector.data.formats import load_split
from detector.data.geometry import Picture
from detector.data.mirror import advise
from detector.data.mirror.looks import look
from detector.data.mirror.names import bare_numbers, one_sided, sided_pairs, written
from search_spaces.errors import UserError


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["turn left", "stop", "turn right"], {"turn left": "turn right"}),
        (["turnRight", "TurnLeft"], {"turnRight": "TurnLeft"}),
        (["arrow-l", "arrow-r", "arrow"], {"arrow-l": "arrow-r"}),
        (["saga-don", "sola-don"], {"saga-don": "sola-don"}),
        (["Sağa dönüş", "Sola dönüş"], {"Sağa dönüş": "Sola dönüş"}),
        (["links abbiegen", "rechts abbiegen"], {"links abbiegen": "rechts abbiegen"}),
        (["main gauche", "main droite"], {"main gauche": "main droite"}),
        (["左折", "右折"], {"左折": "右折"}),
        (["left", "bright", "copyright", "soluble", "r2d2", "real", "leal"], {}),
        (["RBC", "WBC", "Platelets"], {}),
    ],
)
def test_pairs_by_name(names: list[str], pairs: dict[str, str]) -> None:
    assert sided_pairs(names) == pairs


def test_a_side_without_its_counterpart() -> None:
    assert one_sided(["turn_left", "stop"]) == ("turn_left",)
    assert one_sided(["turn_left", "turn_right", "bright", "sol"]) == ()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["digit_3", "dog"], ("digit_3",)),
        (["A", "b", "C", "dog"], ("A", "b", "C")),
        (["one", "two", "three"], ("one", "two", "three")),
        (["a", "dog", "cat"], ()),
        (["0", "1", "2"], ()),
        (["digit"], ()),
    ],
)
def test_written_signs(names: list[str], found: tuple[str, ...]) -> None:
    assert written(names) == found
    assert bare_numbers(names) == (names == ["0", "1", "2"])


def arrow(canvas: np.ndarray, left: bool, place: tuple[int, int], size: int) -> None:
    """An arrow to one side, drawn in a square."""
    x, y = place
    points = np.array([[0, 5], [4, 1], [4, 4], [10, 4], [10, 6], [4, 6], [4, 9]]) * size / 10
    if not left:
        points[:, 0] = size - points[:, 0]
    cv2.fillPoly(canvas, [np.rint(points + np.array([x, y])).astype(np.int32)], (235, 230, 240))


def data_set(folder: Path, names: list[str], images: int = 12) -> Path:
    """COCO pictures with an arrow of each class among `names` 0 (left) and 1 (right), and a ring of any class above."""
    rng = np.random.default_rng(5)
    records: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    (folder / "train").mkdir(parents=True)
    for number in range(images):
        canvas = rng.integers(20, 60, (96, 192, 3)).astype(np.uint8)
        name = f"{number}.png"
        records["images"].append({"id": number, "file_name": name, "height": 96, "width": 192})
        for label in range(len(names)):
            size = int(rng.integers(34, 52))
            x, y = 64 * label + int(rng.integers(0, 10)), int(rng.integers(0, 40))
            if label < 2:
                arrow(canvas, label == 0, (x, y), size)
            else:
                cv2.circle(canvas, (x + size // 2, y + size // 2), size // 2 - 3, (220, 220, 90), 5)
            box = {"id": len(records["annotations"]), "image_id": number, "category_id": label, "area": size * size}
            records["annotations"].append({**box, "bbox": [x, y, size, size], "iscrowd": 0})
        cv2.imwrite(str(folder / "train" / name), canvas)
    categories = [{"id": label, "name": name} for label, name in enumerate(names)]
    text = json.dumps({**records, "categories": categories})
    (folder / "train" / "_annotations.coco.json").write_text(text)
    return folder


def test_looks_find_arrows_whose_names_say_nothing(tmp_path: Path) -> None:
    train, _ = load_split(data_set(tmp_path / "d", ["sign A1", "sign A2", "ring"]), "train")
    found = look(train)
    assert found.pairs == {"sign A1": "sign A2"}
    assert set(found.changed) == {"sign A1", "sign A2"}
    advice = advise(train)
    assert (advice.pairs, advice.off) == ({"sign A1": "sign A2"}, False)
    assert advice.setting == "augment.flip_pairs={sign A1: sign A2}"


def test_bare_numbers_are_judged_by_their_looks(tmp_path: Path) -> None:
    arrows, _ = load_split(data_set(tmp_path / "a", ["0", "1", "2"]), "train")
    assert (advise(arrows).off, advise(arrows).setting) == (True, "augment.flip=0")
    few, _ = load_split(data_set(tmp_path / "b", ["0", "1", "2"], images=4), "train")
    assert advise(few).setting == ""


def test_names_need_no_pictures(tmp_path: Path) -> None:
    pair, _ = load_split(data_set(tmp_path / "a", ["left turn", "right turn"], images=2), "train")
    assert advise(pair).pairs == {"left turn": "right turn"}
    lonely, _ = load_split(data_set(tmp_path / "b", ["left turn", "x1", "ring"], images=2), "train")
    assert advise(lonely).off
    assert "left turn" in advise(lonely).why


def test_the_check_says_what_to_set(tmp_path: Path) -> None:
    found = check_data(data_set(tmp_path / "d", ["left turn", "right turn"], images=2))
    notes = [finding for finding in found.notes if finding.kind == "mirrored-class"]
    assert len(notes) == 1
    assert "augment.flip_pairs={left turn: right turn}" in notes[0].reason
    plain = check_data(data_set(tmp_path / "e", ["x", "y", "ring"], images=2))
    assert not any(finding.kind == "mirrored-class" for finding in plain.notes)


def picture(label: int) -> Picture:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[20:40, 5:25] = 200
    box = np.array([[5, 20, 25, 40]], dtype=np.float32)
    return Picture(image, box, np.array([label], dtype=np.int32), np.zeros(1, dtype=bool))


def quiet(**settings: object) -> AugmentConfig:
    values = {"mosaic": 0, "mixup": 0, "degrees": 0, "shear_degrees": 0, "translate": 0, "scale": (1, 1), **settings}
    return AugmentConfig.model_validate(values)


@pytest.mark.parametrize("strong", [True, False])
def test_mirrored_pictures_swap_their_labels(strong: bool) -> None:
    labels = mirrored_labels(("left", "stop", "right"), {"left": "right"})
    assert labels.tolist() == [2, 1, 0]
    seen = set()
    for seed in range(20):
        for label in range(3):
            rng = np.random.default_rng(seed)
            config = quiet(flip_pairs={"left": "right"})
            out = augment(0, lambda _, c=label: picture(c), np.array([0]), config, rng, strong=strong, mirrored=labels)
            flipped = bool(out.boxes_xyxy[0, 0] > 32)
            assert out.labels.tolist() == [labels[label] if flipped else label]
            seen.add(flipped)
    assert seen == {True, False}


def test_the_second_picture_of_a_mixup_swaps_too_and_stays_where_nothing_is_mirrored() -> None:
    labels = mirrored_labels(("left", "right"), {"left": "right"})
    for flip, expected in ((1.0, {(1, 0), (1, 1)}), (0.0, {(0, 0)})):
        found = set()
        for seed in range(20):
            config = quiet(mixup=1, mixup_scale=(1, 1), flip=flip, flip_pairs={"left": "right"})
            rng = np.random.default_rng(seed)
            out = augment(0, lambda _: picture(0), np.array([0]), config, rng, mirrored=labels)
            found.add(tuple(out.labels.tolist()))
        assert found == expected


def test_wrong_pairs_are_refused() -> None:
    with pytest.raises(UserError, match=r"augment.flip_pairs: no class 'lft'.*left"):
        mirrored_labels(("left", "right"), {"lft": "right"})
    with pytest.raises(ValueError, match="names 'left' twice"):
        AugmentConfig(flip_pairs={"left": "right", "up": "left"})
