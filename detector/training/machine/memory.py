"""How many images a training step can hold: free memory, what an image needs, and the batch that follows."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detector.data.loader import Batch
from detector.data.regions import CELL_PX, LAYERS
from search_spaces.errors import UserError

MOST_IMAGES = {"cuda": 256, "cpu": 32}
"""Of an automatic batch: the published one; on a CPU a larger one is no faster an image."""
FEWEST_IMAGES = 8
"""Of an automatic batch; accumulated when memory holds fewer."""
FEWEST_STEPS = 16
"""An epoch should have, when the batch is automatic: a tiny data set needs updates more than large batches."""
SHARE_OF_FREE = {"cuda": 0.85, "cpu": 0.5}
PROBE_BOXES = 20
_UNKNOWN_FREE = 2 << 30
_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_NO_MEMORY = (
    "can't allocate memory",  # torch's CPU allocator
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
    "CUDA error: out of memory",  # what torch's allocator does not manage
    "Cuda failure 'out of memory'",  # nccl
)


@dataclass(frozen=True, slots=True)
class AutoBatch:
    """batch_size: images per step over all processes; part_size: of one process that fit at once; why: for the user."""

    batch_size: int
    part_size: int
    why: str


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch raised this for want of memory, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in _NO_MEMORY)


def choose_batch(fitting: int, images: int, world_size: int, most: int) -> tuple[int, int]:
    """(images per step over all processes, images at once on one) from what fits on each process.

    The batch is a power of two (times world_size): all that fits, at most `most`, with at least `FEWEST_STEPS` steps
    in an epoch of `images`; not under `FEWEST_IMAGES`, for which gradients are accumulated where fewer fit.
    """
    fewest = min(FEWEST_IMAGES, images)
    wanted = max(min(most, images // FEWEST_STEPS), fewest)
    share = _power_of_two(max(1, wanted // world_size))
    part = min(_power_of_two(max(1, fitting)), share)
    share = min(share, max(part, _power_of_two(max(1, fewest // world_size))))
    return share * world_size, part


def _power_of_two(value: int) -> int:
    """The largest one that is not above `value` (at least 1)."""
    return 1 << (value.bit_length() - 1)


def auto_batch(module: nn.Module, image_size: tuple[int, int], images: int, world_size: int) -> AutoBatch:
    """The batch for a training module on its device, from a probing step; the module is left as it was.

    image_size: height, width. On a GPU the peak memory of real steps is measured, up to the batch that is chosen; on a
    CPU, what a step keeps for its backward pass, against half of the memory that is free.
    """
    device = next(module.parameters()).device
    most = MOST_IMAGES["cuda" if device.type == "cuda" else "cpu"]
    budget = SHARE_OF_FREE[device.type] * free_bytes(device)
    if device.type == "cpu":
        budget /= int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    probe = copy.deepcopy(module)
    # Gradients, two moments and an average of every weight, beside the weights.
    fixed = 4.0 * sum(parameter.numel() * parameter.element_size() for parameter in probe.parameters())
    need = _gpu_bytes if device.type == "cuda" else _cpu_bytes
    try:
        per_image = need(probe, image_size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "batch auto: out of memory while a step of few images was measured; choose a smaller image_size, or a batch"
        ) from None
    fitting = _agreed(max(0, int((budget - fixed) / per_image)), device)
    size, part = choose_batch(fitting, images, world_size, most)
    # Tried out for real by one process alone: of several, one that fails would leave the others waiting.
    while device.type == "cuda" and world_size == 1 and part > 1 and not _runs(probe, part, image_size):
        size, part = choose_batch(part // 2, images, world_size, most)
    why = f"{per_image / 2**20:.0f} MiB an image, {budget / 2**30:.1f} GiB to use"
    return AutoBatch(size, part, why)


def free_bytes(device: torch.device) -> int:
    """Memory that can be had now: the GPU's free memory, or the machine's, within its control group's limit."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    found = [value for value in (_machine_free(), *(_group_free(*files) for files in _CGROUP_FILES)) if value]
    return min(found, default=_UNKNOWN_FREE)


def _machine_free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        # Elsewhere than on Linux only the whole memory is told: a quarter of it counts as free.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (AttributeError, OSError, ValueError):
        return None


def _group_free(limit_file: str, used_file: str) -> int | None:
    try:
        return max(1, int(Path(limit_file).read_text()) - int(Path(used_file).read_text()))
    except (OSError, ValueError):  # no such file, or the limit is the word `max`
        return None


def _cpu_bytes(module: nn.Module, image_size: tuple[int, int]) -> float:
    """Per image: what the backward pass keeps, and half of it again for gradients and work space."""
    known = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = 2
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        probe_step(module, images, image_size, backward=False)
    return 1.5 * sum(kept.values()) / images


def _gpu_bytes(module: nn.Module, image_size: tuple[int, int]) -> float:
    """Per image: the difference of the peaks of steps with 4 and with 2 images, gradients at hand in both."""
    probe_step(module, 2, image_size)
    peaks = []
    for images in (2, 4):
        torch.cuda.reset_peak_memory_stats()
        probe_step(module, images, image_size)
        peaks.append(torch.cuda.max_memory_allocated())
    return max((peaks[1] - peaks[0]) / 2, 1.0)


def _runs(module: nn.Module, images: int, image_size: tuple[int, int]) -> bool:
    try:
        probe_step(module, images, image_size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        module.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    return True


def probe_step(module: nn.Module, images: int, image_size: tuple[int, int], *, backward: bool = True) -> None:
    """A step on made-up images with `PROBE_BOXES` boxes each; the global random state is not drawn from."""
    height, width = image_size
    device = next(module.parameters()).device
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(images, PROBE_BOXES, 2, 2, generator=generator).sort(dim=2).values
    boxes = (corners * torch.tensor([width, height])).flatten(2)
    criterion = getattr(module, "criterion", None)
    layers = 0 if getattr(criterion, "labelled", None) is None else LAYERS
    here = torch.ones(images, PROBE_BOXES, dtype=torch.bool)
    batch = Batch(
        images=torch.randint(0, 256, (images, 3, height, width), dtype=torch.uint8, generator=generator),
        boxes_xyxy=boxes, labels=torch.zeros(here.shape, dtype=torch.int64), valid=here, ignore=~here,
        regions=torch.zeros(images, layers, height // CELL_PX, width // CELL_PX, dtype=torch.uint8),
        indices=torch.arange(images), scale_xy=torch.ones(images, 2),
    ).to(device)  # fmt: skip
    losses: dict[str, Any] = module.train()(batch.images, batch)
    if backward:
        losses["total"].backward()


def _agreed(value: int, device: torch.device) -> int:
    """The least of all processes' values."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    shared = torch.tensor(value, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MIN)
    return int(shared)
