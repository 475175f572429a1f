"""Detectors drawn from search spaces: what a latency table must cover, and what it is checked on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.image_size import parse_image_size
from search_spaces.space import Space, load_space
from tinynas.genes.population import Encoding

ImageSize = tuple[int, int]
TRIES = 1000
"""So many draws without a new detector, and the spaces are taken to hold no more."""


def parse_spaces(text: str) -> list[Space]:
    """Spaces from names and files, comma-separated. Raises UserError for an unknown one."""
    return [load_space(word.strip()) for word in text.split(",")]


def parse_image_sizes(text: str) -> list[ImageSize]:
    """`256..640` (squares in steps of 32), `416`, `384x640`, or several with commas between.

    Raises UserError for what is none of these.
    """
    sizes: list[ImageSize] = []
    for word in (part.strip() for part in text.split(",")):
        low, dots, high = word.partition("..")
        first = parse_image_size(low)
        if not dots:
            sizes.append(first)
            continue
        last = parse_image_size(high)
        if first[0] != first[1] or last[0] != last[1] or first > last:
            raise UserError(f"image sizes {word!r}: two square sizes expected, the smaller first: 256..640")
        sizes += [(side, side) for side in range(first[0], last[0] + 1, 32)]
    return list(dict.fromkeys(sizes))


def populations(
    spaces: Sequence[Space], sizes: Sequence[ImageSize], classes: Sequence[int], *, members: int, seed: int
) -> Iterator[Graph]:
    """One population per space, image size and number of classes: `members` drawn uniformly, a quarter as many with
    every gene at one of its ends, and the space's smallest and largest candidate."""
    for space_number, space in enumerate(spaces):
        for number, size in enumerate(sizes):
            for num_classes in classes:
                encoding = Encoding(space, size, num_classes)
                rng = np.random.default_rng([seed, space_number, number])
                drawn = encoding.sample(members, rng)
                ends = [encoding.extremes(members // 4, rng), *(encoding.corner(largest=end) for end in (False, True))]
                yield emit_detector(encoding.population(np.concatenate([drawn, *ends], axis=1)))


def random_detectors(
    spaces: Sequence[Space], sizes: Sequence[ImageSize], number: int, *, num_classes: int, seed: Sequence[int],
    exclude: Collection[str] = (),
) -> dict[str, Graph]:  # fmt: skip
    """Detectors by name, drawn from the spaces in turn, each at an image size drawn from `sizes`.

    A name tells genes and size, so detectors with different names differ; those named in `exclude` are left out. Raises
    UserError when the spaces hold too few.
    """
    rng = np.random.default_rng(list(seed))
    found: dict[str, Graph] = {}
    in_vain = 0
    while len(found) < number:
        space = spaces[len(found) % len(spaces)]
        size = sizes[int(rng.integers(len(sizes)))]
        encoding = Encoding(space, size, num_classes)
        genes = encoding.sample(1, rng)
        widths = "-".join(str(int(gene)) for gene in genes[:, 0])
        name = f"{space.name} {size[0]}x{size[1]} {widths}"
        if name not in found and name not in exclude:
            found[name], in_vain = emit_detector(encoding.single(genes)), 0
            continue
        in_vain += 1
        if in_vain == TRIES:
            raise UserError(
                f"{number} different detectors asked for, only {len(found)} found in {space.name} at these image sizes; ask "
                "for fewer, or give more --image-sizes or --spaces"
            )
    return found
