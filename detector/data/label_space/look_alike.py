"""Class names that mean the same by their look: whatever case, hyphens, spaces and plural."""

from __future__ import annotations

import re
from functools import cache

from detector.data.label_space.known_names import groups

_IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "halves": "half", "knives": "knife", "leaves": "leaf",
    "loaves": "loaf", "men": "man", "mice": "mouse", "people": "person", "persons": "person", "scarves": "scarf",
    "shelves": "shelf", "teeth": "tooth", "wives": "wife", "wolves": "wolf", "women": "woman",
}  # fmt: skip
_NO_PLURAL = {
    "bus", "canvas", "christmas", "gas", "glasses", "goggles", "jeans", "lens", "binoculars", "pants", "scissors", "series",
    "shorts", "species", "sunglasses", "tongs", "trousers", "pliers",
}  # fmt: skip
"""Words that end like a plural and are none, or mean something else without their ending (glasses, glass)."""
_BETWEEN = re.compile(r"[\W_]+")


def form(name: str) -> str:
    """What names that look alike have in common: `Hot-Dogs`, `hot dog` and `hotdog` are all `hotdog`."""
    words = [word for word in _BETWEEN.split(name.casefold()) if word]
    return "".join([*words[:-1], singular(words[-1])]) if words else name.casefold()


def meaning(name: str) -> str:
    """The form of what a name is known to be another name of, else its own."""
    return _known().get(form(name), form(name))


def usual_name(name: str) -> str | None:
    """What public data sets mostly call this; None for names that are in no list."""
    return _usual().get(meaning(name))


def singular(word: str) -> str:
    """A lower-case English word without its plural's ending."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _NO_PLURAL or len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("es") and word[:-2] in _NO_PLURAL:
        return word[:-2]
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "xes", "sses", "zzes", "toes")) and len(word) > 4:
        return word[:-2]
    return word[:-1]


@cache
def _known() -> dict[str, str]:
    return {form(name): form(group[0]) for group in groups() for name in group}


@cache
def _usual() -> dict[str, str]:
    return {form(group[0]): group[0] for group in groups()}
