"""One process or several: what torchrun tells, the device of each process, and where arithmetic may be in 16 bits."""

from __future__ import annotations

import atexit
import datetime
import os
import sys
from dataclasses import dataclass

import torch
from torch import distributed

from detector.devices import choose_device
from search_spaces.errors import UserError

PATIENCE_HOURS = 1
"""For the other processes: the first one counts and writes alone. torchrun ends all when one of them dies."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process (`rank`) among `world_size`, and its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


def join_processes(device: str) -> Processes:
    """Join the group that torchrun's variables describe (nccl on GPUs, gloo on CPUs); alone without them.

    Raises UserError for a device that is unknown or not there, and one device named for several processes.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world_size > 1 and device.startswith("cuda:"):
        raise UserError(
            f"device {device!r}: {world_size} processes cannot share a GPU; use --device cuda, one for each"
        )
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)) if world_size > 1 else 0)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world_size > 1 and not distributed.is_initialized():
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        distributed.init_process_group(backend, timeout=datetime.timedelta(hours=PATIENCE_HOURS))
    return Processes(rank, world_size, chosen)


def leave_processes(*, together: bool) -> None:
    """Leave the group, if one was joined. `together`: when all have come so far; who leaves a gloo group while another
    is still talking to it can abort. Not after an error, which may be this process's alone: nccl's teardown would wait
    for the others, and they for this one, so then the process ends without it, once its last words are said."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if together:
        distributed.barrier()
    elif distributed.get_backend() == "nccl":
        atexit.register(_end_at_once)
        return
    distributed.destroy_process_group()


def _end_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def autocast_type(amp: str, device: torch.device) -> torch.dtype | None:
    """The 16-bit type of the network's forward pass, None for fp32.

    `auto`: bf16 where the processor computes in it (CPUs with AVX512-BF16 or AMX, recent GPUs), fp16 on older GPUs.
    """
    if amp == "off":
        return None
    if amp == "auto":
        if device.type == "cpu":
            return torch.bfloat16 if _cpu_has_bf16() else None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if amp == "fp16" and device.type == "cpu":
        raise UserError("amp: fp16 needs a GPU (gradients underflow without a scaler); use bf16, auto or off on a CPU")
    return torch.bfloat16 if amp == "bf16" else torch.float16


def _cpu_has_bf16() -> bool:
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)
