"""`--time`: as many epochs and evaluations as fit into a wall-clock budget, from steps that are timed first.

The run itself then is one with that many epochs, as `--epochs` would make it: the same bits.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from detector.data.loader import collate
from detector.network import Network
from detector.training.assembly import assemble
from detector.training.epoch import enter_epoch
from detector.training.machine.processes import Processes
from detector.training.run import Run, Splits
from detector.training.settings.config import TrainConfig
from detector.training.step.terms import Terms
from detector.training.timing.durations import time_option
from detector.training.timing.estimate import of_first_process
from detector.training.validation import evaluation_seconds
from search_spaces.errors import UserError
from search_spaces.saying import Say, silent
from search_spaces.structure import Structure

EVALUATION_SHARE = 0.1
"""Of the budget, at most, goes to evaluations; but one is always made, after the last epoch."""
MOST_EVALUATIONS = 20
RESERVE_SECONDS = 5.0
"""For the start and the report, besides the report's own pass over the validation images."""
SLACK = 0.04
"""Share of the budget that is left for a machine that slows down."""
MOST_EPOCHS, MOST_STEPS = 300, 20_000
"""A run ends by the first of these that lets it: more gained nothing in any training of this project."""
FEW_STEPS = 600
"""A run with fewer hardly learns: it is said, with the image size at which about as many fit."""
WARM_STEPS, TIMED_STEPS = 2, 4


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run's parts take on this machine, seconds: a step (loading included), an evaluation, reading all pictures."""

    step: float
    evaluation: float
    reading: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """epochs, an evaluation every so many of them, and the seconds that all of it takes."""

    epochs: int
    every_epochs: int
    seconds: float


def plan(minutes: float, steps_per_epoch: int, cost: Cost) -> Plan:
    """The most epochs that fit, with an evaluation after the last and others within a tenth of the time.

    Raises UserError when not even one epoch fits: it says what does.
    """
    budget = 60 * minutes
    usable = budget * (1 - SLACK) - RESERVE_SECONDS - cost.reading - cost.evaluation
    epoch = steps_per_epoch * cost.step
    evaluations = min(MOST_EVALUATIONS, max(1, int(EVALUATION_SHARE * usable / cost.evaluation)))
    epochs = int((usable - evaluations * cost.evaluation) / epoch)
    if epochs < evaluations:  # short runs: fewer evaluations than epochs
        epochs = int((usable - cost.evaluation) / epoch)
        evaluations = 1
    if epochs < 1:
        raise UserError(_too_short(minutes, steps_per_epoch, cost))
    epochs = min(epochs, max(MOST_EPOCHS, MOST_STEPS // steps_per_epoch))
    every = max(1, -(-epochs // evaluations))
    done = -(-epochs // every)
    seconds = epochs * epoch + (done + 1) * cost.evaluation + cost.reading + RESERVE_SECONDS
    return Plan(epochs, every, seconds)


def _too_short(minutes: float, steps_per_epoch: int, cost: Cost) -> str:
    needed = RESERVE_SECONDS + cost.reading + 2 * cost.evaluation + steps_per_epoch * cost.step
    fits = needed / (1 - SLACK) + 1
    return (
        f"--time {time_option(60 * minutes)} is too short for one epoch: {steps_per_epoch} steps of {cost.step:.2g} s, an "
        f"evaluation and the report of {cost.evaluation:.2g} s each; --time {time_option(fits)} fits one, a good training "
        "takes some 50: give more time, or train at a smaller --image-size"
    )


def fitted(
    config: TrainConfig,
    structure: Structure,
    splits: Splits,
    folder: Path,
    processes: Processes,
    say: Say,
    terms: Terms,
) -> TrainConfig:
    """The settings with as many epochs and evaluations as fit into `config.minutes`; steps are timed for it.

    structure: as it is trained. Nothing is written. Raises UserError when not one epoch fits.
    """
    assert config.minutes is not None
    trial = assemble(Network(structure), splits, config, folder, processes, silent, terms=terms, trial=True)
    cost = measure(trial)
    trial.stop_workers()
    steps = len(trial.train_loader)
    chosen = plan(config.minutes, steps, cost)
    say(
        f"time {time_option(60 * config.minutes)}: {chosen.epochs} epochs of {steps} steps at {cost.step:.2g} s, an "
        f"evaluation of {cost.evaluation:.2g} s every {chosen.every_epochs}: about {chosen.seconds / 60:.3g} min with "
        "the report"
    )
    smaller = smaller_side(chosen.epochs * steps, max(structure.image_size))
    if smaller is not None:
        say(
            f"  {chosen.epochs * steps} steps are few: give more time, or train a structure for about {smaller} px "
            f"(--image-size {smaller}), where some {FEW_STEPS} fit"
        )
    evaluation = config.eval.model_copy(update={"every_epochs": chosen.every_epochs})
    # Batch and precision are not chosen again: the steps were timed with these.
    kept = {name: getattr(trial.config, name) for name in ("batch_size", "accumulate", "amp")}
    return config.model_copy(update={"epochs": chosen.epochs, "eval": evaluation, **kept})


def smaller_side(steps: int, side: int) -> int | None:
    """The longer side, px, at which about `FEW_STEPS` fit where `steps` do at `side`; None where those are enough.

    A step's time goes with the area; a network cannot do much with under 96 px.
    """
    if steps >= FEW_STEPS:
        return None
    smaller = 32 * max(3, int(side * (steps / FEW_STEPS) ** 0.5 / 32))
    return smaller if smaller < side else None


def measure(run: Run) -> Cost:
    """Time steps of `run` and a few validation images. The run's weights change: it is to be thrown away."""
    data, size = run.train_set, run.train_loader.batch_size or 1
    enter_epoch(data, run.config, 0)
    run.stepper.module.train()
    order = data.order()[:size]
    started = time.perf_counter()
    batch = collate([data[int(index)] for index in order])
    first_read = time.perf_counter() - started
    started = time.perf_counter()
    collate([data[int(index)] for index in order])
    loading = time.perf_counter() - started
    steps = []
    for _ in range(WARM_STEPS + TIMED_STEPS):
        started = time.perf_counter()
        run.stepper.run(batch.to(run.processes.device))
        steps.append(time.perf_counter() - started)
    step, workers = median(steps[WARM_STEPS:]), run.train_loader.num_workers
    together = max(step, loading / workers) if workers else step + loading
    # What the first pass over the pictures costs besides: they are read and decoded, then kept.
    reading = max(0.0, first_read - loading) / size * len(data) / max(workers, 1)
    costs = (together, evaluation_seconds(run), reading)
    return Cost(*(of_first_process(seconds, run) for seconds in costs))
