"""Numbers, flags, ids and names as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from detector.data.raw_split import BoxColumns
from detector.data.scalars import clean_name, flag, identity, number, shown, side, whole


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        ("-7", -7),
        ("007", "007"),
        ("a_7", "a_7"),
        (2**70, 2**70),
        (str(2**70), 2**70),
        ("7.0", "7.0"),
    ],
)
def test_ids(value: Any, expected: Any) -> None:
    assert identity(value) == expected


@pytest.mark.parametrize("value", [None, True, [1], {}, 7.5, float("nan"), float("inf")])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(ValueError, match=r"no id|no number|no whole"):
        identity(value)


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("false", False), ("No", False), (0, False), (None, False),
                                                 ("1", True), (" TRUE ", True), (1.0, True), (True, True)])  # fmt: skip
def test_flags(value: Any, expected: bool) -> None:
    assert flag(value) is expected


def test_what_is_no_flag_number_or_size() -> None:
    for call, value in (
        (flag, "hard"),
        (flag, [1]),
        (number, "x"),
        (number, None),
        (number, True),
        (whole, "1.5"),
        (side, "tall"),
    ):
        with pytest.raises(ValueError, match=r"is (no|neither)"):
            call(value)
    assert math.isnan(number("nan"))


@pytest.mark.parametrize(("value", "expected"), [(160, 160), (160.0, 160), ("160", 160), (None, 0), ("", 0), (0, 0), (-3, 0),
                                                 (160.5, 0), (2**40, 0), (float("nan"), 0)])  # fmt: skip
def test_sizes(value: Any, expected: int) -> None:
    assert side(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("cat\n", "cat"), ("\ufeffcat", "cat"), (" a\t b\x07 ", "a b"), ("cafe\u0301", "caf\u00e9"),
     (5, "5"), (5.0, "5"), (None, ""),
     ([], ""), (True, ""), ("\ud800x", "x"), ("a\u2028b", "a b"), ("猫", "猫"), ("x" * 5000, "x" * 1000)],
)  # fmt: skip
def test_names(value: Any, expected: str) -> None:
    assert clean_name(value) == expected


def test_values_in_messages_are_short() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    assert max(len(shown(value)) for value in (deep, "x" * 10_000, [["y"] * 1000] * 1000, {"k": deep})) < 400


@pytest.mark.parametrize(
    "row",
    [
        (0, 0, 2**100, (0, 0, 1, 1)),
        (0, 2**70, 0, (0, 0, 1, 1)),
        (0, 0, 0, (0, 0, 1, "x")),
        (0, 0, 0, (0, 0, 1, 10**400)),
    ],
)
def test_a_row_that_fails_leaves_nothing(row: Any) -> None:
    columns = BoxColumns()
    columns.add(0, 1, 2, (0, 0, 1, 1))
    with pytest.raises((OverflowError, TypeError)):
        columns.add(*row)
    boxes, records = columns.boxes()
    assert len(boxes.image) == len(boxes.boxes_xyxy) == len(boxes.labels) == len(records) == 1
