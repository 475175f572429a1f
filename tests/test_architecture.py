"""The layout's own rules: imports point one way, torch stays out of the search, no module is a drawer of odds and ends."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {"search_spaces": 0, "latency_tables": 1, "detector": 1, "tinynas": 2}
SOURCES = sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))
TORCH_FREE = {"search_spaces", "latency_tables", "tinynas"}
VAGUE = {"utils", "util", "misc", "helpers", "common"}
# rooms inside tinynas/, as CONTRIBUTING.md lists them: each imports from those before it, without circles
ORDER = (
    "scores", "quantities", "budgets", "account", "published", "genes", "pricing", "evolution", "exact", "presets",
    "sampling", "adapted_tables", "devices", "search", "ranking", "family", "results", "second_stage", "session", "chain",
    "comparison", "explanation", "why", "checking", "bench", "verification", "kit", "commands", "cli",
)  # fmt: skip
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
IN_TINYNAS = sorted(name for name in MODULES if name.startswith("tinynas.") and "__" not in name.split(".")[1])


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for name in imported(node):
            other = name.split(".")[0]
            if other in LAYERS and other != package:
                assert LAYERS[other] < LAYERS[package], f"{path}:{node.lineno}: {package} must not import {other}"
    if package in TORCH_FREE:
        for node in tree.body:
            assert not any(name.split(".")[0] == "torch" for name in imported(node)), f"{path} imports torch"


TORCH_INSIDE_FUNCTIONS = {
    "latency_tables/runtimes/_torch_models.py", "latency_tables/runtimes/torch.py", "tinynas/checking.py",
    "tinynas/ranking/contest.py", "tinynas/ranking/preparation.py", "tinynas/ranking/training.py",
    "tinynas/scores/_random_network.py", "tinynas/scores/zen.py",
}  # fmt: skip


def test_torch_is_imported_in_few_places_outside_the_detector():
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if path.relative_to(ROOT).parts[0] != "detector" and "torch" in {name.split(".")[0] for name in imported(node)}
    }
    assert found == TORCH_INSIDE_FUNCTIONS


TRAINING = ("detector.training", "detector.overfit", "detector.pretraining")
INFERENCE_SOURCES = sorted(
    path for path in (ROOT / "detector").rglob("*.py") if f"detector.{path.relative_to(ROOT).parts[1]}" not in TRAINING
)


@pytest.mark.parametrize("path", INFERENCE_SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_inference_needs_no_training(path):
    for node in ast.walk(ast.parse(path.read_text())):
        for name in imported(node):
            assert not name.startswith(TRAINING), f"{path}:{node.lineno} imports {name}"


def test_what_runs_on_devices_needs_numpy_alone():
    for path in (ROOT / "latency_tables" / "on_device").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            for name in imported(node):
                runtime = name == path.stem  # imported inside functions
                own = name.startswith("latency_tables.on_device.")
                known = name.split(".")[0] in {*sys.stdlib_module_names, "numpy"}
                assert own or known or runtime, f"{path}:{node.lineno} imports {name}"


def large_dataclasses(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(name, fields that are given, keyword-only) of every dataclass of more than four."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ClassDef):
            continue
        fields = [
            line for line in node.body if isinstance(line, ast.AnnAssign) and "init=False" not in ast.unparse(line)
        ]
        for mark in node.decorator_list:
            if ast.unparse(mark).startswith("dataclass") and len(fields) > 4:
                yield node.name, len(fields), "kw_only=True" in ast.unparse(mark)


def test_what_has_more_than_four_fields_is_given_by_name():
    """A swapped pair of positional arguments would be silent."""
    found = [(str(path.relative_to(ROOT)), *one) for path in SOURCES for one in large_dataclasses(path)]
    assert {path.split("/")[0] for path, *_ in found} == set(LAYERS)
    assert [(path, name) for path, name, _, by_name in found if not by_name] == []


def test_no_module_is_a_drawer():
    assert [path for path in SOURCES if path.stem in VAGUE] == []


def test_modules_are_readable_in_one_sitting():
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 300}
    assert long == {}


def test_functions_are_readable_at_a_glance():
    """The longest are commands, most of which are options."""
    found = [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(found) > 1000
    assert {name: n for name, n in found if n > 60} == {}


@pytest.mark.parametrize(
    "folder", ["search_spaces", "latency_tables", "detector", "detector/data", "detector/training"]
)
def test_maps_are_complete(folder):
    """The docstring of a large package lists, in indented lines, every file and folder in it, and nothing else."""
    here = ROOT / folder
    lines = (ast.get_docstring(ast.parse((here / "__init__.py").read_text())) or "").splitlines()
    columns = (re.match(r"    ((?:\w+/?(?:, )?)+)(?:  |$)", line) for line in lines)
    listed = [name for found in columns if found for name in found[1].strip().split(", ")]
    there = {path.stem for path in here.glob("[!_]*.py")}
    there |= {f"{path.name}/" for path in here.glob("[!_]*/") if any(path.glob("*.*"))}
    assert sorted(listed) == sorted(there)


def room(name: str) -> str:
    """`tinynas.search.plan` is in `search`."""
    return name.split(".")[1]


def imports(name: str) -> set[str]:
    """What a module imports of ours: at its head, in functions and for types alone. A lazy package front is no module of
    its package's: what it hands on is named by strings."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom):
            for known in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)):
                found |= {known, f"{known}.__init__"} & MODULES.keys()
    return {other for other in found - {name} if not (other.count(".") == 1 and other.endswith(".__init__"))}


def test_every_room_is_listed():
    rooms = {room(name) for name in IN_TINYNAS}
    assert rooms == set(ORDER)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert [name for name in rooms if f"`{name}/`" not in text and f"`{name}.py`" not in text] == []


@pytest.mark.parametrize("name", IN_TINYNAS)
def test_imports_come_from_rooms_before(name):
    others = [other for other in imports(name) if other in IN_TINYNAS]
    assert [other for other in others if ORDER.index(room(other)) > ORDER.index(room(name))] == []


@pytest.mark.parametrize("package", LAYERS)
def test_no_import_goes_round_in_a_circle(package):
    reads = {name: imports(name) for name in MODULES if name.startswith(f"{package}.")}
    assert len(reads) > 20
    left = {name: others for name, others in reads.items() if name != f"{package}.__init__"}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}
