"""Numbers, flags, ids and names as people and tools write them."""

from __future__ import annotations

import reprlib
import unicodedata
from typing import Any, TypeAlias

Id: TypeAlias = int | str
_YES, _NO = ("1", "true", "yes", "t", "y"), ("", "0", "false", "no", "f", "n", "none", "null", "unspecified")
_SHORT = reprlib.Repr()
_SHORT.maxstring, _SHORT.maxother, _SHORT.maxlevel = 60, 60, 3
INT64 = range(-(1 << 63), 1 << 63)


def shown(value: Any) -> str:
    """A value for a message: its Python form, cut, however long or deep it is."""
    return _SHORT.repr(value)


def number(value: Any) -> float:
    """A finite or infinite number, also as a text ("12.5"). Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{shown(value)} is no number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{shown(value)} is no number") from None


def whole(value: Any) -> int:
    """A whole number, also as 12.0 or "12". Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    found = number(value)
    if not found.is_integer():
        raise ValueError(f"{shown(value)} is no whole number")
    return int(found)


def identity(value: Any) -> Id:
    """What an id is compared by: a whole number, also as 12.0 or "12"; any other text as it stands ("007" is not 7).

    Raises ValueError for what is neither.
    """
    if isinstance(value, str):
        digits = value.lstrip("-")
        return int(value) if digits.isdecimal() and len(value) < 4000 and str(int(value)) == value else value
    if isinstance(value, (int, float)):
        return whole(value)
    raise ValueError(f"{shown(value)} is no id")


def flag(value: Any) -> bool:
    """Yes or no, also as a number or a text. Raises ValueError for what is neither."""
    if value is None or isinstance(value, (bool, int)):
        return bool(value)
    if isinstance(value, str):
        text = value.strip().lower()
        if text not in (*_YES, *_NO):
            raise ValueError(f"{shown(value)} is neither yes nor no")
        return text in _YES
    return number(value) != 0


def side(value: Any) -> int:
    """A width or height in pixels; 0 where none is given, or no whole number above 0 and below 2^31.

    Raises ValueError for a text or structure that is no number.
    """
    if value.__class__ is int and 0 < value < 1 << 31:
        return int(value)
    if value is None or value == "":
        return 0
    found = number(value)
    return int(found) if 0 < found < 1 << 31 and found.is_integer() else 0


def clean_name(value: Any) -> str:
    """A class name to match, print and draw: one Unicode form (NFC), no line ends or control characters, no space around.

    Numbers become texts. "" for what names nothing.
    """
    if value is None or isinstance(value, (bool, list, dict)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "".join(_kept(character) for character in unicodedata.normalize("NFC", str(value)[:1000]))
    return " ".join(text.split())


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Cc", "Cs", "Zl", "Zp"):
        return " "
    return "" if character in "\ufeff\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" else character
