"""Profile the fake runtime: python -m tests.latency_tables.profile_fake FOLDER [--resume]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from latency_tables import profiler
from latency_tables.on_device import host
from latency_tables.profiler import ProfileSettings, profile
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from tests.latency_tables import fake_runtime
from tests.latency_tables.conftest import random_population


def graphs() -> list[Graph]:
    """A few small mob networks."""
    population = random_population(np.random.default_rng(0), "mob", 4, step=16, kernels=False)
    return [emit_detector(population.with_image_size(64, 64))]


if __name__ == "__main__":
    profiler.load_plugin = lambda package, name: fake_runtime
    host.flags = lambda: {"avx2", "avx512f"}  # whatever the true host is
    profile(
        "chip",
        "openvino",
        Path(sys.argv[1]),
        graphs(),
        ProfileSettings(target_error=0.0),
        resume="--resume" in sys.argv,
    )
