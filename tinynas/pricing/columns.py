"""Additive quantities of a graph: what each op adds to latency, params, MACs, layers or the score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from latency_tables import Pricer, Table
from search_spaces import costs
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin
from tinynas.budgets import Budget
from tinynas.genes.population import Encoding

Terms = Callable[[Graph], Iterable[tuple[str, Any]]]


@dataclass(frozen=True, slots=True)
class Column:
    """One additive quantity. `terms` lists (op path, value) of a graph, repeats included; values are numbers, or arrays
    of shape (P,) for a population. `fixed` is added once per detector. `backbone_only`: neck and head have no share."""

    name: str
    terms: Terms
    fixed: float = 0.0
    backbone_only: bool = False


def latency(table: Table, name: str = "latency_ms") -> Column:
    """Latency in ms on a table."""
    # single candidates may lie beyond the table; the winner is held to the table's own limit (predict)
    pricer = Pricer(table, max_extrapolated=1.0)
    return Column(
        name,
        lambda graph: [(site.path, pricer.site_ms(site)) for site in pricer.sites(graph)],
        table.metadata.overhead_ms,
    )


def neck_latency(table: Table, name: str = "neck_ms") -> Column:
    """Latency of the neck alone in ms on a table."""
    whole = latency(table, name)
    return replace(whole, terms=lambda graph: _of_neck(whole.terms(graph)), fixed=0.0)


def _of_neck(terms: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(path, value) for path, value in terms if path.startswith("neck.")]


def params() -> Column:
    """Learned parameters, deploy form."""
    return Column("params", lambda graph: [(op.path, op.count * costs.op_params(graph, op)) for op in graph])


def conv_macs() -> Column:
    """Multiply-accumulates of the convolutions for one image."""
    return Column("conv_macs", lambda graph: [(op.path, op.count * costs.op_macs(graph, op)) for op in graph])


def layers() -> Column:
    """Convs of the main path as the public search counts them."""
    return Column(
        "layers", lambda graph: [(conv.path, conv.count) for conv in graph.published_path], backbone_only=True
    )


def budgeted(budget: Budget, tables: Mapping[str, Table]) -> Column:
    """What an additive budget limits, by the budget's key. `tables`: by id; a latency budget without a device means the
    only one. Raises ValueError when there is no such table, KeyError for a quantity that is not additive."""
    if budget.quantity == "latency_ms":
        return latency(table_of(budget, tables), budget.key)
    if budget.quantity == "neck_ms":
        return neck_latency(table_of(budget, tables), budget.key)
    return {"params": params, "conv_macs": conv_macs, "layers": layers}[budget.quantity]()


def table_of(budget: Budget, tables: Mapping[str, Table]) -> Table:
    """The table that a latency budget is priced by. Raises ValueError when it names none and there is not exactly one."""
    if budget.device:
        return tables[budget.device]
    if len(tables) != 1:
        raise ValueError(f"a latency budget without a device needs exactly one table, there are {len(tables)}")
    return next(iter(tables.values()))


def is_additive(kind: str) -> bool:
    """Whether a score is a sum over convs, so that it can be a column."""
    return hasattr(load_plugin("tinynas.scores", kind), "gains")


def sees(kind: str, what: str) -> bool:
    """Whether a score depends on the `neck` or on the `image_size`."""
    return what in getattr(load_plugin("tinynas.scores", kind), "SEES", ())


def score(encoding: Encoding, kind: str | None = None, name: str = "score") -> Column:
    """The space's score, or the score `kind` with the space's weights. Raises UserError when it is not a sum over convs."""
    rule = encoding.space.score
    kind = kind or rule.kind
    if not is_additive(kind):
        raise UserError(f"score {kind!r} is not a sum over the network's convs; expected one that is, such as entropy")
    plugin = load_plugin("tinynas.scores", kind)
    return Column(name, lambda graph: plugin.gains(graph, rule.weights), backbone_only=not sees(kind, "neck"))
