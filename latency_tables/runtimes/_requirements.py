"""What must be there before a runtime can measure, and the kernel that its gauge runs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from latency_tables.kernels import Kernel
from search_spaces.errors import UserError

REFERENCE = Kernel.square("conv", 64, 64, 40, kernel=3, activation="relu")
"""The kernel that a gauge runs again and again."""


def require(runtime: str) -> None:
    """Raises UserError when a runtime's package, which has its name, is not installed."""
    if find_spec(runtime) is None:
        raise UserError(f"runtime {runtime} is not installed; pip install {runtime}")


def choose_precision(runtime: str, precision: str, known: Sequence[str]) -> None:
    """Raises UserError for a precision that a runtime does not have here."""
    if precision not in known:
        raise UserError(f"runtime {runtime} measures {', '.join(known)} here; precision {precision!r} was asked for")
