"""`cpu` is this CPU: a table of it is adapted where there is none, and taken where there is one."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from latency_tables import find_table, probe, read_table, shards, verify
from latency_tables.adaptation import adapt as adapting
from tests.latency_tables import fake_runtime
from tinynas import devices
from tinynas.cli import main

ZEN5 = "epyc-zen5-openvino-fp32-b1-t1"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The fake device in the place of every runtime, a processor that no table is of, and folders of the test's own."""
    for module in (adapting, verify, probe):
        monkeypatch.setattr(module, "load_plugin", lambda package, name: fake_runtime)
    monkeypatch.setattr(devices, "SIZES", ((64, 64), (128, 128)))
    monkeypatch.setattr(devices, "SECONDS", 1.0)
    monkeypatch.setenv("TINYNAS_TABLES", str(tmp_path / "tables"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shards._gauges.clear()
    return tmp_path / "tables"


def own(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.csv"))


def test_explain_adapts_a_table_once(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "Ns", "--image-size", "128", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert "no latency table of this processor" in shown.err
    assert "kernels measured, adapted from epyc-zen" in shown.err
    assert "adapted from epyc-zen" in shown.out
    made = own(fake)
    assert len(made) == 1
    table = read_table(fake / f"{made[0]}.csv")
    assert table.metadata.host is not None
    assert table.metadata.error["detectors"] == 8
    assert table.metadata.adapted is not None
    assert table.metadata.adapted.kernels > 20
    assert main(["explain", "Ns", "--image-size", "128", "--device", "cpu"]) == 0
    shown = capsys.readouterr()
    assert "no latency table" not in shown.err
    assert own(fake) == made


def test_an_adaptation_stopped_before_its_check_leaves_no_table_and_goes_on(
    fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timed, calls = fake_runtime.network_ms, []

    def interrupted(*graphs: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return timed(*graphs, **options)

    command = ["explain", "Ns", "--image-size", "128", "--device", "cpu"]
    with monkeypatch.context() as stopping:
        stopping.setattr(fake_runtime, "network_ms", interrupted)
        assert main(command) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not own(fake) or all(name.endswith(".partial") for name in own(fake))
    kept = len(next(fake.glob("*.partial.csv")).read_text().splitlines())
    assert main(command) == 0
    (name,) = own(fake)
    table = read_table(fake / f"{name}.csv")
    assert table.metadata.error["detectors"] == 8
    assert table.counts()["measured"] >= kept - 1
    assert [path.suffix for path in sorted(fake.iterdir())] == [".csv", ".yaml"]


def test_a_table_of_the_same_processor_is_not_what_a_new_one_is_adapted_from(
    fake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt = [
        "profile",
        "--adapt",
        "auto",
        "--seconds",
        "1",
        "--spaces",
        "mob",
        "--image-sizes",
        "64",
        "--num-classes",
        "3",
    ]
    for name in ("one", "two"):
        assert main([*adapt, "--name", name]) == 0
        assert "adapted from epyc-zen" in capsys.readouterr().err
    assert main([*adapt, "--name", "three", "--threads", "2"]) == 0  # of other threads it may be
    assert main([*adapt[:3], "--seconds", "nan", "--name", "four"]) == 2
    assert "nan seconds to measure in" in capsys.readouterr().err


def test_a_table_that_erred_when_it_was_checked_is_used_with_a_warning(fake: Path) -> None:
    assert main(["explain", "Ns", "--image-size", "128", "--device", "cpu"]) == 0
    path = fake / f"{own(fake)[0]}.csv"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        devices.find_device("cpu", devices.Wanted())
    metadata = path.with_suffix(".yaml")
    text = metadata.read_text()
    metadata.write_text(re.sub(r"(\n  median: )[0-9.]+", r"\g<1>11.9", text))
    with pytest.warns(UserWarning, match=f"off by 11.9 % .* delete {re.escape(str(path))} and its .yaml"):
        devices.find_device("cpu", devices.Wanted())


@pytest.mark.parametrize(("looks", "said"), [([1.0] * 8 + [1.4] * 2, True), ([1.0] * 8 + [1.05] * 2, False)])
def test_a_device_whose_figures_jump_is_told(
    looks: list[float], said: bool, fake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fake_runtime.Gauge, "looks_ms", looks, raising=False)
    assert main(["profile", "--adapt", ZEN5, "--seconds", "0.5", "--spaces", "mob", "--image-sizes", "64"]) == 0
    told = "in a tenth of the looks at it a reference conv took 40% or more above its best"
    assert (told in capsys.readouterr().err) is said
    made = read_table(fake / f"{own(fake)[0]}.csv").metadata.adapted
    assert made is not None
    assert made.unsteadiness == pytest.approx(looks[-1] - 1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_table_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TINYNAS_TABLES", "/proc/tables")
    monkeypatch.setattr(fake_runtime, "measure", None)
    assert main(["explain", "Ns", "--image-size", "128", "--device", "cpu"]) == 2
    assert "/proc/tables" in capsys.readouterr().err.splitlines()[-1]


def test_no_measure_takes_the_shipped_table(fake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "Ns", "--device", "cpu", "--no-measure"]) == 0
    assert f"table {ZEN5} was measured on" in capsys.readouterr().err
    assert main(["compare", "Ns", "Nm", "--device", ZEN5]) == 0
    assert own(fake) == []


def test_a_table_of_another_speed_is_left_aside(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = find_table(ZEN5)
    monkeypatch.setattr(devices, "host_tables", lambda wanted, tables: [Path(table.source)])
    monkeypatch.setattr(devices, "_adapted", lambda host, wanted: "adapted anew")
    facts = type("Facts", (), {"virtual": True})
    monkeypatch.setattr(devices, "host_facts", lambda: facts)
    monkeypatch.setattr(probe, "measured_ratio", lambda table: 1.02)
    assert devices.find_device("cpu", devices.Wanted()).id == ZEN5
    monkeypatch.setattr(probe, "_kept", lambda table: 1.9)
    with pytest.warns(UserWarning, match=r"says it is of this processor, .* but kernels take 1.90 times as long here"):
        assert devices.find_device("cpu", devices.Wanted()) == "adapted anew"
    facts.virtual = False  # a machine that shows its model is believed
    assert devices.find_device("cpu", devices.Wanted()).id == ZEN5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapt", "t4"], "table t4-tensorrt-fp16-b1 is of a gpu; a CPU's is expected, or auto"),
        (["--adapt", ZEN5, "--precision", "bf16"], "is of fp32, bf16 was asked for; say --precision fp32"),
        (["--adapt", ZEN5, "--runtime", "onnxruntime"], "take a table of onnxruntime, or add --across-runtimes"),
        (["--adapt", ZEN5, "--seconds", "0"], "0.0 seconds to measure in; a positive number expected"),
        (["--adapt", "auto", "--precision", "bf16"], "no table to adapt from: none of a CPU is known for openvino, bf16"),
        (["--adapt", "zen9"], "unknown device 'zen9'"),
        (["--adapt", ZEN5, "--minutes", "3"], "--minutes does nothing with --adapt; it is for --kit and a profile"),
        (["--name", "chip", "--seconds", "2"], "--seconds does nothing without --adapt; it is for --adapt, leave it out"),
        (["--collect", "r.json", "--name", "c", "--threads", "4"], "--threads does nothing with --collect"),
        (["--kit", "k.zip", "--out", "t"], "--out does nothing with --kit"),
        (["--adapt", ZEN5, "--kit", "k.zip"], "say one of them"),
    ],
)  # fmt: skip
def test_refusals(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], fake: Path) -> None:
    assert main(["profile", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert own(fake) == []
