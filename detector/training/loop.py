"""The training loop: epochs, evaluation, what is written after each, and going on after a stop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader
from tqdm import tqdm

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.data.dataset import DetectionDataset, Sample
from detector.evaluation import Metrics, evaluate
from detector.network import Network
from detector.training.config import TrainConfig
from detector.training.evaluator import detect_all
from detector.training.presets import postprocess_defaults
from detector.training.processes import Processes
from detector.training.run_log import RunLog
from detector.training.schedule import no_aug_epochs
from detector.training.step import Stepper

Say = Callable[[str], None]
SHOWN_EVERY = 5  # steps between two refreshes of the bar's losses


@dataclass(slots=True)
class Run:
    """A run under way. `epoch`: epochs done; `blank`: the checkpoint's parts that do not change; `data`: as given."""

    config: TrainConfig
    folder: Path
    data: str
    processes: Processes
    train_set: DetectionDataset
    val_set: DetectionDataset
    train_loader: DataLoader[Sample]
    val_loader: DataLoader[Sample]
    stepper: Stepper
    blank: Checkpoint
    log: RunLog
    say: Say
    epoch: int = 0
    best_ap: float = -1.0
    seconds: float = 0.0


def fit(run: Run) -> Metrics | None:
    """Train from `run.epoch` to the end. Writes last.pt and the metrics after every epoch, best.pt at every new best AP.

    Returns the last evaluation's metrics (None on processes other than the first).
    """
    metrics = None
    if run.epoch == 0 and run.processes.is_main:
        save_last(run)
    while run.epoch < run.config.epochs:
        started = time.perf_counter()
        row = train_one_epoch(run)
        run.epoch += 1
        row["train_seconds"] = time.perf_counter() - started
        last = run.epoch == run.config.epochs
        if run.processes.is_main:
            metrics = evaluate_run(run) if last or run.epoch % run.config.eval.every_epochs == 0 else None
            _finish_epoch(run, row, metrics, time.perf_counter() - started)
        if run.processes.world_size > 1:
            distributed.barrier()
    return metrics


def train_one_epoch(run: Run) -> dict[str, float]:
    """One pass over the training split; means of the losses, and the rate at the end."""
    strong = run.epoch < run.config.epochs - no_aug_epochs(run.config.schedule, run.config.epochs)
    run.train_set.set_epoch(run.epoch, strong=strong)
    run.stepper.module.train()
    sums: dict[str, float] = {}
    images = steps = 0
    title = f"epoch {run.epoch + 1}/{run.config.epochs}"
    with tqdm(run.train_loader, title, disable=None if run.processes.is_main else True, leave=False) as bar:
        for batch in bar:
            bad = run.stepper.skipped
            losses = run.stepper.run(batch.to(run.processes.device, non_blocking=True))
            images += len(batch)
            if run.stepper.skipped == bad:
                steps += 1
                sums = {name: sums.get(name, 0.0) + value for name, value in losses.items()}
            if steps % SHOWN_EVERY == 0 and steps:
                bar.set_postfix({name: f"{sums[name] / steps:.3f}" for name in ("cls", "dfl", "giou")})
    means = {name: value / max(steps, 1) for name, value in sums.items()}
    return {
        "epoch": run.epoch + 1, "step": run.stepper.step, "learning_rate": run.stepper.rate, **means,
        "images": images, "skipped": run.stepper.skipped,
    }  # fmt: skip


def evaluate_run(run: Run) -> Metrics:
    """COCO metrics of the averaged weights on the validation split."""
    network = Network(run.blank.structure)
    network.load_state_dict(run.stepper.ema.weights)
    network = network.deploy().to(run.processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    score, iou = postprocess_defaults(run.blank.structure)
    chosen = run.config.eval
    detections = detect_all(
        network,
        tqdm(run.val_loader, "evaluation", disable=None, leave=False),
        score_threshold=score if chosen.score_threshold is None else chosen.score_threshold,
        iou_threshold=iou if chosen.iou_threshold is None else chosen.iou_threshold,
        max_detections=chosen.max_detections,
    )
    return evaluate(detections, run.val_set.annotations)


def save_last(run: Run) -> None:
    """Write last.pt: all that `restore` needs."""
    stepper = run.stepper
    training: dict[str, Any] = {
        "epoch": run.epoch, "step": stepper.step, "skipped": stepper.skipped, "best_ap": run.best_ap,
        "seconds": run.seconds, "data": run.data, "ema_updates": stepper.ema.updates,
        "optimizer": stepper.optimizer.state_dict(), "scaler": stepper.scaler.state_dict(),
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }  # fmt: skip
    checkpoint = dataclasses.replace(
        run.blank, weights=stepper.network.state_dict(), ema=stepper.ema.weights, training=training
    )
    save_checkpoint(checkpoint, run.folder / "last.pt")


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Take up a run where `last.pt` left it."""
    saved, stepper = checkpoint.training, run.stepper
    assert checkpoint.ema is not None
    stepper.network.load_state_dict(dict(checkpoint.weights))
    stepper.ema.restore(checkpoint.ema, saved["ema_updates"])
    stepper.optimizer.load_state_dict(saved["optimizer"])
    stepper.scaler.load_state_dict(saved["scaler"])
    stepper.step, stepper.skipped = saved["step"], saved["skipped"]
    run.epoch, run.best_ap, run.seconds = saved["epoch"], saved["best_ap"], saved["seconds"]
    torch.set_rng_state(saved["rng"])
    if torch.cuda.is_available() and len(saved["rng_cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(saved["rng_cuda"])


def _finish_epoch(run: Run, row: dict[str, float], metrics: Metrics | None, seconds: float) -> None:
    run.seconds += seconds
    row["seconds"] = run.seconds
    row["images_per_second"] = row.pop("images") / row["train_seconds"]
    if metrics is not None:
        row.update(metrics.numbers())
        if metrics.ap > run.best_ap or not (run.folder / "best.pt").is_file():
            run.best_ap = max(run.best_ap, metrics.ap if metrics.ap == metrics.ap else -1.0)
            best = dataclasses.replace(run.blank, weights=run.stepper.ema.weights, metrics=metrics.numbers())
            save_checkpoint(best, run.folder / "best.pt")
    run.log.add(row)
    save_last(run)
    left = run.seconds / run.epoch * (run.config.epochs - run.epoch)
    found = f"  AP {metrics.ap:.3f}  AP50 {metrics.ap50:.3f}" if metrics is not None else ""
    losses = "  ".join(f"{name} {row[name]:.3f}" for name in ("total", "cls", "dfl", "giou") if name in row)
    skipped = f"  skipped {run.stepper.skipped}" if run.stepper.skipped else ""
    run.say(
        f"epoch {run.epoch}/{run.config.epochs}  {losses}{found}  {row['images_per_second']:.1f} images/s"
        f"  left {_clock(left)}{skipped}"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
