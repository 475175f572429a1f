"""Training speed: the loop's own step in every precision, beside the plain network, and with the loader.

`step_ms`: Stepper.run on a batch that is on the device already. `plain_ms`: forward and backward of the same network
alone, in the same precision and layout: what the card needs for these convs. `criterion_percent`: assignment and loss,
forward and backward, of a step whose parts are waited for one by one. `loop`: with loader processes, pictures decoded
and kept in memory; `waiting_percent` of it the loop waited for a batch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice, product
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from _call import Call, parse
from _sets_here import data_set
from machine_step import wait

sys.path.append(str(Path(__file__).resolve().parents[1]))

from _clock import Clock
from assign_and_loss import random_batch

from detector.data.loader import Batch
from detector.training.run import Run, Splits
from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_values
from detector.training.start import load_splits, new_run
from search_spaces.saying import silent
from search_spaces.text import resolve_structure

STRUCTURES = ("S", "T", "Ns", "M", "L")
KINDS = ("bf16", "fp16", "off", "compiled")
"""`off` is fp32 (on a GPU convs in TF32); `compiled` is bf16 through torch.compile."""
SIDE, BOXES = 640, 20
WARM_STEPS, TIMED_SECONDS, FEWEST_STEPS = 4, 1.0, 5
LOOP_STEPS = 24
TYPICAL_SECONDS = {"compiled": 45.0}
"""What one of a kind takes at least, if none was timed yet: so that none is begun that cannot end."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time. `loop`: with the loader too."""

    structure: str
    batch: int
    kind: str
    loop: bool = False

    @property
    def name(self) -> str:
        return f"{self.structure} {self.batch} {self.kind}"


def cases(*, quick: bool) -> list[Case]:
    """In the order of what one would know first: time may be up before the last."""
    if quick:
        return [Case("Ns", 2, "off", loop=True), Case("Ns", 2, "bf16")]
    first = [Case(name, 64, "bf16", loop=True) for name in STRUCTURES] + [Case(name, 16, "bf16") for name in STRUCTURES]
    first += [Case("S", 64, "compiled"), Case("S", 64, "fp16"), Case("S", 64, "off")]
    rest = [Case(name, batch, kind) for kind, batch, name in product(KINDS, (64, 16), STRUCTURES)]
    names = {case.name for case in first}
    return first + [case for case in rest if case.name not in names]


def build(case: Case, splits: Splits, side: int, device: str, folder: Path) -> Run:
    """A training run as `tinynas train` makes it, published recipe."""
    structure = resolve_structure(case.structure)
    direct = {
        "batch_size": case.batch, "amp": "bf16" if case.kind == "compiled" else case.kind, "device": device,
        "image_size": [side, side], "compile": case.kind == "compiled",
    }  # fmt: skip
    values = preset_values("published", structure)
    return new_run(structure, splits, build_config(values, direct=direct), folder, silent)


def timed_ms(run: Any, device: torch.device) -> float:
    """Milliseconds of one call, over about a second of them."""
    for _ in range(WARM_STEPS):
        run()
    wait(device)
    start, steps = time.perf_counter(), 0
    while steps < FEWEST_STEPS or time.perf_counter() - start < TIMED_SECONDS:
        run()
        steps += 1
    wait(device)
    return 1e3 * (time.perf_counter() - start) / steps


def plain_ms(run: Run, batch: Batch) -> float:
    """Forward and backward of the network alone, in the training's precision."""
    module: Any = run.stepper.module
    images = batch.images.to(torch.float32, memory_format=torch.channels_last)
    dtype = module._dtype

    def forward() -> list[torch.Tensor]:
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            raw = module._forward_raw(images)
        return [raw.cls_logits, raw.reg_logits]

    def once() -> None:
        run.stepper.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(forward(), gradients)

    gradients = [torch.full_like(value, 1e-6) for value in forward()]
    return timed_ms(once, images.device)


def criterion_percent(run: Run, batch: Batch) -> float:
    """Share of a step that is assignment and loss, their backward pass included."""
    module: Any = run.stepper.module
    device = batch.images.device
    clock = Clock(device)
    with torch.no_grad():
        raw = module.network.forward_raw(batch.images.to(torch.float32, memory_format=torch.channels_last))
    for _ in range(FEWEST_STEPS):
        leaves = [value.detach().float().requires_grad_() for value in (raw.cls_logits, raw.reg_logits)]
        with clock.part("criterion"):
            module.criterion(*leaves, raw.priors, batch)["total"].backward()
        with clock.part("step"):
            run.stepper.run(batch)
    found = clock.medians()
    return round(100 * found["criterion"] / found["step"], 1)


def epochs(run: Run) -> Iterator[Batch]:
    """The loader's batches, epoch after epoch, in the middle of the strong epochs."""
    for epoch in count():
        run.train_set.set_epoch(epoch, progress=(0.5, 0.5))
        yield from run.train_loader


def loop(run: Run, steps: int) -> dict[str, float]:
    """Images per second with the loader, and the share of the time that the loop waited for it; cached pictures."""
    device, batches = run.processes.device, epochs(run)
    for batch in islice(batches, len(run.train_loader) + 1):  # pictures are decoded in the first pass
        run.stepper.run(batch.to(device, non_blocking=True))
    waited, images, began = 0.0, 0, time.perf_counter()
    for _ in range(steps):
        start = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - start
        run.stepper.run(batch.to(device, non_blocking=True))
        images += len(batch)
    wait(device)
    seconds = time.perf_counter() - began
    run.stop_workers()
    return {
        "images_per_second": round(images / seconds, 1), "waiting_percent": round(100 * waited / seconds, 1),
        "loader_processes": run.train_loader.num_workers,
    }  # fmt: skip


def measure(case: Case, splits: Splits, side: int, call: Call) -> dict[str, Any]:
    """Everything about one case."""
    started = time.monotonic()
    torch._dynamo.reset()  # networks that were compiled before count towards its limit
    run = build(case, splits, side, call.device, call.work / "run")
    device = run.processes.device
    run.stepper.module.train()
    batch = random_batch(case.batch, BOXES, side, splits.train.num_classes, device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step_ms = timed_ms(lambda: run.stepper.run(batch), device)
    found: dict[str, Any] = {"step_ms": round(step_ms, 2), "images_per_second": round(1e3 * case.batch / step_ms, 1)}
    if device.type == "cuda":
        found["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    plain = plain_ms(run, batch)
    found.update(plain_ms=round(plain, 2), step_to_plain=round(step_ms / plain, 3))
    found["criterion_percent"] = criterion_percent(run, batch)
    if case.loop:
        found["loop"] = loop(run, LOOP_STEPS if not call.quick else 2)
    return {**found, "seconds": round(time.monotonic() - started, 1)}


def draw(found: dict[str, Any], path: Path) -> None:
    """Images per second of every case, beside the plain network's, as a PNG."""
    from matplotlib.figure import Figure

    names = list(found)
    figure = Figure(figsize=(8, 1 + 0.3 * len(names)), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    plain = [found[name]["images_per_second"] * found[name]["step_to_plain"] for name in names]
    axes.barh(names, plain, color="0.85", label="plain network, forward and backward")
    axes.barh(names, [found[name]["images_per_second"] for name in names], height=0.5, label="training step")
    axes.invert_yaxis()
    axes.set(xlabel="images per second")
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path)


def main(call: Call) -> None:
    folder, told = data_set(call, "signs")
    splits = load_splits(folder, print)
    side = 64 if call.quick else SIDE
    found: dict[str, Any] = {"image_size": side, "data": told, "cases": {}, "left_out": [], "failed": {}}
    longest = dict(TYPICAL_SECONDS)
    for case in cases(quick=call.quick):
        if longest.get(case.kind, 5.0) > call.left_s:
            found["left_out"].append(case.name)
            continue
        try:
            found["cases"][case.name] = result = measure(case, splits, side, call)
            longest[case.kind] = max(result["seconds"], 3.0)
            print(case.name, result, flush=True)
        except Exception as error:  # one case that fails says nothing about the next
            found["failed"][case.name] = f"{type(error).__name__}: {str(error)[:500]}"
        call.keep(found)
    if found["cases"]:
        draw(found["cases"], call.out / "speed.png")
    if found["failed"]:
        sys.exit(1)


if __name__ == "__main__":
    main(parse(__doc__.splitlines()[0]))
