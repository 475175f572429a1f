"""The preset that the data choose, and data sets at the edge of what can be learnt from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.formats import load_split
from detector.data.mirror import MirrorAdvice
from detector.training.settings.auto_preset import (
    EPOCHS,
    MOST_EPOCHS,
    SHORT_RUN_FACTOR,
    STEPS,
    WEIGHTS_FACTOR,
    DataFacts,
    choice_of,
    choose,
    facts_of,
)  # fmt: skip
from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_values
from search_spaces.structure import Structure
from tinynas.cli import main

PLAIN = MirrorAdvice({}, False, "")
Box = tuple[float, float, float, float]


def facts(images: int) -> DataFacts:
    return DataFacts(images=images, empty=0, boxes=2 * images, classes=3, sides=(0.1, 0.2, 0.4), rare=())


@pytest.mark.parametrize(
    ("images", "epochs"), [(1, MOST_EPOCHS), (50, MOST_EPOCHS), (150, 127), (601, 100), (4000, 100)]
)
def test_few_images_get_more_passes(tiny: Structure, images: int, epochs: int) -> None:
    chosen = choice_of(tiny, facts(images), PLAIN)
    assert chosen.values["epochs"] == epochs
    steps = epochs * -(-images // 8)
    assert steps >= STEPS or epochs in (MOST_EPOCHS, EPOCHS)
    assert f"{epochs} epochs ({steps} steps)" in chosen.lines(build_config(chosen.values), (64, 64))[1]


def test_only_what_the_lines_name_differs_from_small(tiny: Structure) -> None:
    auto = build_config(choice_of(tiny, facts(601), PLAIN).values).model_dump()
    small = build_config(preset_values("small", tiny)).model_dump()
    assert {key for key in small if small[key] != auto[key]} == {"preset", "optimizer"}
    chosen = {"name": "muon", "short_run_factor": SHORT_RUN_FACTOR}
    assert auto["optimizer"] == {**small["optimizer"], **chosen}
    started = build_config(choice_of(tiny, facts(601), PLAIN, from_weights=True).values).model_dump()
    assert started["optimizer"] == {**auto["optimizer"], "short_run_factor": WEIGHTS_FACTOR}


def test_mirrors_follow_the_advice(tiny: Structure) -> None:
    pairs = choice_of(tiny, facts(50), MirrorAdvice({"a left": "a right"}, False, "by name"))
    off = choice_of(tiny, facts(50), MirrorAdvice({}, True, "digits"))
    assert build_config(pairs.values).augment.flip_pairs == {"a left": "a right"}
    assert build_config(pairs.values).augment.flip == 0.5
    assert build_config(off.values).augment.flip == 0
    for chosen, words in (
        (pairs, "50 % of the pictures mirrored, with labels swapped: by name"),
        (off, "no mirrored pictures: digits"),
    ):
        assert words in chosen.lines(build_config(chosen.values), (64, 64))[2]
        told = build_config(chosen.values, None, ["augment.flip=0.3", "augment.flip_pairs={}", "epochs=7"])
        assert "7 epochs (49 steps)" in chosen.lines(told, (64, 64))[1]


def test_lines_are_about_what_is_trained(tiny: Structure) -> None:
    chosen = choice_of(tiny, facts(160), PLAIN)
    short, long, timed = (
        build_config(chosen.values, None, [setting]) for setting in ("epochs=100", "epochs=1000", "minutes=30")
    )
    assert "100 epochs (2000 steps), muon with a peak rate of 0.008" in chosen.lines(short, (64, 64))[1]
    assert "1000 epochs (20000 steps), muon with a peak rate of 0.001" in chosen.lines(long, (64, 64))[1]
    assert "as many epochs as fit into 30m" in chosen.lines(timed, (64, 64))[1]


def test_a_checkpoint_to_start_from_is_not_undone(tiny: Structure) -> None:
    chosen = choice_of(tiny, facts(160), PLAIN, from_weights=True)
    config = build_config(chosen.values)
    assert config.optimizer.short_run_factor == WEIGHTS_FACTOR < SHORT_RUN_FACTOR
    assert "a peak rate of 0.0036, higher in short runs" in chosen.lines(config, (64, 64))[1]


def write(folder: Path, boxes: list[list[tuple[Box, str]]], size: int = 64) -> Path:
    """A COCO data set, the same in both splits: boxes (x, y, width, height) and classes of each picture."""
    rng = np.random.default_rng(0)
    names = sorted({name for row in boxes for _, name in row})
    for split in ("train", "valid"):
        (folder / split).mkdir(parents=True)
        images, records = [], []
        for number, row in enumerate(boxes):
            pixels = rng.integers(0, 80, (size, size, 3)).astype(np.uint8)
            for (x, y, width, height), name in row:
                pixels[int(y) : int(y + height), int(x) : int(x + width)] = 120 + 60 * names.index(name)
                record = {"id": len(records), "image_id": number, "category_id": names.index(name), "iscrowd": 0}
                records.append({**record, "bbox": [x, y, width, height], "area": width * height})
            cv2.imwrite(str(folder / split / f"{number}.png"), pixels)
            images.append({"id": number, "file_name": f"{number}.png", "height": size, "width": size})
        categories = [{"id": place, "name": name} for place, name in enumerate(names)]
        text = json.dumps({"images": images, "annotations": records, "categories": categories})
        (folder / split / "_annotations.coco.json").write_text(text)
    return folder


def test_facts(tmp_path: Path) -> None:
    data = write(tmp_path, [[((0, 0, 32, 32), "a")] * 10, [((0, 0, 64, 16), "b")], []])
    found = facts_of(load_split(data, "train")[0])
    assert (found.images, found.empty, found.boxes, found.classes, found.rare) == (3, 1, 11, 2, ("b",))
    assert found.sides == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("rare", "words"),
    [
        ((), "64x64"),
        (("stop",), "; under 10 boxes: stop"),
        (tuple("abcdef"), "; under 10 boxes: a, b, c, d and 2 more"),
    ],
)
def test_rare_classes_are_named(tiny: Structure, rare: tuple[str, ...], words: str) -> None:
    chosen = choice_of(tiny, replace(facts(50), rare=rare), PLAIN)
    assert chosen.lines(build_config(chosen.values), (64, 64))[0].endswith(words)


WHOLE = (0.0, 0.0, 64.0, 64.0)
SAME = (8.0, 16.0, 24.0, 24.0)


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[(SAME, "a")]], id="one image with one box"),
        pytest.param([[(SAME, "a"), (SAME, "b")], [(SAME, "a")], [], [(SAME, "b")]], id="boxes of one size"),
        pytest.param([[(WHOLE, "a")]] * 3, id="boxes that cover the picture"),
        pytest.param([[(SAME, "a"), ((40, 30, 20, 20), "a")], [(SAME, "rare")]], id="a class with one box"),
    ],
)
def test_odd_data_train(
    boxes: list[list[tuple[Box, str]]], tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data", boxes)
    words = ["--epochs", "2", "--device", "cpu", "--out", str(tmp_path / "run"), "--set", "workers=0"]
    assert main(["train", str(tiny_file), "--data", str(data), *words]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("preset auto: "))
    assert f"{len(boxes)} images" in lines[first]
    assert lines[first + 1].startswith("  2 epochs")
    assert "overrule" in lines[first + 2]
    assert (tmp_path / "run" / "best.pt").is_file()
    assert "nan" not in lines[first]


def test_another_preset_is_told_of_a_mirror(
    tiny_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path / "data", [[(SAME, "left turn"), ((40, 30, 20, 20), "right turn")]])
    words = [str(tiny_file), "--data", str(data), "--epochs", "1", "--device", "cpu", "--preset", "small"]
    assert main(["train", *words, "--out", str(tmp_path / "warned")]) == 0
    assert "warning: pictures are mirrored as they are" in capsys.readouterr().out
    setting = ["--set", "augment.flip_pairs={left turn: right turn}"]
    assert main(["train", *words, *setting, "--out", str(tmp_path / "set")]) == 0
    assert "mirrored as they are" not in capsys.readouterr().out


def test_the_choice_reads_the_pictures(tiny: Structure, tmp_path: Path) -> None:
    train, _ = load_split(write(tmp_path, [[(SAME, "left"), ((40, 30, 20, 20), "right")]]), "train")
    assert choose(tiny, train).values["augment"]["flip_pairs"] == {"left": "right"}
