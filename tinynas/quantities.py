"""What people see and limit of a network: one table of names, labels, units and scales, and how each is counted.

Budgets, costs, search.json, `compare`, `explain`, `score` and the pages take their words and figures from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from search_spaces import costs
from search_spaces.graph import Graph
from tinynas.scores import deepmad


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity, shown as value / `scale` with `digits` decimals, then `unit`.

    `count`: reads it off a graph, as a number or an array of shape (P,) for a population; None for what takes a table or a
    score. `additive`: a sum over the stages of a network, so that it can be tabulated and solved exactly. `rising`: least
    for a space's smallest network and most for its largest. `of_backbone`: neck and head have no part in it. `floor`: a
    budget says the least of it, not the most.
    """

    key: str
    label: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 3
    count: Callable[[Graph], Any] | None = None
    additive: bool = False
    rising: bool = True
    of_backbone: bool = False
    floor: bool = False

    def text(self, value: Any) -> str:
        """The value as people read it; what is no number as it is, a dash where there is none."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "\u2013" if value is None else str(value)
        return self._with_unit(f"{value / self.scale:,.{self.digits}f}")

    def brief(self, value: float, significant: int = 4) -> str:
        """The value without needless zeros, as in messages and for limits."""
        return self._with_unit(f"{value / self.scale:.{significant}g}")

    def _with_unit(self, figure: str) -> str:
        return f"{figure} {self.unit}" if self.unit else figure


def _training_form(graph: Graph) -> Any:
    return costs.params(graph, deploy=False)


QUANTITIES = {
    quantity.key: quantity
    for quantity in (
        Quantity(key="score", label="score", digits=2),
        Quantity(key="latency_ms", label="latency", unit="ms", additive=True),
        Quantity(key="neck_ms", label="neck", unit="ms", additive=True, rising=False, floor=True),
        Quantity(key="measured_ms", label="measured", unit="ms"),
        Quantity(key="params", label="params", unit="M", scale=1e6, count=costs.params, additive=True),
        Quantity(key="params_train", label="params, training form", unit="M", scale=1e6, count=_training_form),
        Quantity(key="conv_macs", label="MACs", unit="G", scale=1e9, count=costs.conv_macs, additive=True),
        Quantity(key="layers", label="layers", digits=0, count=costs.layers, additive=True, of_backbone=True),
        Quantity(
            key="peak_memory_bytes", label="peak fp32 memory", unit="MB", scale=1e6, digits=2,
            count=costs.peak_memory_bytes,
        ),
        # a ratio, lowest at neither end of a space
        Quantity(
            key="effectiveness", label="effectiveness", digits=4, count=deepmad.effectiveness, rising=False,
            of_backbone=True,
        ),
    )
}  # fmt: skip
"""By key. A latency on one of several tables has the table's id after an @: `latency_ms@t4-tensorrt-fp16-b1`."""


def quantity_of(key: str) -> Quantity:
    """The quantity that a key of costs or columns names, its label with the table's id; unknown keys get a plain one."""
    name, _, device = key.partition("@")
    quantity = QUANTITIES.get(name) or Quantity(key=key, label=name.replace("_", " "))
    return replace(quantity, key=key, label=f"{quantity.label} on {device}") if device else quantity
