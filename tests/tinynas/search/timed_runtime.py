"""A runtime on which networks take so much longer than their table says, and a host that is or is not the table's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from latency_tables import find_table, predict, trust
from latency_tables.metadata import TableMetadata
from search_spaces.graph import Graph
from tinynas.search import closing, measure

ID = "epyc-zen5-openvino-fp32-b1-t1"


class TimedRuntime:
    """Measures what the table ID says times `factor` plus `offset_ms`; counts the networks."""

    def __init__(self, factor: float) -> None:
        self.factor, self.offset_ms, self.networks, self.kind = factor, 0.0, 0, "cpu"
        self.table = find_table(ID)

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch, factor: float) -> TimedRuntime:
        """Put one in the place of every runtime, on the host of the table ID."""
        fake = cls(factor)
        monkeypatch.setattr(measure, "load_plugin", lambda package, name: fake)
        host_is(monkeypatch, ID)
        return fake

    def version(self) -> str:
        return "1.2"

    def device_kind(self) -> str:
        return self.kind

    def network_ms(self, graphs: Sequence[Graph], *, threads: int, precision: str, rounds: int = 12) -> list[float]:
        assert threads == 1
        assert precision == "fp32"
        assert rounds >= 2
        self.networks += len(graphs)
        return [predict(graph, self.table).total_ms * self.factor + self.offset_ms for graph in graphs]


def host_is(monkeypatch: pytest.MonkeyPatch, table_id: str) -> None:
    """From now on this host is that of one table, and of no other (of none: an empty id)."""

    def is_this_host(metadata: TableMetadata) -> bool:
        return metadata.id == table_id

    for module in (trust, closing, measure):
        monkeypatch.setattr(module, "is_this_host", is_this_host)
