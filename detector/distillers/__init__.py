"""Feature distillation: how far a student's aligned maps are from a teacher's (report, section 2.4, table 8).

A distiller is a file here and its name is the file's: `cwd.py` is `cwd`. The file defines `Options`, a frozen pydantic
model, and `Distiller(channels, options)`, an `nn.Module` called with the maps of every level: students and teachers
(B, C, H, W) of one shape each, fp32, normalised channel by channel, and a CPU generator for what is drawn. It returns
a scalar of order 1 that is 0 where the student's maps equal the teacher's, and does not grow with the image size.
`channels`: the teacher's, level by level. What has parameters is a submodule, so that it is trained and saved. Files
that start with an underscore are no distillers.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from search_spaces.errors import UserError, nearest
from search_spaces.plugins import plugin_names
from search_spaces.validation import validated

if TYPE_CHECKING:
    from torch import nn


class DistillConfig(pydantic.BaseModel):
    """How a teacher's features count in the loss; defaults as published (report, section 2.4)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    teacher: str | None = pydantic.Field(None, description="checkpoint of the teacher; none: no distillation")
    teacher_classes: Literal["same", "shared"] = pydantic.Field(
        "same", description="whether the teacher must know the data's classes, all and no others, or at least one"
    )
    distiller: str = pydantic.Field("cwd", description="name of a file in detector/distillers")
    options: dict[str, Any] = pydantic.Field(default_factory=dict, description="options of that distiller")
    weight: float = pydantic.Field(0.5, gt=0, description="weight of the distillation loss at the start of the run")
    final_share: float = pydantic.Field(
        0.1, ge=0, le=1, description="share of the weight that the cosine over the whole run falls towards; 1: constant"
    )
    threshold: float = pydantic.Field(
        0.4, ge=0, le=1, description="lowest score at which an exported teacher's boxes become pseudo-labels"
    )
    unlabelled: list[str] = pydantic.Field(
        default_factory=list, description="folders of images without annotations, which the teacher labels"
    )
    last_epochs: bool = pydantic.Field(
        False, description="distil in the last epochs too, which are without strong augmentation"
    )


def names() -> list[str]:
    """The distillers there are, in alphabetical order; imports none of them."""
    return plugin_names(__name__)


def build(name: str, channels: tuple[int, ...], options: Mapping[str, Any] | None = None) -> nn.Module:
    """The distiller called `name` for maps with the teacher's `channels`, with `options` checked and filled in.

    Raises UserError for an unknown name, an unknown option or a value out of range.
    """
    if name not in names():
        raise UserError(f"distiller {name!r} is not known; {nearest(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    checked = validated(module.Options, options or {}, f"distiller {name}:")
    distiller: nn.Module = module.Distiller(channels, checked)
    return distiller
