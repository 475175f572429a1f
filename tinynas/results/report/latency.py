"""A network's latency on one device as a report shows it: how large, from where, how far to trust it, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latency_tables.predictor import ORIGINS
from tinynas.published import share_text

MEANINGS = {
    "measured": "rows that were timed",
    "interpolated": "between rows that were timed",
    "adapted": "another device's rows, made to fit by kernels timed here",
    "fitted": "rows that a fit to timed ones gave",
    "derived": "rows computed from bytes, MACs and launches",
    "extrapolated": "beyond the table's rows",
}
"""Every origin of latency (ORIGINS); page.css has a colour `--NAME` for each."""
Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRows:
    """One device: total, how far to trust it, `parts` as (name, text, percent of the total), origins as (name, meaning,
    percent), what was measured, and the neck's share beside a published detector's."""

    table: str
    total: str
    trust: str
    parts: tuple[tuple[str, str, float], ...]
    origins: tuple[tuple[str, str, float], ...]
    measured: str
    neck: str


def percent(part: float, whole: float) -> float:
    """Share in percent; 0 of nothing."""
    return 100.0 * part / whole if whole else 0.0


def latency_rows(table: str, account: Data, measured: Data | None, neck: Data | None = None) -> LatencyRows:
    """From `latency`, `measured` and `neck_share` of search.json (None: not measured, not told)."""
    total = float(account["total"])
    parts = {**(account.get("parts") or {}), "fixed": account.get("overhead") or 0.0}
    shares = account.get("shares") or {}
    return LatencyRows(
        table=table,
        total=f"{total:.3f} ms",
        trust=trust_text(account),
        parts=tuple((name, f"{ms:.3f} ms", percent(ms, total)) for name, ms in parts.items() if ms),
        origins=tuple((name, MEANINGS[name], 100.0 * shares[name]) for name in ORIGINS if shares.get(name)),
        measured=f"{measured['measured_ms']:.3f} ms measured, {off_text(measured)}" if measured else "",
        neck=share_text(neck) if neck else "",
    )


def trust_text(account: Data) -> str:
    """Where a prediction comes from and the error of its table, in words that hold wherever the page is read."""
    trust = account.get("trust") or {}
    where = {"True": "; the search ran on it", "False": "; the search ran on another processor"}
    return f"{trust['record']}{where.get(str(trust.get('this_host')), '')}" if trust else ""


def off_text(row: Data) -> str:
    """`the table is -3.0 % off`."""
    return f"the table is {percent(row['predicted_ms'] - row['measured_ms'], row['measured_ms']):+.1f} % off"


def timed_with(row: Data) -> str:
    """`the whole detector, openvino 2026.4.1 on AMD EPYC`; empty where that is not kept."""
    return f"the whole detector, {row['runtime']} on {row['processor']}" if "runtime" in row else ""
