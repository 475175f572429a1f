"""The script of a kit: one file, for Python 3.8, numpy and the runtime alone, made of what the profiler measures with."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from latency_tables.kit.script import RUNTIMES, kit_script
from latency_tables.on_device.results import read_results
from tests.latency_tables.kit.conftest import small_request
from tinynas.kit import make_kit

ALONE = """
import runpy, sys
OURS = ("latency_tables", "search_spaces", "detector", "tinynas", "torch", "onnx", "yaml", "pydantic", "typer")
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in OURS:
            raise ImportError(f"{name} is not on the device")
sys.meta_path.insert(0, Refuse())
script = sys.argv[1]
sys.argv = [script, *sys.argv[2:]]
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_is_python_3_8_and_stands_alone(runtime: str) -> None:
    source = kit_script(runtime)
    tree = ast.parse(source, feature_version=(3, 8))
    names = Counter(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    assigned = (node for node in tree.body if isinstance(node, ast.Assign))
    names.update(
        name.id for node in assigned for item in node.targets for name in ast.walk(item) if hasattr(name, "id")
    )
    assert [name for name, number in names.items() if number > 1] == []
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module).split(".")[0])
    assert modules - set(sys.stdlib_module_names) <= {"numpy", runtime}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_measures_by_the_very_code_of_the_profiler(runtime: str) -> None:
    """Every function and class of the modules that the profiler's runtimes use is in it, word for word."""
    script = {node.name: ast.dump(node) for node in ast.parse(kit_script(runtime)).body if hasattr(node, "name")}
    plugin = import_module(f"latency_tables.runtimes.{runtime}")
    for module in (plugin.timing, plugin.on_device):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        own = {node.name: ast.dump(node) for node in tree.body if hasattr(node, "name")}
        assert own
        assert own.items() <= script.items()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runs_where_tinynas_is_not(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    make_kit(tmp_path / "kit.zip", small_request(runtime))
    with zipfile.ZipFile(tmp_path / "kit.zip") as file:
        file.extractall(tmp_path)
    script = tmp_path / f"tinynas_kit_{runtime}" / "measure.py"
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(script), "--minutes", "0.01"], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_results(str(tmp_path / "results.json"))
    assert found["failed"] == []
    assert len(found["detectors"]) == 8
    assert all(0.001 <= row[1] < 1000 for row in found["detectors"])
    assert found["kernels"]
    assert all(0 < row[-2] < 100 for row in found["kernels"])
    assert found["conditions"]["runtime_version"] == import_module(f"latency_tables.runtimes.{runtime}").version()
