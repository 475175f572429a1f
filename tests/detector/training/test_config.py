from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from detector.training.settings.config import build_config, dump, validate
from detector.training.settings.presets import NAMES, preset_for, preset_values
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 7\noptimizer:\n  weight_decay: 1e-2\naugment: {scale: [0.5, 1.5]}\n")
    config = build_config(
        {"epochs": 5, "batch_size": 4}, file, ["optimizer.momentum=0.8", "amp=off"], direct={"epochs": 9, "seed": None}
    )
    assert (config.epochs, config.batch_size, config.amp) == (9, 4, "off")
    assert (config.optimizer.weight_decay, config.optimizer.momentum) == (0.01, 0.8)
    assert config.augment.scale == (0.5, 1.5)


def test_a_written_config_reads_back() -> None:
    config = build_config(preset_values("small", resolve_structure("Ns")), None, ["optimizer.clip_norm=null"])
    assert validate(yaml.safe_load(dump(config))) == config


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("epoch=3", "epochs"),
        ("optimizer.momentun=0.9", "momentum"),
        ("learning_rate=1", "optimizer.learning_rate_per_image"),
        ("epochs=many", "epochs: 'many' found; expected a whole number, for example 300"),
        ("batch_size=0", "batch_size: 0 found; expected a number of at least 1, for example 256"),
        ("optimizer=sgd", "expected the keys name"),
        ("augment.scale=[2, 1]", "low <= high"),
        ("image_size=97", "97 is not a multiple of 32; the nearest is 96"),
        ("image_size=[96, 0]", "0 is not a multiple of 32"),
        ("epochs", "key=value"),
        ("epochs=[", "not YAML"),
        ("device=2024-13-01", "not YAML"),
        ("freeze=[1]", "freeze.1: 1 found; expected text"),
        ("multi_scale=[1, 2]", "[1, 2] found; expected two multiples of 32"),
        ("multi_scale=5", "5 found; expected a list in square brackets"),
        ("image_size=wide", "expected H or HxW in pixels"),
        ("tensorboard=maybe", "'maybe' found; expected true or false, for example false"),
        ("optimizer.name=adam", "'adam' found; expected 'sgd', 'adamw' or 'muon'"),
        ("augment.flip_pairs={a: 3}", "augment.flip_pairs.a: 3 found; expected text"),
    ],
)
def test_a_bad_setting_is_one_line(setting: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        build_config({}, None, [setting])
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_square_is_one_number() -> None:
    assert build_config({}, None, ["image_size=96"]).image_size == [96, 96]
    assert build_config({}, None, ["image_size=[96, 128]"]).image_size == [96, 128]


@pytest.mark.parametrize("content", ["- 1\n", "a: [\n", "epoch: 3\n", "device: 2024-13-01\n"])
def test_a_bad_file_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(UserError):
        build_config({}, tmp_path / "bad.yaml")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", ["S", "M", "Ns"])
def test_every_preset_is_valid(name: str, model: str) -> None:
    assert validate(preset_values(name, resolve_structure(model))).preset == name


def test_published_rates() -> None:
    res, mob = (validate(preset_values("published", resolve_structure(name))) for name in ("S", "Ns"))
    assert res.optimizer.learning_rate_per_image * 256 == pytest.approx(0.04)
    assert mob.optimizer.learning_rate_per_image * 256 == pytest.approx(4e-3)
    assert (res.optimizer.name, mob.optimizer.name) == ("sgd", "adamw")
    assert (preset_for(205), preset_for(100_000)) == ("auto", "published")
    with pytest.raises(UserError, match="small"):
        preset_values("smal", resolve_structure("S"))
