"""A search for this host ends with a measurement of what it found."""

import json

import pytest
import yaml

from latency_tables import find_table
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tests.tinynas.search.timed_runtime import ID, TimedRuntime, host_is
from tinynas.cli import main
from tinynas.search import closing

pytestmark = pytest.mark.filterwarnings("ignore:table")
OPTIONS = ["--image-size", "320", "--evaluations", "5000", "--population", "64", "--num-classes", "3"]


def search(out, *options):
    return main(["search", "--out", str(out), *OPTIONS, *options])


def read(out):
    return json.loads((out / "search.json").read_text())


@pytest.fixture
def runtime(monkeypatch):
    return TimedRuntime.install(monkeypatch, factor=1.02)


def test_the_figure_stands_in_all_that_is_written(tmp_path, runtime, capsys):
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    data, shown = read(tmp_path), capsys.readouterr().out
    target = data["targets"][0]
    row, total = target["measured"][ID], target["latency"][ID]["total"]
    assert row["measured_ms"] == pytest.approx(1.02 * total)
    assert row["predicted_ms"] == total
    assert f"{1.02 * total:.3f} ms measured on this host with openvino 1.2, +2.0 % to the prediction" in shown
    assert "note" not in shown
    kept = resolve_structure(tmp_path / "structure.txt").search
    assert kept["predicted_ms"] == pytest.approx(total, abs=1e-4)
    assert kept["measured_ms"] == pytest.approx(1.02 * total, abs=1e-4)
    page = (tmp_path / "report.html").read_text()
    assert f"measured on {ID} (the table is -2.0 % off)" in page
    assert f"openvino 1.2 on {find_table(ID).metadata.processor}" in page
    assert runtime.networks == 1


def test_the_error_of_the_table_stands_beside_the_prediction(tmp_path, runtime, capsys):
    words = "2.0 % median error on 60 detectors (largest 4.4 %)"
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    assert f"measured on this host, {words}" in capsys.readouterr().out
    told = read(tmp_path)["targets"][0]["latency"][ID]["trust"]
    assert (told["provenance"], told["this_host"], told["checked"]) == ("measured", True, words)
    record = f"measured on AMD EPYC (family 26, model 2), {words}"
    # a file says nothing of the host that it was made on: the same search writes the same text everywhere
    assert resolve_structure(tmp_path / "structure.txt").search["prediction"] == record == told["record"]
    assert f"{record}; the search ran on it" in (tmp_path / "report.html").read_text()


def test_no_measurement_when_it_is_not_wanted(tmp_path, runtime):
    assert search(tmp_path, "--budget", "14ms", "--device", ID, "--no-measure") == 0
    assert runtime.networks == 0
    assert read(tmp_path)["targets"][0]["measured"] is None
    assert resolve_structure(tmp_path / "structure.txt").search["measured_ms"] is None


def test_a_table_of_another_machine_is_not_measured(tmp_path, runtime, monkeypatch, capsys):
    host_is(monkeypatch, "")
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    assert runtime.networks == 0
    shown = capsys.readouterr().out
    assert (
        "measured on another processor, AMD EPYC (family 26, model 2): milliseconds differ here; there 2.0 %" in shown
    )
    assert "the search ran on another processor" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("factor", [1.08, 0.9])
def test_far_from_the_prediction_is_said_with_the_remedy(tmp_path, runtime, capsys, factor):
    runtime.factor = factor
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    (note,) = read(tmp_path)["notes"]
    assert {1.08: "8.0 % more", 0.9: "10.0 % less"}[factor] in note
    assert f"than {ID} predicts" in note
    assert "--measure 8 corrects the table" in note
    assert f"note: {note}" in capsys.readouterr().out


def test_every_member_of_a_family_is_measured(tmp_path, runtime):
    runtime.factor, runtime.offset_ms = 1.0, 0.8  # 8 % of the small one, 4 % of the large one
    assert search(tmp_path, "--budget", "10ms,20ms", "--device", ID) == 0
    data = read(tmp_path)
    for target in data["targets"]:
        row = target["measured"][ID]
        assert row["measured_ms"] == pytest.approx(row["predicted_ms"] + 0.8)
        kept = resolve_structure(tmp_path / target["structure_file"]).search
        assert kept["measured_ms"] == pytest.approx(row["measured_ms"], abs=1e-4)
    (note,) = data["notes"]
    assert "10ms: " in note
    assert "20ms: " not in note
    assert f"measured on {ID}" in (tmp_path / "report.html").read_text()
    family = yaml.safe_load((tmp_path / "family.yaml").read_text())
    for member, target in zip(family["family"], data["targets"], strict=True):
        assert member["measured_ms"][ID] == pytest.approx(target["measured"][ID]["measured_ms"], abs=1e-4)
    assert family["latency"][ID].endswith("2.0 % median error on 60 detectors (largest 4.4 %)")


def test_what_looks_slow_is_looked_at_again_and_the_faster_figure_counts(tmp_path, runtime):
    real, factors = runtime.network_ms, iter([1.5, 1.3, 1.01])

    def disturbed(graphs, **keywords):
        runtime.factor = next(factors)
        return real(graphs, **keywords)

    runtime.network_ms = disturbed
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    row = read(tmp_path)["targets"][0]["measured"][ID]
    assert row["measured_ms"] == pytest.approx(1.01 * row["predicted_ms"])
    assert read(tmp_path)["notes"] == []
    assert runtime.networks == 3


def test_looks_end_when_there_is_no_time_for_another(tmp_path, runtime, monkeypatch):
    runtime.factor = 2.0
    monkeypatch.setattr(closing, "PATIENCE_S", 0.0)
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    assert runtime.networks == 1


def test_one_table_of_two_is_of_this_host(tmp_path, runtime):
    assert search(tmp_path, "--budget", f"4ms@t4,30ms@{ID}") == 0
    assert list(read(tmp_path)["targets"][0]["measured"]) == [ID]
    kept = resolve_structure(tmp_path / "structure.txt").search
    assert kept["measured_ms"]["t4-tensorrt-fp16-b1"] is None
    assert kept["prediction"]["t4-tensorrt-fp16-b1"].startswith(
        "derived, not measured, 2.5 % mean error on 13 published"
    )


def test_a_backbone_alone_is_not_measured(tmp_path, runtime):
    assert search(tmp_path, "--budget", "10ms", "--device", ID, "--backbone-only") == 0
    assert runtime.networks == 0
    assert read(tmp_path)["notes"] == []


def test_a_proven_optimum_is_measured_too(tmp_path, runtime):
    runtime.factor = 1.2
    assert search(tmp_path, "--budget", "14ms", "--device", ID, "--solver", "exact") == 0
    kept = resolve_structure(tmp_path / "structure.txt").search
    assert kept["solver"] == "exact"
    assert kept["measured_ms"] == pytest.approx(1.2 * kept["predicted_ms"], rel=1e-4)
    assert "--measure 8 in place of --solver exact" in read(tmp_path)["notes"][0]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            UserError("runtime openvino is not installed; pip install openvino"),
            "cannot run here (runtime openvino is not",
        ),
        (RuntimeError("illegal state\nsecond line"), "openvino failed (illegal state)"),
    ],
)
def test_what_cannot_be_measured_is_one_note(tmp_path, runtime, capsys, error, words):
    def fails(*arguments, **keywords):
        raise error

    setattr(runtime, "version" if isinstance(error, UserError) else "network_ms", fails)
    assert search(tmp_path, "--budget", "14ms", "--device", ID) == 0
    (note,) = read(tmp_path)["notes"]
    assert note.startswith("not timed at the end of the search: ")
    assert words in note
    assert "\n" not in note
    assert resolve_structure(tmp_path / "structure.txt").search["measured_ms"] is None


def test_ctrl_c_while_measuring_keeps_what_was_found(tmp_path, runtime):
    assert search(tmp_path / "whole", "--budget", "14ms", "--device", ID) == 0
    real = runtime.network_ms

    def interrupted(graphs, **keywords):
        raise KeyboardInterrupt

    runtime.network_ms = interrupted
    assert search(tmp_path / "cut", "--budget", "14ms", "--device", ID) == 130
    assert resolve_structure(tmp_path / "cut" / "structure.txt").search["measured_ms"] is None
    runtime.network_ms = real
    assert search(tmp_path / "cut", "--budget", "14ms", "--device", ID, "--resume") == 0
    texts = [(tmp_path / name / "structure.txt").read_bytes() for name in ("whole", "cut")]
    assert texts[0] == texts[1]
