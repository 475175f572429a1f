"""The parts of a run put together: network on its device, loaders, optimiser, schedule, average."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detector.checkpoint import Checkpoint
from detector.criterion import DetectionCriterion
from detector.data.dataset import DetectionDataset
from detector.data.loader import build_loader
from detector.network import Network
from detector.training.bad_steps import BadSteps
from detector.training.config import TrainConfig
from detector.training.depthwise import speed_up_depthwise
from detector.training.ema import Ema
from detector.training.memory import FEWEST_IMAGES, auto_batch
from detector.training.module import TrainingModule
from detector.training.multi_scale import largest_size
from detector.training.optimizer import build_optimizer, freeze, peak_rate
from detector.training.precision import WORTH_STEPS, quicker_precision
from detector.training.process_settings import keep_freed_memory
from detector.training.processes import Processes, autocast_type
from detector.training.run import Run, Say, Splits, beside_bars
from detector.training.run_log import RunLog
from detector.training.schedule import build_schedule
from detector.training.step import Stepper
from detector.training.strided_pointwise import avoid_strided_pointwise
from search_spaces.errors import UserError


def assemble(
    network: Network, splits: Splits, config: TrainConfig, folder: Path, processes: Processes, say: Say
) -> Run:
    """A run at epoch 0 of `network` on `splits`; nothing is written. `batch_size: auto` is resolved in its config.

    Raises UserError for a batch that the images or the processes cannot share, and an accumulation beyond it.
    """
    device, world = processes.device, processes.world_size
    say = beside_bars(say)
    network = _placed(network, config, processes, say)
    config = _with_precision(config, network, len(splits.train), processes, say)
    dtype = autocast_type(config.amp, device)
    module = TrainingModule(network, DetectionCriterion(config.loss), dtype=dtype, channels_last=config.channels_last)
    config = _with_batch_size(config, module, len(splits.train), processes, say)
    batch_size, part_size = _shares(config, len(splits.train), world)
    _tell_of_smaller_batch(config, len(splits.train), world, say)
    train_set = DetectionDataset(splits.train, network.structure.image_size, config.augment, config.seed)
    val_set = DetectionDataset(splits.val, network.structure.image_size)
    workers = _workers(device) if config.workers is None else config.workers
    pinned = device.type == "cuda"
    train_loader = build_loader(
        train_set, batch_size, shuffle=True, workers=workers, rank=processes.rank, world_size=world, pin_memory=pinned
    )
    val_batch = config.eval.batch_size or part_size
    val_loader = val_share = build_loader(val_set, val_batch, shuffle=False, workers=workers, pin_memory=pinned)
    if world > 1:
        val_share = build_loader(
            val_set, val_batch, shuffle=False, workers=workers, rank=processes.rank, world_size=world, pin_memory=pinned
        )
    stepper = _stepper(_wrapped(module, config, processes, say), network, config, batch_size * world, len(train_loader))
    stepper.part_size, stepper.say = part_size, say
    stepper.bad_steps = BadSteps(folder, processes.rank)
    at_once = f" ({part_size} at once, accumulated)" if part_size < batch_size else ""
    say(
        f"training on {device} x {world}, {str(dtype or torch.float32).removeprefix('torch.')}, "
        f"batch {batch_size * world}{at_once}, {config.epochs} epochs of {len(train_loader)} steps, "
        f"preset {config.preset}, {workers} loader processes"
    )
    blank = Checkpoint(
        network.structure, splits.train.class_names, {}, tuple(splits.train.category_ids.tolist()),
        config=config.model_dump(mode="json"),
    )  # fmt: skip
    return Run(
        config, folder, splits.source, processes, train_set, val_set, train_loader, val_loader, val_share, stepper,
        blank, RunLog(folder, tensorboard=config.tensorboard), say,
    )  # fmt: skip


def _with_precision(config: TrainConfig, network: Network, images: int, processes: Processes, say: Say) -> TrainConfig:
    """The settings with `amp: auto` of a CPU that has bf16 units resolved to the quicker of bf16 and fp32."""
    device, world = processes.device, processes.world_size
    if config.amp != "auto" or device.type != "cpu" or autocast_type("auto", device) is None or config.compile:
        return config
    batch = min(config.batch_size or FEWEST_IMAGES, images)
    if config.epochs * (images // max(batch, 1)) < WORTH_STEPS or world > 1:
        return config
    at_once = -(-batch // config.accumulate)
    chosen, why = quicker_precision(network, config, largest_size(network.structure.image_size, config), at_once)
    if why:
        say(f"amp auto: {'bf16' if chosen == 'bf16' else 'fp32'} ({why})")
    return config.model_copy(update={"amp": chosen})


def _with_batch_size(
    config: TrainConfig, module: TrainingModule, images: int, processes: Processes, say: Say
) -> TrainConfig:
    """The settings with a number for `batch_size: auto`, and the accumulation that goes with it."""
    if config.batch_size is not None:
        return config
    largest = largest_size(module.network.structure.image_size, config)
    chosen = auto_batch(module, largest, images, processes.world_size)
    parts = -(-chosen.batch_size // (chosen.part_size * processes.world_size))
    accumulated = f", {parts} parts accumulated" if parts > 1 else ""
    say(f"batch_size auto: {chosen.batch_size}{accumulated} ({chosen.why})")
    return config.model_copy(update={"batch_size": chosen.batch_size, "accumulate": max(parts, config.accumulate)})


def _shares(config: TrainConfig, images: int, world: int) -> tuple[int, int]:
    """Images of one process: in a step, and at once."""
    assert config.batch_size is not None
    batch_size = min(config.batch_size, images) // world
    if batch_size < 1:
        raise UserError(f"batch_size {config.batch_size}, {images} images, {world} processes: at least one image each")
    if config.accumulate > batch_size:
        raise UserError(
            f"accumulate {config.accumulate}: a step has {batch_size} images on each process; expected at most that many "
            "parts, or a larger batch_size"
        )
    return batch_size, -(-batch_size // config.accumulate)


def _tell_of_smaller_batch(config: TrainConfig, images: int, world: int, say: Say) -> None:
    assert config.batch_size is not None
    asked = min(config.batch_size, images)
    if asked % world:
        say(
            f"batch {asked} does not divide by {world} processes: it is {asked // world * world}, as each one takes "
            "equally many images of every step (their gradients are averaged)"
        )


def _wrapped(module: TrainingModule, config: TrainConfig, processes: Processes, say: Say) -> nn.Module:
    device, shared = processes.device, processes.world_size > 1
    if config.compile and shared and device.type == "cuda":
        say("compile: left out, as torch.compile breaks the network apart at every SyncBatchNorm")
    elif config.compile:
        module.compile_network()
    if not shared:
        return module
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _stepper(
    module: nn.Module, network: Network, config: TrainConfig, batch_size: int, steps_per_epoch: int
) -> Stepper:
    """batch_size: over all processes."""
    schedule = build_schedule(config.schedule, config.epochs, steps_per_epoch)
    device = next(network.parameters()).device
    fp16 = autocast_type(config.amp, device) is torch.float16
    return Stepper(
        module=module,
        network=network,
        optimizer=build_optimizer(network, config.optimizer, batch_size, schedule.total_steps),
        scaler=torch.amp.GradScaler(device.type, enabled=fp16),
        schedule=schedule,
        peak_rate=peak_rate(config.optimizer, batch_size, schedule.total_steps),
        ema=Ema(network, config.ema, schedule.total_steps),
        clip_norm=config.optimizer.clip_norm,
        max_bad_steps=config.max_bad_steps,
    )


def _placed(network: Network, config: TrainConfig, processes: Processes, say: Say) -> Network:
    """The network on its device, frozen where asked, in the layout and with the kernels that are quick there."""
    device = processes.device
    freeze(network, config.freeze)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu":
        speed_up_depthwise(network)
        avoid_strided_pointwise(network)
        keep_freed_memory()
        if processes.world_size > 1:
            say("BatchNorm: statistics of each process's own images (torch's SyncBatchNorm refuses CPU tensors)")
        return network
    torch.backends.cudnn.benchmark = config.multi_scale is None  # one size of images: the quickest kernels, found once
    if processes.world_size > 1:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network.to(device)


def _workers(device: torch.device) -> int:
    """Loader processes: half the cores on a GPU; on a CPU none below four cores, where they only slow the network.

    Of the cores that are this process's share, where torchrun started several on this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(8, max(1, cores // 2)) if device.type == "cuda" else min(2, cores // 4)
