"""Budgets: what a network may cost, and how a person writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from search_spaces.errors import UserError
from tinynas.quantities import QUANTITIES

Limited = Literal["latency_ms", "neck_ms", "params", "conv_macs", "layers", "peak_memory_bytes", "effectiveness"]
"""Keys of the quantities that can be limited."""
TIME_UNITS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
COUNT_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
BYTE_UNITS = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
OTHER_OPTIONS = "params, MACs and memory have options of their own: --max-params, --max-macs, --max-memory"


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper limit, in the quantity's own unit (ms, count, bytes), or a lower one for a quantity with a `floor`. `device`:
    id of the table that a latency is priced by; empty where there is one table, and for all else."""

    quantity: Limited
    limit: float
    device: str = ""

    @property
    def key(self) -> str:
        """Names what is limited: `params`, `latency_ms`, `latency_ms@t4-tensorrt-fp16-b1`."""
        return f"{self.quantity}@{self.device}" if self.device else self.quantity

    @property
    def floor(self) -> bool:
        """Whether it is a lower limit."""
        return QUANTITIES[self.quantity].floor

    def excess(self, costs: Any) -> Any:
        """By how much, relative to the limit, costs (P,) break it; 0 where they keep it."""
        broken = 1.0 - costs * (1.0 / self.limit) if self.floor else costs * (1.0 / self.limit) - 1.0
        return np.maximum(broken, 0.0)

    def met(self, costs: Any) -> Any:
        """Whether costs, a number or (P,), keep it."""
        return costs >= self.limit if self.floor else costs <= self.limit

    def __str__(self) -> str:
        quantity = QUANTITIES[self.quantity]
        return f"{quantity.label} {'at least ' if self.floor else ''}{quantity.brief(self.limit)}"


@dataclass(frozen=True, slots=True)
class Target:
    """One network that is looked for: `name` (`3.8ms`), and the budgets that must all hold."""

    name: str
    budgets: tuple[Budget, ...]


def main_budget(target: Target) -> Budget:
    """The budget that a front and its picture run along: the first latency, else the first of all."""
    return next((b for b in target.budgets if b.quantity == "latency_ms"), target.budgets[0])


@dataclass(frozen=True, slots=True)
class LatencyRequest:
    """What `--budget` and `--device` ask for. `family`: ascending limits in ms on one device, one network each;
    `everywhere`: (device, limit in ms) that every network must meet as well. Devices as a person names them."""

    family: tuple[float, ...]
    device: str | None
    everywhere: tuple[tuple[str, float], ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """All devices named, the family's first."""
        own = (self.device,) if self.device is not None else ()
        return (*own, *(name for name, _ in self.everywhere))


def parse_request(budget: str, device: str | None) -> LatencyRequest:
    """Read `3.8ms` and a family `2ms,3ms,4ms` (both with --device), or `4ms@t4,30ms@cpu` (all must hold).

    Several budgets on one device are a family; one budget on each of several devices hold together; a family with one
    budget on another device (`2ms,3ms,30ms@cpu --device t4`) has every member meet that too. Raises UserError for all else.
    """
    by_device = _by_device(budget, device)
    if device is not None and device not in by_device:
        raise UserError(
            f"--budget {budget!r}: no budget for --device {device}; give one without @, or leave --device out"
        )
    several = [name for name, limits in by_device.items() if len(limits) > 1]
    if len(several) > 1 or (several and device is None and len(by_device) > 1):
        raise UserError(
            f"--budget {budget!r}: a family on {several[0]} mixed with budgets on other devices; name the family's device "
            "with --device and give one budget for each other device: --budget 2ms,3ms,30ms@cpu --device t4"
        )
    if several and device is not None and several[0] != device:
        raise UserError(
            f"--budget {budget!r}: {len(by_device[several[0]])} budgets on {several[0]} beside those of --device {device}; "
            "only the device of --device can have a family"
        )
    main = several[0] if several else device if device in by_device else None
    family = tuple(sorted(by_device[main])) if main is not None else ()
    for low, high in pairwise(family):
        if f"{low:g}" == f"{high:g}":  # files are named by it
            raise UserError(
                f"--budget {budget!r}: {low:g} ms occurs twice; each member of a family needs its own budget"
            )
    return LatencyRequest(family, main, tuple((name, limits[0]) for name, limits in by_device.items() if name != main))


def _by_device(budget: str, device: str | None) -> dict[str, list[float]]:
    """Limits in ms by device, in the order named."""
    found: dict[str, list[float]] = {}
    units: dict[str, str] = {}
    for item in budget.split(","):
        time, at, named = (word.strip() for word in item.partition("@"))
        if at and not named:
            raise UserError(f"--budget {budget!r}: no device after the @ in {item.strip()!r}; expected 4ms@t4")
        where = named or device
        if not time and "," in budget:
            raise UserError(f"--budget {budget!r}: an empty place in the list; expected times, as in 2ms,3ms,4ms")
        limit = parse_latency(time).limit
        if where is None:
            raise UserError("--budget and --device go together: a time means something on a device only (--device t4)")
        if named and named == device:
            raise UserError(f"--budget {budget!r}: {named} is named by --device already; leave out @{named}")
        found.setdefault(where, []).append(limit)
        units.setdefault(re.sub(r"[^a-zµ]", "", re.sub(r"[eE][+-]?\d+", "", time).lower()), item.strip())
    if len(units) > 1:
        first, second = list(units.values())[:2]
        raise UserError(f"--budget {budget!r}: mixed units in {first} and {second}; write all budgets in one unit")
    return found


def parse_latency(text: str) -> Budget:
    """`3.8ms`, `3800us`, `0.0038s`. Raises UserError for a missing unit, zero or a negative value."""
    return Budget(
        "latency_ms", _parse(text, "--budget", TIME_UNITS, "a time with its unit, as in 3.8ms, 3800us or 0.0038s")
    )


def parse_count(text: str, quantity: Limited, option: str) -> Budget:
    """`8.5M`, `18G`, `25`. Raises UserError."""
    count = _parse(text, option, COUNT_UNITS, "a count, as in 25, 8.5M or 18G")
    if quantity == "layers" and count != int(count):
        raise UserError(f"{option} {text!r}: {count:g} is no whole number; expected one, as in 25")
    return Budget(quantity, count)


def parse_ratio(text: str, quantity: Limited, option: str) -> Budget:
    """`0.3`, a number without a unit. Raises UserError."""
    return Budget(quantity, _parse(text, option, {"": 1.0}, "a number without a unit, as in 0.3, or off"))


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
        other = f" ({OTHER_OPTIONS})" if option == "--budget" and unit in (*COUNT_UNITS, *BYTE_UNITS) and unit else ""
        raise UserError(f"{option} {text!r}: {what}; expected {expected}{other}")
    value = float(match.group(1)) * units[unit]
    if not value > 0 or value == float("inf"):
        raise UserError(f"{option} {text!r}: must be above zero and finite; expected {expected}")
    return value
