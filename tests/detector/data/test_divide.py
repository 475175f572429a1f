"""Splitting, merging and slicing data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.convert import convert
from detector.data.formats import available_splits, load_split
from detector.data.grouping import source_rule
from detector.data.image import read_image
from detector.data.likeness import alike, look_of
from detector.data.merge import merge
from detector.data.sample import write_sample_data
from detector.data.slicing import Slicing, slice_data
from detector.data.splitting import Division, assign, split_data
from detector.tiling import Tile, tiles_of
from search_spaces.errors import UserError
from tests.detector.data.tool_exports import EXPORTS, text


def noise(path: Path, seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A picture of broad patches, unlike those of other seeds."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return pixels


def heap(root: Path, names: Sequence[str], labels: Sequence[int]) -> None:
    """A YOLO heap of pictures, one box of the given class each."""
    for seed, (name, label) in enumerate(zip(names, labels)):
        noise(root / "images" / name, seed)
        text(root / "labels" / f"{Path(name).stem}.txt", f"{label} .5 .5 .5 .5\n")
    text(root / "classes.txt", "cat\ndog\ncow\n")


def lists(made: Division) -> dict[str, set[str]]:
    return {path.stem: set(path.read_text().split("\n")) - {""} for path in made.folder.iterdir()}


def test_a_heap_is_divided_by_class_and_every_reader_follows(tmp_path: Path) -> None:
    heap(tmp_path, [f"p{i:03d}.png" for i in range(50)], [0] * 30 + [1] * 15 + [2] * 5)
    with pytest.raises(
        UserError, match=rf"in one heap; split it with: tinynas data split {tmp_path} --val 0.2 \(or train with --split"
    ):
        load_split(tmp_path, "train")
    made = split_data(tmp_path, 0.2, 0.2, seed=1)
    assert made.pictures == {"train": 30, "val": 10, "test": 10}
    assert made.boxes == {"train": [18, 9, 3], "val": [6, 3, 1], "test": [6, 3, 1]}
    written = lists(made)
    assert set.union(*written.values()) == {f"images/p{i:03d}.png" for i in range(50)}
    assert available_splits(tmp_path) == ["train", "val", "test"]
    for split, names in written.items():
        loaded, _ = load_split(tmp_path, split)
        assert {path.relative_to(tmp_path).as_posix() for path in loaded.image_paths} == names
    assert lists(split_data(tmp_path, 0.2, 0.2, seed=1, overwrite=True)) == written
    assert lists(split_data(tmp_path, 0.2, 0.2, seed=2, overwrite=True)) != written


def test_a_division_is_kept_unless_told_and_a_split_set_is_left_alone(tmp_path: Path) -> None:
    heap(tmp_path / "heap", ["a.png", "b.png", "c.png"], [0, 0, 0])
    before = lists(split_data(tmp_path / "heap", 0.3))
    with pytest.raises(UserError, match=r"tinynas-splits: exists already; say --overwrite"):
        split_data(tmp_path / "heap", 0.5)
    assert lists(split_data(tmp_path / "heap", 0.3, overwrite=True)) == before
    write_sample_data(tmp_path / "split", 2, 2, (32, 32))
    with pytest.raises(UserError, match="has the splits train, val already"):
        split_data(tmp_path / "split", 0.2)
    for val, test in ((0, 0), (1, 0), (0.6, 0.5)):
        with pytest.raises(UserError, match="expected shares above 0 that leave some pictures to train on"):
            split_data(tmp_path / "heap", val, test, overwrite=True)


def test_a_set_with_train_alone_gets_its_val_from_it(tmp_path: Path) -> None:
    EXPORTS["CVAT YOLO 1.1"][2](tmp_path)
    with pytest.raises(UserError, match=r"no 'val' split; found: train; split it with: tinynas data split"):
        load_split(tmp_path, "val")
    made = split_data(tmp_path, 0.5)
    assert [len(load_split(tmp_path, split)[0]) for split in ("train", "val")] == [2, 2]
    assert made.boxes == {"train": [1, 1], "val": [1, 1]}


def test_pictures_that_were_listed_and_are_gone_are_named(tmp_path: Path) -> None:
    heap(tmp_path, ["a.png", "b.png", "c.png"], [0, 0, 0])
    made = split_data(tmp_path, 0.3)
    (tmp_path / next(iter(lists(made)["val"]))).unlink()
    with pytest.raises(UserError, match=r"missing image, listed in .*tinynas-splits/val.txt; add it, or split anew"):
        load_split(tmp_path, "val")


def test_what_belongs_together_stays_together(tmp_path: Path) -> None:
    names = [f"clip{i // 10}_{i % 10:04d}.png" for i in range(60)]
    heap(tmp_path, names, [0] * 60)
    made = split_data(tmp_path, 0.25, group_by="name")
    assert made.groups == 6
    clips = [{name[: len("images/clip0")] for name in found} for found in lists(made).values()]
    assert not clips[0] & clips[1]
    alone = split_data(tmp_path, 0.25, overwrite=True)
    assert alone.groups == 60
    assert alone.notes == ("the names look like frames of 6 videos; keep each in one split with --group-by name",)


def test_copies_versions_and_look_alikes_stay_together(tmp_path: Path) -> None:
    heap(tmp_path, [f"p{i}.png" for i in range(12)], [0] * 12)
    pixels = read_image(tmp_path / "images/p0.png")
    cv2.imwrite(
        str(tmp_path / "images/smaller.jpg"), cv2.resize(pixels[..., ::-1], (48, 36)), [cv2.IMWRITE_JPEG_QUALITY, 60]
    )
    (tmp_path / "images/copy.png").write_bytes((tmp_path / "images/p1.png").read_bytes())
    for seed, name in ((90, "x_jpg.rf.0123456789abcdef.png"), (91, "x_jpg.rf.fedcba9876543210.png")):
        noise(tmp_path / "images" / name, seed)
    made = split_data(tmp_path, 0.3)
    assert made.groups == 13
    assert (
        made.notes == ("2 pictures look like another one: each such group is kept in one split",)
        or "4 pictures" in made.notes[0]
    )
    for found in lists(made).values():
        for pair in (
            ("p0.png", "smaller.jpg"),
            ("p1.png", "copy.png"),
            ("x_jpg.rf.0123456789abcdef.png", "x_jpg.rf.fedcba9876543210.png"),
        ):
            assert len({f"images/{name}" for name in pair} & found) in (0, 2)


def test_pictures_that_all_look_alike_are_divided_all_the_same(tmp_path: Path) -> None:
    heap(tmp_path, [f"p{i}.png" for i in range(10)], [0] * 10)
    pixels = read_image(tmp_path / "images/p0.png")
    for i in range(1, 10):
        changed = pixels.copy()
        changed[i, i] = 0
        cv2.imwrite(str(tmp_path / f"images/p{i}.png"), changed[..., ::-1])
    made = split_data(tmp_path, 0.3)
    assert made.pictures == {"train": 7, "val": 3}
    assert made.notes == (
        "most pictures look alike, so only equal files were kept together; name their sources with --group-by",
    )


def test_rules_of_sources() -> None:
    path = Path("a/site3_cam1_0007.jpg")
    assert source_rule("folder")(path) == "a"
    assert source_rule("name")(path) == "a/site3_cam1_"
    assert source_rule(r"(site\d)_")(path) == "site3"
    assert source_rule(r"nothing")(path) == str(path)
    with pytest.raises(UserError, match=r"--group-by '\(': no regular expression"):
        source_rule("(")


@pytest.mark.parametrize("seed", range(10))
def test_stratification_keeps_groups_whole_and_classes_near_their_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(80), rng.integers(1, 4, 80))
    counts = rng.poisson([2.0, 0.5, 0.1], (len(groups), 3))
    chosen = assign(groups, counts, [0.7, 0.2, 0.1], seed)
    assert all(len(set(chosen[groups == number])) == 1 for number in range(80))
    for label in range(3):
        got = np.array([counts[chosen == split, label].sum() for split in range(3)])
        wanted = counts[:, label].sum() * np.array([0.7, 0.2, 0.1])
        assert np.abs(got - wanted).max() <= max(4, 0.1 * counts[:, label].sum())


def test_every_split_gets_something() -> None:
    assert sorted(assign(np.arange(3), np.ones((3, 1), np.int64), [0.98, 0.01, 0.01], 0).tolist()) == [0, 1, 2]


def test_hashes_find_pictures_saved_again_and_tell_others_apart() -> None:
    rng = np.random.default_rng(0)
    pictures = [
        cv2.resize(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
        for _ in range(30)
    ]
    again = []
    for pixels in pictures:
        _, data = cv2.imencode(
            ".jpg", cv2.resize(pixels, (160, 120), interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 50]
        )
        again.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
    looks = [look_of(pixels) for pixels in (*pictures, *again)]
    assert sorted(alike(looks)) == [(i, i + 30) for i in range(30)]
    assert look_of(np.full((20, 20, 3), 7, np.uint8)) == ""
    assert list(alike(["", "", looks[0]])) == []


def test_merging_matches_classes_by_name(tmp_path: Path) -> None:
    for name in ("Roboflow COCO", "CVAT VOC, subsets", "Roboflow YOLO, no test"):
        EXPORTS[name][2](tmp_path / name)
    text(tmp_path / "Roboflow YOLO, no test/data.yaml", "train: train/images\nval: valid/images\nnames: [dog, bird]\n")
    sources = [tmp_path / name for name in ("Roboflow COCO", "CVAT VOC, subsets", "Roboflow YOLO, no test")]
    done = merge(sources, tmp_path / "out", "coco")
    found, _ = load_split(tmp_path / "out", "train")
    assert found.class_names == ("cat", "dog", "bird")
    assert [found.class_names[label] for label in found.labels] == ["cat", "dog", "cat", "dog", "dog", "bird"]
    assert len({path.name for path in found.image_paths}) == 6
    assert found.image_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert "the names of 7 pictures: others in the same folder had them, a number was added" in done.lost
    assert available_splits(tmp_path / "out") == ["train", "val", "test"]


def test_merging_split_and_unsplit_sets_is_refused(tmp_path: Path) -> None:
    EXPORTS["LabelMe"][2](tmp_path / "a")
    EXPORTS["LabelMe, splits"][2](tmp_path / "b")
    with pytest.raises(UserError, match=r"a: has no splits, the others have; split it first: tinynas data split"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out", "yolo")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["coco", "voc", "yolo"])
def test_a_heap_is_converted_as_a_heap(tmp_path: Path, to: str) -> None:
    EXPORTS["Label Studio JSON"][2](tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out", to)
    assert available_splits(tmp_path / "out") == ["all"]
    before, after = load_split(tmp_path / "in", "all")[0], load_split(tmp_path / "out", "all")[0]
    np.testing.assert_allclose(after.boxes_xyxy, before.boxes_xyxy)
    assert after.class_names == before.class_names


def test_converting_leaves_a_spoilt_test_split_out_and_says_so(tmp_path: Path) -> None:
    EXPORTS["Roboflow COCO"][2](tmp_path / "in")
    (tmp_path / "in/test/_annotations.coco.json").write_text("{")
    done = convert(tmp_path / "in", tmp_path / "out", "yolo")
    assert available_splits(tmp_path / "out") == ["train", "val"]
    assert any("'test' split" in line and "the JSON does not parse" in line for line in done.lost)
    (tmp_path / "in/valid/_annotations.coco.json").write_text("{")
    with pytest.raises(UserError, match="the JSON does not parse"):
        convert(tmp_path / "in", tmp_path / "again", "yolo")


def test_tiles_cover_a_picture_evenly() -> None:
    assert tiles_of((100, 100), (100, 100), 0.2) == [Tile(0, 0, 100, 100)]
    assert [(tile.x, tile.y) for tile in tiles_of((50, 250), (100, 100), 0.25)] == [(0, 0), (75, 0), (150, 0)]
    for side in (101, 333, 640, 1000):
        starts = [tile.x for tile in tiles_of((64, side), (64, 64), 0.2)]
        assert starts[0] == 0
        assert starts[-1] == side - 64
        assert max(np.diff(starts)) <= 52
        assert min(np.diff(starts), default=1) >= 1


def test_slices_hold_the_pixels_and_boxes_of_their_place(tmp_path: Path) -> None:
    pixels = noise(tmp_path / "in/images/train/a.png", 5, (120, 200))
    text(
        tmp_path / "in/labels/train/a.txt",
        f"0 {50 / 200} {60 / 120} {20 / 200} {20 / 120}\n0 {100 / 200} {20 / 120} {16 / 200} {16 / 120}\n",
    )
    text(tmp_path / "in/data.yaml", "train: images/train\nnames: [cat]\n")
    done = slice_data(tmp_path / "in", tmp_path / "out", "coco", Slicing(size=100, overlap=0, visible=0.6, empty=1.0))
    assert done.tiles == {"train": 4}
    found, _ = load_split(tmp_path / "out", "train")
    boxes = {}
    for i, path in enumerate(found.image_paths):
        left, top = map(int, path.stem.split("_")[1:])
        np.testing.assert_array_equal(read_image(path), pixels[top : top + 100, left : left + 100, ::-1])
        here = found.boxes_of(i)
        boxes[left, top] = [(row, bool(flag)) for row, flag in zip(here.boxes_xyxy.round(2).tolist(), here.ignore)]
    assert boxes[0, 0] == [([40, 50, 60, 70], False), ([92, 12, 100, 28], True)]
    assert boxes[100, 0] == [([0, 12, 8, 28], True)]
    assert boxes[0, 20] == [([40, 30, 60, 50], False), ([92, 0, 100, 8], True)]


def test_few_of_the_empty_tiles_are_kept(tmp_path: Path) -> None:
    for i in range(10):
        noise(tmp_path / f"in/images/train/{i}.png", i, (200, 200))
        text(tmp_path / f"in/labels/train/{i}.txt", "0 .1 .1 .1 .1\n")
    text(tmp_path / "in/data.yaml", "train: images/train\nnames: [cat]\n")
    tiles = {}
    for share in (0.0, 0.3, 1.0):
        done = slice_data(tmp_path / "in", tmp_path / f"out{share}", "yolo", Slicing(size=50, overlap=0, empty=share))
        tiles[share] = done.tiles["train"]
        assert done.boxes == {"train": 10}
    assert tiles[0.0] == 10
    assert tiles[1.0] == 160
    assert 25 < tiles[0.3] - 10 < 65


def test_tiles_that_cut_every_box_are_refused(tmp_path: Path) -> None:
    noise(tmp_path / "in/images/train/a.png", 0, (200, 200))
    text(tmp_path / "in/labels/train/a.txt", "0 .5 .5 .1 .1\n")
    text(tmp_path / "in/data.yaml", "train: images/train\nnames: [cat]\n")
    with pytest.raises(UserError, match="no tile of the 'train' split holds a box; choose --size or --empty larger"):
        slice_data(tmp_path / "in", tmp_path / "out", "yolo", Slicing(size=100, overlap=0, empty=0))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a\nb.png", "caf\udce9.png"])
def test_names_that_no_list_can_hold_are_named(tmp_path: Path, name: str) -> None:
    heap(tmp_path, ["p0.png", "p1.png"], [0, 0])
    for folder, suffix in (("images", ".png"), ("labels", ".txt")):
        (tmp_path / f"{folder}/p0{suffix}").rename(tmp_path / folder / name.replace(".png", suffix))
    with pytest.raises(UserError, match=r"a list cannot hold this name"):
        split_data(tmp_path, 0.5)
    assert not (tmp_path / "tinynas-splits").exists()
