"""bf16 or fp32 on a CPU that computes in both: which is quicker for this network here is measured, not guessed.

One CPU's bf16 units double the speed of a network, another's gain nothing, and small or depthwise networks can lose by
the conversions.
"""

from __future__ import annotations

import copy
import time
from typing import Literal

import torch

from detector.criterion import DetectionCriterion
from detector.network import Network
from detector.training.machine.memory import is_out_of_memory, probe_step
from detector.training.settings.config import TrainConfig
from detector.training.step.module import TrainingModule

WORTH_STEPS = 200
"""Of a run with fewer steps, none are spent on measuring."""
ROUNDS = 3
GAIN = 0.9
"""fp32 is taken when its step takes at most this share of bf16's: near a draw the choice does not change from run to run."""


def quicker_precision(
    network: Network, config: TrainConfig, image_size: tuple[int, int], images: int
) -> tuple[Literal["bf16", "off"], str]:
    """The setting `amp` for a CPU with bf16 units, from steps of `images` made-up images, and why; `network` stays as is.

    bf16, and no reason, where the steps do not fit into memory.
    """
    modules = {
        name: TrainingModule(
            copy.deepcopy(network), DetectionCriterion(config.loss), dtype=dtype, channels_last=config.channels_last
        )
        for name, dtype in (("bf16", torch.bfloat16), ("off", None))
    }
    best = dict.fromkeys(modules, float("inf"))
    try:
        for number in range(ROUNDS + 1):
            for name, module in modules.items():  # in turn: another job on the machine slows both alike
                started = time.perf_counter()
                probe_step(module, images, image_size)
                module.zero_grad(set_to_none=True)
                if number:
                    best[name] = min(best[name], time.perf_counter() - started)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return "bf16", ""
    chosen: Literal["bf16", "off"] = "off" if best["off"] <= GAIN * best["bf16"] else "bf16"
    return chosen, f"a step takes {best['bf16']:.2g} s in bf16, {best['off']:.2g} s in fp32"
