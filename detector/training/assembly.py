"""The parts of a run put together: network on its device, loaders, optimiser, schedule, average."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from detector.checkpoint import Checkpoint
from detector.criterion import DetectionCriterion
from detector.data.dataset import CACHE_BYTES, DetectionDataset, Sample
from detector.data.loader import build_loader
from detector.data.origins import aliases_of
from detector.network import Network
from detector.training.epoch import largest_size
from detector.training.machine.depthwise import speed_up_depthwise
from detector.training.machine.memory import FEWEST_IMAGES, auto_batch, free_bytes
from detector.training.machine.precision import WORTH_STEPS, quicker_precision
from detector.training.machine.process_settings import keep_freed_memory
from detector.training.machine.processes import Processes, autocast_type
from detector.training.machine.strided_pointwise import avoid_strided_pointwise
from detector.training.optimizer import build_optimizer, freeze, peak_rate
from detector.training.optimizer.ema import Ema, keep_statistics_fresh
from detector.training.optimizer.schedule import build_schedule
from detector.training.record.run_log import RunLog
from detector.training.run import Run, Splits, beside_bars
from detector.training.settings.config import TrainConfig
from detector.training.step import Stepper
from detector.training.step.bad_steps import BadSteps
from detector.training.step.gradients import Gradients, Statistics
from detector.training.step.module import TrainingModule
from detector.training.step.quantised import round_as_exported
from detector.training.step.terms import LossTerm, Terms, no_terms
from search_spaces.cores import available_cores
from search_spaces.errors import UserError
from search_spaces.saying import Say


def assemble(
    network: Network,
    splits: Splits,
    config: TrainConfig,
    folder: Path,
    processes: Processes,
    say: Say,
    *,
    terms: Terms = no_terms,
    epochs_done: int = 0,
    trial: bool = False,
) -> Run:
    """A run of `network` on `splits` at step 0; nothing is written. `batch_size: auto` is resolved in its config.

    terms: losses beside the criterion's. epochs_done: of a run that is taken up; rows of later ones are left out of its
    log. trial: only to be timed, so that no batch of a step that is not finite is kept.
    Raises UserError for a batch that the images or the processes cannot share, and an accumulation beyond it.
    """
    say = beside_bars(say)
    network = _placed(network, config, processes, say)
    config = _with_precision(config, network, len(splits.train), processes, say)
    dtype = autocast_type(config.amp, processes.device)
    found = {name: term.to(processes.device) for name, term in terms(network).items()}
    criterion = DetectionCriterion(config.loss, _labelled(splits, config)).to(processes.device)
    module = TrainingModule(network, criterion, terms=found, dtype=dtype, channels_last=config.channels_last)
    config = _with_batch_size(config, module, len(splits.train), processes, say)
    shares = _shares(config, len(splits.train), processes.world_size, say)
    data = _loaders(splits, network.structure.image_size, config, shares, processes)
    steps = len(data.train_loader)
    gradients = _gradients(_wrapped(module, config, processes, say), shares, fp16=dtype is torch.float16, say=say)
    bad_steps = BadSteps(
        most_in_a_row=config.max_bad_steps, folder=None if trial else folder, rank=processes.rank, say=say
    )
    stepper = _stepper(network, found, gradients, bad_steps, config, shares.batch * processes.world_size, steps)
    at_once = f" ({shares.at_once} at once, accumulated)" if shares.at_once < shares.batch else ""
    say(
        f"training on {processes.device} x {processes.world_size}, {str(dtype or torch.float32).removeprefix('torch.')}, "
        f"batch {shares.batch * processes.world_size}{at_once}, {config.epochs} epochs of {steps} steps, "
        f"preset {config.preset}, {data.train_loader.num_workers} loader processes"
    )
    blank = Checkpoint(
        structure=network.structure, class_names=splits.train.class_names, weights={},
        category_ids=tuple(splits.train.category_ids.tolist()), class_aliases=aliases_of(splits.train.origins),
        config=config.model_dump(mode="json"),
    )  # fmt: skip
    return Run(
        config=config, folder=folder, data=splits.source, data_fingerprint=splits.fingerprint(), processes=processes,
        stepper=stepper, blank=blank, say=say,
        log=RunLog(folder, epochs_done, tensorboard=config.tensorboard), **data._asdict(),
    )  # fmt: skip


def _labelled(splits: Splits, config: TrainConfig) -> torch.Tensor | None:
    """(S, C): which classes each data set labels; None where all of them label all, or are to be taken so."""
    origins = splits.train.origins
    if origins is None or config.loss.unlabelled_as_background:
        return None
    labelled = torch.from_numpy(origins.labelled(splits.train.class_names))
    return None if bool(labelled.all()) else labelled


class _Data(NamedTuple):
    """The parts of a run that bring it pictures; see `Run`."""

    train_set: DetectionDataset
    val_set: DetectionDataset
    train_loader: DataLoader[Sample]
    val_loader: DataLoader[Sample]
    val_share: DataLoader[Sample]


def _loaders(
    splits: Splits, image_size: tuple[int, int], config: TrainConfig, shares: _Shares, processes: Processes
) -> _Data:
    device, rank, world = processes.device, processes.rank, processes.world_size
    train_set = DetectionDataset(
        splits.train,
        image_size,
        config.augment,
        config.seed,
        sampling=config.sampling,
        cache_bytes=_cache_bytes(device),
    )
    val_set = DetectionDataset(splits.val, image_size)
    val_batch = config.eval.batch_size or shares.at_once
    build = functools.partial(
        build_loader,
        workers=_workers(device) if config.workers is None else config.workers,
        pin_memory=device.type == "cuda",
    )
    train_loader = build(train_set, shares.batch, shuffle=True, rank=rank, world_size=world)
    val_loader = val_share = build(val_set, val_batch, shuffle=False)
    if world > 1:
        val_share = build(val_set, val_batch, shuffle=False, rank=rank, world_size=world)
    return _Data(train_set, val_set, train_loader, val_loader, val_share)


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


class _Shares(NamedTuple):
    """Images of one process: in a step, and at once."""

    batch: int
    at_once: int


def _shares(config: TrainConfig, images: int, world: int, say: Say) -> _Shares:
    """Says when the batch is smaller than asked for, as it does not divide by the processes."""
    assert config.batch_size is not None
    asked = min(config.batch_size, images)
    batch = asked // world
    if batch < 1:
        raise UserError(f"batch_size {config.batch_size}, {images} images, {world} processes: at least one image each")
    if config.accumulate > batch:
        raise UserError(
            f"accumulate {config.accumulate}: a step has {batch} images on each process; expected at most that many "
            "parts, or a larger batch_size"
        )
    if asked % world:
        say(
            f"batch {asked} does not divide by {world} processes: it is {batch * world}, as each one takes equally many "
            "images of every step (their gradients are averaged)"
        )
    return _Shares(batch, -(-batch // config.accumulate))


def _wrapped(module: TrainingModule, config: TrainConfig, processes: Processes, say: Say) -> nn.Module:
    device, shared = processes.device, processes.world_size > 1
    if config.compile and shared and device.type == "cuda":
        say("compile: left out, as torch.compile breaks the network apart at every SyncBatchNorm")
    elif config.compile:
        module.compile_network()
    if not shared:
        return module
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _gradients(module: nn.Module, shares: _Shares, *, fp16: bool, say: Say) -> Gradients:
    device = next(module.parameters()).device
    return Gradients(
        module=module, scaler=torch.amp.GradScaler(device.type, enabled=fp16), statistics=Statistics(module),
        part_size=shares.at_once, say=say,
    )  # fmt: skip


def _stepper(
    network: Network, terms: Mapping[str, LossTerm], gradients: Gradients, bad_steps: BadSteps, config: TrainConfig,
    batch_size: int, steps_per_epoch: int,
) -> Stepper:  # fmt: skip
    """batch_size: over all processes."""
    schedule = build_schedule(config.schedule, config.epochs, steps_per_epoch)
    total = schedule.total_steps
    keep_statistics_fresh(network, config.ema, total)
    return Stepper(
        network=network, terms=terms, gradients=gradients,
        optimizer=build_optimizer(network, config.optimizer, batch_size, total, terms.values()), schedule=schedule,
        peak_rate=peak_rate(config.optimizer, batch_size, total), ema=Ema(network, config.ema, total),
        clip_norm=config.optimizer.clip_norm, bad_steps=bad_steps,
    )  # fmt: skip


def _placed(network: Network, config: TrainConfig, processes: Processes, say: Say) -> Network:
    """The network on its device, frozen where asked, in the layout and with the kernels that are quick there."""
    device = processes.device
    freeze(network, config.freeze)
    if config.quantise != "off":
        round_as_exported(network, config.quantise)
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
    """Loader processes: all cores but two on a GPU, which waits for pictures first; on a CPU none below four cores, where
    they only slow the network.

    Of the cores that are this process's share, where torchrun started several on this machine.
    """
    cores = available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(16, max(1, cores - 2)) if device.type == "cuda" else min(2, cores // 4)


def _cache_bytes(device: torch.device) -> int:
    """Memory for decoded training pictures: on a GPU, half of this process's share of what the machine has free, as a
    mosaic decodes four pictures; on a CPU, whose memory the network needs, 1 GiB.
    """
    if device.type != "cuda":
        return CACHE_BYTES
    share = free_bytes(torch.device("cpu")) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(CACHE_BYTES, share // 2)
