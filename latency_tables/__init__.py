"""What a network costs on a device: kernel tables, fusion of ops into kernels, prediction.

table = find_table("t4")
predict(graph, table).total_ms          # one network, with everything there is to know about the figure
Pricer(table).price(population_graph)   # P networks at once, {"backbone": (P,), "neck": (P,), "head": (P,)}
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latency_tables.fusion import FusionRules, fuse
    from latency_tables.kernels import Kernel, KernelSite
    from latency_tables.predictor import Prediction, Pricer, predict
    from latency_tables.registry import find_table, list_tables
    from latency_tables.tables import Table, read_table
    from latency_tables.trust import Trust, trust_of

_HOME = {
    "Kernel": "kernels", "KernelSite": "kernels", "FusionRules": "fusion", "fuse": "fusion",
    "Prediction": "predictor", "Pricer": "predictor", "predict": "predictor",
    "find_table": "registry", "list_tables": "registry",
    "Table": "tables", "read_table": "tables",
    "Trust": "trust", "trust_of": "trust",
}  # fmt: skip

__all__ = [
    "FusionRules", "Kernel", "KernelSite", "Prediction", "Pricer", "Table", "Trust", "find_table", "fuse", "list_tables",
    "predict", "read_table", "trust_of",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"latency_tables.{_HOME[name]}"), name)
    raise AttributeError(f"module 'latency_tables' has no attribute {name!r}")
