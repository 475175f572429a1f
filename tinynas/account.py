"""What one network costs: the account that search results, `compare`, `explain`, `score` and the pages have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from latency_tables import Prediction, Table, Trust, predict, trust_of
from search_spaces import costs
from search_spaces.graph import Graph


@dataclass(frozen=True, slots=True)
class PartAccount:
    """Costs of the backbone, the neck or the head, as in an Account."""

    params: int
    params_train: int
    conv_macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Costs of one network: params in deploy form and in training form (`params_train`), MACs of the convs, convs of the
    main path (`layers`), peak memory of activations in fp32; `parts`: those of them that add up, by part; `latency`: the
    prediction by table id, `trust`: how far to trust it."""

    params: int
    params_train: int
    conv_macs: int
    layers: int
    peak_memory_bytes: int
    parts: Mapping[str, PartAccount]
    latency: Mapping[str, Prediction]
    trust: Mapping[str, Trust]

    def counted(self) -> dict[str, int]:
        """By quantity, all that is read off the deployed network itself."""
        names = ("params", "conv_macs", "layers", "peak_memory_bytes")
        return {name: getattr(self, name) for name in names}

    def latency_ms(self) -> dict[str, float]:
        """Milliseconds by key, `latency_ms@TABLE`."""
        return {f"latency_ms@{name}": prediction.total_ms for name, prediction in self.latency.items()}


def account(graph: Graph, tables: Mapping[str, Table] | None = None) -> Account:
    """The account of one network (plain ints), on `tables` by id. Raises UserError when a table does not cover it."""
    tables = tables or {}
    latency = {name: predict(graph, table) for name, table in tables.items()}
    parts = {
        part: PartAccount(
            int(costs.params(graph, part=part)),
            int(costs.params(graph, deploy=False, part=part)),
            int(costs.conv_macs(graph, part=part)),
        )
        for part in costs.parts(graph)
    }
    return Account(
        params=int(costs.params(graph)),
        params_train=int(costs.params(graph, deploy=False)),
        conv_macs=int(costs.conv_macs(graph)),
        layers=int(costs.layers(graph)),
        peak_memory_bytes=int(costs.peak_memory_bytes(graph)),
        parts=parts,
        latency=latency,
        trust={name: trust_of(table.metadata, latency[name].shares) for name, table in tables.items()},
    )
