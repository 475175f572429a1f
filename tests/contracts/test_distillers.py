"""What every distiller keeps to: a finite scalar of order 1 whatever the size, gradients for the student alone, and all
that it learns in its parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from detector import distillers
from detector.distillers._alignment import normalised
from search_spaces.errors import UserError

CHANNELS = (6, 10, 4)
SIDES = (12, 6, 3)

pytestmark = pytest.mark.parametrize("name", distillers.names())


def maps(seed: int, batch: int = 3, scale: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        normalised(torch.randn(batch, channels, scale * side, scale * side + 1, generator=generator))
        for channels, side in zip(CHANNELS, SIDES)
    ]


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return distillers.build(name, CHANNELS)


def loss_of(distiller: nn.Module, students: list[Tensor], teachers: list[Tensor], seed: int = 0) -> Tensor:
    loss = distiller(students, teachers, torch.Generator().manual_seed(seed))
    assert isinstance(loss, Tensor)
    return loss


def test_a_scalar_of_order_one_that_does_not_grow_with_the_image(name: str) -> None:
    distiller = made(name)
    small, large = (loss_of(distiller, maps(1, scale=scale), maps(2, scale=scale)) for scale in (1, 4))
    assert small.shape == ()
    assert small.dtype == torch.float32
    assert 1 < small < 30
    assert 0.7 < large / small < 1.5


def test_the_batch_counts_by_its_mean(name: str) -> None:
    distiller, students, teachers = made(name), maps(3), maps(4)
    twice = loss_of(distiller, [torch.cat([m, m]) for m in students], [torch.cat([m, m]) for m in teachers])
    assert torch.isclose(twice, loss_of(distiller, students, teachers), rtol=0.1)  # 0.1: masks are drawn anew


def test_gradients_reach_the_student_and_every_parameter(name: str) -> None:
    distiller = made(name)
    students = [m.requires_grad_() for m in maps(5)]
    loss_of(distiller, students, maps(6)).backward()
    for student in students:
        assert student.grad is not None
        assert student.grad.abs().sum() > 0
    for path, parameter in distiller.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.abs().sum() > 0, path


def test_learning_brings_the_student_to_the_teacher(name: str) -> None:
    distiller, teachers = made(name), maps(7)
    students = [m.clone().requires_grad_() for m in maps(8)]
    optimizer = torch.optim.Adam([*students, *distiller.parameters()], lr=0.03)
    first = loss_of(distiller, students, teachers)
    for step in range(150):
        optimizer.zero_grad()
        loss_of(distiller, students, teachers, step).backward()
        optimizer.step()
    assert loss_of(distiller, students, teachers) < 0.6 * first  # mgd does not see most places of a random map


def test_all_that_it_learns_is_in_its_state(name: str) -> None:
    distiller, students, teachers = made(name), maps(9), maps(10)
    with torch.no_grad():
        for parameter in distiller.parameters():
            parameter.add_(0.1)
    fresh = distillers.build(name, CHANNELS)
    fresh.load_state_dict(copy.deepcopy(distiller.state_dict()))
    assert torch.equal(loss_of(fresh, students, teachers), loss_of(distiller, students, teachers))


def test_same_generator_same_loss(name: str) -> None:
    distiller, students, teachers = made(name), maps(11), maps(12)
    torch.manual_seed(1)
    first = loss_of(distiller, students, teachers, seed=5)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(loss_of(distiller, students, teachers, seed=5), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "the global random state was drawn from"


def test_dead_channels_are_finite(name: str) -> None:
    students, teachers = ([torch.zeros_like(m).requires_grad_() for m in maps(13)] for _ in range(2))
    loss = loss_of(made(name), students, [m.detach() for m in teachers])
    assert loss.isfinite()
    loss.backward()
    assert all(m.grad is not None and m.grad.isfinite().all() for m in students)


def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"distiller {name}: weights: unknown key"):
        distillers.build(name, CHANNELS, {"weights": 1})
