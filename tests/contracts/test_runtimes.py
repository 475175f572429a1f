"""What every profiler runtime must do."""

from __future__ import annotations

import inspect

import pytest

from latency_tables.kernels import KINDS, Kernel, fusion_rules
from search_spaces.emit import emit_detector
from search_spaces.plugins import load_plugin, plugin_names
from search_spaces.text import resolve_structure

RUNTIMES = plugin_names("latency_tables.runtimes")
KERNELS = [
    Kernel("conv", 16, 16, 10, 10, 3, 1, "relu"),
    Kernel("conv", 16, 16, 10, 10, 1, 1, "relu", True),
    Kernel("depthwise", 16, 16, 10, 10, 5, 2, "silu"),
    Kernel("add", 16, 16, 10, 10, activation="relu"),
    Kernel("concat", 32, 32, 10, 10),
    Kernel("max_pool", 16, 16, 10, 10, 5),
    Kernel("upsample", 16, 16, 10, 10),
    Kernel("stem", 3, 8, 64, 64, 3, 2, "silu"),
    Kernel("stem", 12, 8, 32, 32, 3, 1, "relu"),
    Kernel("space_to_depth", 3, 12, 64, 64),
    Kernel("detect", 32, 3, 21 * 16, 1),
]


@pytest.mark.parametrize("name", RUNTIMES)
def test_has_rules_and_says_how_it_measures(name: str) -> None:
    plugin = load_plugin("latency_tables.runtimes", name)
    rules = fusion_rules(name)
    assert set(rules.free) <= set(KINDS)
    assert set(rules.activations) >= {"none", "relu", "silu"}
    assert plugin.DEVICE_KIND in ("cpu", "gpu")
    assert plugin.METHOD
    assert plugin.STATISTIC
    assert plugin.REPEATS >= 1
    assert plugin.WARM_UP >= 0
    assert set(inspect.signature(plugin.measure).parameters) >= {"groups", "threads", "precision", "gauge"}
    assert set(inspect.signature(plugin.network_ms).parameters) >= {"graphs", "threads", "precision"}


@pytest.mark.parametrize("name", RUNTIMES)
def test_measures_every_kind_of_kernel(name: str) -> None:
    pytest.importorskip(name)
    plugin = load_plugin("latency_tables.runtimes", name)
    assert {kernel.kind for kernel in KERNELS} == set(KINDS)
    batches = plugin.batches(KERNELS)
    assert sorted(map(repr, (k for batch in batches for k in batch))) == sorted(map(repr, KERNELS))
    results = plugin.measure(batches, threads=1)
    for batch, figures in zip(batches, results):
        for kernel, (latency, spread) in zip(batch, figures):
            assert 0 < latency < 100, kernel
            assert spread >= 0
    assert plugin.version()


@pytest.mark.parametrize("name", RUNTIMES)
def test_times_whole_networks(name: str) -> None:
    pytest.importorskip(name)
    plugin = load_plugin("latency_tables.runtimes", name)
    small, large = (emit_detector(resolve_structure("Ns").with_image_size(side, side)) for side in (64, 160))
    quick, slow = plugin.network_ms([small, large], threads=1, rounds=2)
    assert 0 < quick < slow
