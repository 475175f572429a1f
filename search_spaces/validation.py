"""What pydantic found wrong with something that a person wrote, in one line."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from search_spaces.errors import UserError, nearest

Model = TypeVar("Model", bound=BaseModel)
UNKNOWN = ("extra_forbidden", "invalid_key")
_NUMBERS = {"int": "a whole number", "float": "a number"}
EXPECTED = {
    **{f"{kind}_{what}": words for kind, words in _NUMBERS.items() for what in ("type", "parsing")},
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "finite_number": "a finite number",
    "multiple_of": "a multiple of {multiple_of}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text, in quotes where it looks like a number or a date",
    "string_too_short": "text that is not empty",
    "literal_error": "{expected}",
    "list_type": "a list in square brackets",
    "tuple_type": "a list in square brackets",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
    "dict_type": "names with values, {{name: value}}",
}
"""What was expected, by pydantic's type of error; the fields in braces are those of its context."""


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
    elif kind == "value_error":
        message = f"{reprlib.repr(found)} found; {message}" if message.startswith("expected") else message
    elif kind in UNKNOWN:
        known = keys_at(model, location[:-1])
        message = f"unknown key; {nearest(str(location[-1]), known) if known else 'there are no keys here'}"
    elif kind == "missing":
        message = "this key is missing"
    elif kind == "model_type":
        message = f"{reprlib.repr(found)} found; expected the keys {', '.join(keys_at(model, location))}"
    elif kind in EXPECTED:
        expected = EXPECTED[kind].format(**{key: _plain(value) for key, value in problems[0].get("ctx", {}).items()})
        message = f"{reprlib.repr(found)} found; expected {expected}{_example(model, location, kind)}"
    else:
        message = f"{reprlib.repr(found)} found; {message[0].lower()}{message[1:]}"
    return Problem(location, message, len(problems))


def validated(model: type[Model], values: Any, what: str) -> Model:
    """A `model` from plain values. Raises UserError, one line that begins with `what`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{what} {first_problem(error, model)}") from None


def _example(model: type[BaseModel], location: tuple[str | int, ...], kind: str) -> str:
    """The default of a field as the value that would do; nothing where there is none, or the values are told already."""
    field = _field_at(model, location)
    if field is None or kind == "literal_error" or not isinstance(field.default, (int, float, str, list, tuple)):
        return ""
    if field.default in ("", [], ()):
        return ""
    return f", for example {_plain(field.default)}"


def _plain(value: Any) -> Any:
    """A value as it is written in YAML: `1` for 1.0, `true` for True, `[1, 2]` for (1, 2)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return list(value) if isinstance(value, tuple) else value


def _field_at(model: type[BaseModel], location: tuple[str | int, ...]) -> FieldInfo | None:
    """The field of a place within `model` that is no part of a list."""
    inner: type[BaseModel] | None = model
    field = None
    for word in location:
        if inner is None or isinstance(word, int):
            return None
        field = next((field for name, field in inner.model_fields.items() if word in (name, field.alias)), None)
        inner = model_in(field.annotation) if field is not None else None
    return field


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
