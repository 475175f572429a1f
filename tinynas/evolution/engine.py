"""How a search is run: processes and the joblib backend that starts them. None of it changes the result."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from search_spaces.cores import available_cores
from search_spaces.errors import UserError, nearest

BACKENDS = {"loky": "joblib", "dask": "distributed", "ray": "ray"}
INSTALL = {"loky": "joblib", "dask": '"dask[distributed]"', "ray": "ray"}


@dataclass(frozen=True, slots=True)
class Engine:
    """`progress` is called with the search's state after every epoch."""

    workers: int = 1
    backend: str = "loky"
    progress: Callable[[Any], None] = lambda state: None


def check_engine(workers: int, backend: str) -> None:
    """Raises UserError for an unknown backend, one that is not installed, or more workers than this machine has cores
    (dask and ray may have other machines)."""
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}: {nearest(backend, BACKENDS)}")
    if find_spec(BACKENDS[backend]) is None:
        raise UserError(f"--backend {backend}: not installed; pip install {INSTALL[backend]}")
    cores = available_cores()
    if backend == "loky" and workers > cores:
        raise UserError(f"--workers {workers}: this machine has {cores} cores; give at most {cores}")


@contextlib.contextmanager
def connected(engine: Engine) -> Iterator[None]:
    """Connect to the cluster that the backend needs: dask's scheduler (DASK_SCHEDULER_ADDRESS, else one on this
    machine), or ray's (RAY_ADDRESS, else one here)."""
    if engine.workers == 1 or engine.backend == "loky":
        yield
    elif engine.backend == "dask":
        from distributed import Client  # type: ignore[import-not-found, unused-ignore]

        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        local = {} if address else {"n_workers": engine.workers, "threads_per_worker": 1}
        with Client(address, **local):
            yield
    else:
        from ray.util.joblib import register_ray  # type: ignore[import-not-found, unused-ignore]

        register_ray()
        yield
