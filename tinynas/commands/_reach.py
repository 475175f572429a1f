"""The networks that a table is made for or checked on, as options: spaces, image sizes, numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from search_spaces.errors import UserError

if TYPE_CHECKING:
    from search_spaces.space import Space

Spaces = Annotated[str, typer.Option(help="Spaces (names or files), with commas between.")]
ImageSizes = Annotated[str, typer.Option(help="256..640, or sizes with commas between.")]
NumClasses = Annotated[str, typer.Option(help="Numbers of classes, with commas between.")]
SPACES, IMAGE_SIZES = "mob,res", "256..640"
CLASSES = "1,80"
"""Any number of classes between lies between measured kernels."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the three options say, and how they were written (`options`, as on a command line)."""

    spaces: Sequence[Space]
    sizes: Sequence[tuple[int, int]]
    classes: Sequence[int]
    options: tuple[str, ...]

    @property
    def image_sizes(self) -> str:
        return self.options[3]

    @property
    def note(self) -> str:
        """`spaces mob,res, 256..640 px, 1,80 classes`."""
        _, spaces, _, sizes, _, classes = self.options
        return f"spaces {spaces}, {sizes} px, {classes} classes"


def parse_reach(spaces: str, image_sizes: str, num_classes: str) -> Reach:
    """Raises UserError for an unknown space and for what is no size or number."""
    from tinynas.sampling import parse_image_sizes, parse_spaces

    options = ("--spaces", spaces, "--image-sizes", image_sizes, "--num-classes", num_classes)
    return Reach(parse_spaces(spaces), parse_image_sizes(image_sizes), _counts(num_classes), options)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise UserError(f"--num-classes {text!r}: whole numbers from 1 expected, with commas between: 1,80")
    return counts
