"""Settings of a pre-training, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from detector.training.settings.config import EmaConfig, OptimizerConfig

PEAK_RATE = 0.03
"""For a batch of 32, with Muon."""


def pretrain_optimizer(peak_rate: float = PEAK_RATE) -> OptimizerConfig:
    """Muon with this peak rate for a batch of 32."""
    return OptimizerConfig(name="muon", learning_rate_per_image=peak_rate / 32, weight_decay=1e-2, clip_norm=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainSettings:
    """steps: of the whole run, or minutes that they are chosen for. distiller, options: what compares the maps. neck: the
    neck's outputs learn the teacher's maps too. Learning rate: per image, times the batch."""

    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 32
    distiller: str = "mimic"
    options: Mapping[str, Any] = field(default_factory=dict)
    neck: bool = True
    warmup_steps: int = 100
    floor_ratio: float = 0.02
    optimizer: OptimizerConfig = field(default_factory=pretrain_optimizer)
    ema: EmaConfig = field(default_factory=lambda: EmaConfig(decay=0.998, ramp_steps=100, memory_share=0.05))
    amp: str = "auto"
    seed: int = 0
    workers: int = 0

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **asdict(self), "options": dict(self.options), "optimizer": self.optimizer.model_dump(mode="json"),
            "ema": self.ema.model_dump(mode="json"),
        }  # fmt: skip

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> PretrainSettings:
        """From what `plain` gave."""
        optimizer, ema = OptimizerConfig(**values["optimizer"]), EmaConfig(**values["ema"])
        return cls(**{**values, "optimizer": optimizer, "ema": ema})
