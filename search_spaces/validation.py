"""What pydantic found wrong with something that a person wrote, in one line."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from search_spaces.errors import nearest

UNKNOWN = ("extra_forbidden", "invalid_key")


@dataclass(frozen=True, slots=True)
class Problem:
    """The first of `count` problems: its place, as keys and positions from 0, and what is wrong there (`message`)."""

    location: tuple[str | int, ...]
    message: str
    count: int

    @property
    def key(self) -> str:
        """`stages.3.out`, positions counted from 1; empty for the whole."""
        return ".".join(str(word + 1 if isinstance(word, int) else word) for word in self.location)

    def __str__(self) -> str:
        more = f" (and {self.count - 1} more)" if self.count > 1 else ""
        return f"{self.key + ': ' if self.location else ''}{self.message}{more}"


def first_problem(
    error: ValidationError, model: type[BaseModel], say: Callable[[str, str, Any], str | None] = lambda *_: None
) -> Problem:
    """The first problem with a `model`, unknown keys before all others, with the nearest known one.

    say: (pydantic's type of error, dotted key, input) -> a message of the caller's own, or None.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] not in UNKNOWN)
    kind, found = problems[0]["type"], problems[0].get("input")
    location = tuple(problems[0]["loc"])
    if kind == "invalid_key":
        location = (*location[:-1], str(location[-1]))
    message = problems[0]["msg"].removeprefix("Value error, ")
    own = say(kind, ".".join(map(str, location)), found)
    if own is not None:
        message = own
    elif kind in UNKNOWN:
        message = f"unknown key; {nearest(str(location[-1]), keys_at(model, location[:-1]))}"
    elif kind == "missing":
        message = "this key is missing"
    elif kind == "model_type":
        message = f"{reprlib.repr(found)} found; expected the keys {', '.join(keys_at(model, location))}"
    elif kind != "value_error":
        message = f"{reprlib.repr(found)} found; {message[0].lower()}{message[1:]}"
    return Problem(location, message, len(problems))


def keys_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the model at a place within `model` has, as a person writes them; none where there is no model."""
    inner: type[BaseModel] | None = model
    for word in location:
        if isinstance(word, str) and inner is not None:
            fields = inner.model_fields.items()
            found = (model_in(field.annotation) for name, field in fields if word in (name, field.alias))
            inner = next(found, None)
    return [field.alias or name for name, field in inner.model_fields.items()] if inner is not None else []


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: itself, in a list, or None in its stead."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part)) is not None), None)
