from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from detector.network import Network
from detector.training.optimizer import build_optimizer, freeze, norms_of_frozen, peak_rate, set_rate
from detector.training.optimizer.ema import Ema, decay_at, keep_statistics_fresh
from detector.training.optimizer.muon import _by_gram, _by_rounds, orthogonalized
from detector.training.optimizer.schedule import Schedule, build_schedule, no_aug_epochs
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


def test_lengths_of_a_schedule() -> None:
    config = ScheduleConfig(warmup_epochs=2.5, warmup_min_steps=20)
    long, short = build_schedule(config, 300, 10), build_schedule(config, 12, 10)
    assert (long.warmup_steps, long.floor_steps, long.total_steps) == (25, 160, 3000)
    # a fifth of the run at most, for the warm-up and for the last epochs
    assert (short.warmup_steps, short.floor_steps, short.total_steps) == (24, 20, 120)
    assert build_schedule(config, 300, 4).warmup_steps == 20
    assert [no_aug_epochs(config, epochs) for epochs in (4, 5, 79, 80, 300)] == [0, 1, 15, 16, 16]


@pytest.mark.parametrize("warmup", [6, 8])
def test_a_warm_up_may_reach_the_floor(warmup: int) -> None:
    schedule = Schedule(total_steps=10, warmup_steps=warmup, floor_steps=4, min_ratio=0.1)
    assert [schedule.factor(step) for step in range(10)] == [
        *(((step + 1) / warmup) ** 2 for step in range(warmup)), *[0.1] * (10 - warmup),
    ]  # fmt: skip


def test_the_cosine_is_half_way_in_the_middle() -> None:
    schedule = Schedule(total_steps=30, warmup_steps=10, floor_steps=10, min_ratio=0.2)
    assert [schedule.factor(step) for step in (10, 15, 20, 29)] == pytest.approx([1, 0.6, 0.2, 0.2])


def test_ema_decay() -> None:
    published = EmaConfig(memory_share=None)
    assert decay_at(2000, published, 10**6) == pytest.approx(0.9998 * (1 - math.exp(-1)))
    # 400 steps: the average reaches back about 40 of them
    assert decay_at(10**5, EmaConfig(), 400) == pytest.approx(1 - 1 / 40)
    assert decay_at(1, EmaConfig(), 1) == 0.0
    assert decay_at(10**5, EmaConfig(decay=0.0), 400) == 0.0
    assert decay_at(10**5, EmaConfig(decay=0.5), 400) == 0.5


@pytest.mark.parametrize(
    ("steps", "share", "momentum"), [(128, 0.05, 1 / 6.4), (2400, 0.05, 0.03), (128, None, 0.03), (5, 0.1, 1.0)]
)
def test_running_statistics_reach_back_no_further_than_the_average(
    steps: int, share: float | None, momentum: float
) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=0.03), nn.Sequential(nn.SyncBatchNorm(3, momentum=0.03)))
    keep_statistics_fresh(network, EmaConfig(memory_share=share), steps)
    assert [network[0].momentum, network[1][0].momentum] == pytest.approx([momentum] * 2)  # type: ignore[index]


def test_a_high_momentum_and_a_plain_mean_stay() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=0.5), nn.BatchNorm2d(3, momentum=None))
    keep_statistics_fresh(network, EmaConfig(memory_share=0.1), 100)
    assert [norm.momentum for norm in network] == [0.5, None]


def test_ema_follows_weights_and_copies_counters() -> None:
    network = nn.BatchNorm1d(2)
    ema = Ema(network, EmaConfig(decay=0.5, ramp_steps=1e-3, memory_share=None), 100)
    with torch.no_grad():
        network.weight.fill_(3.0)
    network.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    ema.update()
    assert ema.weights["weight"].tolist() == [2.0, 2.0]
    assert int(ema.weights["num_batches_tracked"]) == 7


def test_an_average_goes_on_from_saved_weights() -> None:
    config = EmaConfig(decay=0.5, ramp_steps=10, memory_share=None)
    network = nn.BatchNorm1d(2)
    one, other = Ema(network, config, 100), Ema(network, config, 100)
    with torch.no_grad():
        network.weight.fill_(3.0)
    one.update()
    other.restore({name: value.clone() for name, value in one.weights.items()}, one.updates)
    for average in (one, other):
        average.update()
        assert average.updates == 2
    assert all(torch.equal(one.weights[name], value) for name, value in other.weights.items())
    assert one.weights["weight"][0] < 3.0


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


@pytest.mark.parametrize(
    ("steps", "times"), [(0, 8), (1, 8), (600, 8), (2000, 8), (6325, 8**0.5), (20_000, 1), (10**6, 1)]
)
def test_short_runs_have_a_higher_rate(steps: int, times: float) -> None:
    config = OptimizerConfig(name="adamw", learning_rate_per_image=1e-3, short_run_factor=8)
    assert peak_rate(config, 4, steps) == pytest.approx(4e-3 * times, rel=1e-3)
    assert peak_rate(OptimizerConfig(), 64, steps) == OptimizerConfig().learning_rate_per_image * 64


def test_the_rate_falls_from_2_000_steps_to_20_000() -> None:
    config = OptimizerConfig(name="adamw", learning_rate_per_image=1e-3, short_run_factor=8)
    at = {steps: peak_rate(config, 4, steps) for steps in (1_999, 2_000, 2_001, 19_999, 20_000, 20_001)}
    assert at[1_999] == at[2_000] == pytest.approx(32e-3, rel=1e-12)
    assert at[20_001] == at[20_000] == pytest.approx(4e-3, rel=1e-12)
    assert at[2_000] > at[2_001] > at[19_999] > at[20_000]


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


def _exact_direction(matrix: torch.Tensor) -> torch.Tensor:
    """All singular values 1, by singular value decomposition."""
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", [(8, 72), (24, 9), (16, 16), (8, 12)])
def test_orthogonalized_matrices_keep_directions_and_lose_lengths(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    matrices *= torch.tensor([1e-6, 1.0, 1e4])[:, None, None]
    found = orthogonalized(matrices).double()
    for one, of in zip(found, matrices):
        values = torch.linalg.svdvals(one)
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.25
        exact = _exact_direction(of)
        assert float((one * exact).sum() / one.norm() / exact.norm()) > 0.97


def test_both_forms_of_the_rounds_agree() -> None:
    matrices = torch.randn(2, 12, 60, generator=torch.Generator().manual_seed(1))
    matrices = matrices @ torch.diag(torch.logspace(0, -2, 60))
    matrices /= matrices.norm(dim=(1, 2), keepdim=True)
    assert torch.allclose(_by_gram(matrices), _by_rounds(matrices), atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("of_gradients", [torch.contiguous_format, torch.channels_last])
def test_muon_steps_matrices_by_direction_and_the_rest_as_adamw(
    layout: torch.memory_format, of_gradients: torch.memory_format
) -> None:
    """Three steps by hand; the norm and the bias as AdamW moves them."""

    def layers() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4))

    network, beside = layers().to(memory_format=layout), layers()  # type: ignore[call-overload]
    values = {"momentum": 0.8, "weight_decay": 0.1, "learning_rate_per_image": 0.01}
    muon = build_optimizer(network, OptimizerConfig(name="muon", **values), 10)  # type: ignore[arg-type]
    adamw = build_optimizer(beside, OptimizerConfig(name="adamw", **values), 10)  # type: ignore[arg-type]
    weight, momentum = network[0].weight.detach().clone(), torch.zeros(4, 6, 3, 3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        for mine, other in zip(network.parameters(), beside.parameters()):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        network[0].weight.grad = network[0].weight.grad.to(memory_format=of_gradients)
        gradient = network[0].weight.grad
        momentum = 0.95 * momentum + 0.05 * gradient
        direction = orthogonalized((0.05 * gradient + 0.95 * momentum).reshape(1, 4, 54)).reshape(4, 6, 3, 3)
        weight = weight * (1 - 0.1 * 0.1) - 0.1 * 0.2 * 54**0.5 * direction
        muon.step()
        adamw.step()
    assert torch.allclose(network[0].weight, weight, atol=1e-5)
    for mine, other in list(zip(network.parameters(), beside.parameters()))[1:]:
        assert torch.equal(mine, other)
    # as long as a step of AdamW, about
    assert float((0.1 * 0.2 * 54**0.5 * direction).square().mean().sqrt()) == pytest.approx(0.1 * 0.2, rel=0.15)


@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
def test_muon_takes_convs_that_mix_channels_but_the_heads(tiny: Structure, layer_decay: float) -> None:
    network = Network(tiny)
    groups = build_optimizer(network, OptimizerConfig(name="muon", layer_decay=layer_decay), 8).param_groups
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    by_kind = {
        kind: {names[id(p)] for g in groups if g["matrix"] is kind for p in g["params"]} for kind in (True, False)
    }
    for name, parameter in network.named_parameters():
        mixes = parameter.ndim == 4 and parameter.shape[0] > 1 and parameter.shape[1] > 1
        assert name in by_kind[mixes and not name.startswith("head.")]
    assert len(by_kind[True]) > 10
    assert any(name.startswith("head.") for name in by_kind[False])


def test_muon_goes_on_from_its_state(tiny: Structure) -> None:
    def started() -> tuple[Network, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = Network(tiny)
        return network, build_optimizer(network, OptimizerConfig(name="muon", layer_decay=0.9), 8)

    def step(network: Network, optimizer: torch.optim.Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()

    whole, its = started()
    for seed in (1, 2, 3):
        step(whole, its, seed)
    first, before = started()
    step(first, before, 1)
    weights, state = copy.deepcopy(first.state_dict()), copy.deepcopy(before.state_dict())
    second, after = started()
    second.load_state_dict(weights)
    after.load_state_dict(state)
    for seed in (2, 3):
        set_rate(after, after.param_groups[-1]["lr"] / after.param_groups[-1]["rate_share"])
        step(second, after, seed)
    for mine, other in zip(whole.parameters(), second.parameters()):
        assert torch.equal(mine, other)
