from __future__ import annotations

from latency_tables.on_device import host
from latency_tables.registry import host_processor


def test_a_device_names_its_processor_as_tinynas_would_there() -> None:
    assert host.processor() == host_processor()
    assert host.machine()["processor"] == host_processor()


def test_where_the_system_tells_nothing_something_is_said(monkeypatch) -> None:
    monkeypatch.setattr(host, "cpu_info", dict)
    assert host.processor()
    assert isinstance(host.clock(), str)
