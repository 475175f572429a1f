"""Images per second of training, and where the time goes. Prints JSON.

    python benchmarks/training_speed.py DATA [--structure Ns] [--size 320] [--batch 16] [--device cpu] [--threads 2]

Everything measured is the training's own code: `loop` are epochs of the real loop, with pictures to be decoded (`cold`:
from files that the system has in memory) and with those it keeps decoded (`cached`). The parts are functions of it, timed
where they are called:

    loading_ms     per picture or call, in one process; by itself, so loader processes do not change it
    step_ms        per step: forward, criterion (assign within it), backward, optimizer, average (EMA), and the rest of
                   the step (copies of statistics, gradient norm, the wait for losses)
    evaluation_ms  per image: forward, suppression, COCO's matching; per evaluation: building the deployed network

With loader processes (GPUs, CPUs of four cores or more) loading runs beside the step and an epoch takes the longer of
both; with none (`loader_processes` 0) it takes the sum. Evaluation of an untrained network finds what chance gives:
pass --weights for a usual number of detections.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _clock import Clock
from tqdm import tqdm

from detector.data import augment, cache, dataset, loader
from detector.data.annotations import Annotations
from detector.data.dataset import DetectionDataset
from detector.data.formats import load_split
from detector.evaluation import Metrics, inference
from detector.network import Network
from detector.training import validation
from detector.training.epoch import enter_epoch
from detector.training.loop import train_one_epoch
from detector.training.run import EpochPart, Run, Splits
from detector.training.settings.config import TrainConfig, build_config
from detector.training.settings.presets import preset_for, preset_values
from detector.training.start import new_run
from detector.training.timing.estimate import Pace
from search_spaces.saying import silent
from search_spaces.text import resolve_structure

PARTS_OF_STEP = ("forward", "criterion", "backward", "optimizer", "average")


def loading(images: Annotations, config: TrainConfig, size: tuple[int, int], batch: int) -> dict[str, Any]:
    """Milliseconds of decoding (per picture), of each augmentation (per call), of a whole sample and of a batch."""
    cpu = torch.device("cpu")
    samples = DetectionDataset(images, size, config.augment, config.seed)
    enter_epoch(samples, config, config.epochs // 2)
    cold, warm, whole = Clock(cpu), Clock(cpu), Clock(cpu)
    with cold.listening((cache, "read_image", "decode"), (cache, "resize_stretch", "stretch")):
        for index in range(len(images)):
            samples._source(index)
    names = {"_mosaic": "mosaic", "_affine": "affine", "_mixup": "mixup", "augment_boxes": "sada", "jitter": "colour"}
    listened = [(augment, function, name) for function, name in names.items()]
    with warm.listening((dataset, "augment", "augment"), *listened):
        for index in range(len(images)):
            samples[index]
    ready = []
    for index in range(len(images)):
        with whole.part("sample_cached"):
            ready.append(samples[index])
    for start in range(0, len(images) - batch + 1, batch):
        with whole.part("collate"):
            loader.collate(ready[start : start + batch])
    return {
        **cold.medians(), **warm.medians(), **whole.medians(),
        "calls_per_image": {name: round(len(times) / len(images), 2) for name, times in warm.times.items()},
    }  # fmt: skip


def loop_speed(run: Run, repeats: int) -> dict[str, float]:
    """Images per second of whole epochs: medians over `repeats`, after one that is not counted."""
    found: dict[str, list[float]] = {"cold": [], "cached": []}
    for number in range(2 * repeats + 1):
        kind = "cold" if number % 2 else "cached"
        if kind == "cold":
            run.train_set._source._filled[:] = 0
        speed = _epoch(run)["images_per_second"]
        if number:
            found[kind].append(speed)
    return {kind: round(statistics.median(speeds), 2) for kind, speeds in found.items()}


def step_parts(run: Run, repeats: int) -> dict[str, float]:
    """Milliseconds of a step and its parts: medians over the steps of `repeats` epochs."""
    clock = Clock(run.processes.device)
    stepper = run.stepper
    module: Any = stepper.module
    places = [
        (stepper.ema, "update", "average"), (stepper.optimizer, "step", "optimizer"),
        (torch.Tensor, "backward", "backward"), (module.criterion, "assign", "assign"),
        (module.criterion, "forward", "criterion"), (module, "_forward_raw", "forward"),
    ]  # fmt: skip
    enter_epoch(run.train_set, run.config, run.progress.epoch)
    with clock.listening(*places):
        for _ in range(repeats):
            for batch in run.train_loader:
                with clock.part("to_device"):
                    batch = batch.to(run.processes.device)
                with clock.part("step"):
                    stepper.run(batch)
    found = clock.medians()
    found["rest"] = round(found["step"] - sum(found[name] for name in PARTS_OF_STEP), 2)
    share = (found["criterion"] + _criterion_backward(run)) / found["step"]
    return {**found, "assign_and_loss_percent": round(100 * share, 1)}


def _criterion_backward(run: Run) -> float:
    """Milliseconds of the backward pass from the loss to the head's outputs, which is a part of `backward`."""
    module: Any = run.stepper.module
    batch = next(iter(run.train_loader)).to(run.processes.device)
    with torch.no_grad():
        raw = module._forward_raw(batch.images.to(torch.float32, memory_format=torch.channels_last))
    timer = Clock(run.processes.device)
    for _ in range(5):
        leaves = [value.detach().requires_grad_() for value in (raw.cls_logits, raw.reg_logits)]
        total = module.criterion(*leaves, raw.priors, batch)["total"]
        with timer.part("backward"):
            total.backward()
    return timer.medians()["backward"]


def evaluation_parts(run: Run, repeats: int) -> dict[str, float]:
    """Milliseconds an image of an evaluation's parts, pictures cached; `deploy` once per evaluation."""
    run.stepper.module.eval()
    images, clock, metrics = len(run.val_set), Clock(run.processes.device), None
    validation.evaluate_run(run)
    places = [
        (Network, "deploy", "deploy"), (Network, "forward", "forward"), (inference, "postprocess", "suppression"),
        (validation, "detect_all", "detect"), (validation, "scored", "matching"),
    ]  # fmt: skip
    with clock.listening(*places):
        for _ in range(repeats):
            with clock.part("whole"):
                metrics = validation.evaluate_run(run).metrics
    assert isinstance(metrics, Metrics)
    found = clock.sums(images * repeats)
    found["loading_and_rest"] = round(found.pop("detect") - found["forward"] - found["suppression"], 3)
    deploy = statistics.median(clock.times["deploy"])
    return {**found, "deploy": round(deploy, 2), "ap50": round(metrics.ap50, 4)}


def _epoch(run: Run) -> dict[str, float]:
    run.progress.part = EpochPart()
    return train_one_epoch(run, Pace(told=True), show=False)


def measure(splits: Splits, options: argparse.Namespace, amp: str, preset: str, bar: Any) -> dict[str, Any]:
    """The loop, the step and the evaluation in one type of arithmetic."""
    structure = resolve_structure(options.structure)
    direct = {
        "batch_size": options.batch, "amp": amp, "device": options.device, "workers": options.workers,
        "image_size": [options.size, options.size], "epochs": 100, "seed": options.seed,
    }  # fmt: skip
    config = build_config(preset_values(preset, structure), direct=direct)
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(structure, splits, config, Path(folder) / "run", silent, options.weights)
        # In the middle of the strong epochs, for SADA's probabilities.
        run.progress.epoch = config.epochs // 2
        result: dict[str, Any] = {"amp": amp, "loader_processes": run.train_loader.num_workers}
        result["loop_images_per_second"] = loop_speed(run, options.repeats)
        bar.update()
        result["step_ms"] = step_parts(run, options.repeats)
        bar.update()
        result["evaluation_ms_per_image"] = evaluation_parts(run, options.repeats)
        bar.update()
        if amp == options.amp[0]:
            result["loading_ms"] = loading(splits.train, config, run.train_set.image_size, options.batch)
    return result


def few(images: Annotations, number: int, seed: int) -> Annotations:
    """`number` of the images, or all."""
    return images.subset(np.random.default_rng(seed).permutation(len(images))[:number].tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--structure", default="Ns", help="shipped name or file")
    parser.add_argument("--size", type=int, default=320, help="image side in pixels, a multiple of 32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=64, help="of the training split; at least one batch")
    parser.add_argument("--repeats", type=int, default=3, help="epochs of --images that are timed, of each kind")
    parser.add_argument("--preset", help="default: by the number of training images")
    parser.add_argument("--amp", nargs="+", default=["off", "bf16"], choices=["off", "bf16", "fp16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, help="loader processes; default: as training chooses")
    parser.add_argument("--weights", type=Path, help="checkpoint to start from")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if min(options.batch, options.repeats, options.threads) < 1 or options.images < options.batch:
        parser.error("counts must be positive, and --images at least --batch")
    torch.set_num_threads(options.threads)
    train, _ = load_split(options.data, "train")
    val, _ = load_split(options.data, "val", train.class_names)
    preset = options.preset or preset_for(len(train))
    splits = Splits(str(options.data), few(train, options.images, options.seed), few(val, options.images, options.seed))
    with tqdm(total=3 * len(options.amp), desc="training speed") as bar:
        runs = [measure(splits, options, amp, preset, bar) for amp in options.amp]
    keys = ("structure", "size", "batch", "device", "threads", "repeats")
    about = {**{key: getattr(options, key) for key in keys}, "images": len(splits.train), "preset": preset}
    print(json.dumps({**about, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
