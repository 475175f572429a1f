"""Which pictures must stay in one split: equal files, look-alikes, versions and frames of one source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.image_facts import ImageFact
from detector.data.likeness import alike
from search_spaces.errors import UserError

_VERSION = re.compile(r"^(.+)\.rf\.[0-9A-Za-z]{8,}$")
_LAST_NUMBER = re.compile(r"^(.*?)\d+\D*$")
MOST_ALIKE = 0.5
"""A larger share of the pictures in one group of look-alikes is no group but how all of them look."""


def source_rule(text: str) -> Callable[[Path], str]:
    """How `--group-by` names a picture's source: `folder`, `name` (up to its last number: frames of one video), or a
    regular expression whose first group, or whole match, is looked for in the path. Raises UserError for a broken one.
    """
    if text == "folder":
        return lambda path: str(path.parent)
    if text == "name":
        return lambda path: f"{path.parent}/{found.group(1) if (found := _LAST_NUMBER.match(path.stem)) else path.stem}"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(
            f"--group-by {text!r}: no regular expression ({error}); expected folder, name or one that finds the source"
        ) from None

    def named(path: Path) -> str:
        found = pattern.search(path.as_posix())
        return str(path) if found is None else found.group(1 if pattern.groups else 0) or str(path)

    return named


def group(
    paths: Sequence[Path], facts: Sequence[ImageFact], source: Callable[[Path], str] | None
) -> tuple[npt.NDArray[np.int64], str]:
    """A number for each picture (N,), equal for those that must stay together, and a line about look-alikes ("" if none).

    Together are: equal files, what Roboflow made of one picture, pictures of one `source`, and look-alikes, unless more
    than half of all pictures look alike.
    """
    links = [*_equal([fact.digest for fact in facts]), *_equal([_version(path) for path in paths])]
    if source is not None:
        links += _equal([source(path) for path in paths])
    near = list(alike([fact.look for fact in facts]))
    groups = _components(len(paths), [*links, *near])
    if not near:
        return groups, ""
    if np.bincount(_components(len(paths), near)).max() > max(2, MOST_ALIKE * len(paths)):
        note = "most pictures look alike, so only equal files were kept together; name their sources with --group-by"
        return _components(len(paths), links), note
    together = len({place for pair in near for place in pair})
    return groups, f"{together} pictures look like another one: each such group is kept in one split"


def _version(path: Path) -> str:
    found = _VERSION.match(path.stem)
    return f"{path.parent}/{found.group(1)}" if found else ""


def _equal(keys: Sequence[str]) -> list[tuple[int, int]]:
    """Each place linked to the first one of the same key; "" links nothing."""
    first: dict[str, int] = {}
    return [(first[key], i) for i, key in enumerate(keys) if key and first.setdefault(key, i) != i]


def _components(count: int, links: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The number of each place's connected part, 0, 1, ... in the order of their first places."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in links:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    roots = [root(place) for place in range(count)]
    number = {value: i for i, value in enumerate(dict.fromkeys(roots))}
    return np.array([number[value] for value in roots], dtype=np.int64)


def frames_of_sources(paths: Sequence[Path]) -> int:
    """How many sources there are if the names are frames of videos; 0 if they do not look so."""
    rule = source_rule("name")
    sizes = Counter(rule(path) for path in paths)
    frames = sum(size for size in sizes.values() if size >= 5)
    return len(sizes) if len(sizes) > 1 and frames > 0.8 * len(paths) else 0
