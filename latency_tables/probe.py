"""Is a table really of this machine? Hosts that hide their model call themselves alike; their kernels do not take alike long.

A dozen of the table's own measured kernels are timed for a second or two and compared with its rows. The verdict is kept
for as long as the machine runs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from latency_tables.shards import measure_shard
from latency_tables.tables import Row, Table, read_rows
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.plugins import load_plugin

PROBED = 12
SHORTEST_MS, LONGEST_MS = 0.05, 3.0
"""Kernels of this range are probed: long enough to be timed well, short enough for a probe."""
SAME_WITHIN = 0.2
"""Largest log ratio, in the median, between figures of one machine: its clock varies, and neighbours share its memory."""


def same_speed(table: Table) -> tuple[bool, float]:
    """(whether kernels take here what the table says, median ratio of now to then); from the verdict kept since the machine
    started, if there is one. Raises UserError when the table's runtime is not installed."""
    ratio = _kept(table)
    if ratio is None:
        ratio = measured_ratio(table)
        _keep(table, ratio)
    return abs(np.log(ratio)) <= SAME_WITHIN, ratio


def measured_ratio(table: Table) -> float:
    """Median ratio of latencies measured now to the table's rows, over a dozen of its measured kernels."""
    plugin, metadata = load_plugin("latency_tables.runtimes", table.metadata.runtime), table.metadata
    rows = {row.kernel: row for row in _chosen(table)}
    if not rows:
        raise UserError(
            f"table {table.id}: none of its kernels can be timed to compare this host with; profile this host"
        )
    ratios = []
    for batch in plugin.batches(list(rows)):
        for kernel, latency_ms, _ in measure_shard(plugin, [batch], metadata.threads or 1, metadata.precision, True):
            ratios.append(latency_ms / rows[kernel].latency_ms)
    return float(np.median(ratios))


def _chosen(table: Table) -> list[Row]:
    """Measured convs of few map sizes, so that few models hold them; spread over kinds and latencies."""
    rows = [
        row for row in read_rows(Path(table.source))
        if row.source == "measured" and row.kernel.kind in ("conv", "depthwise")
        and SHORTEST_MS <= row.latency_ms <= LONGEST_MS
    ]  # fmt: skip
    by_map: dict[tuple[int, int], list[Row]] = {}
    for row in rows:
        by_map.setdefault((row.kernel.height, row.kernel.width), []).append(row)
    largest = sorted(by_map.values(), key=len, reverse=True)[:3]
    rng = np.random.default_rng(0)
    chosen: list[Row] = []
    for group in largest:
        places = rng.permutation(len(group))[: PROBED // len(largest)]
        chosen += [group[int(place)] for place in places]
    return chosen


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tinynas" / "probes.json"


def _boot() -> str:
    """A name for the time since this machine started; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _verdicts() -> dict[str, dict[str, float]]:
    try:
        found = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _kept(table: Table) -> float | None:
    boot = _boot()
    kept = _verdicts().get(boot, {}) if boot else {}
    ratio = kept.get(table.hash) if isinstance(kept, dict) else None
    return float(ratio) if isinstance(ratio, (int, float)) and ratio > 0 else None


def _keep(table: Table, ratio: float) -> None:
    """A verdict that cannot be written is made anew next time."""
    boot = _boot()
    if not boot:
        return
    verdicts = {boot: {**_verdicts().get(boot, {}), table.hash: round(ratio, 4)}}
    try:
        _cache().parent.mkdir(parents=True, exist_ok=True)
        write_text(_cache(), json.dumps(verdicts))
    except (OSError, UserError):
        return
