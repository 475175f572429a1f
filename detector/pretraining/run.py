"""The loop of a pre-training: steps over random crops, saved on the way, and the checkpoint that training starts from."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from tqdm import tqdm

from detector.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from detector.data.loader import Loader, start_worker
from detector.network import Network
from detector.pretraining.module import PretrainingModule
from detector.pretraining.pictures import Pictures
from detector.pretraining.settings import PretrainSettings
from detector.training.machine.processes import autocast_type
from detector.training.optimizer import build_optimizer, set_rate
from detector.training.optimizer.ema import Ema, keep_statistics_fresh
from detector.training.optimizer.schedule import Schedule
from detector.training.timing.durations import time_option
from search_spaces.errors import UserError
from search_spaces.saying import Say

NO_CLASS = "(no class: pre-trained features)"
SAVE_SECONDS = 120.0
WARM_STEPS, TIMED_STEPS = 2, 6
SHOWN_EVERY = 10
MOST_BAD_STEPS = 10
MEAN_STEPS = 20
_STREAM = 3
"""Keeps the distiller's draws apart from those of the pictures."""


@dataclass(slots=True, kw_only=True)
class Pretraining:
    """A pre-training under way. `step`: steps done of `schedule.total_steps`; first, recent: means of the loss, of the
    first steps and of late ones (moving). asked: the settings that it was begun with; what was timed is in `settings`.
    teacher: fingerprint of its weights."""

    module: PretrainingModule
    pictures: Pictures
    settings: PretrainSettings
    asked: PretrainSettings
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    ema: Ema
    dtype: torch.dtype | None
    teacher: str = ""
    step: int = 0
    first: float = 0.0
    recent: float = 0.0
    seconds: float = 0.0

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device


def begin(
    network: Network, module: PretrainingModule, pictures: Pictures, settings: PretrainSettings, say: Say
) -> Pretraining:
    """A pre-training at step 0. Some steps are timed first, and their changes thrown away: with `settings.minutes`, and
    with `amp: auto` on a CPU that computes in bf16, where the quicker type is taken."""
    asked = settings
    if settings.batch_size > len(pictures):
        say(f"note: batches of {len(pictures)}, not {settings.batch_size}: there are no more pictures")
        settings = replace(settings, batch_size=len(pictures))
    device = next(module.parameters()).device
    both = settings.amp == "auto" and device.type == "cpu" and autocast_type("auto", device) is not None
    if both or settings.steps is None:
        state = {key: value.clone() for key, value in module.state_dict().items()}
        times = {}
        for amp in ("bf16", "off") if both else (settings.amp,):
            trial = replace(settings, amp=amp)
            times[amp] = _seconds_per_step(_assembled(network, module, pictures, trial, 1))
            module.load_state_dict(state)
        quicker = min(times, key=times.__getitem__)
        settings, seconds = replace(settings, amp=quicker), times[quicker]
    if settings.steps is None:
        assert settings.minutes is not None
        steps = max(1, int(60 * settings.minutes / seconds))
        epochs = steps * settings.batch_size / len(pictures)
        say(
            f"time {time_option(60 * settings.minutes)}: {steps} steps of {seconds:.2g} s, {epochs:.1f} times over the "
            "pictures"
        )
        settings = replace(settings, steps=steps)
    assert settings.steps is not None
    run = _assembled(network, module, pictures, settings, settings.steps)
    run.asked = asked
    return run


def _assembled(
    network: Network, module: PretrainingModule, pictures: Pictures, settings: PretrainSettings, steps: int
) -> Pretraining:
    optimizer = build_optimizer(module, settings.optimizer, settings.batch_size, steps)
    schedule = Schedule(steps, min(settings.warmup_steps, steps // 5), 0, settings.floor_ratio)
    device = next(module.parameters()).device
    keep_statistics_fresh(network, settings.ema, steps)
    return Pretraining(
        module=module, pictures=pictures, settings=settings, asked=settings, optimizer=optimizer, schedule=schedule,
        ema=Ema(network, settings.ema, steps), dtype=autocast_type(settings.amp, device),
    )  # fmt: skip


def run_to_end(run: Pretraining, state_file: Path) -> None:
    """All steps that are left. Writes `state_file` every two minutes and when it is interrupted.

    Raises UserError with advice when the loss is not finite ten times in a row.
    """
    run.module.train()
    bad, saved, started = 0, time.monotonic(), time.perf_counter()
    total = run.schedule.total_steps
    try:
        with tqdm(total=total, initial=run.step, desc="pretrain", unit="step", disable=None) as bar:
            for images in _batches(run):
                loss = take_step(run, images)
                bad = 0 if np.isfinite(loss) else bad + 1
                if bad >= MOST_BAD_STEPS:
                    raise UserError(
                        f"pretrain stopped at step {run.step}: the loss was not finite {bad} steps in a row; lower "
                        "--learning-rate, or use --amp off"
                    )
                bar.update()
                if run.step % SHOWN_EVERY == 0:
                    bar.set_postfix(loss=f"{run.recent:.3f}")
                if time.monotonic() - saved > SAVE_SECONDS and run.step < total:
                    run.seconds, started = run.seconds + time.perf_counter() - started, time.perf_counter()
                    save_state(run, state_file)
                    saved = time.monotonic()
        run.seconds += time.perf_counter() - started
    except KeyboardInterrupt:
        run.seconds += time.perf_counter() - started
        save_state(run, state_file)
        raise


def take_step(run: Pretraining, images: Tensor) -> float:
    """One update from a batch of images (B, 3, H, W) uint8; the loss. A step that is not finite changes no weight."""
    rate = run.settings.optimizer.learning_rate_per_image * run.settings.batch_size * run.schedule.factor(run.step)
    set_rate(run.optimizer, rate)
    generator = torch.Generator().manual_seed(_draws(run.settings.seed, run.step))
    images = images.to(run.device, torch.float32, memory_format=torch.channels_last)
    with torch.autocast(run.device.type, dtype=run.dtype, enabled=run.dtype is not None):
        loss = run.module(images, generator)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(run.module.parameters(), run.settings.optimizer.clip_norm or float("inf"))
    value = float(loss.detach())
    if np.isfinite(value) and bool(torch.isfinite(norm)):
        run.optimizer.step()
        run.ema.update()
        share = 1 / min(run.step + 1, MEAN_STEPS)
        run.recent += (value - run.recent) * share
        if run.step < SHOWN_EVERY:
            run.first = run.recent
    run.step += 1
    return value


def save_state(run: Pretraining, path: Path) -> None:
    """All that going on needs, to the bit on a CPU."""
    training = {
        "settings": run.settings.plain(), "step": run.step, "first": run.first, "recent": run.recent,
        "seconds": run.seconds, "optimizer": run.optimizer.state_dict(), "updates": run.ema.updates,
        "compared": run.module.compared.state_dict(), "pictures": len(run.pictures), "asked": run.asked.plain(),
        "teacher": run.teacher,
    }  # fmt: skip
    save_checkpoint(_checkpoint(run, run.module.network.state_dict(), ema=run.ema.weights, training=training), path)


def saved_settings(path: Path, asked: PretrainSettings, given: Mapping[str, str], say: Say) -> PretrainSettings:
    """The settings that a saved state began with, with the loader processes of now. `say` hears of the options among `given`,
    by field, that `asked` has otherwise.

    Raises UserError when there is no state.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file, so there is no stopped pre-training to go on with; leave out --resume")
    saved = load_checkpoint(path).training
    if "asked" not in saved:
        raise UserError(f"{path}: holds no state of a pre-training of this version; delete it, and leave out --resume")
    began = PretrainSettings.from_plain(saved["asked"])
    others = [option for name, option in given.items() if getattr(began, name) != getattr(asked, name)]
    if others:
        say(f"note: it goes on as it began; what the command says otherwise does not count: {', '.join(others)}")
    return replace(PretrainSettings.from_plain(saved["settings"]), workers=asked.workers)


def take_up(run: Pretraining, path: Path) -> None:
    """Go on from a saved state. Raises UserError when it is of another structure or teacher, or of other pictures."""
    checkpoint = load_checkpoint(path)
    saved = checkpoint.training
    if checkpoint.structure.with_classes(1) != run.module.network.structure.with_classes(1):
        raise UserError(
            f"{path}: its structure is another; leave out --resume, or name the structure that it began with"
        )
    if saved.get("pictures") != len(run.pictures):
        raise UserError(
            f"{path}: began with {saved.get('pictures')} pictures, found are {len(run.pictures)}; expected the same --images"
        )
    if saved["teacher"] != run.teacher:
        raise UserError(f"{path}: began with another teacher; name that one, or delete the file and leave out --resume")
    run.asked = PretrainSettings.from_plain(saved["asked"])
    run.module.network.load_state_dict(dict(checkpoint.weights))
    run.module.compared.load_state_dict(saved["compared"])
    run.optimizer.load_state_dict(saved["optimizer"])
    assert checkpoint.ema is not None
    run.ema.restore(checkpoint.ema, saved["updates"])
    run.step, run.first, run.recent, run.seconds = (saved[key] for key in ("step", "first", "recent", "seconds"))


def write_start(run: Pretraining, path: Path) -> None:
    """The checkpoint of the averaged weights, for `train --weights`."""
    metrics = {"first_loss": run.first, "last_loss": run.recent, "steps": float(run.step), "seconds": run.seconds}
    save_checkpoint(_checkpoint(run, run.ema.weights, metrics=metrics), path)


def _checkpoint(run: Pretraining, weights: object, **more: object) -> Checkpoint:
    return Checkpoint(structure=run.module.network.structure, class_names=(NO_CLASS,), weights=weights, **more)  # type: ignore[arg-type]


def _batches(run: Pretraining) -> Iterator[Tensor]:
    """The batches of all steps that are left, each a function of the seed and the step alone."""
    sampler = _Steps(run)
    loader: Loader[Tensor] = Loader(
        run.pictures, batch_sampler=sampler, num_workers=run.settings.workers, worker_init_fn=start_worker,
        generator=torch.Generator().manual_seed(run.settings.seed),
    )  # fmt: skip
    return iter(loader)


class _Steps(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index): workers draw ahead, so that the epoch goes with the index."""

    def __init__(self, run: Pretraining) -> None:
        self._pictures, self._size = run.pictures, run.settings.batch_size
        self._start, self._end = run.step, run.schedule.total_steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = len(self._pictures) // self._size
        order_of, order = -1, np.arange(0)
        for step in range(self._start, self._end):
            epoch, batch = divmod(step, per_epoch)
            if epoch != order_of:
                order_of, order = epoch, self._pictures.order(epoch)
            yield [(epoch, int(index)) for index in order[batch * self._size : (batch + 1) * self._size]]

    def __len__(self) -> int:
        return self._end - self._start


def _seconds_per_step(trial: Pretraining) -> float:
    trial.module.train()
    trial.schedule = replace(trial.schedule, total_steps=WARM_STEPS + TIMED_STEPS)
    times = [time.perf_counter()]
    for images in _batches(trial):
        take_step(trial, images)
        times.append(time.perf_counter())
    return (times[-1] - times[WARM_STEPS]) / TIMED_STEPS


def _draws(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, _STREAM]).generate_state(1)[0])
