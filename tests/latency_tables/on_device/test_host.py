from __future__ import annotations

import pytest

from latency_tables.on_device import host


def test_a_machine_names_its_processor() -> None:
    assert host.machine()["processor"] == host.host_processor() != ""


def test_where_the_system_tells_nothing_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cpu_info", dict)
    assert host.host_processor()
    assert "MHz" not in host.host_clock()


def test_the_clock_and_its_governor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "cpu_info", lambda: {"cpu MHz": "2600.4"})
    monkeypatch.setattr(host, "governor", lambda: "performance")
    assert host.host_clock() == "2600 MHz as the system reports it, governor performance"
    monkeypatch.setattr(host, "governor", str)
    assert host.host_clock() == "2600 MHz as the system reports it"
