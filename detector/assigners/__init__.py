"""Label assignment: which prior learns which box.

An assigner is a file here and its name is the file's: `align_ota.py` is `align_ota`. The file defines `Options`, a
frozen pydantic model, and `assign(priors_A3, boxes_BA4, logits_BAC, targets, options) -> Assignment`. Files are found
and imported when asked for by name; those that start with an underscore are no assigners.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from search_spaces.errors import UserError, nearest
from search_spaces.plugins import plugin_names
from search_spaces.validation import validated

if TYPE_CHECKING:
    from torch import Tensor


class Targets(Protocol):
    """The annotated boxes of a batch (a `detector.data.loader.Batch`), padded to G per image; G may be 0."""

    @property
    def boxes_xyxy(self) -> Tensor:
        """(B, G, 4) in input pixels; rows of padding hold anything finite."""

    @property
    def labels(self) -> Tensor:
        """(B, G) int64 class of each box; rows of padding hold anything."""

    @property
    def valid(self) -> Tensor:
        """(B, G) bool, False for padding."""

    @property
    def ignore(self) -> Tensor:
        """(B, G) bool, True for crowd and difficult boxes: neither an object to learn nor background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What each prior learns. Detached; fp32 where it is not integer or bool."""

    matched: Tensor
    """(B, A) int64 index of the box in its image, -1 for background."""
    labels: Tensor
    """(B, A) int64 class of that box, -1 for background."""
    quality: Tensor
    """(B, A) in [0, 1], the score to learn at `labels`: IoU of the prior's predicted box with that box, 0 for background.

    `task_aligned` scales it by how well score and IoU agree, as its paper does."""
    boxes: Tensor
    """(B, A, 4) that box, in pixels; zeros for background."""
    negatives_mask: Tensor
    """(B, A) bool: background that counts as negative, that is, not lying in an ignored box."""

    @property
    def positives_mask(self) -> Tensor:
        """(B, A) bool: priors that learn a box."""
        return self.matched >= 0


Assigner = Callable[["Tensor", "Tensor", "Tensor", Targets], Assignment]
"""`(priors_A3, boxes_BA4, logits_BAC, targets) -> Assignment`: an assigner with its options filled in."""


def names() -> list[str]:
    """The assigners there are, in alphabetical order; imports none of them."""
    return plugin_names(__name__)


def build(name: str, options: Mapping[str, Any] | None = None) -> Assigner:
    """The assigner called `name` with `options` checked and filled in.

    Raises UserError for an unknown name, an unknown option or a value out of range.
    """
    if name not in names():
        raise UserError(f"assigner {name!r} is not known; {nearest(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    checked = validated(module.Options, options or {}, f"assigner {name}:")
    return functools.partial(module.assign, options=checked)
