"""How figures are named and written in a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LABELS: dict[str, tuple[str, float, str, int]] = {
    "score": ("score", 1.0, "", 2),
    "latency_ms": ("latency", 1.0, "ms", 3),
    "measured_ms": ("measured", 1.0, "ms", 3),
    "params": ("parameters", 1e6, "M", 3),
    "params_deploy": ("parameters", 1e6, "M", 3),
    "params_train": ("parameters, training form", 1e6, "M", 3),
    "conv_macs": ("MACs", 1e9, "G", 3),
    "layers": ("layers", 1.0, "", 0),
    "peak_memory_bytes": ("peak memory, fp32", 1e6, "MB", 2),
    "effectiveness": ("effectiveness", 1.0, "", 4),
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column or cost by its key (`params`, `latency_ms@t4-tensorrt-fp16-b1`): shown as value / scale, then the unit."""

    key: str
    label: str
    scale: float
    unit: str
    digits: int

    @staticmethod
    def of(key: str) -> Quantity:
        name, _, device = key.partition("@")
        label, scale, unit, digits = LABELS.get(name, (name.replace("_", " "), 1.0, "", 3))
        return Quantity(key, f"{label} on {device}" if device else label, scale, unit, digits)

    def text(self, value: Any) -> str:
        """The value as people read it; what is no number as it is."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return "\u2013" if value is None else str(value)
        shown = f"{value / self.scale:,.{self.digits}f}"
        return f"{shown} {self.unit}" if self.unit else shown

    def limit(self, value: float) -> str:
        """A budget's limit, without needless zeros."""
        return f"{value / self.scale:.6g}" + (f" {self.unit}" if self.unit else "")


def percent(part: float, whole: float) -> float:
    """Share in percent; 0 of nothing."""
    return 100.0 * part / whole if whole else 0.0
