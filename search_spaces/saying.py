"""Who hears what a long job has to tell, a line at a time."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]


def silent(_: str) -> None:
    """Nobody hears it."""
