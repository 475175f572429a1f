"""From structure, data and settings to a Run: new, or taken up from its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detector.checkpoint import Checkpoint, load_checkpoint, transfer
from detector.criterion import DetectionCriterion
from detector.data.annotations import Annotations
from detector.data.dataset import DetectionDataset, check_images
from detector.data.formats import load_split
from detector.data.loader import build_loader
from detector.network import Network
from detector.training.config import TrainConfig, dump, validate
from detector.training.depthwise import speed_up_depthwise
from detector.training.ema import Ema
from detector.training.loop import Run, Say, restore
from detector.training.module import TrainingModule
from detector.training.optimizer import build_optimizer, freeze
from detector.training.process_settings import keep_freed_memory
from detector.training.processes import Processes, autocast_type, join_processes
from detector.training.run_log import RunLog
from detector.training.schedule import build_schedule
from detector.training.step import Stepper
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.structure import Structure
from search_spaces.text import format_structure

RUN_FILES = ("best.pt", "last.pt", "metrics.csv", "metrics.jsonl", "config.yaml", "structure.txt")
"""What a run writes into its folder."""
MIN_SHARE_OF_WEIGHTS = 0.5
"""Of a network, to be found in the checkpoint that it starts from: models of one family share up to 0.28 by chance."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Training and validation annotations with the same classes; `source`: the folder or YAML they came from."""

    source: str
    train: Annotations
    val: Annotations


def load_splits(data: Path, say: Say) -> Splits:
    """Both splits, the validation classes matched to the training ones by name, every picture looked at.

    Raises UserError for unsound data and for pictures that are missing, cut short or of another size.
    """
    train, report = load_split(data, "train")
    say(str(report))
    _refuse_without_boxes(train, f"{data}: the training split", "nothing can be learnt")
    val, report = load_split(data, "val", train.class_names)
    say(str(report))
    _refuse_without_boxes(val, f"{data}: the validation split", "no epoch can be called the best")
    for split in (train, val):
        check_images(split)
    return Splits(str(data), train, val)


def _refuse_without_boxes(split: Annotations, name: str, why: str) -> None:
    if split.ignore.all():
        crowds = f" ({len(split.ignore)} crowd or difficult ones aside)" if len(split.ignore) else ""
        raise UserError(
            f"{name} has {len(split)} images but not one box{crowds}, {why}; "
            "look whether the annotation files are where the layout has them"
        )


def new_run(
    structure: Structure, splits: Splits, config: TrainConfig, folder: Path, say: Say, weights: Path | None = None
) -> Run:
    """A run from epoch 0; `folder` gets structure.txt and config.yaml. `weights`: a checkpoint to start from.

    What an earlier run left in `folder` is deleted, once everything that could be refused has been checked.
    """
    start = None if weights is None else load_checkpoint(weights)
    processes = join_processes(config.device)
    if not processes.is_main:
        say = _silent
    num_classes = splits.train.num_classes
    if structure.head.num_classes != num_classes:
        say(f"classes: {num_classes} from the data (the structure file has {structure.head.num_classes}); "
            "the head's class convs change, nothing else does")  # fmt: skip
    height, width = config.image_size or structure.image_size
    structure = structure.with_classes(num_classes).with_image_size(int(height), int(width))
    torch.manual_seed(config.seed)
    network = Network(structure)
    if start is not None:
        _start_from(network, start, splits.train.class_names, say, str(weights))
    run = _assemble(network, splits, config, folder, processes, say)
    if processes.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        for name in RUN_FILES:
            (folder / name).unlink(missing_ok=True)
        for name, text in (("structure.txt", format_structure(structure)), ("config.yaml", dump(config))):
            write_text(folder / name, text)
    return run


def resumed_run(folder: Path, data: Path | None, device: str | None, say: Say) -> Run:
    """Go on with the run in `folder` from its last.pt, as if it had not stopped.

    data, device: where they are now, if elsewhere than then. Raises UserError when there is nothing to go on with.
    """
    checkpoint = load_checkpoint(folder / "last.pt")
    if not checkpoint.training:
        raise UserError(
            f"{folder / 'last.pt'}: holds no training state; start anew with --weights {folder / 'last.pt'}"
        )
    config = validate(checkpoint.config)
    if device is not None:
        config = config.model_copy(update={"device": device})
    splits = load_splits(data or Path(checkpoint.training["data"]), say)
    if splits.train.class_names != checkpoint.class_names:
        classes = ", ".join(checkpoint.class_names)
        raise UserError(f"{splits.source}: its classes are not those of the run in {folder} ({classes})")
    processes = join_processes(config.device)
    torch.manual_seed(config.seed)
    run = _assemble(
        Network(checkpoint.structure), splits, config, folder, processes, say if processes.is_main else _silent
    )
    restore(run, checkpoint)
    run.log = RunLog(folder, run.epoch)
    run.say(f"going on after epoch {run.epoch} of {config.epochs}")
    return run


def _assemble(
    network: Network, splits: Splits, config: TrainConfig, folder: Path, processes: Processes, say: Say
) -> Run:
    device, world = processes.device, processes.world_size
    batch_size = min(config.batch_size, len(splits.train)) // world
    if batch_size < 1:
        raise UserError(
            f"batch_size {config.batch_size}, {len(splits.train)} images, {world} processes: at least one image each"
        )
    network = _placed(network, config, processes)
    dtype = autocast_type(config.amp, device)
    module: nn.Module = TrainingModule(
        network, DetectionCriterion(config.loss), dtype=dtype, channels_last=config.channels_last
    )
    if world > 1:
        module = DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)
    train_set = DetectionDataset(splits.train, network.structure.image_size, config.augment, config.seed)
    val_set = DetectionDataset(splits.val, network.structure.image_size)
    workers = _workers(device) if config.workers is None else config.workers
    train_loader = build_loader(
        train_set, batch_size, shuffle=True, workers=workers, seed=config.seed, rank=processes.rank, world_size=world,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    val_loader = build_loader(val_set, config.eval.batch_size or batch_size, shuffle=False, workers=workers)
    stepper = _stepper(module, network, config, batch_size * world, len(train_loader), dtype)
    say(
        f"training on {device} x {world}, {str(dtype or torch.float32).removeprefix('torch.')}, batch {batch_size * world}, "
        f"{config.epochs} epochs of {len(train_loader)} steps, preset {config.preset}, {workers} loader processes"
    )
    blank = Checkpoint(
        network.structure, splits.train.class_names, {}, tuple(splits.train.category_ids.tolist()),
        config=config.model_dump(mode="json"),
    )  # fmt: skip
    return Run(
        config, folder, splits.source, processes, train_set, val_set, train_loader, val_loader, stepper, blank,
        RunLog(folder), say,
    )  # fmt: skip


def _stepper(
    module: nn.Module,
    network: Network,
    config: TrainConfig,
    batch_size: int,
    steps_per_epoch: int,
    dtype: torch.dtype | None,
) -> Stepper:
    """batch_size: over all processes."""
    schedule = build_schedule(config.schedule, config.epochs, steps_per_epoch)
    device = next(network.parameters()).device
    return Stepper(
        module=module,
        network=network,
        optimizer=build_optimizer(network, config.optimizer, batch_size),
        scaler=torch.amp.GradScaler(device.type, enabled=dtype is torch.float16),
        schedule=schedule,
        peak_rate=config.optimizer.learning_rate_per_image * batch_size,
        ema=Ema(network, config.ema, schedule.total_steps),
        clip_norm=config.optimizer.clip_norm,
    )


def _placed(network: Network, config: TrainConfig, processes: Processes) -> Network:
    """The network on its device, frozen where asked, in the layout and with the kernels that are quick there."""
    device = processes.device
    freeze(network, config.freeze)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu":
        speed_up_depthwise(network)
        keep_freed_memory()
    elif processes.world_size > 1:
        # torch's SyncBatchNorm refuses CPU tensors: there, every process has its own statistics.
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network.to(device)


def _start_from(network: Network, checkpoint: Checkpoint, class_names: Sequence[str], say: Say, source: str) -> None:
    """Take over a checkpoint's weights; class convs only if its classes are the same ones."""
    weights = dict(checkpoint.best_weights)
    if tuple(class_names) != checkpoint.class_names:
        weights = {key: value for key, value in weights.items() if not (key.startswith("head.") and ".cls." in key)}
    missing = transfer(weights, network)
    sizes = {key: value.numel() for key, value in network.state_dict().items()}
    share = 1 - sum(sizes[key] for key in missing) / sum(sizes.values())
    if share < MIN_SHARE_OF_WEIGHTS:
        raise UserError(
            f"{source}: a checkpoint of another model, only {share:.0%} of this structure's weights are in it; expected a "
            "checkpoint of the same structure (any classes, any image size), or none"
        )
    shown = ", ".join(missing[:12]) + (f" and {len(missing) - 12} more" if len(missing) > 12 else "")
    say(f"weights from {source}; not loaded, fresh: {shown or 'nothing'}")


def _workers(device: torch.device) -> int:
    """Loader processes: half the cores on a GPU; on a CPU none below four cores, where they only slow the network."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores // 2)) if device.type == "cuda" else min(2, cores // 4)


def _silent(_: str) -> None:
    pass
