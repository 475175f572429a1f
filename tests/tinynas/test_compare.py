"""`tinynas compare`: what `explain` says of each, side by side, and differences to the first."""

import json

import pytest

from latency_tables import find_table
from search_spaces.text import resolve_structure
from tinynas.cli import main
from tinynas.explanation import explain


def compared(capsys, *arguments):
    assert main(["compare", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_figures_are_those_of_explain(capsys):
    table = find_table("t4")
    for name, row in zip(("S", "T"), compared(capsys, "S", "T", "--device", "t4"), strict=True):
        totals = explain(resolve_structure(name), table).totals
        assert row["structure"] == name
        assert row["params"] == totals["params_deploy"]
        assert row["params_train"] == totals["params_train"]
        for key in ("score", "conv_macs", "layers", "peak_memory_bytes"):
            assert row[key] == pytest.approx(totals[key])
        key = f"latency_ms@{table.id}"
        assert row[key] == pytest.approx(totals["latency_ms"])
        parts = [row[f"{key}.{part}"] for part in ("backbone", "neck", "head", "overhead")]
        assert sum(parts) == pytest.approx(row[key])
        assert row["trust"] == {key: totals["latency_trust"]}


def test_percent_is_to_the_first(capsys):
    first, second = compared(capsys, "S", "T")
    assert set(first["percent_to_first"].values()) == {0.0}
    assert second["percent_to_first"]["params"] == pytest.approx(100 * (second["params"] / first["params"] - 1))
    assert second["percent_to_first"]["params"] < 0


def test_several_devices_and_files(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "Ns", "mine.txt"]) == 0
    capsys.readouterr()
    size = ["--image-size", "320", "--num-classes", "3"]
    rows = compared(
        capsys, "Ns", "mine.txt", "Nm", *size, "--device", "t4", "--device", "epyc-zen5-openvino-fp32-b1-t1"
    )
    assert len([key for key in rows[0] if key.startswith("latency_ms@") and "." not in key]) == 2
    assert {(tuple(row["image_size"]), row["num_classes"]) for row in rows} == {((320, 320), 3)}
    assert set(rows[1]["percent_to_first"].values()) <= {0.0, None}


def test_the_table_keeps_its_lines_in_a_pipe(capsys):
    assert main(["compare", "T", "S", "Ns", "--device", "t4"]) == 0
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if line.startswith("params "))
    assert line.split() == ["params", "8.480", "M", "16.252", "M", "+91.7", "%", "1.406", "M", "-83.4", "%"]
    assert "stage 2  " in shown
    assert "latency on t4-tensorrt-fp16-b1" in shown
    words = "derived, not measured, 2.5 % mean error on 13 published detectors, each left out once (largest 6.5 %)"
    assert f"latency on t4-tensorrt-fp16-b1: {words}\n" in shown
    assert "image sizes differ" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["S"], "compare takes two structures or more, found only S"),
        ([], "missing argument"),
        (["S", "Tt"], "no structure 'Tt': neither a file nor a shipped name"),
        (["S", "T", "--device", "t44"], "unknown device 't44'"),
        (["S", "T", "--device", "t4", "--device", "t4-tensorrt"], "was named before; name each table once"),
        (["S", "T", "--image-size", "650"], "650 is not a multiple of 32"),
        (["S", "T", "--num-classes", "0"], "greater than or equal to 1"),
    ],
)
def test_bad_input(arguments, expected, capsys):
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert expected in captured.err
    assert captured.out == ""
