"""This host: what tells it from another, which tables are its own, and the probe that unmasks those that only say so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from latency_tables import find_table, host, probe
from latency_tables.host import differences, host_facts, is_this_host
from latency_tables.metadata import HostFacts, TableMetadata
from latency_tables.on_device import host as device_host
from latency_tables.registry import HostName, host_tables, list_tables, parse_host_name
from latency_tables.tables import Row, read_rows, read_table, write_table
from search_spaces.errors import UserError
from tests.latency_tables import fake_runtime

HERE = HostFacts(processor="Chip A", extensions=("avx2", "fma"), governor="performance")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "host_facts", lambda: HERE)


def cpu_metadata(**changes: object) -> TableMetadata:
    base = find_table("t4").metadata
    keys = {
        "id": "chip_a-openvino-fp32-b1-t1", "kind": "cpu", "runtime": "openvino", "precision": "fp32", "threads": 1,
        "short_names": [], "processor": "Chip A", "overhead_ms": 0.0, "tail_block": 16, "error": {},
    } | changes  # fmt: skip
    return TableMetadata.model_validate({**base.model_dump(), **keys})


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (HERE, []),
        (HostFacts(processor="Chip A"), []),  # what a table does not tell, tells nothing
        (HostFacts(processor="Chip B"), ["processor Chip B, here Chip A"]),
        (HostFacts(processor="Chip A", extensions=("avx2",)), ["vector extensions avx2, here avx2 fma"]),
        (HostFacts(processor="Chip A", governor="powersave"), ["clock governor powersave, here performance"]),
    ],
)
def test_what_makes_two_hosts_the_same(there: HostFacts, said: list[str]) -> None:
    metadata = cpu_metadata(host=there.model_dump())
    assert differences(metadata) == said
    assert is_this_host(metadata) == (not said)


def test_tables_without_host_facts_go_by_their_processor() -> None:
    assert is_this_host(cpu_metadata())
    assert not is_this_host(cpu_metadata(processor="Chip B"))
    assert differences(cpu_metadata(processor="")) == ["no processor named, here Chip A"]
    assert not is_this_host(find_table("t4").metadata)


def test_this_machine_tells_something_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    facts = host_facts()
    assert facts.processor
    assert set(facts.extensions) <= set(device_host.EXTENSIONS)
    told = {"model name": "X", "cpu family": "6", "model": "1", "flags": "fma avx2 hypervisor"}
    monkeypatch.setattr(device_host, "cpu_info", lambda: told)
    assert host_facts() == HostFacts(
        processor="X (family 6, model 1)", extensions=("avx2", "fma"), governor=facts.governor, virtual=True
    )


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cpu", HostName()),
        ("CPU-t2", HostName(threads=2)),
        ("cpu-onnxruntime", HostName(runtime="onnxruntime")),
        ("cpu-openvino-int8-t4", HostName(precision="int8", threads=4)),
        ("cpus", None),
        ("cpu-t0", None),
        ("cpu-gpu", None),
        ("t4", None),
    ],
)
def test_names_of_the_host(name: str, wanted: HostName | None) -> None:
    assert parse_host_name(name) == wanted
    if wanted is not None:
        assert parse_host_name(wanted.name) == wanted


def test_a_precision_that_is_asked_for_apart() -> None:
    assert parse_host_name("cpu-t2", "int8") == HostName(precision="int8", threads=2)
    assert parse_host_name("cpu-fp32", "int8") == HostName()


def test_the_hosts_own_int8_table_answers_to_cpu_in_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conv_rows: list[Row]
) -> None:
    monkeypatch.setenv("TINYNAS_TABLES", str(tmp_path))
    table = cpu_metadata(id="mine-openvino-int8-b1-t1", precision="int8")
    write_table(tmp_path, table, conv_rows)
    assert find_table("cpu", precision="int8").id == table.id
    assert find_table("cpu-int8").id == table.id
    assert find_table("cpu-int8").metadata.precision == "int8"


def test_the_hosts_own_table_answers_to_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conv_rows: list[Row]
) -> None:
    monkeypatch.setenv("TINYNAS_TABLES", str(tmp_path))
    with pytest.warns(UserWarning, match=r"this host has .* measure this host with: tinynas profile --adapt epyc-zen5"):
        assert find_table("cpu").id == "epyc-zen5-openvino-fp32-b1-t1"
    adapted = cpu_metadata(id="b_adapted-openvino-fp32-b1-t1", adapted={"source": "x", "kernels": 3})
    write_table(tmp_path, adapted, conv_rows)
    assert find_table("cpu").id == adapted.id
    write_table(tmp_path, cpu_metadata(id="c_profiled-openvino-fp32-b1-t1"), conv_rows)
    write_table(tmp_path, cpu_metadata(id="a_elsewhere-openvino-fp32-b1-t1", processor="Chip B"), conv_rows)
    assert find_table("cpu").id == "c_profiled-openvino-fp32-b1-t1"  # measured whole, before adapted
    claimed = cpu_metadata(id="d_mine-openvino-fp32-b1-t1", short_names=["cpu"])
    write_table(tmp_path, claimed, conv_rows)
    assert find_table("cpu").id == claimed.id
    assert host_tables(HostName(threads=2), list_tables()) == []
    with pytest.raises(UserError, match=r"precision fp32; precision bf16 was asked for"):
        find_table("cpu", precision="bf16")
    with pytest.raises(UserError, match="unknown device 'cpu-onnxruntime-t7'"):
        find_table("cpu-onnxruntime-t7")


@pytest.fixture
def probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The zen 5 table's rows as the fake device has them, so that a probe finds it right."""
    monkeypatch.setattr(probe, "load_plugin", lambda package, name: fake_runtime)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shipped = find_table_quietly("epyc-zen5-openvino-fp32-b1-t1")
    rows = [
        replace(row, latency_ms=fake_runtime.fake_ms(row.kernel))
        for row in read_rows(Path(shipped.source))
        if row.source == "measured"
    ]
    return write_table(tmp_path, cpu_metadata(), rows)


def find_table_quietly(name: str):  # type: ignore[no-untyped-def]
    from latency_tables.registry import SHIPPED

    return read_table(SHIPPED / f"{name}.csv")


def test_a_probe_tells_machines_of_one_name_apart(probed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, ratio = probe.same_speed(read_table(probed))
    assert (right, ratio) == (True, pytest.approx(1, abs=0.01))
    slow = [replace(row, latency_ms=row.latency_ms / 1.5) for row in read_rows(probed)]
    other = read_table(write_table(probed.parent / "other", read_table(probed).metadata, slow))
    right, ratio = probe.same_speed(other)
    assert (right, ratio) == (False, pytest.approx(1.5, abs=0.02))


def test_a_verdict_is_kept_until_the_machine_starts_again(
    probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, boot = read_table(probed), ["one"]
    monkeypatch.setattr(probe, "_boot", lambda: boot[0])
    measured = []
    real = probe.measured_ratio
    monkeypatch.setattr(probe, "measured_ratio", lambda table: measured.append(1) or real(table))
    first, second = probe.same_speed(table), probe.same_speed(table)
    assert first == (second[0], pytest.approx(second[1], abs=1e-4))
    assert len(measured) == 1
    boot[0] = "two"
    probe.same_speed(table)
    assert len(measured) == 2
    kept = tmp_path / "cache" / "tinynas" / "probes.json"
    assert list(json.loads(kept.read_text())) == ["two"]
    kept.write_text("{ damaged")
    probe.same_speed(table)
    assert len(measured) == 3
