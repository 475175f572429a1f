"""The published recipe per size."""

from __future__ import annotations

import dataclasses

import pytest

from detector.training.settings.config import TrainConfig, validate
from detector.training.settings.presets import preset_values, published_size
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure, shipped_names


def published(name: str) -> TrainConfig:
    return validate(preset_values("published", resolve_structure(name)))


@pytest.mark.parametrize(
    ("name", "shear", "scale", "side"),
    [
        ("T", 0.2, (0.1, 2.0), 640), ("S", 2.0, (0.1, 2.0), 640), ("M", 2.0, (0.1, 2.0), 640),
        ("L", 2.0, (0.1, 2.0), 640), ("Ns", 0.2, (0.75, 1.25), 416), ("Nm", 0.2, (0.1, 2.0), 416),
        ("Nl", 0.2, (0.1, 2.0), 416),
    ],
)  # fmt: skip
def test_each_size_has_its_own_augmentation(name: str, shear: float, scale: tuple[float, float], side: int) -> None:
    config = published(name)
    augment = config.augment
    assert (augment.shear_degrees, augment.scale) == (shear, scale)
    assert (augment.mosaic, augment.mixup, augment.mixup_scale) == (1.0, 0.15, (0.5, 1.5))
    assert (augment.degrees, augment.translate, augment.flip, augment.fill, augment.sada) == (10, 0.2, 0.5, 114, 1)
    assert (config.epochs, config.batch_size, config.schedule.no_aug_epochs) == (300, 256, 16)
    assert (config.image_size, config.multi_scale) == (None, None)
    assert resolve_structure(name).image_size == (side, side)


@pytest.mark.parametrize("name", shipped_names())
def test_little_data_goes_without_sada(name: str) -> None:
    assert validate(preset_values("small", resolve_structure(name))).augment.sada == 0


def widened(structure: Structure, factor: int) -> Structure:
    stages = tuple(
        dataclasses.replace(stage, hidden_channels=stage.hidden_channels * factor)
        for stage in structure.backbone.stages
    )
    return dataclasses.replace(structure, backbone=dataclasses.replace(structure.backbone, stages=stages))


def test_a_searched_network_takes_the_recipe_of_the_nearest_size() -> None:
    for name in shipped_names():
        assert published_size(resolve_structure(name)) == name
        assert published_size(resolve_structure(name).with_classes(3)) == name
    assert published_size(widened(resolve_structure("Ns"), 4)) == "Nl"
    assert published_size(widened(resolve_structure("T"), 3)) == "S"
