"""Zen-score against the same computation written out, and the closed form of the entropy against forward passes."""

import argparse
import importlib.util
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tinynas.scores.zen import PERTURBATION, score_structures

QUICK = {"repeats": 1, "images": 3, "side": 64}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def narrow_res():
    """T at an eighth of its widths."""
    structure = resolve_structure("T")
    backbone = structure.backbone
    stages = [
        replace(
            stage, in_channels=stage.in_channels // 8, out_channels=stage.out_channels // 8,
            hidden_channels=stage.hidden_channels // 8,
        )
        for stage in backbone.stages
    ]  # fmt: skip
    stem = replace(backbone.stem, out_channels=backbone.stem.out_channels // 8)
    return replace(structure, backbone=replace(backbone, stem=stem, stages=tuple(stages)))


def slow_zen(structure, seed, images, side):
    """One res network, conv by conv."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 0]).generate_state(1)[0]))
    clean = torch.randn(images, 3, side, side, generator=generator)
    noise = torch.randn(images, 3, side, side, generator=generator)
    log_scales = []

    def conv_norm(x, out, kernel, stride=1):
        weight = torch.randn(out, x.shape[1], kernel, kernel, generator=generator)
        y = F.conv2d(x, weight, stride=stride, padding=kernel // 2)
        channels = y.transpose(0, 1).reshape(out, -1)
        log_scales.append(math.log(math.sqrt(channels.var(1, correction=0).mean())))
        return F.batch_norm(y, None, None, training=True, eps=1e-20)

    x = F.pixel_unshuffle(torch.cat([clean, clean + PERTURBATION * noise]), 2)
    x = F.relu(conv_norm(x, structure.backbone.stem.out_channels, 3))
    for number, stage in enumerate(structure.backbone.stages):
        for block in range(stage.depth):
            x = F.relu(conv_norm(x, stage.hidden_channels, 1))
            x = F.relu(conv_norm(x, stage.out_channels, 3, stage.stride if block == 0 else 1))
            if number == 4 and block == 0:
                x = F.silu(conv_norm(x, stage.out_channels // 2, 1))
                x = torch.cat([x, *(F.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13))], 1)
                x = F.silu(conv_norm(x, stage.out_channels, 1))
    distance = sum(float((x[i] - x[images + i]).square().sum().sqrt()) for i in range(images)) / images
    return math.log(distance) + sum(log_scales)


def test_equals_the_written_out_computation():
    structure = narrow_res()
    assert score_structures([structure], seed=4, **QUICK)[0] == pytest.approx(slow_zen(structure, 4, 3, 64), rel=1e-4)


def test_the_mean_over_repeats_is_steadier_than_one():
    structure = narrow_res()
    ones = np.array([score_structures([structure], seed=seed, **QUICK)[0] for seed in range(12)])
    means = np.array([score_structures([structure], seed=seed, **QUICK | {"repeats": 6})[0] for seed in range(12)])
    assert np.unique(ones).size == 12
    assert means.std() < ones.std()
    assert abs(means.mean() - ones.mean()) < 4 * ones.std() / math.sqrt(12)


@pytest.mark.parametrize("wrong", [{"side": 50}, {"side": 0}, {"repeats": 0}, {"images": 0}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=r"multiple of 32, the others at least 1"):
        score_structures([narrow_res()], **QUICK | wrong)


def test_no_structures_no_scores():
    assert score_structures([]).shape == (0,)


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_forward_passes_agree_with_the_closed_form_of_the_entropy(padding):
    path = Path(__file__).parents[3] / "benchmarks" / "score_closed_form.py"
    spec = importlib.util.spec_from_file_location("score_closed_form", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    args = argparse.Namespace(networks=6, side=64, images=2, repeats=1, seed=1, padding=padding)
    for space in ("res", "mob"):
        found = benchmark.compare(space, args)
        assert found["kendall_tau"] >= 0.7
        # without borders only the draw of the weights is left
        assert found["largest_deviation_percent"] < (1.0 if padding == "circular" else 6.0)
