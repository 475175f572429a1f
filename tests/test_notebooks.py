"""Committed notebooks: run from top to bottom, and free of traces of the machine that ran them (nbmake runs them anew)."""

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LOCAL_PATH = re.compile(r"(?<![\w.~])/(?:tmp|home|root|work|Users|var|mnt|opt|usr)/|[A-Z]:\\\\")


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def test_there_is_a_notebook():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_ran_in_order_without_errors(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs)
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_path_of_a_machine(path):
    text = json.dumps(json.loads(path.read_text())["cells"])
    assert LOCAL_PATH.findall(re.sub(r'"image/png": "[^"]*"', "", text)) == []
