"""What messages quote: the nearest names, and not hundreds of them."""

from __future__ import annotations

import pytest

from search_spaces.errors import UserError, nearest

MANY = [f"class {number:03d}" for number in range(365)]


@pytest.mark.parametrize(
    ("name", "choices", "text"),
    [
        ("hous", ["house", "boat"], "did you mean house? (known: boat, house)"),
        ("xyz", ["house", "boat"], "known: boat, house"),
        ("Class 364", MANY, "did you mean class 364 or class "),
    ],
)
def test_nearest_names(name: str, choices: list[str], text: str) -> None:
    assert nearest(name, choices).startswith(text)


@pytest.mark.parametrize("name", ["class 364", "zebra"])
def test_of_hundreds_some_are_named(name: str) -> None:
    text = nearest(name, MANY)
    assert text.rstrip(")").endswith("class 039 and 325 more")
    assert "class 040" not in text


def test_a_message_is_one_line_of_a_screen() -> None:
    text = str(UserError("first\n  second\n" + "x" * 5000))
    assert text.startswith("first second x")
    assert len(text) < 2000
    assert " ... " in text
