"""What every profiler runtime must do."""

from __future__ import annotations

import inspect
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from latency_tables.fusion import fusion_rules
from latency_tables.kernels import KINDS, Kernel
from latency_tables.on_device import timing
from latency_tables.runtimes import _requirements
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin, plugin_names
from search_spaces.text import resolve_structure

RUNTIMES = plugin_names("latency_tables.runtimes")
CONV = Kernel.square("conv", 16, 16, 10, kernel=3, activation="relu")
KERNELS = [
    CONV,
    replace(CONV, activation="silu"),
    replace(CONV, kernel=1, fused_add=True),
    Kernel.square("depthwise", 16, 16, 10, kernel=5, stride=2, activation="silu"),
    Kernel.square("add", 16, 16, 10, activation="relu"),
    Kernel.square("concat", 32, 32, 10),
    Kernel.square("reordered_concat", 40, 40, 10),
    Kernel.square("max_pool", 16, 16, 10, kernel=5),
    Kernel.square("upsample", 16, 16, 10),
    Kernel.square("stem", 3, 16, 64, kernel=3, stride=2, activation="silu"),
    Kernel.square("stem", 12, 16, 32, kernel=3, activation="relu"),
    Kernel.square("space_to_depth", 3, 12, 64),
    Kernel(kind="detect", in_channels=32, out_channels=3, height=21 * 16, width=1),
]
BIGGER = [  # of each kind, a small one and one with several times the work
    (
        replace(CONV, height=40, width=40),
        Kernel.square("conv", 48, 64, 40, kernel=3, activation="relu"),
    ),
    (
        Kernel.square("depthwise", 32, 32, 20, kernel=3, activation="relu"),
        Kernel.square("depthwise", 64, 64, 80, kernel=3, activation="relu"),
    ),
    (
        Kernel.square("concat", 32, 32, 40),
        Kernel.square("concat", 128, 128, 80),
    ),
    (
        Kernel.square("upsample", 32, 32, 20),
        Kernel.square("upsample", 64, 64, 80),
    ),
]


@pytest.fixture(params=RUNTIMES)
def plugin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Each runtime, with little patience for a disturbed machine."""
    monkeypatch.setattr(timing, "PATIENCE_S", 0.5)
    return load_plugin("latency_tables.runtimes", request.param)


def name_of(plugin: ModuleType) -> str:
    return plugin.__name__.rsplit(".", 1)[-1]


@pytest.fixture
def here(plugin: ModuleType) -> ModuleType:
    """The same, where the runtime is installed."""
    pytest.importorskip(name_of(plugin))
    return plugin


def test_has_rules_and_says_how_it_measures(plugin: ModuleType) -> None:
    rules = fusion_rules(name_of(plugin))
    assert set(rules.free) <= set(KINDS)
    assert set(rules.activations) >= {"none", "relu", "silu"}
    assert rules.channel_block >= 1
    assert plugin.device_kind() in ("cpu", "gpu")
    assert "fp32" in plugin.PRECISIONS
    assert plugin.METHOD
    assert plugin.STATISTIC
    assert plugin.REPEATS >= 1
    assert plugin.WARM_UP >= 0
    assert list(inspect.signature(plugin.Gauge).parameters) == ["threads", "precision"]
    assert set(inspect.signature(plugin.measure).parameters) >= {"groups", "threads", "precision", "gauge"}
    assert set(inspect.signature(plugin.network_ms).parameters) >= {"graphs", "threads", "precision", "rounds"}


def test_says_what_to_install(plugin: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    name = name_of(plugin)
    monkeypatch.setattr(_requirements, "find_spec", lambda module: None)
    graph = emit_detector(resolve_structure("Ns").with_image_size(64, 64))
    for use in (
        plugin.version, lambda: plugin.Gauge(1, "fp32"), lambda: plugin.measure([[CONV]], threads=1),
        lambda: plugin.network_ms([graph], threads=1),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"runtime {name} is not installed; pip install {name}"):
            use()


def test_measures_every_kind_of_kernel(here: ModuleType) -> None:
    assert {kernel.kind for kernel in KERNELS} == set(KINDS)
    batches = here.batches(KERNELS)
    assert sorted(map(repr, (k for batch in batches for k in batch))) == sorted(map(repr, KERNELS))
    results = here.measure(batches, threads=1)
    for batch, figures in zip(batches, results, strict=True):
        for kernel, (latency, spread) in zip(batch, figures, strict=True):
            assert 0 < latency < 100, kernel
            assert 0 <= spread < np.inf
    assert here.version()[0].isdigit()


def test_measures_every_kind_of_kernel_in_int8(here: ModuleType) -> None:
    if "int8" not in here.PRECISIONS or here.device_kind() != "cpu":
        pytest.skip("no int8 here")
    batches = here.batches([larger(kernel) for kernel in KERNELS])
    for batch, figures in zip(batches, here.measure(batches, threads=1, precision="int8", quick=True), strict=True):
        for kernel, (latency, _) in zip(batch, figures, strict=True):
            assert 5e-4 < latency < 100, kernel  # what no node counts for reads half of a microsecond


def larger(kernel: Kernel) -> Kernel:
    """One of the same kind that no processor runs within a microsecond."""
    if kernel.kind in ("stem", "space_to_depth", "detect"):
        return kernel
    channels = {"in_channels": 4 * kernel.in_channels, "out_channels": 4 * kernel.out_channels}
    return replace(kernel, height=40, width=40, **channels)


def test_more_work_takes_longer(here: ModuleType) -> None:
    batches = here.batches([kernel for pair in BIGGER for kernel in pair])
    figures = here.measure(batches, threads=1, gauge=here.Gauge(1, "fp32"))
    latency = {k: ms for batch, found in zip(batches, figures) for k, (ms, _) in zip(batch, found)}
    for small, large in BIGGER:
        assert latency[small] < latency[large]


def test_refuses_a_precision_it_does_not_have(here: ModuleType) -> None:
    with pytest.raises(UserError, match="precision 'fp12' was asked for"):
        here.Gauge(1, "fp12")


def test_times_whole_networks(here: ModuleType) -> None:
    small, large = (emit_detector(resolve_structure("Ns").with_image_size(side, side)) for side in (64, 224))
    quick, slow = here.network_ms([small, large], threads=1, rounds=2)
    assert 0 < quick < slow
