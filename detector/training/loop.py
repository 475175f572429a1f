"""The training loop: epochs, evaluation, what is written after each, and going on after a stop."""

from __future__ import annotations

import dataclasses
import errno
import time
from multiprocessing import connection
from typing import cast

import torch
from torch import distributed
from torch.utils.data import DataLoader
from tqdm import tqdm

from detector.checkpoint import save_checkpoint
from detector.data.dataset import Sample
from detector.data.loader import ShardedSampler
from detector.evaluation import Evaluation, Metrics
from detector.training.epoch import at_drawn_size, enter_epoch
from detector.training.machine.memory import is_out_of_memory
from detector.training.record import sampling
from detector.training.record.augmented_picture import write_augmented_picture
from detector.training.record.sampling import write_sampling
from detector.training.record.state import remove_leftovers, save_last
from detector.training.run import Run
from detector.training.timing.durations import clock
from detector.training.timing.estimate import Pace, tell_estimate
from detector.training.validation import evaluate_together
from search_spaces.errors import UserError

SHOWN_EVERY = 5  # steps between two refreshes of the bar's losses


def fit(run: Run) -> Metrics | None:
    """Train from where the run is to its end. Writes the metrics after every epoch, last.pt after every evaluation and, where
    epochs are no shorter than some seconds, every epoch, best.pt at every new best AP.

    Returns the last evaluation's metrics (None on processes other than the first). Raises UserError when memory or the
    disk is exhausted, and after too many non-finite steps; the files of the last save stay whole.
    """
    if run.processes.is_main:
        remove_leftovers(run.folder)
    try:
        return _fit(run)
    except (RuntimeError, OSError, EOFError) as error:
        if is_out_of_memory(error):
            raise UserError(f"out of memory at step {run.stepper.step}; choose a smaller batch_size") from None
        if any(_has_dead_worker(loader) for loader in run.loaders):
            raise UserError("a loader process was killed; is memory short? go on with --resume") from error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            reason = f"cannot be written ({error.strerror}); free some space and go on with --resume"
            raise UserError(f"{run.folder}: {reason}") from None
        raise
    finally:
        run.stop_workers()
        run.log.close()


def _fit(run: Run) -> Metrics | None:
    evaluation, pace, progress = None, Pace(), run.progress
    if progress.epoch == 0 and progress.part.batches == 0:
        save_last(run)
        if run.processes.is_main:
            write_sampling(run.train_set, run.folder / sampling.FILE_NAME)
            write_augmented_picture(run.train_set, run.config, run.folder / "augmented.jpg")
    while progress.epoch < run.config.epochs:
        row, metrics = train_one_epoch(run, pace), None
        started = time.perf_counter()
        progress.end_epoch()
        last = progress.epoch == run.config.epochs
        due = last or progress.epoch % run.config.eval.every_epochs == 0
        found = evaluate_together(run) if due else None
        if found is not None:
            evaluation, metrics = found, found.metrics
            row.update(metrics.numbers())
            row.update({f"ap@{name}": of_set.ap for name, of_set in found.sets.items()})
            _keep_if_best(run, evaluation)
        progress.seconds += row["train_seconds"] + time.perf_counter() - started
        if run.processes.is_main:
            _log(run, row, metrics)
        # every process decides alike: only the first one has what the evaluation found
        if due or progress.epoch % pace.save_epochs == 0:
            save_last(run)
    return None if evaluation is None else evaluation.metrics


def train_one_epoch(run: Run, pace: Pace, *, show: bool = True) -> dict[str, float]:
    """One pass over the training split, or the rest of one; means of the losses, and the rate at the end.

    show: a progress bar.
    """
    epoch, part, stepper = run.progress.epoch, run.progress.part, run.stepper
    enter_epoch(run.train_set, run.config, epoch)
    cast(ShardedSampler, run.train_loader.sampler).start = part.batches * (run.train_loader.batch_size or 1)
    stepper.module.train()
    before, started = part.seconds, time.perf_counter()
    steps, title = len(run.train_loader), f"epoch {epoch + 1}/{run.config.epochs}"
    silent = None if show and run.processes.is_main else True
    with tqdm(run.train_loader, title, total=steps, initial=part.batches, disable=silent, leave=False) as bar:
        for batch in bar:
            bad = stepper.skipped
            batch = batch.to(run.processes.device, non_blocking=True)
            losses = stepper.run(at_drawn_size(batch, run.config, epoch, part.batches))
            part.add(len(batch), losses, before + time.perf_counter() - started, sound=stepper.skipped == bad)
            if part.steps % SHOWN_EVERY == 0 and part.steps:
                bar.set_postfix({name: f"{part.sums[name] / part.steps:.3f}" for name in ("cls", "dfl", "giou")})
            if pace.tick() or (part.batches == steps and not pace.told):
                tell_estimate(run, pace)
            if pace.save_every and part.batches % pace.save_every == 0 and part.batches < steps:
                save_last(run)
    return _row(run)


def _row(run: Run) -> dict[str, float]:
    """The epoch's row: means of the losses over all processes' sound steps, images and speed."""
    part = run.progress.part
    totals = torch.tensor([part.images, part.steps, *part.sums.values()], dtype=torch.float64)
    if run.processes.world_size > 1:
        totals = totals.to(run.processes.device)
        distributed.all_reduce(totals)
    images, steps, *sums = totals.tolist()
    means = {name: value / max(steps, 1) for name, value in zip(part.sums, sums)}
    return {
        "epoch": run.progress.epoch + 1, "step": run.stepper.step, "learning_rate": run.stepper.rate, **means,
        "skipped": run.stepper.skipped, "train_seconds": part.seconds, "images_per_second": images / part.seconds,
    }  # fmt: skip


def _keep_if_best(run: Run, evaluation: Evaluation) -> None:
    """best.pt, when it is the best evaluation so far."""
    metrics, progress = evaluation.metrics, run.progress
    if metrics.ap > progress.best_ap or not (run.folder / "best.pt").is_file():
        progress.best_ap = max(progress.best_ap, metrics.ap if metrics.ap == metrics.ap else -1.0)
        best = dataclasses.replace(run.blank, weights=run.stepper.ema.weights, metrics=metrics.numbers())
        save_checkpoint(best, run.folder / "best.pt")
        progress.best_evaluation = evaluation


def _log(run: Run, row: dict[str, float], metrics: Metrics | None) -> None:
    """The epoch's row into the files, and said; `row` gets the seconds of the run so far."""
    progress, epochs = run.progress, run.config.epochs
    row["seconds"] = progress.seconds
    run.log.add(row, metrics)
    left = progress.seconds / progress.epoch * (epochs - progress.epoch)
    found = f"  AP {row['ap']:.3f}  AP50 {row['ap50']:.3f}" if "ap" in row else ""
    shown = ("total", "cls", "dfl", "giou", *run.stepper.terms)
    found += "".join(f"  {key[3:]} {value:.3f}" for key, value in row.items() if key.startswith("ap@"))
    losses = "  ".join(f"{name} {row[name]:.3f}" for name in shown if name in row)
    skipped = f"  skipped {run.stepper.skipped}" if run.stepper.skipped else ""
    run.say(
        f"epoch {progress.epoch}/{epochs}  {losses}{found}  {row['images_per_second']:.1f} images/s"
        f"  left {clock(left)}{skipped}"
    )


def _has_dead_worker(loader: DataLoader[Sample]) -> bool:
    """A killed worker shows as an error of many kinds in the process that waits for it."""
    workers = getattr(getattr(loader, "_iterator", None), "_workers", ())
    try:
        return bool(connection.wait([worker.sentinel for worker in workers], timeout=1.0))
    except RuntimeError:  # torch's own word for it, from a signal handler
        return True
