"""Presets: training settings as data. `published` depends on the model's family; `small` is for little data."""

from __future__ import annotations

from typing import Any

from search_spaces.errors import UserError, nearest
from search_spaces.structure import Structure

SMALL_DATA_IMAGES = 5000
"""Below this number of training images `small` is taken unless a preset is named."""

_PUBLISHED: dict[str, dict[str, Any]] = {
    "res": {},
    "csp": {},
    "mob": {
        "optimizer": {"name": "adamw", "learning_rate_per_image": 4e-3 / 256, "weight_decay": 1e-2},
        "augment": {"shear_degrees": 0.2},
    },
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
NAMES = ("published", "small")


def preset_values(name: str, structure: Structure) -> dict[str, Any]:
    """The settings of a preset for a structure. Raises UserError for an unknown name."""
    if name == "small":
        return {"preset": name, **_SMALL}
    if name == "published":
        return {"preset": name, **_PUBLISHED.get(structure.backbone.space, {})}
    raise UserError(f"unknown preset {name!r}; {nearest(name, NAMES)}")


def preset_for(num_images: int) -> str:
    """The preset that fits a number of training images."""
    return "small" if num_images < SMALL_DATA_IMAGES else "published"


def postprocess_defaults(structure: Structure) -> tuple[float, float]:
    """Score threshold and NMS IoU threshold for evaluation, as published for the model's family."""
    return (0.03, 0.65) if structure.backbone.space == "mob" else (0.05, 0.7)
