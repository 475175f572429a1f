"""Feature distillation: the neck's outputs learn the teacher's (report, section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detector.assigners import Targets
from detector.distillation import FeatureDistillation
from detector.distillers import DistillConfig
from detector.network import Network, RawOutput
from detector.teachers import Teacher
from detector.teachers.checkpoint import NECK
from detector.training.distillation.taught import Taught
from detector.training.optimizer.schedule import Schedule
from search_spaces.errors import UserError
from search_spaces.saying import Say

TERM = "distill"
"""The loss's name in the metrics."""
_STREAM = 2
"""Keeps the distiller's draws apart from those of samples and sizes."""


class Distillation(Taught):
    """The weighted distillation loss of the neck's outputs.

    `state_dict` holds the align modules' and the distiller's parameters and the teacher's fingerprint, not the teacher.
    """

    def __init__(
        self, network: Network, teacher: Teacher, config: DistillConfig, seed: Sequence[int], fingerprint: str, say: Say
    ) -> None:
        """seed: of the draws, with the process's number; fingerprint: of the teacher's file."""
        if not any(p.requires_grad for name, p in network.named_parameters() if not name.startswith("head.")):
            raise UserError(
                "freeze: backbone and neck are frozen, so a teacher has nothing to teach (its features are the neck's); "
                "freeze less, or leave out --teacher"
            )
        features = FeatureDistillation(
            teacher, network.feature_channels(NECK), network.structure.image_size, config.distiller, config.options
        )
        super().__init__(config, features, fingerprint, say)
        self.features = features
        self._seed = list(seed)
        self._generator = torch.Generator()

    def at_step(self, step: int, schedule: Schedule) -> None:
        super().at_step(step, schedule)
        draws = np.random.SeedSequence([*self._seed, step, _STREAM]).generate_state(1)
        self._generator.manual_seed(int(draws[0]))

    def forward(self, images: Tensor, raw: RawOutput, targets: Targets) -> Tensor:
        if self.weight == 0:  # every parameter takes part in every step, whatever the stage
            return 0.0 * torch.stack([parameter.sum() for parameter in self.parameters()]).sum()
        loss: Tensor = self.features(images, [raw.features[name] for name in NECK], self._generator)
        return self.weight * loss
