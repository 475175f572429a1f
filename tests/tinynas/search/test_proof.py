"""--solver exact and --certify from the command line."""

import json

import pytest

from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.commands.search import _proof

QUICK = ["--evaluations", "3000", "--population", "32"]


def search(out, *options):
    return main(["search", "--out", str(out), *QUICK, *options])


def targets(out):
    return json.loads((out / "search.json").read_text())["targets"]


def test_the_exact_optimum_bounds_the_evolution(tmp_path, capsys):
    options = ["--budget", "3.8ms", "--device", "t4"]
    assert search(tmp_path / "exact", *options, "--solver", "exact") == 0
    assert "proven to be the best" in capsys.readouterr().out
    assert search(tmp_path / "evolved", *options, "--certify") == 0
    (best,), (found,) = targets(tmp_path / "exact"), targets(tmp_path / "evolved")
    assert best["certified"]["exact"] is True
    assert best["costs"]["latency_ms@t4-tensorrt-fp16-b1"] <= 3.8
    assert found["score"] <= best["score"] + 1e-6
    assert found["certified"]["bound"] == pytest.approx(best["score"], rel=1e-6)
    gap = 100 * (best["score"] / found["score"] - 1)
    assert found["certified"]["gap_percent"] == pytest.approx(gap, abs=1e-4)
    assert resolve_structure(tmp_path / "exact" / "structure.txt").search["solver"] == "exact"


def test_an_exact_family_has_a_front_of_its_members(tmp_path):
    assert search(tmp_path, "--budget", "2.6ms,4ms", "--device", "t4", "--solver", "exact") == 0
    data = json.loads((tmp_path / "search.json").read_text())
    assert len(data["front"]["rows"]) == 2
    assert all(target["certified"]["exact"] for target in data["targets"])
    assert (tmp_path / "structure-2.6ms.txt").is_file()


def test_a_bound_without_what_is_no_sum_says_so(tmp_path):
    assert search(tmp_path, "--max-macs", "9G", "--max-memory", "64MB", "--certify") == 0
    certified = targets(tmp_path)[0]["certified"]
    assert certified["dropped"] == ["peak_memory_bytes"]
    assert certified["exact"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--max-macs", "9G", "--max-memory", "64MB", "--solver", "exact"],
            "peak_memory_bytes is not a sum over stages",
        ),
        (["--max-macs", "9G", "--score", "deepmad", "--solver", "exact"], "'deepmad' is not a sum over stages"),
        (["--max-macs", "9G", "--score", "deepmad", "--certify"], "leave --certify out"),
        (["--max-macs", "9G", "--proof-seconds", "5"], "--proof-seconds is for --certify or --solver exact"),
    ],
)
def test_what_cannot_be_proven_is_refused(tmp_path, capsys, options, words):
    assert search(tmp_path / "out", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_proof_that_ran_out_of_time_is_not_called_a_gap():
    loose = {"exact": False, "gap_percent": 63.6, "bound": 2323.0, "seconds": 1.02, "dropped": []}
    assert (
        _proof({"certified": loose})
        == "; no proof within 1.0 s (bound 2323.00); --certify and --proof-seconds give it more"
    )
    assert "within 63.600 % of the best" in _proof({"certified": {**loose, "dropped": ["peak_memory_bytes"]}})
    assert "within 0.030 % of the best" in _proof({"certified": {**loose, "gap_percent": 0.03}})
