"""last.pt: all that a run needs to go on exactly, written whole, from every process."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.training.machine.processes import Processes
from detector.training.run import EpochPart, Run
from search_spaces.errors import UserError

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}")


def save_last(run: Run) -> None:
    """Write last.pt. Every process calls it, as each has random states and sums of its own; the first one writes.

    The augmentation's phase is no state: its draws follow from (seed, epoch, index) and the phase from the epoch.
    """
    stepper, device = run.stepper, run.processes.device
    mine: dict[str, Any] = {
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "part": dataclasses.asdict(run.progress.part),
    }
    ranks: list[Any] = [mine]
    if run.processes.world_size > 1:
        ranks = [None] * run.processes.world_size
        distributed.all_gather_object(ranks, mine)
    if not run.processes.is_main:
        return
    progress, bad_steps = run.progress, stepper.bad_steps
    training = {
        "epoch": progress.epoch, "step": stepper.step, "skipped": bad_steps.total, "bad_in_a_row": bad_steps.in_a_row,
        "part_size": stepper.gradients.part_size, "best_ap": progress.best_ap, "seconds": progress.seconds,
        "data": run.data, "data_fingerprint": run.data_fingerprint,
        "ema_updates": stepper.ema.updates, "optimizer": stepper.optimizer.state_dict(),
        "scaler": stepper.gradients.scaler.state_dict(), "ranks": ranks,
    }  # fmt: skip
    if stepper.terms:
        training["terms"] = {name: term.state_dict() for name, term in stepper.terms.items()}
    checkpoint = dataclasses.replace(
        run.blank, weights=stepper.network.state_dict(), ema=stepper.ema.weights, training=training
    )
    save_checkpoint(checkpoint, run.folder / "last.pt")


def restore(run: Run, checkpoint: Checkpoint) -> None:
    """Take up a run where `last.pt` left it, at an epoch's end or within one, and say where.

    Raises UserError for the state of another version.
    """
    saved, stepper, processes, progress = checkpoint.training, run.stepper, run.processes, run.progress
    assert checkpoint.ema is not None
    if "ranks" not in saved:
        last = run.folder / "last.pt"
        raise UserError(f"{last}: its training state is of another version; start anew with --weights {last}")
    stepper.network.load_state_dict(dict(checkpoint.weights))
    stepper.ema.restore(checkpoint.ema, saved["ema_updates"])
    stepper.optimizer.load_state_dict(saved["optimizer"])
    for name, term in stepper.terms.items():
        term.load_state_dict(saved["terms"][name])
    if saved["scaler"]:  # empty where the run began in another type than fp16
        stepper.gradients.scaler.load_state_dict(saved["scaler"])
    stepper.step, bad_steps = saved["step"], stepper.bad_steps
    bad_steps.total, bad_steps.in_a_row = saved["skipped"], saved["bad_in_a_row"]
    progress.epoch, progress.best_ap, progress.seconds = saved["epoch"], saved["best_ap"], saved["seconds"]
    ranks = saved["ranks"]
    if len(ranks) == processes.world_size and saved["part_size"] is not None:
        stepper.gradients.part_size = saved["part_size"]
    progress.part = _part_of(processes, [EpochPart(**rank["part"]) for rank in ranks])
    if processes.rank < len(ranks):
        mine = ranks[processes.rank]
        torch.set_rng_state(mine["rng"])
        if processes.device.type == "cuda" and mine["rng_cuda"] is not None:
            torch.cuda.set_rng_state(mine["rng_cuda"], processes.device)
    within = (
        f", {progress.part.batches} of {len(run.train_loader)} steps into the next" if progress.part.batches else ""
    )
    run.say(f"going on after epoch {progress.epoch} of {run.config.epochs}{within}")


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process was writing: files of the temporary names that writing under a rename uses."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _part_of(processes: Processes, parts: list[EpochPart]) -> EpochPart:
    """This process's part of the epoch; with another number of processes than then, an equal share of the whole."""
    if len(parts) == processes.world_size:
        return parts[processes.rank]
    first, count = parts[0], len(parts)
    sums = {name: sum(part.sums[name] for part in parts) / count for name in first.sums}
    images = round(sum(part.images for part in parts) / processes.world_size)
    return EpochPart(batches=first.batches, steps=first.steps, images=images, sums=sums, seconds=first.seconds)
