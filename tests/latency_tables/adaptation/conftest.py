"""A source: the fake device's kernels, by kind another factor slower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latency_tables import profiler
from latency_tables.measuring import ProfileSettings
from latency_tables.profiler import profile
from latency_tables.tables import Table, read_rows, read_table, write_table
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph
from tests.latency_tables import fake_runtime
from tests.latency_tables.conftest import random_population

FACTORS = {"conv": 2.0, "depthwise": 1.5, "stem": 1.9}
OTHERS = 1.3


def detectors() -> list[Graph]:
    """Two populations of small mob networks."""
    rng = np.random.default_rng(0)
    drawn = [random_population(rng, "mob", 6, step=16) for _ in range(2)]
    return [emit_detector(some.with_image_size(side, side)) for some, side in zip(drawn, (64, 128))]


def slower(folder: Path, own: Table, name: str, *, spread: float = 0.05, factor: float = 1.0) -> Table:
    """Another device's table: each kernel of `own` by its kind's factor, and by a random one of its own."""
    rng = np.random.default_rng(1)
    rows = []
    for row in read_rows(Path(own.source)):
        ratio = factor * FACTORS.get(row.kernel.kind, OTHERS) * float(np.exp(spread * rng.standard_normal()))
        rows.append(replace(row, latency_ms=row.latency_ms * ratio))
    changes = {"id": f"{name}-openvino-fp32-b1-t1", "device": name, "processor": name, "host": None, "short_names": []}
    return read_table(write_table(folder, own.metadata.model_copy(update=changes), rows))


@pytest.fixture(autouse=True)
def _host(with_avx512: None) -> None:
    pass


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """The fake device, profiled whole."""
    monkeypatch.setattr(profiler, "load_plugin", lambda package, name: fake_runtime)
    return read_table(profile("own", "openvino", tmp_path / "own", detectors(), ProfileSettings(target_error=0.0)))


@pytest.fixture
def source(tmp_path: Path, own: Table) -> Table:
    return slower(tmp_path / "sources", own, "old")
