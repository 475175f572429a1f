"""Evaluation of a run's weights on its validation split."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, distributed
from tqdm import tqdm

from detector.data.loader import Batch, collate
from detector.evaluation import Evaluation, SplitDetections, scored
from detector.evaluation.inference import detect_all
from detector.evaluation.settings import counted_of, selection_of
from detector.network import Network
from detector.training.run import Run
from detector.training.step.quantised import round_as_exported

TIMED_IMAGES = 8


def evaluate_run(run: Run, weights: Mapping[str, Tensor] | None = None) -> Evaluation:
    """All detections of the averaged weights, or of `weights`, in the validation split, and their metrics.

    By this process alone.
    """
    bar = tqdm(run.val_loader, "evaluation", disable=None, leave=False)
    found = _detections(run, bar, run.stepper.ema.weights if weights is None else weights)
    return scored(found, run.val_set.annotations, counted_of(run.blank))


def evaluate_together(run: Run) -> Evaluation | None:
    """`evaluate_run` of the first process's averaged weights by all processes, each on its share of the images.

    Every process calls it; the first one gets the result, the others None.
    """
    world, is_main = run.processes.world_size, run.processes.is_main
    if world == 1:
        return evaluate_run(run)
    for weight in run.stepper.ema.weights.values():  # where norms are not synchronised, their averages differ
        distributed.broadcast(weight, 0)
    bar = tqdm(run.val_share, "evaluation", disable=None if is_main else True, leave=False)
    share = _detections(run, bar, run.stepper.ema.weights)
    shares: list[Any] | None = [None] * world if is_main else None
    distributed.gather_object(share, shares)
    if shares is None:
        return None
    found = SplitDetections.interleaved(shares)
    return scored(found, run.val_set.annotations, counted_of(run.blank))


def evaluation_seconds(run: Run) -> float:
    """About what an evaluation takes: a few images detected now, times this process's share of the split."""
    images = min(TIMED_IMAGES, len(run.val_set))
    network = _network(run, run.stepper.ema.weights)
    for _ in range(2):  # the first time, kernels and memory are still being found
        started = time.perf_counter()
        batch = collate([run.val_set[index] for index in range(images)])
        detect_all(network, [batch], **selection_of(run.blank))
        seconds = time.perf_counter() - started
    return seconds / images * len(run.val_set) / run.processes.world_size


def _detections(run: Run, batches: Iterable[Batch], weights: Mapping[str, Tensor]) -> SplitDetections:
    return detect_all(_network(run, weights), batches, **selection_of(run.blank))


def _network(run: Run, weights: Mapping[str, Tensor]) -> Network:
    """In deploy form, on the run's device; rounded where training rounds."""
    with torch.random.fork_rng(devices=[]):  # modules, deployed ones too, draw fresh weights, which are then replaced
        network = Network(run.blank.structure)
        network.load_state_dict(weights)
        network = network.deploy()
    if run.config.quantise != "off":
        network = round_as_exported(network, run.config.quantise)
    return network.to(run.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
