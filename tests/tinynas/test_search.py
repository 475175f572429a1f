"""The search from the command line: real tables, real files, real messages."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from search_spaces.emit import emit_detector
from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.explanation import explain

QUICK = ["--evaluations", "6000", "--population", "64"]


def search(out, *options):
    return main(["search", "--out", str(out), *QUICK, *options])


def test_writes_a_structure_within_budget(tmp_path):
    from latency_tables import find_table

    assert search(tmp_path, "--budget", "3.8ms", "--device", "t4") == 0
    structure = resolve_structure(tmp_path / "structure.txt")
    data = json.loads((tmp_path / "search.json").read_text())
    total = explain(structure, find_table("t4")).totals["latency_ms"]
    assert total <= 3.8
    assert data["latency_ms"]["total"] == pytest.approx(total)
    parts = sum(data["latency_ms"][part] for part in ("backbone", "neck", "head", "overhead"))
    assert parts == pytest.approx(total)
    scores = [row["best_score"] for row in data["generations"]]
    assert scores == sorted(scores)
    assert scores[-1] == pytest.approx(explain(structure).totals["score"])
    assert structure.search["device"] == "t4-tensorrt-fp16-b1"
    for picture in ("search.png", "network.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")


def test_one_seed_one_file(tmp_path):
    for name in ("a", "b"):
        search(tmp_path / name, "--budget", "3.5ms", "--device", "t4", "--seed", "7")
    search(tmp_path / "c", "--budget", "3.5ms", "--device", "t4", "--seed", "8")
    texts = [(tmp_path / name / "structure.txt").read_bytes() for name in "abc"]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


@pytest.mark.parametrize("space", ["res", "csp", "mob"])
def test_all_limits_hold_together(tmp_path, space):
    limits = {"res": ("11M", "7G", "19"), "csp": ("20M", "14G", "21"), "mob": ("1.6M", "0.8G", "28")}[space]
    options = ["--max-params", limits[0], "--max-macs", limits[1], "--max-layers", limits[2], "--max-memory", "64MB"]
    assert search(tmp_path, "--space", space, *options) == 0
    totals = explain(resolve_structure(tmp_path / "structure.txt")).totals
    assert totals["params_deploy"] <= float(limits[0][:-1]) * 1e6
    assert totals["conv_macs"] <= float(limits[1][:-1]) * 1e9
    assert totals["layers"] <= int(limits[2])
    assert totals["peak_memory_bytes"] <= 64e6


def test_image_size_and_classes_are_priced(tmp_path):
    assert search(tmp_path, "--max-macs", "2G", "--image-size", "256x320", "--num-classes", "3") == 0
    structure = resolve_structure(tmp_path / "structure.txt")
    assert structure.image_size == (256, 320)
    assert structure.head.num_classes == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "0.1ms", "--device", "t4"], r"reachable range is [\d.]+ ms to [\d.]+ ms"),
        (["--budget", "3.8", "--device", "t4"], "the unit is missing"),
        (["--budget", "0ms", "--device", "t4"], "above zero"),
        (["--budget", "-1ms", "--device", "t4"], "above zero"),
        (["--budget", "3.8ms", "--device", "t5"], "unknown device 't5'.*t4"),
        (["--budget", "3.8ms"], "go together"),
        (["--device", "t4"], "go together"),
        ([], "no budget"),
        (["--max-macs", "8G", "--space", "ress"], "did you mean res"),
        (["--max-macs", "8G", "--image-size", "100"], "not a multiple of 32"),
        (["--max-macs", "1M"], "reachable range"),
        (["--max-layers", "3"], "reachable range"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys, options, words):
    assert search(tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(words, error), error
    assert not (tmp_path / "out" / "structure.txt").exists()


def test_earlier_results_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "structure.txt").write_text("mine")
    assert search(tmp_path, "--max-macs", "8G") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "structure.txt").read_text() == "mine"
    assert search(tmp_path, "--max-macs", "8G", "--overwrite") == 0
    assert (tmp_path / "structure.txt").read_text() != "mine"


def test_ctrl_c_keeps_what_was_found(tmp_path, monkeypatch, capsys):
    from tinynas import search as module

    real = module.evolve

    def interrupted(objective, settings):
        for number, pool in enumerate(real(objective, settings)):
            if number == 1:
                raise KeyboardInterrupt
            yield pool

    monkeypatch.setattr(module, "evolve", interrupted)
    assert search(tmp_path, "--max-macs", "8G") == 130
    assert "interrupted after 4,096 of 6,000" in capsys.readouterr().out
    assert json.loads((tmp_path / "search.json").read_text())["interrupted"] is True
    resolve_structure(tmp_path / "structure.txt")


def test_the_search_finds_the_optimum_of_a_tiny_space(tmp_path):
    """Against full enumeration: two widths and two depths per stage."""
    import itertools

    from search_spaces.space import load_space
    from tinynas.budgets import Budget
    from tinynas.evolution import SearchSettings, evolve
    from tinynas.objective import Objective
    from tinynas.population import DEPTH, HIDDEN, OUT, Encoding

    space = load_space("res")
    stages = [stage.model_copy(update={"depth": (1, 2), "hidden": (0.5, 0.5)}) for stage in space.stages]
    space = space.model_copy(update={"stages": tuple(stages), "stem": space.stem.model_copy(update={"out": (16, 16)})})
    encoding = Encoding(space, (64, 64), 2)
    objective = Objective(encoding, [Budget("conv_macs", 55e6)], None)
    rows = []
    for widths in itertools.product((32, 64, 96, 128), (64, 96, 128), (128, 192, 256)):
        for depths in itertools.product((1, 2), repeat=5):
            column = encoding.corner(largest=False)[:, 0].copy()
            column[OUT : OUT + 3] = widths
            column[DEPTH : DEPTH + 5] = depths
            column[HIDDEN : HIDDEN + 5] = 8
            rows.append(column)
    every = encoding.repair(np.stack(rows, axis=1))
    evaluation = objective.evaluate(every)
    enumerated = evaluation.score[evaluation.excess <= 0].max()
    *_, pool = evolve(objective, SearchSettings(evaluations=40_000, population=128))
    assert pool.best_score >= enumerated - 1e-9


def test_neither_search_nor_explain_imports_torch(tmp_path):
    code = (
        "import sys; from tinynas.cli import main; "
        f"assert main(['search', '--max-macs', '8G', '--evaluations', '500', '--out', {str(tmp_path)!r}]) == 0; "
        "assert main(['explain', 'S', '--device', 't4', '--json']) == 0; "
        "sys.exit(int('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_explain_json_has_the_promised_keys(capsys):
    assert main(["explain", "S", "--device", "t4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    for key in (
        "params_deploy", "params_train", "conv_macs", "layers", "peak_memory_bytes", "score", "latency_ms", "parts",
    ):  # fmt: skip
        assert key in data
    assert data["params_deploy"] == 16251631
    assert data["params_deploy"] == sum(part["params_deploy"] for part in data["parts"].values())
    ops = data["ops"]
    assert sum(op["latency_ms"] for op in ops) + data["latency_overhead_ms"] == pytest.approx(data["latency_ms"])
    assert sum(op["entropy"] for op in ops) == pytest.approx(data["score"])
    assert len(ops) == len(emit_detector(resolve_structure("S")))


def test_explain_prints_a_table(capsys):
    assert main(["explain", "Ns", "--image-size", "320"]) == 0
    out = capsys.readouterr().out
    assert "backbone.stage5.block1.conv2" in out
    assert "total" in out


def test_unknown_command_and_option_exit_with_2(capsys):
    assert main(["serch"]) == 2
    assert main(["search", "--budgets", "3ms"]) == 2
