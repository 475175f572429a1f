"""benchmarks/small_data.py: which sets and trainings it makes of what is asked for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.data.annotations import joined
from detector.data.formats import load_split
from detector.data.sample import write_sample_data
from detector.training.settings.auto_preset import choose
from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_values
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import _sets
import small_data

NS = resolve_structure("Ns")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sets")
    write_sample_data(root / "shapes", images_train=10, images_val=4, size=(64, 64))
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("signs", ("signs", None, None)), ("signs:150", ("signs", 150, None)),
        ("signs@turn left", ("signs", None, "turn left")), ("signs:5@a:b", ("signs", 5, "a:b")),
    ],
)  # fmt: skip
def test_sets_as_they_are_named(text: str, expected: tuple[object, ...]) -> None:
    spec = _sets.parse_set(text)
    assert (spec.name, spec.images, spec.class_name) == expected


@pytest.mark.parametrize("text", ["", ":5", "signs:0", "signs:x"])
def test_what_is_no_set(text: str) -> None:
    with pytest.raises(UserError, match="--sets"):
        _sets.parse_set(text)


def test_a_part_of_a_set(folder: Path, tmp_path: Path) -> None:
    whole = _sets.prepared(_sets.parse_set("shapes"), folder, tmp_path)
    assert whole == folder / "shapes"
    part = _sets.prepared(_sets.parse_set("shapes:6@disc"), folder, tmp_path)
    train, val = (load_split(part, split)[0] for split in ("train", "val"))
    source, _ = load_split(whole, "train")
    disc = source.class_names.index("disc")
    with_discs = {path.name for index, path in enumerate(source.image_paths) if disc in source.boxes_of(index).labels}
    assert (len(train), train.class_names, val.class_names) == (6, ("disc",), ("disc",))
    for index, path in enumerate(train.image_paths):
        assert path.name in with_discs
        there = source.boxes_of([p.name for p in source.image_paths].index(path.name))
        np.testing.assert_array_equal(train.boxes_of(index).boxes_xyxy, there.boxes_xyxy[there.labels == disc])
    again = _sets.prepared(_sets.parse_set("shapes:6@disc"), folder, tmp_path)
    assert [path.name for path in load_split(again, "train")[0].image_paths] == [p.name for p in train.image_paths]


def test_val_and_test_as_one_split(folder: Path, tmp_path: Path) -> None:
    val, _ = load_split(folder / "shapes", "val")
    both = joined([val, val])
    assert (len(both), len(set(both.image_ids.tolist()))) == (2 * len(val), 2 * len(val))
    for index in range(len(val)):
        for place in (index, index + len(val)):
            np.testing.assert_array_equal(both.boxes_of(place).boxes_xyxy, val.boxes_of(index).boxes_xyxy)
            assert both.image_paths[place] == val.image_paths[index]
    made = _sets.prepared(_sets.parse_set("shapes"), folder, tmp_path, together=True)
    assert len(load_split(made, "val")[0]) == len(val)  # the sample has no test split


@pytest.mark.parametrize("text", ["shapes:99", "shapes@dog"])
def test_parts_that_are_not_there(text: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        _sets.prepared(_sets.parse_set(text), folder, tmp_path)


def test_every_recipe_is_a_training_of_as_many_steps(folder: Path) -> None:
    train, _ = load_split(folder / "shapes", "train")
    options = argparse.Namespace(size=64, steps=41, seeds=2, recipes=list(small_data.RECIPES), set=["workers=0"])
    made = small_data.jobs("net", NS, train, options)
    assert len(made) == 2 * len(small_data.RECIPES)
    assert [job.name for job in made[:2]] == ["net-small-seed0", "net-auto-seed0"]
    assert {job.epochs for job in made} == {20}  # two steps of eight an epoch
    auto = build_config(choose(NS, train).values).model_dump()
    config = made[1].config().model_dump()
    for group in ("optimizer", "augment", "ema", "schedule", "loss", "batch_size"):
        assert config[group] == auto[group]
    assert made[0].config().optimizer == build_config(preset_values("small", NS)).optimizer
    configs = {job.arm: job.config().model_dump(exclude={"seed"}) for job in made if job.seed == 0}
    assert all(configs[arm] != configs["auto"] for arm in configs if arm != "auto")


def test_a_choice_survives_the_way_through_the_settings() -> None:
    values = {"preset": "auto", "epochs": 3, "augment": {"flip_pairs": {"sağ: a": "sol, b"}, "scale": [0.6, 1.5]}}
    lines = small_data.flat(values)
    assert build_config({}, None, lines).augment.flip_pairs == {"sağ: a": "sol, b"}
    assert not any(line.startswith(("preset", "epochs")) for line in lines)
