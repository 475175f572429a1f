"""Measuring batches of kernels, in this process or on a cluster of equal devices through joblib."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from latency_tables.kernels import Kernel
from search_spaces.errors import UserError

BACKENDS = ("loky", "threading", "dask", "ray")
INTERLEAVED = 4
"""Batches whose runs are interleaved: one call of a runtime's `measure`."""
SHORTEST_MS = 1e-4
Measurement = tuple[Kernel, float, float]
"""Kernel, latency in ms, relative spread."""

_gauges: dict[tuple[str, int, str], Any] = {}


def shards(batches: Sequence[list[Kernel]]) -> list[list[list[Kernel]]]:
    """Batches by the call that measures them."""
    return [list(batches[start : start + INTERLEAVED]) for start in range(0, len(batches), INTERLEAVED)]


def measure_shard(
    plugin: ModuleType, shard: Sequence[list[Kernel]], threads: int, precision: str, quick: bool = False
) -> list[Measurement]:
    """One call of the runtime; `quick`: with fewer runs. The gauge that tells a disturbed machine is kept for the process's
    next shard."""
    key = (plugin.__name__, threads, precision)
    if key not in _gauges:
        _gauges[key] = plugin.Gauge(threads, precision)
    results = plugin.measure(shard, threads=threads, precision=precision, gauge=_gauges[key], quick=quick)
    return [
        (kernel, max(float(latency), SHORTEST_MS), float(spread))
        for batch, figures in zip(shard, results)
        for kernel, (latency, spread) in zip(batch, figures)
    ]


def unsteadiness(plugin: ModuleType, threads: int, precision: str) -> float:
    """By how much the reference conv of the gauge was above its best in a tenth of the looks at it so far; 0 where nothing
    was measured in this process, or the runtime looks at none."""
    gauge = _gauges.get((plugin.__name__, threads, precision))
    looks = getattr(gauge, "looks_ms", [])
    return float(np.quantile(looks, 0.9) / min(looks) - 1) if looks else 0.0


def measure_all(
    plugin: ModuleType, work: Sequence[list[list[Kernel]]], *, threads: int, precision: str, workers: int = 1,
    backend: str = "loky", quick: bool = False,
) -> Iterator[list[Measurement]]:  # fmt: skip
    """Results of shards as they come: one after another here, or `workers` at a time by a joblib backend.

    On one host more than one worker disturbs itself: workers are for clusters of equal devices (dask, ray). A backend
    that hands results over only all together gets the shards in waves, so that little is lost when it dies.
    """
    if workers == 1:
        for shard in work:
            yield measure_shard(plugin, shard, threads, precision, quick)
        return
    import joblib

    with joblib.parallel_config(backend=backend, n_jobs=workers):
        for start in range(0, len(work), workers):
            wave = work[start : start + workers]
            calls = (joblib.delayed(measure_shard)(plugin, shard, threads, precision, quick) for shard in wave)
            yield from joblib.Parallel()(calls)


def prepare_backend(backend: str, workers: int) -> None:
    """Make joblib know the backend. Raises UserError when it, or its package, is not there."""
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    if workers < 1:
        raise UserError(f"{workers} workers asked for; at least 1 is needed")
    package = {"dask": "distributed", "ray": "ray"}.get(backend)
    if workers == 1 or package is None:
        return
    if find_spec(package) is None:
        raise UserError(f"backend {backend} is not installed; pip install {package}")
    if backend == "ray":
        import_module("ray.util.joblib").register_ray()
    else:
        _find_dask_scheduler()


def _find_dask_scheduler() -> None:
    distributed = import_module("distributed")
    try:
        distributed.get_client()
    except ValueError:
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        if address is None:
            raise UserError("backend dask needs a scheduler; set DASK_SCHEDULER_ADDRESS to its address") from None
        distributed.Client(address, set_as_default=True)
