"""Assigners and losses on the card give the CPU's assignments, losses and gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from detector import assigners
from detector.criterion import DetectionCriterion
from detector.losses import LossConfig
from detector.losses.distribution_focal import distribution_focal_loss
from detector.losses.giou import giou_loss
from detector.losses.quality_focal import quality_focal_loss
from detector.priors import priors
from tests.detector.scenes import Scene, SceneTargets, random_scene, random_targets

SEEDS = (0, 1, 2)


def moved(targets: SceneTargets, device: torch.device) -> SceneTargets:
    return SceneTargets(*(getattr(targets, field.name).to(device) for field in dataclasses.fields(targets)))


def scenes() -> list[Scene]:
    """Random boxes, many boxes around one point, and no box at all."""
    crowded = random_scene(3, 2, 24, 3)
    crowded.targets.boxes_xyxy[:] = torch.tensor([40.0, 40.0, 60.0, 60.0]) + torch.arange(24.0)[:, None] / 4
    return [*(random_scene(seed, 3, 8, 3) for seed in SEEDS), crowded, random_scene(4, 2, 0, 3)]


@pytest.mark.parametrize("name", assigners.names())
def test_assignments_are_the_cpus(name: str, device: torch.device) -> None:
    """Costs are summed in fp32 on a card, in fp64 on a CPU: a pair in a thousand may rank otherwise."""
    assign = assigners.build(name)
    differing, positives = 0, 0
    for scene in scenes():
        here = assign(scene.priors, scene.boxes, scene.logits, scene.targets)
        there = assign(
            scene.priors.to(device), scene.boxes.to(device), scene.logits.to(device), moved(scene.targets, device)
        )
        assert there.matched.device.type == device.type
        matched = there.matched.cpu()
        same = matched == here.matched
        differing += int((~same).sum())
        positives += int(here.positives_mask.sum())
        assert torch.equal(there.negatives_mask.cpu()[same], here.negatives_mask[same])
        torch.testing.assert_close(there.quality.cpu()[same], here.quality[same], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(there.boxes.cpu()[same], here.boxes[same], rtol=0, atol=0)
    assert positives > 80
    assert differing <= 1 + positives / 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["quality_focal", "distribution_focal", "giou"])
def test_losses_are_the_cpus(name: str, dtype: torch.dtype, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(200, 8, generator=generator) * 4).to(dtype)
    corners = torch.rand(200, 2, 2, generator=generator).cumsum(1).flatten(1) * 40
    loss, predicted, target = {
        "quality_focal": (quality_focal_loss, logits, torch.rand(200, 8, generator=generator)),
        "distribution_focal": (distribution_focal_loss, logits, torch.rand(200, generator=generator) * 9 - 1),
        "giou": (giou_loss, corners.to(dtype), corners.flip(0)),
    }[name]
    values, gradients = [], []
    for where in (torch.device("cpu"), device):
        leaf = predicted.detach().clone().to(where).requires_grad_()
        value = loss(leaf, target.to(where))
        value.sum().backward()
        assert value.dtype == torch.float32
        assert leaf.grad is not None
        values.append(value.detach().cpu())
        gradients.append(leaf.grad.float().cpu())
    torch.testing.assert_close(values[1], values[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2 if dtype != torch.float32 else 1e-3, atol=1e-4)


def outputs(batch: int, seed: int) -> tuple[Tensor, Tensor, Tensor, SceneTargets]:
    """Raw outputs of a head (16 bins) at 96 px, priors and targets."""
    generator = torch.Generator().manual_seed(seed)
    points = priors((96, 96))
    cls = torch.randn(batch, len(points), 3, generator=generator)
    reg = torch.randn(batch, len(points), 4 * 17, generator=generator)
    return cls, reg, points, random_targets(generator, batch, 9, 3)


@pytest.mark.parametrize("name", assigners.names())
def test_the_criterion_is_the_cpus(name: str, device: torch.device) -> None:
    criterion = DetectionCriterion(LossConfig(assigner=name))
    for seed in SEEDS:
        cls, reg, points, targets = outputs(4, seed)
        found = []
        for where in (torch.device("cpu"), device):
            leaves = [value.to(where).clone().requires_grad_() for value in (cls, reg)]
            losses = criterion(*leaves, points.to(where), moved(targets, where))
            losses["total"].backward()
            grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
            found.append(
                ({key: float(value.detach()) for key, value in losses.items()}, [grad.norm().item() for grad in grads])
            )
        (here, grads), (there, others) = found
        assert there["num_positives"] == pytest.approx(here["num_positives"], abs=1)
        for part in ("cls", "dfl", "giou", "total"):
            assert there[part] == pytest.approx(here[part], rel=2e-2), part
        assert others == pytest.approx(grads, rel=2e-2)
