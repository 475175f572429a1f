"""What a network costs on a device: kernel tables, fusion of ops into kernels, prediction.

table = find_table("t4")
predict(graph, table).total_ms          # one network, with everything there is to know about the figure
Pricer(table).price(population_graph)   # P networks at once, {"backbone": (P,), "neck": (P,), "head": (P,)}

    kernels, fusion                       what a runtime executes, made from a graph's ops
    devices/, registry                    the shipped tables, and how tables are found
    tables, metadata, trust               a table's two files, and how far its figures go
    predictor, interpolation, holes       a graph's latency from a table
    reach                                 the kernels that the networks of given spaces run
    profiler, measuring, shards, partial  those kernels measured on this machine
    completion                            all of them from some
    runtimes/, on_device/                 how models are built and timed, a runtime a file; the part that runs on any device
    adaptation/, host, probe              another device's table carried over to this host; which host this is
    kit/                                  devices without tinynas
    verify                                a table against whole detectors
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
