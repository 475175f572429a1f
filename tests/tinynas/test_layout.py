"""The order of the rooms inside tinynas/, as CONTRIBUTING.md lists them: each imports from those before it, no circles."""

import ast
from pathlib import Path

import pytest

import tinynas

ROOT = Path(tinynas.__file__).parent
ORDER = (
    "scores", "quantities", "budgets", "account", "genes", "pricing", "evolution", "exact", "presets", "sampling",
    "adapted_tables", "devices", "search", "family", "results", "session", "chain", "comparison", "explanation", "why",
    "checking", "verification", "kit", "commands", "cli",
)  # fmt: skip
SOURCES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """What a module imports of tinynas, by name from here on: at its head, in functions and for types alone."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    found = set()
    for node in nodes:
        if (node.module or "").split(".")[0] == "tinynas":
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name.removeprefix("tinynas.") for name in (*whole, node.module or "")]
            for name in names:
                found |= {known for known in (name, f"{name}.__init__") if known in SOURCES and known != "__init__"}
    return found


def test_every_room_is_listed():
    rooms = {name.split(".")[0] for name in SOURCES} - {"__init__", "__main__"}
    assert rooms == set(ORDER)
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    assert [room for room in rooms if f"`{room}/`" not in text and f"`{room}.py`" not in text] == []


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("__init__", "__main__")])
def test_imports_come_from_rooms_before(name):
    place = ORDER.index(name.split(".")[0])
    later = [other for other in imports(SOURCES[name]) if ORDER.index(other.split(".")[0]) > place]
    assert later == []


def test_no_import_goes_round_in_a_circle():
    reads = {name: imports(path) for name, path in SOURCES.items()}
    left = dict(reads)
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}
