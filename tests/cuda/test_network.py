"""Forward, backward, decoding, suppression and the moving average on the card, against the CPU's."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from detector.network import Network
from detector.postprocess import postprocess
from detector.training.optimizer.ema import Ema
from detector.training.settings.config import EmaConfig
from search_spaces.structure import Structure


def made(structure: Structure, seed: int = 0) -> Network:
    """A network with running statistics of its own and logits that differ."""
    torch.manual_seed(seed)
    network = Network(structure)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


def images(structure: Structure, batch: int = 2) -> Tensor:
    height, width = structure.image_size
    return torch.randint(0, 256, (batch, 3, height, width), generator=torch.Generator().manual_seed(1)).float()


@pytest.fixture(params=["small", "mobile"])
def structure(request: pytest.FixtureRequest) -> Structure:
    found: Structure = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_are_the_cpus(structure: Structure, layout: torch.memory_format, device: torch.device) -> None:
    network, pixels = made(structure).eval(), images(structure)
    other = copy.deepcopy(network).to(device, memory_format=layout)  # type: ignore[call-overload]
    with torch.no_grad():
        boxes, scores = network(pixels)
        found_boxes, found_scores = other(pixels.to(device, memory_format=layout))
        deployed_boxes, deployed_scores = other.deploy()(pixels.to(device, memory_format=layout))
    torch.testing.assert_close(found_boxes.cpu(), boxes, rtol=1e-3, atol=5e-2)
    torch.testing.assert_close(found_scores.cpu(), scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(deployed_boxes.cpu(), boxes, rtol=1e-3, atol=5e-2)
    torch.testing.assert_close(deployed_scores.cpu(), scores, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_the_cpus(structure: Structure, layout: torch.memory_format, device: torch.device) -> None:
    """As vectors: a last digit that puts an activation on the other side of zero changes a few numbers by percents."""
    network = made(structure).train()
    other = copy.deepcopy(network).to(device, memory_format=layout)  # type: ignore[call-overload]
    for net, where in ((network, torch.device("cpu")), (other, device)):
        raw = net.forward_raw(images(structure, 4).to(where, memory_format=layout))
        (raw.cls_logits.square().mean() + raw.reg_logits.square().mean()).backward()
    lengths, distances = [], []
    for (name, parameter), twin in zip(network.named_parameters(), other.parameters(), strict=True):
        assert parameter.grad is not None
        assert twin.grad is not None
        a, b = parameter.grad.flatten().double(), twin.grad.cpu().flatten().double()
        lengths.append(float(a.norm()))
        distances.append(float((a - b).norm()))
        assert distances[-1] <= 0.2 * lengths[-1] + 1e-6, name
    assert math.hypot(*distances) <= 0.02 * math.hypot(*lengths)
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(other.get_buffer(name).cpu(), buffer, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_near_fp32(structure: Structure, dtype: torch.dtype, card: torch.device) -> None:
    network = made(structure).to(card, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    pixels = images(structure).to(card, memory_format=torch.channels_last)
    with torch.no_grad():
        boxes, scores = network(pixels)
        with torch.autocast("cuda", dtype=dtype):
            half_boxes, half_scores = network(pixels)
    assert half_boxes.dtype == half_scores.dtype == torch.float32
    assert (half_scores - scores).abs().max() < 0.05
    assert (half_boxes - boxes).abs().mean() < 2.0


def test_compiled_is_eager(small: Structure, card: torch.device) -> None:
    """torch.compile of the raw outputs, forward and backward, as training has it."""
    network = made(small).to(card, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    compiled = torch.compile(copy.deepcopy(network).forward_raw)
    pixels = images(small).to(card, memory_format=torch.channels_last)
    plain, built = network.forward_raw(pixels), compiled(pixels)
    torch.testing.assert_close(built.cls_logits, plain.cls_logits, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(built.reg_logits, plain.reg_logits, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(built.priors, plain.priors)
    (built.cls_logits.mean() + built.reg_logits.mean()).backward()


def test_suppression_is_the_cpus(device: torch.device) -> None:
    """The same candidates in, the same detections out, ties included."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(6, 4, generator=generator).cumsum(-1) * 60
    boxes = places[torch.randint(0, 6, (800,), generator=generator)] + torch.rand(800, 4, generator=generator) * 8
    scores = torch.randint(0, 50, (800, 3), generator=generator) / 50
    here = postprocess(boxes, scores, 0.3, 0.6, 100)
    there = postprocess(boxes.to(device), scores.to(device), 0.3, 0.6, 100)
    assert len(here[0]) > 5
    for a, b in zip(here, there, strict=True):
        assert b.device.type == device.type
        assert torch.equal(a, b.cpu())


def test_the_average_is_the_cpus(mobile: Structure, device: torch.device) -> None:
    network = made(mobile)
    other = copy.deepcopy(network).to(device)
    averages = [Ema(net, EmaConfig(ramp_steps=4), 100) for net in (network, other)]
    for step in range(5):
        for net, average in zip((network, other), averages):
            generator = torch.Generator().manual_seed(step)
            with torch.no_grad():
                for value in net.state_dict().values():
                    drawn = torch.rand(value.shape, generator=generator)
                    value.add_(drawn.to(value) if value.is_floating_point() else 1)
            average.update()
    for name, value in averages[0].weights.items():
        torch.testing.assert_close(averages[1].weights[name].cpu(), value, rtol=1e-5, atol=1e-6)
