"""What a run has logged so far, for who watches it from outside. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def logged_epochs(folder: Path) -> list[dict[str, Any]]:
    """A row for each epoch in a run's metrics.jsonl; none before the first one, nor of a file that is being replaced."""
    try:
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []
