"""Times as people write them. Imports no torch: the command line reads them before anything else."""

from __future__ import annotations

import math
import re

from search_spaces.errors import UserError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_minutes(text: str) -> float:
    """Minutes of `30m`, `1h`, `1h30m`, `90s` or a bare number (minutes). Raises UserError."""
    plain = text.strip().lower().replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh])", plain)
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        minutes = float(plain)
    elif parts and "".join(number + unit for number, unit in parts) == plain:
        minutes = sum(float(number) * _UNITS[unit] for number, unit in parts) / 60
    else:
        raise UserError(f"--time {text!r}: expected minutes or a time with units, for example 30m, 1h, 1h30m or 90s")
    if not 0 < minutes < float("inf"):
        raise UserError(f"--time {text!r}: expected more than no time")
    return minutes


def time_option(seconds: float) -> str:
    """The time as `--time` takes it, no shorter than `seconds`: `10s`, `5m`, `1h30m`; whole minutes from two minutes on."""
    if seconds <= 120:
        return f"{math.ceil(round(seconds, 3))}s"
    hours, minutes = divmod(math.ceil(round(seconds / 60, 5)), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")


def clock(seconds: float) -> str:
    """What is left, as a bar shows it: h:mm:ss, or m:ss under an hour; whole seconds, rounded up."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
