"""Evaluation of a run's averaged weights on its validation split."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from tqdm import tqdm

from detector.data.loader import Batch, collate
from detector.evaluation import Detections, Metrics, evaluate
from detector.network import Network
from detector.training.evaluator import detect_all
from detector.training.presets import postprocess_defaults
from detector.training.run import Run

TIMED_IMAGES = 8


def evaluate_run(run: Run) -> Metrics:
    """COCO metrics of the averaged weights on the validation split."""
    bar = tqdm(run.val_loader, "evaluation", disable=None, leave=False)
    return evaluate(_detections(run, bar), run.val_set.annotations)


def evaluation_seconds(run: Run) -> float:
    """About what an evaluation takes: a few images detected now, times the split."""
    images = min(TIMED_IMAGES, len(run.val_set))
    started = time.perf_counter()
    _detections(run, [collate([run.val_set[index] for index in range(images)])])
    return (time.perf_counter() - started) / images * len(run.val_set)


def _detections(run: Run, batches: Iterable[Batch]) -> Detections:
    with torch.random.fork_rng(devices=[]):  # modules, deployed ones too, draw fresh weights, which are then replaced
        network = Network(run.blank.structure)
        network.load_state_dict(run.stepper.ema.weights)
        network = network.deploy()
    network = network.to(run.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    score, iou = postprocess_defaults(run.blank.structure)
    chosen = run.config.eval
    return detect_all(
        network,
        batches,
        score_threshold=score if chosen.score_threshold is None else chosen.score_threshold,
        iou_threshold=iou if chosen.iou_threshold is None else chosen.iou_threshold,
        max_detections=chosen.max_detections,
    )
