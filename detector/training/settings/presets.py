"""Presets: training settings as data. `published` depends on the model's family and size; `small` is for little data.

`auto`, which depends on the data, is made of `small` in `auto_preset`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.training.settings.config import merge
from search_spaces.costs import params
from search_spaces.emit import emit_backbone
from search_spaces.errors import UserError, nearest
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure, shipped_names

SMALL_DATA_IMAGES = 5000
"""Below this number of training images `auto` is taken unless a preset is named."""

_FAMILIES: dict[str, dict[str, Any]] = {
    "mob": {"optimizer": {"name": "adamw", "learning_rate_per_image": 4e-3 / 256, "weight_decay": 1e-2}},
}
_AUGMENT_BY_SIZE: dict[str, dict[str, Any]] = {
    "T": {"shear_degrees": 0.2},
    "S": {},
    "M": {},
    "L": {},
    "Ns": {"shear_degrees": 0.2, "scale": [0.75, 1.25]},
    "Nm": {"shear_degrees": 0.2},
    "Nl": {"shear_degrees": 0.2},
}
_SMALL: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 8,
    "optimizer": {"name": "adamw", "learning_rate_per_image": 1e-3 / 8, "weight_decay": 1e-2, "clip_norm": 35.0},
    "schedule": {"warmup_epochs": 3, "warmup_min_steps": 60, "warmup_max_share": 0.15, "no_aug_max_share": 0.15},
    "ema": {"decay": 0.998, "ramp_steps": 100, "memory_share": 0.05},
    "augment": {
        "mosaic": 0.5,
        "scale": [0.6, 1.5],
        "degrees": 0.0,
        "translate": 0.1,
        "shear_degrees": 0.0,
        "mixup": 0.0,
    },
    "eval": {"every_epochs": 5},
}
_FINE_TUNED_WITH_ROUNDING: dict[str, Any] = {
    "epochs": 3,
    "optimizer": {"name": "adamw", "learning_rate_per_image": 2e-5 / 8, "short_run_factor": 1.0},
    "schedule": {"min_ratio": 1.0, "no_aug_epochs": 1_000_000, "no_aug_max_share": 1.0},
    "augment": {"mosaic": 0.0, "mixup": 0.0},  # left out in all these epochs anyway: said where settings are printed
    "eval": {"every_epochs": 1},
}
NAMES = ("published", "small", "auto")


def preset_values(name: str, structure: Structure) -> dict[str, Any]:
    """The settings of a preset for a structure; of `auto` those that hold whatever the data are.

    Raises UserError for an unknown name.
    """
    if name in ("small", "auto"):
        return {"preset": name, **_SMALL}
    if name == "published":
        augment = {"sada": 1.0, **_AUGMENT_BY_SIZE.get(published_size(structure) or "", {})}
        return {"preset": name, **_FAMILIES.get(structure.backbone.space, {}), "augment": augment}
    raise UserError(f"unknown preset {name!r}; {nearest(name, NAMES)}")


def with_rounding(values: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's settings for a run with `quantise`: few epochs of small steps, without mosaic, affine and mixup.

    BatchNorms keep their statistics in such a run. Images that are unlike those of the last epochs would meet statistics that
    are not theirs: on circuit boards mosaics took a trained detector's classification loss from 0.16 to 25.
    """
    return merge(values, _FINE_TUNED_WITH_ROUNDING)


def published_size(structure: Structure) -> str | None:
    """The published size of the same space whose backbone has most nearly as many parameters; None if there is none."""
    space, size = structure.backbone.space, _log_params(structure)
    distances = {name: abs(other - size) for name, (of, other) in _published_sizes().items() if of == space}
    return min(distances, key=distances.__getitem__, default=None)


@functools.cache
def _published_sizes() -> dict[str, tuple[str, float]]:
    """Space and log of the backbone's parameters of each shipped structure that has a published recipe."""
    structures = {name: resolve_structure(name) for name in shipped_names() if name in _AUGMENT_BY_SIZE}
    return {name: (found.backbone.space, _log_params(found)) for name, found in structures.items()}


def _log_params(structure: Structure) -> float:
    return float(np.log(params(emit_backbone(structure))))


def preset_for(num_images: int) -> str:
    """The preset that fits a number of training images."""
    return "auto" if num_images < SMALL_DATA_IMAGES else "published"
