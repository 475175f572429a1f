"""How long a run will take, told once its first steps are measured."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field

import torch
from torch import distributed

from detector.training.run import Run
from detector.training.timing.durations import clock
from detector.training.validation import evaluation_seconds

WARM_STEPS = 2
"""Not counted: memory, kernels and loader processes settle in them."""
MEASURED_STEPS = 8
FAR_ABOVE = 1.3
"""A run that will take so many times its planned length says so."""
SAVE_SECONDS = 20
"""Of training between two saves at the ends of epochs, about, where epochs are shorter: on 150 images, a save after every
epoch would take a twentieth of a run's time."""


@dataclass(slots=True)
class Pace:
    """Times of the first steps of a start of the program, loading included.

    save_every: batches between two saves within an epoch, None until a step's time is known, and where there are none.
    save_epochs: epochs between two saves at their ends; 1 until a step's time is known.
    """

    times: list[float] = field(default_factory=lambda: [time.perf_counter()])
    told: bool = False
    save_every: int | None = None
    save_epochs: int = 1

    def tick(self) -> bool:
        """Call after every step; True once enough steps are measured and nothing was told yet."""
        if not self.told:
            self.times.append(time.perf_counter())
        return not self.told and len(self.times) > WARM_STEPS + MEASURED_STEPS

    @property
    def step_seconds(self) -> float:
        """Mean of the measured steps."""
        times = self.times[WARM_STEPS:] if len(self.times) > WARM_STEPS + 1 else self.times
        return (times[-1] - times[0]) / max(len(times) - 1, 1)


def tell_estimate(run: Run, pace: Pace) -> None:
    """Say once how long the rest of the run takes, and when last.pt is written. Every process calls it at the same step."""
    pace.told = True
    seconds, steps = of_first_process(pace.step_seconds, run), len(run.train_loader)
    if run.config.checkpoint_minutes is not None:
        between = 60 * run.config.checkpoint_minutes
        pace.save_every = max(1, round(between / max(seconds, 1e-9)))
        pace.save_epochs = max(1, int(min(between, SAVE_SECONDS) / max(seconds * steps, 1e-9)))
    epoch = run.progress.epoch
    epochs_left = run.config.epochs - epoch
    steps_left = epochs_left * steps - run.progress.part.batches
    if not run.processes.is_main or steps_left <= 0:
        return
    evaluations = num_evaluations(epoch, run.config.epochs, run.config.eval.every_epochs)
    each = evaluation_seconds(run)
    left = steps_left * seconds + evaluations * each
    done = (datetime.datetime.now() + datetime.timedelta(seconds=left)).strftime("%a %H:%M")
    run.say(
        f"estimate: about {clock(left)} to go, done {done} ({epochs_left} epochs of {steps} steps at "
        f"{seconds:.2g} s; {evaluations} evaluations at {each:.2g} s)"
    )
    planned = 60 * (run.config.minutes or float("inf"))
    if run.progress.seconds + left > FAR_ABOVE * planned:
        run.say(
            f"steps are slower than when this run was planned for {clock(planned)} (a busy machine?): it takes longer; "
            "to plan anew, stop it and start it again without --resume"
        )


def num_evaluations(epoch: int, epochs: int, every: int) -> int:
    """Evaluations after the epochs `epoch` + 1 to `epochs`: every `every` epochs, and after the last."""
    return sum(number == epochs or number % every == 0 for number in range(epoch + 1, epochs + 1))


def of_first_process(value: float, run: Run) -> float:
    """The first process's value, in every process of the run."""
    if run.processes.world_size == 1:
        return value
    shared = torch.tensor(value, device=run.processes.device)
    distributed.broadcast(shared, 0)
    return float(shared)
