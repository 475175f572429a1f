"""The search from the command line: real tables, real files, real messages."""

import json
import re
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml

from search_spaces.emit import emit_detector
from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.explanation import explain
from tinynas.family.members import read_family

QUICK = ["--evaluations", "6000", "--population", "64"]


def search(out, *options):
    return main(["search", "--out", str(out), *QUICK, *options])


def read(out):
    return json.loads((out / "search.json").read_text())


def test_writes_a_structure_within_budget(tmp_path):
    from latency_tables import find_table

    assert search(tmp_path, "--budget", "3.8ms", "--device", "t4") == 0
    structure = resolve_structure(tmp_path / "structure.txt")
    target = read(tmp_path)["targets"][0]
    total = explain(structure, find_table("t4")).totals["latency_ms"]
    assert total <= 3.8
    assert target["costs"]["latency_ms@t4-tensorrt-fp16-b1"] == pytest.approx(total)
    latency = target["latency"]["t4-tensorrt-fp16-b1"]
    assert sum(latency["parts"].values()) + latency["overhead"] == pytest.approx(total)
    assert sum(latency["by_scope"].values()) == pytest.approx(total)
    scores = [row["best_score"] for row in target["history"] if row["best_score"] is not None]
    assert scores == sorted(scores)
    assert scores[-1] == pytest.approx(explain(structure).totals["score"])
    assert sum(target["entropy_by_scope"].values()) == pytest.approx(target["score"])
    assert structure.search["device"] == "t4-tensorrt-fp16-b1"
    for picture in ("search.png", "network.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / ".search").exists()


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


def test_a_family_is_one_network_per_budget(tmp_path, capsys):
    assert search(tmp_path, "--budget", "4ms,2.6ms,3ms", "--device", "t4") == 0
    names = ["2.6ms", "3ms", "4ms"]
    scores = []
    for name in names:
        structure = resolve_structure(tmp_path / f"structure-{name}.txt")
        assert structure.search["predicted_ms"] <= float(name[:-2])
        scores.append(structure.search["score"])
    assert scores == sorted(scores)
    family = yaml.safe_load((tmp_path / "family.yaml").read_text())["family"]
    assert [row["name"] for row in family] == names
    assert [row["teacher"] for row in family] == ["3ms", "4ms", None]
    assert all((tmp_path / row["structure"]).is_file() for row in family)
    command = re.findall(r"next: tinynas (family train \S+family\.yaml) --data DIR", capsys.readouterr().out)
    assert command == [f"family train {tmp_path / 'family.yaml'}"]
    assert [member.name for member in read_family(tmp_path / "family.yaml")] == names[
        ::-1
    ]  # a teacher before its student
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "structure.txt").exists()


def test_the_front_holds_every_member_and_nothing_dominated(tmp_path):
    assert search(tmp_path, "--budget", "2.6ms,4ms", "--device", "t4") == 0
    data = read(tmp_path)
    columns, rows = data["front"]["columns"], data["front"]["rows"]
    assert (tmp_path / "front.csv").read_text().splitlines()[0] == ",".join(columns)
    cost, score = (columns.index(name) for name in ("latency_ms@t4-tensorrt-fp16-b1", "score"))
    assert [row[cost] for row in rows] == sorted(row[cost] for row in rows)
    assert all(before[score] < after[score] for before, after in pairwise(rows))
    for target in data["targets"]:
        own = target["costs"]["latency_ms@t4-tensorrt-fp16-b1"]
        within = max(row[score] for row in rows if row[cost] <= own + 1e-5)
        assert within >= target["score"] * 0.999


CPU = "epyc-zen5-openvino-fp32-b1-t1"


def test_several_devices_at_once(tmp_path):
    from latency_tables import find_table

    assert search(tmp_path, "--budget", f"4ms@t4,80ms@{CPU}", "--num-classes", "2", "--no-measure") == 0
    structure = resolve_structure(tmp_path / "structure.txt")
    for device, limit in (("t4", 4.0), (CPU, 80.0)):
        table = find_table(device)
        total = explain(structure, table).totals["latency_ms"]
        assert total <= limit
        assert structure.search["predicted_ms"][table.id] == pytest.approx(total, abs=1e-3)


def test_a_backbone_alone_costs_less(tmp_path):
    assert search(tmp_path, "--budget", "1.6ms", "--device", "t4", "--backbone-only") == 0
    latency = read(tmp_path)["targets"][0]["latency"]["t4-tensorrt-fp16-b1"]
    assert set(latency["parts"]) == {"backbone"}
    assert 1.2 < latency["total"] <= 1.6
    assert resolve_structure(tmp_path / "structure.txt").search["priced"] == "backbone"


@pytest.mark.parametrize("score", ["deepmad", "macs", "random"])
def test_other_scores(tmp_path, score):
    from tinynas.scores import deepmad

    assert search(tmp_path, "--max-macs", "9G", "--score", score) == 0
    structure = resolve_structure(tmp_path / "structure.txt")
    assert structure.search["score_kind"] == score
    if score == "deepmad":
        assert deepmad.effectiveness(emit_detector(structure)) <= 0.3


def test_the_published_effectiveness_is_left_off_for_depthwise_convs(tmp_path, capsys):
    from tinynas.scores import deepmad

    options = ["--max-macs", "3G", "--space", "mob", "--score", "deepmad"]
    assert search(tmp_path / "default", *options) == 0
    assert "is left off in space mob; --max-effectiveness sets one" in capsys.readouterr().out
    assert read(tmp_path / "default")["settings"]["budgets"].keys() == {"conv_macs", "layers"}
    # some networks are below, the smallest and the largest are not
    assert search(tmp_path / "given", *options, "--max-effectiveness", "0.3") == 0
    assert "left off" not in capsys.readouterr().out
    structure = resolve_structure(tmp_path / "given" / "structure.txt")
    assert deepmad.effectiveness(emit_detector(structure)) <= 0.3


def test_score_weights_change_the_winner(tmp_path):
    for name, weights in (("late", "0,0,0,0,1"), ("early", "0,0,1,0,0")):
        assert search(tmp_path / name, "--max-macs", "9G", "--score-weights", weights) == 0
    late, early = (resolve_structure(tmp_path / name / "structure.txt").backbone.stages for name in ("late", "early"))
    assert late[4].depth * late[4].hidden_channels > early[4].depth * early[4].hidden_channels


def test_json_is_all_that_stdout_holds(tmp_path, capsys):
    assert search(tmp_path, "--max-macs", "9G", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data == read(tmp_path)
    assert set(data) >= {
        "tool", "settings", "targets", "front", "interrupted", "seconds", "candidates_per_second", "commands",
    }  # fmt: skip
    assert set(data["targets"][0]) == {
        "name", "budgets", "structure_file", "score", "costs", "latency", "neck_share", "entropy_by_scope", "history",
        "certified", "measured",
    }  # fmt: skip


def test_a_budget_below_the_narrowest_network_can_be_met(tmp_path):
    """A wider conv can be the faster one: 1.54 ms is less than the narrowest network takes, and more than the least."""
    assert search(tmp_path, "--budget", "1.54ms", "--device", "t4", "--image-size", "320") == 0
    assert read(tmp_path)["targets"][0]["costs"]["latency_ms@t4-tensorrt-fp16-b1"] <= 1.54


def test_an_unspent_budget_names_what_binds_and_claims_no_proof_that_there_is_none(tmp_path, capsys):
    budget = ["--budget", "3.8ms", "--device", "t4"]
    assert search(tmp_path / "a", *budget, "--max-memory", "12MB") == 0
    shown = capsys.readouterr().out
    assert "what was found in space res for 3.8ms takes" in shown
    assert "ms only; raise --max-memory (12 MB), or" in shown
    assert "which leaves peak_memory_bytes out)" in shown
    assert search(tmp_path / "b", *budget, "--score", "macs", "--evaluations", "30", "--solver", "evolution") == 0
    assert "ms only; look at more candidates (--evaluations), or" in capsys.readouterr().out


def test_an_unspent_budget_is_said(tmp_path, capsys):
    assert search(tmp_path, "--budget", "9ms", "--device", "t4") == 0
    assert "raise --max-layers (25)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "0.1ms", "--device", "t4"], r"reachable range is [\d.]+ ms to [\d.]+ ms"),
        (["--budget", "3.8", "--device", "t4"], "the unit is missing"),
        (["--budget", "3.8ms", "--device", "t4", "--max-layers", "25.5"], "25.5 is no whole number"),
        (["--budget", "0ms", "--device", "t4"], "above zero"),
        (["--budget", "-1ms", "--device", "t4"], "above zero"),
        (["--budget", "3.8ms", "--device", "t5"], "unknown device 't5'.*t4"),
        (["--budget", "3.8ms"], "go together"),
        (["--device", "t4"], "go together"),
        (["--budget", "4ms@t4,5ms@t4-tensorrt-fp16-b1"], "are the same table"),
        (["--budget", "4ms", "--device", "t4", "--batch", "32"], "of batch 1, precision fp16; batch 32 was asked"),
        (["--budget", "4ms", "--device", "t4", "--precision", "int8"], "precision int8 was asked for"),
        ([], "no budget"),
        (["--max-macs", "8G", "--space", "ress"], "did you mean res"),
        (["--max-macs", "8G", "--image-size", "100"], "not a multiple of 32"),
        (["--max-macs", "1M"], "reachable range"),
        (["--max-layers", "3"], "reachable range"),
        (["--max-macs", "8G", "--score", "entropi"], "did you mean entropy"),
        (["--max-macs", "8G", "--score-weights", "1,2"], "expected five numbers"),
        (["--max-macs", "8G", "--score", "macs", "--score-weights", "0,0,1,1,16"], "score macs takes no weights"),
        (["--max-macs", "8G", "--max-effectiveness", "-1"], "above zero"),
        (["--max-macs", "8G", "--max-effectiveness", "none"], "as in 0.3, or off"),
        (["--max-macs", "8G", "--preset", "damo-x"], "did you mean damo-"),
        (["--preset", "damo-m"], "has no budget, none is published"),
        (["--max-macs", "8G", "--solver", "exakt"], "did you mean exact"),
        (["--max-macs", "8G", "--workers", "9999"], r"--workers 9999: this machine has \d+ cores"),
        (["--max-macs", "8G", "--backend", "mpi"], "known: dask, loky, ray"),
        (["--max-macs", "8G", "--measure", "3"], "--measure needs a latency budget"),
        (["--max-macs", "8G", "--resume"], "no unfinished search to resume"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, capsys, options, words):
    assert search(tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(words, error), error
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "structure.txt").write_text("mine")
    assert search(tmp_path, "--max-macs", "8G") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "structure.txt").read_text() == "mine"
    assert search(tmp_path, "--max-macs", "8G", "--overwrite") == 0
    assert (tmp_path / "structure.txt").read_text() != "mine"


def test_what_is_replaced_leaves_nothing_behind(tmp_path):
    assert search(tmp_path, "--budget", "3ms,4ms", "--device", "t4", "--space", "res") == 0
    (tmp_path / "structure-mine.txt").write_text("mine")
    one = ["--budget", "4ms", "--device", "t4", "--space", "res", "--overwrite"]
    names = [
        "front.csv",
        "network.png",
        "report.html",
        "search.json",
        "search.png",
        "structure-mine.txt",
        "structure.txt",
    ]
    assert search(tmp_path, *one) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    data = read(tmp_path) | {"ranking": {"choice": "res-2"}}  # as a second stage would have left it
    (tmp_path / "search.json").write_text(json.dumps(data))
    (tmp_path / "candidates").mkdir()
    for name in ("candidates/res-1.txt", "ranked.pt", "structure-by-score.txt"):
        (tmp_path / name).touch()
    assert search(tmp_path, *one) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("text", ["[]", "{", '{"targets": [{"name": "a"}, {"name": "../../a"}]}'])
def test_a_folder_of_something_else_loses_nothing(tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "structure-..").mkdir()
    (tmp_path / "out" / "search.json").write_text(text)
    assert search(tmp_path / "out", "--max-macs", "8G", "--overwrite") == 0
    assert (tmp_path / "structure-..").is_dir()


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


@pytest.mark.parametrize("budget", ["20ms", "900ms"])
def test_more_classes_than_a_table_covers_are_refused_before_the_search(tmp_path, capsys, budget):
    assert (
        search(tmp_path, "--budget", budget, "--device", "epyc-zen5-openvino-fp32-b1-t1", "--num-classes", "5000") == 2
    )
    error = capsys.readouterr().err
    assert re.search(
        r"--num-classes 5000: with so many classes \d+% or more of the latency lies beyond what table epyc", error
    )
    assert "candidates" not in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("64", "take an image size that it covers"),
        ("1280", "take an image size that it covers"),
        ("320", "reachable range is 4.4"),
    ],
)
def test_a_range_that_the_table_does_not_cover_is_no_reachable_one(tmp_path, capsys, size, words):
    device = ["--device", "epyc-zen5-openvino-fp32-b1-t1"]
    assert search(tmp_path, "--budget", "0.1ms", *device, "--image-size", size) == 2
    error = capsys.readouterr().err
    assert words in error
    assert ("reachable" in error) == (size == "320")


def test_many_classes_that_a_table_covers_are_searched(tmp_path, capsys):
    assert search(tmp_path, "--budget", "3.8ms", "--device", "t4", "--num-classes", "600") == 0
    assert "--num-classes 600" not in capsys.readouterr().err
