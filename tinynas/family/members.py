"""family.yaml read back: the members of a search with several budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import UserError
from search_spaces.files import read_text
from search_spaces.text import read_structure

EXPECTED = "expected family.yaml as tinynas search writes it for several budgets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One detector. teacher: the name of the member that teaches it, None for the largest. Milliseconds by table."""

    name: str
    structure: Path
    params: int
    latency_ms: Mapping[str, float]
    measured_ms: Mapping[str, float]
    teacher: str | None


def read_family(path: Path) -> list[Member]:
    """The members, in the order in which they can be trained: each after its teacher.

    Raises UserError for a file that is no family's, a structure that is not there, and teachers that lead nowhere.
    """
    try:
        content = yaml.safe_load(read_text(path, "family.yaml of a search"))
    except yaml.YAMLError:
        raise UserError(f"{path}: not YAML; {EXPECTED}") from None
    rows = content.get("family") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: holds no family; {EXPECTED}")
    members = [_member(row, path) for row in rows]
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two members have one name ({', '.join(names)}); {EXPECTED}")
    for member in members:
        if not member.structure.is_file():
            raise UserError(f"{path}: {member.name} is {member.structure}, and there is no such file; {EXPECTED}")
        read_structure(member.structure)
    return _in_order(members, path)


def _member(row: Any, path: Path) -> Member:
    try:
        name = str(row["name"])
        if "/" in name or not name.strip(". "):
            raise ValueError(name)
        return Member(
            name=name, structure=path.parent / str(row["structure"]), params=int(row.get("params", 0)),
            latency_ms={str(key): float(value) for key, value in (row.get("latency_ms") or {}).items()},
            measured_ms={str(key): float(value) for key, value in (row.get("measured_ms") or {}).items()},
            teacher=None if row.get("teacher") is None else str(row["teacher"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(
            f"{path}: a member is {str(row)[:80]!r}; expected name, structure and the like; {EXPECTED}"
        ) from None


def _in_order(members: Sequence[Member], path: Path) -> list[Member]:
    ordered: list[Member] = []
    left = list(reversed(members))  # smallest first in the file: the largest is trained first
    while left:
        known = {None, *(member.name for member in ordered)}
        ready = next((member for member in left if member.teacher in known), None)
        if ready is None:
            member = left[0]
            raise UserError(
                f"{path}: {member.name} is taught by {member.teacher}, which is no member or is taught by it; {EXPECTED}"
            )
        left.remove(ready)
        ordered.append(ready)
    return ordered
