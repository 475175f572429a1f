"""The torch runtime of latency tables on the card: graphs replay what eager runs give, and take the time they should."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch

from latency_tables.kernels import Kernel
from latency_tables.runtimes import torch as runtime
from latency_tables.runtimes._torch_models import kernel_module
from search_spaces.emit import emit_detector
from search_spaces.structure import Structure

CONV = Kernel.square("conv", 64, 64, 40, kernel=3, activation="relu")
LARGER = dataclasses.replace(CONV, in_channels=512, out_channels=512, height=80, width=80)


@pytest.fixture
def precision(device: torch.device) -> str:
    return "fp16" if device.type == "cuda" else "fp32"


def test_says_what_the_device_is(device: torch.device) -> None:
    assert runtime.device_kind() == ("gpu" if device.type == "cuda" else "cpu")
    assert runtime.device_name()


def test_a_replay_computes_what_a_run_computes(card: torch.device) -> None:
    module = kernel_module(CONV)
    kept = []

    class Keeping(torch.nn.Module):
        input_shapes = module.input_shapes

        def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
            kept[:] = module(*inputs)
            return list(kept)

    runner = runtime._Runner(Keeping(), "fp32")
    module.to(card)
    runner.run()
    captured = kept[0]
    before = captured.clone()
    for item in runner.inputs:
        item.mul_(0.5)
    runner.run()
    with torch.inference_mode():
        expected = module(*runner.inputs)[0]
    assert not torch.equal(before, captured)
    torch.testing.assert_close(captured, expected, rtol=1e-3, atol=1e-3)


def test_a_chain_divides_its_time(card: torch.device, precision: str) -> None:
    """A kernel in a chain of 32 takes no longer, and not much less, than in one of 64."""
    times = []
    for runs in (32, 64):
        runner = runtime._Runner(kernel_module(CONV), precision, runs)
        runner.run()
        times.append(min(runner.run_ms(time.perf_counter) for _ in range(10)) / runs)
    assert times[1] == pytest.approx(times[0], rel=0.3)


def test_more_work_takes_longer(device: torch.device, precision: str) -> None:
    gauge = runtime.Gauge(1, precision)
    ((small, spread), (large, _)) = runtime.measure([[CONV, LARGER]], threads=1, precision=precision, gauge=gauge)[0]
    assert 0 < small < large
    assert spread < (0.2 if device.type == "cuda" else 10)


def test_the_gauge_finds_an_idle_card_calm(card: torch.device, precision: str) -> None:
    gauge = runtime.Gauge(1, precision)
    assert sum(gauge.calm() for _ in range(40)) > 30


def test_networks_are_timed_as_a_clock_times_them(small: Structure, device: torch.device, precision: str) -> None:
    """Events show what the host's clock shows of many replays in a row."""
    graph = emit_detector(small.with_image_size(320, 320))
    (found,) = runtime.network_ms([graph], threads=1, precision=precision, rounds=2)
    assert 0 < found < 1000
    if device.type == "cuda":
        from latency_tables.runtimes._models import write_network
        from latency_tables.runtimes._torch_models import TorchWriter

        runner = runtime._Runner(write_network(graph, TorchWriter()), precision)
        runner.run()
        start = time.perf_counter()
        for _ in range(50):
            runner._replay()  # type: ignore[misc]
        torch.cuda.synchronize()
        clock_ms = 1000 * (time.perf_counter() - start) / 50
        assert found == pytest.approx(clock_ms, rel=0.5)
