from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from detector.network import Network
from detector.training.optimizer import build_optimizer, freeze, norms_of_frozen, peak_rate
from detector.training.optimizer.ema import Ema, decay_at
from detector.training.optimizer.schedule import build_schedule, no_aug_epochs
from detector.training.settings.config import EmaConfig, OptimizerConfig, ScheduleConfig
from search_spaces.errors import UserError
from search_spaces.structure import Structure


def test_published_schedule() -> None:
    schedule = build_schedule(ScheduleConfig(), epochs=300, steps_per_epoch=10)
    factors = [schedule.factor(step) for step in range(3000)]
    assert factors[24] == pytest.approx(0.25)
    assert factors[49] == 1.0
    assert factors[50] == 1.0
    assert all(a > b for a, b in itertools.pairwise(factors[50:2841]))
    assert factors[2840:] == [0.05] * 160
    assert factors[2839] == pytest.approx(0.05, abs=1e-5)


@pytest.mark.parametrize("epochs", [1, 2, 5, 30])
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 50])
def test_schedule_fits_any_run(epochs: int, steps_per_epoch: int) -> None:
    schedule = build_schedule(ScheduleConfig(warmup_min_steps=100), epochs, steps_per_epoch)
    factors = [schedule.factor(step) for step in range(epochs * steps_per_epoch)]
    assert all(0 < factor <= 1 for factor in factors)
    assert no_aug_epochs(ScheduleConfig(), epochs) <= 0.2 * epochs
    assert schedule.warmup_steps <= 0.2 * epochs * steps_per_epoch


def test_ema_decay() -> None:
    published = EmaConfig(memory_share=None)
    assert decay_at(2000, published, 10**6) == pytest.approx(0.9998 * (1 - math.exp(-1)))
    # 400 steps: the average reaches back about 40 of them
    assert decay_at(10**5, EmaConfig(), 400) == pytest.approx(1 - 1 / 40)
    assert decay_at(1, EmaConfig(), 1) == 0.0


def test_ema_follows_weights_and_copies_counters() -> None:
    network = nn.BatchNorm1d(2)
    ema = Ema(network, EmaConfig(decay=0.5, ramp_steps=1e-3, memory_share=None), 100)
    with torch.no_grad():
        network.weight.fill_(3.0)
    network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    ema.update()
    assert ema.weights["weight"].tolist() == [2.0, 2.0]
    assert int(ema.weights["num_batches_tracked"]) == 7


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_conv_weights_decay(tiny: Structure, name: str) -> None:
    network = Network(tiny)
    optimizer = build_optimizer(network, OptimizerConfig(name=name), batch_size=32)  # type: ignore[arg-type]
    decayed, plain = optimizer.param_groups
    convs = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert {id(p) for p in decayed["params"]} == {id(p) for p in convs}
    assert plain["weight_decay"] == 0
    assert len(decayed["params"]) + len(plain["params"]) == len(list(network.parameters()))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(32 * 0.01 / 64)


def test_frozen_modules_do_not_learn(tiny: Structure) -> None:
    network = Network(tiny)
    freeze(network, ["backbone"])
    groups = build_optimizer(network, OptimizerConfig(), 1).param_groups
    learning = {id(p) for group in groups for p in group["params"]}
    assert not learning & {id(p) for p in network.get_submodule("backbone").parameters()}
    assert len(norms_of_frozen(network)) > 5
    with pytest.raises(UserError, match="expected backbone, neck, head"):
        freeze(network, ["bakbone"])


@pytest.mark.parametrize(("steps", "times"), [(1, 8), (600, 8), (2000, 8), (6325, 8**0.5), (20_000, 1), (10**6, 1)])
def test_short_runs_have_a_higher_rate(steps: int, times: float) -> None:
    config = OptimizerConfig(name="adamw", learning_rate_per_image=1e-3, short_run_factor=8)
    assert peak_rate(config, 4, steps) == pytest.approx(4e-3 * times, rel=1e-3)
    assert peak_rate(OptimizerConfig(), 64, steps) == OptimizerConfig().learning_rate_per_image * 64


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_is_nesterovs(momentum: float) -> None:
    """v = m v + g, then w = w - rate (g + m v), by hand."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    config = OptimizerConfig(momentum=momentum, weight_decay=0.0, learning_rate_per_image=0.01)
    optimizer = build_optimizer(layer, config, 10)
    weight, velocity = 1.0, 0.0
    for gradient in (2.0, -1.0, 0.5):
        velocity = momentum * velocity + gradient
        weight -= 0.1 * (gradient + momentum * velocity)
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        assert float(layer.weight.detach()) == pytest.approx(weight, rel=1e-6)


def test_adamw_is_adamw() -> None:
    """Two moments with their bias corrected, and decay of the weight itself, by hand."""
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    config = OptimizerConfig(name="adamw", momentum=0.8, weight_decay=0.1, learning_rate_per_image=0.01)
    optimizer = build_optimizer(layer, config, 10)
    weight, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate((2.0, -1.0, 0.5), 1):
        first, second = 0.8 * first + 0.2 * gradient, 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.8**step), second / (1 - 0.999**step)
        weight -= 0.1 * (0.1 * weight + corrected[0] / (corrected[1] ** 0.5 + 1e-8))
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        assert float(layer.weight.detach()) == pytest.approx(weight, rel=1e-5)
