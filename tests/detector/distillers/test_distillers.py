"""Distillers and the align module against loops that spell their formulas out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detector import distillers
from detector.distillers import cwd, mgd
from detector.distillers._alignment import NORM_EPS, Alignment, normalised
from search_spaces.errors import UserError

CHANNELS = (3, 5)
SHAPES = ((2, 3, 4, 5), (2, 5, 2, 3))


def maps(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def softmax(values: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_cwd_is_the_divergence_of_each_channels_places(temperature: float) -> None:
    students, teachers = maps(0), maps(1)
    expected = 0.0
    for student, teacher in zip(students, teachers):
        batch, channels = student.shape[:2]
        for image in range(batch):
            for channel in range(channels):
                p = softmax(teacher[image, channel].flatten().tolist(), temperature)
                q = softmax(student[image, channel].flatten().tolist(), temperature)
                divergence = sum(a * math.log(a / b) for a, b in zip(p, q))
                expected += temperature**2 * divergence / (batch * channels)
    distiller = cwd.Distiller(CHANNELS, cwd.Options(temperature=temperature))
    assert float(distiller(students, teachers, torch.Generator())) == pytest.approx(expected, rel=1e-5)


def test_cwd_does_not_see_what_is_added_to_a_whole_channel() -> None:
    students, teachers = maps(2), maps(3)
    distiller = distillers.build("cwd", CHANNELS)
    shifted = [m + torch.arange(m.shape[1]).reshape(1, -1, 1, 1) for m in students]
    assert torch.allclose(
        distiller(shifted, teachers, torch.Generator()), distiller(students, teachers, torch.Generator()), rtol=1e-5
    )


def test_mimic_is_the_mean_squared_difference() -> None:
    students, teachers = maps(4), maps(5)
    expected = 0.0
    for student, teacher in zip(students, teachers):
        pairs = list(zip(student.flatten().tolist(), teacher.flatten().tolist()))
        expected += sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    distiller = distillers.build("mimic", CHANNELS)
    assert float(distiller(students, teachers, torch.Generator())) == pytest.approx(expected, rel=1e-5)


def correlated(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 3x3 conv with zeros around, place by place: image (C, H, W), weight (K, C, 3, 3)."""
    _, height, width = image.shape
    result = torch.zeros(len(weight), height, width)
    for out in range(len(weight)):
        for row in range(height):
            for column in range(width):
                value = float(bias[out])
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= row + dy < height and 0 <= column + dx < width:
                            value += float(image[:, row + dy, column + dx] @ weight[out, :, dy + 1, dx + 1])
                result[out, row, column] = value
    return result


def test_mgd_generates_the_teacher_from_what_the_mask_leaves() -> None:
    students, teachers = maps(6), maps(7)
    torch.manual_seed(0)
    distiller = mgd.Distiller(CHANNELS, mgd.Options(masked=0.4))
    draws, expected = torch.Generator().manual_seed(3), 0.0
    for level, (student, teacher) in enumerate(zip(students, teachers)):
        first, second = (
            distiller.get_submodule(f"generation.{level}.0"),
            distiller.get_submodule(f"generation.{level}.2"),
        )
        seen = torch.rand(2, 1, *student.shape[2:], generator=draws) >= 0.4
        total = 0.0
        for image in range(len(student)):
            hidden = correlated(student[image] * seen[image], first.weight.detach(), first.bias.detach()).clamp(min=0)
            generated = correlated(hidden, second.weight.detach(), second.bias.detach())
            total += float(((generated - teacher[image]) ** 2).sum())
        expected += total / student.numel()
    found = distiller(students, teachers, torch.Generator().manual_seed(3))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def test_mgd_hides_the_share_of_the_places() -> None:
    """With identity as generation the loss of all-ones against zeros is the share that was seen."""
    distiller = mgd.Distiller((1,), mgd.Options(masked=0.65))
    with torch.no_grad():
        for conv in (distiller.get_submodule("generation.0.0"), distiller.get_submodule("generation.0.2")):
            conv.weight.zero_()[0, 0, 1, 1] = 1.0
            conv.bias.zero_()
    ones = torch.ones(4, 1, 50, 50)
    loss = distiller([ones], [torch.zeros_like(ones)], torch.Generator().manual_seed(0))
    assert float(loss.detach()) == pytest.approx(0.35, abs=0.02)


def test_alignment_projects_resizes_and_normalises() -> None:
    torch.manual_seed(0)
    alignment = Alignment((2, 4), CHANNELS)
    students = [torch.randn(2, 2, 8, 10), torch.randn(2, 4, 2, 3)]  # the first has twice the teacher's size
    aligned, wanted = alignment(students, maps(8))
    for level, (mine, theirs) in enumerate(zip(aligned, wanted)):
        assert mine.shape == theirs.shape == SHAPES[level]
        for side in (mine, theirs):
            for channel in side.unbind(1):
                assert float(channel.mean()) == pytest.approx(0, abs=1e-5)
                assert float(channel.std(correction=0)) == pytest.approx(1, abs=1e-3)
    projection = alignment.projections[1]
    projected = torch.einsum("kc,bchw->bkhw", projection.weight[:, :, 0, 0], students[1]) + projection.bias.reshape(
        -1, 1, 1
    )
    mean, variance = projected.mean((0, 2, 3), keepdim=True), projected.var((0, 2, 3), correction=0, keepdim=True)
    assert torch.allclose(aligned[1], (projected - mean) / (variance + NORM_EPS).sqrt(), atol=1e-4)


def test_the_scale_of_either_side_does_not_matter() -> None:
    torch.manual_seed(0)
    alignment, students, teachers = Alignment(CHANNELS, CHANNELS), maps(9), maps(10)
    for projection in alignment.projections:
        torch.nn.init.zeros_(projection.bias)
    _, wanted = alignment(students, teachers)
    _, scaled = alignment(students, [7 * m + 2 for m in teachers])
    for one, other in zip(wanted, scaled):
        assert torch.allclose(one, other, atol=1e-4)


def test_one_place_of_one_image_gives_zeros_and_no_gradient() -> None:
    maps_1 = torch.full((1, 4, 1, 1), 3.0, requires_grad=True)
    normalised(maps_1).sum().backward()
    assert torch.equal(normalised(maps_1), torch.zeros(1, 4, 1, 1))
    assert maps_1.grad is not None
    assert not maps_1.grad.any()


def test_under_autocast_what_is_compared_is_fp32() -> None:
    alignment = Alignment(CHANNELS, CHANNELS)
    with torch.autocast("cpu", torch.bfloat16):
        aligned, wanted = alignment([m.bfloat16() for m in maps(11)], [m.bfloat16() for m in maps(12)])
    assert {m.dtype for m in (*aligned, *wanted)} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cdw", {}, "distiller 'cdw' is not known; did you mean cwd"),
        ("cwd", {"temperature": 0}, "distiller cwd: temperature: 0 found; expected a number above 0"),
        ("cwd", {"temprature": 2}, "distiller cwd: temprature: unknown key; did you mean temperature"),
        ("mimic", {"weight": 2}, "distiller mimic: weight: unknown key; there are no keys here"),
        ("mgd", {"masked": 1.0}, "distiller mgd: masked: 1.0 found; expected a number below 1"),
    ],
)
def test_refusals(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        distillers.build(name, CHANNELS, options)
