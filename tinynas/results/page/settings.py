"""Settings of a search or a training as rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def flat_settings(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, value) rows; lists of plain values stay on one line."""
    if isinstance(value, Mapping):
        return [
            row for key, item in value.items() for row in flat_settings(item, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        if not any(isinstance(item, Mapping) for item in value):
            return [(prefix, json.dumps(value))]
        return [row for number, item in enumerate(value, start=1) for row in flat_settings(item, f"{prefix}.{number}")]
    if isinstance(value, list):
        return [(prefix, ", ".join(map(str, value)) or "none")]
    return [(prefix, "not set" if value is None else json.dumps(value) if isinstance(value, bool) else str(value))]
