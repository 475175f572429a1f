"""What pydantic found wrong, in one line: the same words wherever a person writes YAML."""

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from search_spaces.validation import first_problem, keys_at


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = 1
    in_: int = Field(1, alias="in")


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    parts: list[Part] = []
    spare: Part | None = None
    note: str = ""
    level: int = 3

    @field_validator("name")
    @classmethod
    def short(cls, name: str) -> str:
        if len(name) > 5:
            raise ValueError("at most five letters")
        return name


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"name": "a", "parts": [{}, {"widht": 3}]},
            "parts.2.widht: unknown key; did you mean width? (known: in, width)",
        ),
        ({"name": "a", "spare": {"whidth": 3}}, "spare.whidth: unknown key; did you mean width? (known: in, width)"),
        ({}, "name: this key is missing"),
        ({"name": "too long"}, "name: at most five letters"),
        (
            {"name": "a", "parts": [{"width": "x"}]},
            "parts.1.width: 'x' found; expected a whole number",
        ),
        ({"name": "a", "parts": [3]}, "parts.1: 3 found; expected the keys width, in"),
        ({"parts": [{"width": "x", "wide": 1}]}, "parts.1.wide: unknown key; did you mean width?"),
    ],
)
def test_one_line(values, line):
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(values)
    assert str(first_problem(caught.value, Whole)).startswith(line)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"level": "x"}, "level: 'x' found; expected a whole number, for example 3"),
        ({"note": 5}, "note: 5 found; expected text, in quotes where it looks like a number or a date"),
        ({"parts": 3}, "parts: 3 found; expected a list in square brackets"),
    ],
)
def test_a_default_that_is_empty_is_no_example(values, line):
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"name": "a", **values})
    assert str(first_problem(caught.value, Whole)) == line


def test_how_many_more_and_words_of_the_caller_s():
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate({"parts": 3, "more": 1})
    assert str(first_problem(caught.value, Whole)).endswith("(and 2 more)")
    own = first_problem(caught.value, Whole, lambda kind, key, found: f"{kind} {key} {found}")
    assert str(own) == "more: extra_forbidden more 1 (and 2 more)"


def test_keys_of_a_place_without_a_model():
    assert keys_at(Whole, ("name",)) == []
    assert keys_at(Whole, ()) == ["name", "parts", "spare", "note", "level"]
