"""Budgets: what a network may cost, and how a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from search_spaces.errors import UserError

Quantity = Literal["latency_ms", "params", "conv_macs", "layers", "peak_memory_bytes"]
TIME_UNITS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
COUNT_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
BYTE_UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
NAMES: dict[Quantity, tuple[str, float, str]] = {
    "latency_ms": ("latency", 1.0, "ms"),
    "params": ("params", 1e6, "M"),
    "conv_macs": ("MACs", 1e9, "G"),
    "layers": ("layers", 1.0, ""),
    "peak_memory_bytes": ("peak memory", 1e6, "MB"),
}


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper limit, in the quantity's own unit (ms, count, bytes). `device`: id of the table that a latency is priced
    by; empty where there is one table, and for all else."""

    quantity: Quantity
    limit: float
    device: str = ""

    @property
    def key(self) -> str:
        """Names what is limited: `params`, `latency_ms`, `latency_ms@t4-tensorrt-fp16-b1`."""
        return f"{self.quantity}@{self.device}" if self.device else self.quantity

    def __str__(self) -> str:
        return f"{NAMES[self.quantity][0]} {show(self.quantity, self.limit)}"


def show(quantity: Quantity, value: float) -> str:
    """The value in the unit that people use for the quantity."""
    _, scale, unit = NAMES[quantity]
    return f"{value / scale:.4g}{' ' if unit else ''}{unit}"


def parse_latency(text: str) -> Budget:
    """`3.8ms`, `3800us`, `0.0038s`. Raises UserError for a missing unit, zero or a negative value."""
    return Budget(
        "latency_ms", _parse(text, "--budget", TIME_UNITS, "a time with its unit, as in 3.8ms, 3800us or 0.0038s")
    )


def parse_count(text: str, quantity: Quantity, option: str) -> Budget:
    """`8.5M`, `18G`, `25`. Raises UserError."""
    return Budget(quantity, _parse(text, option, COUNT_UNITS, "a count, as in 25, 8.5M or 18G"))


def parse_memory(text: str, option: str = "--max-memory") -> Budget:
    """`24MB`, `32MiB`. Raises UserError."""
    return Budget("peak_memory_bytes", _parse(text, option, BYTE_UNITS, "a size with its unit, as in 24MB or 32MiB"))


def _parse(text: str, option: str, units: dict[str, float], expected: str) -> float:
    match = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s]*)\s*", text)
    if match is None:
        raise UserError(f"{option} {text!r}: not a number with a unit; expected {expected}")
    unit = match.group(2).lower()
    if unit not in units:
        what = f"unknown unit {match.group(2)!r}" if unit else "the unit is missing"
        raise UserError(f"{option} {text!r}: {what}; expected {expected}")
    value = float(match.group(1)) * units[unit]
    if not value > 0 or value == float("inf"):
        raise UserError(f"{option} {text!r}: must be above zero and finite; expected {expected}")
    return value
