"""torch devices by the names that people give them."""

from __future__ import annotations

import torch

from search_spaces.errors import UserError


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called `name` (auto, cpu, cuda, cuda:N). Raises UserError when it is unknown or not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name!r} is not known; expected auto, cpu, cuda or cuda:N")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise UserError(f"device {name!r}: torch finds no CUDA device here; use --device cpu, or install a CUDA build")
    index, there = local_rank if device.index is None else device.index, torch.cuda.device_count()
    if index >= there and device.index is None:
        raise UserError(f"process {index} of this machine: it has {there} CUDA devices; expected a process for each")
    if index >= there:
        raise UserError(f"device {name!r}: this machine has {there} CUDA devices, counted from 0")
    return torch.device("cuda", index)
