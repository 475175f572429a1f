"""What a measurement on this machine is made with, and what its table says of that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from types import ModuleType

from latency_tables.fusion import fusion_rules
from latency_tables.host import host_facts
from latency_tables.metadata import TableMetadata, new_metadata
from latency_tables.on_device.host import host_clock, host_processor
from latency_tables.runtimes._requirements import choose_precision
from search_spaces.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSettings:
    """How and how long to measure. `workers` and `backend`: see latency_tables.shards."""

    precision: str = "fp32"
    threads: int = 1
    target_error: float = 0.01
    time_limit_s: float | None = None
    workers: int = 1
    backend: str = "loky"


def measured_metadata(
    name: str, runtime: str, plugin: ModuleType, settings: ProfileSettings, *, device: str = "",
    short_names: Sequence[str] = (), reach_note: str = "",
) -> TableMetadata:  # fmt: skip
    """The metadata of a table `{name}-{runtime}-{precision}-b1[-tN]` that is about to be measured on this machine.

    Raises UserError when the runtime, the precision or the threads are not to be had here.
    """
    kind = plugin.device_kind()
    try:
        version = plugin.version()
    except ImportError as error:
        raise UserError(f"runtime {runtime} is not installed ({error}); pip install {runtime}") from None
    choose_precision(runtime, settings.precision, list(plugin.PRECISIONS))
    cores = os.cpu_count() or 1
    if kind == "cpu" and settings.threads > cores:
        raise UserError(f"{settings.threads} threads asked for; this machine has {cores} cores")
    suffix = f"-t{settings.threads}" if kind == "cpu" else ""
    host = host_processor()
    facts = host_facts() if kind == "cpu" else None
    device_name, clocks = getattr(plugin, "device_name", None), getattr(plugin, "clocks", None)
    return new_metadata(
        id=f"{name}-{runtime}-{settings.precision}-b1{suffix}", short_names=list(short_names), kind=kind,
        device=device or (device_name() if device_name else host), processor=host if kind == "cpu" else "",
        host=facts, runtime=runtime, runtime_version=version,
        precision=settings.precision, batch=1,
        threads=settings.threads if suffix else None, date=date.today().isoformat(),
        clocks=clocks() if clocks else host_clock() if kind == "cpu" else "",
        tail_block=fusion_rules(runtime, settings.precision, facts.extensions if facts else ()).tail_block,
        measured={
            "method": plugin.METHOD, "statistic": plugin.STATISTIC, "warm_up": plugin.WARM_UP,
            "repeats": plugin.REPEATS, "host": f"{host}, {cores} cores", "reach": reach_note,
        },
    )  # fmt: skip


def conditions(metadata: TableMetadata) -> dict[str, str]:
    """What must not change while a table is measured."""
    return {
        "runtime_version": metadata.runtime_version,
        "device": metadata.device,
        "processor": metadata.processor,
    }
