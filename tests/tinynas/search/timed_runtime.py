"""A runtime on which networks take so much longer than their table says, and a host that is the table's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from latency_tables import find_table, host, predict
from search_spaces.graph import Graph
from tinynas.search import measure


class TimedRuntime:
    """Measures what the table `cpu` says times `factor` plus `offset_ms`; counts the networks."""

    def __init__(self, factor: float) -> None:
        self.factor, self.offset_ms, self.networks, self.kind = factor, 0.0, 0, "cpu"
        self.table = find_table("cpu")

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch, factor: float) -> TimedRuntime:
        """Put one in the place of every runtime, on a host of the table's processor."""
        fake = cls(factor)
        monkeypatch.setattr(measure, "load_plugin", lambda package, name: fake)
        monkeypatch.setattr(host, "host_processor", lambda: fake.table.metadata.processor)
        return fake

    def version(self) -> str:
        return "1.2"

    def device_kind(self) -> str:
        return self.kind

    def network_ms(self, graphs: Sequence[Graph], *, threads: int, precision: str, rounds: int = 12) -> list[float]:
        assert threads == 1
        assert precision == "fp32"
        assert rounds >= 3
        self.networks += len(graphs)
        return [predict(graph, self.table).total_ms * self.factor + self.offset_ms for graph in graphs]
