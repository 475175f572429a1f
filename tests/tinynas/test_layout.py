"""The order of the rooms inside tinynas/, as CONTRIBUTING.md lists them."""

import ast
from pathlib import Path

import pytest

import tinynas

ROOT = Path(tinynas.__file__).parent
ORDER = ("budgets", "genes", "scores", "pricing", "evolution", "exact", "presets", "search", "results", "commands")
LATER_ON_PURPOSE = {("search", "results")}  # a search writes what it found
SOURCES = [path for room in ORDER for path in sorted(ROOT.glob(f"{room}/**/*.py")) + sorted(ROOT.glob(f"{room}.py"))]


def test_every_room_is_listed():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms == set(ORDER) - {"budgets"}
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    assert [room for room in rooms if f"`{room}/`" not in text] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_come_from_rooms_before(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for node in ast.parse(path.read_text()).body:  # what a function imports, it imports late on purpose
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinynas."):
            other = node.module.split(".")[1]
            if other in ORDER and (own, other) not in LATER_ON_PURPOSE:
                assert ORDER.index(other) <= ORDER.index(own), f"{path}:{node.lineno}: {own} imports {other}"
