"""One process of a training of two steps, as test_processes.py launches it: its losses go into losses.pt.

    torchrun ... -m tests.cuda.one_of_several BACKEND STRUCTURE DATA OUT

BACKEND: nccl, gloo (all processes share the first card, if there is one), or none.
"""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from detector.network import Network
from detector.training import assembly
from detector.training.machine.processes import Processes
from detector.training.settings.config import build_config
from detector.training.start import load_splits
from search_spaces.text import read_structure

STEPS, BATCH = 2, 8
SETTINGS = {
    "epochs": 3, "batch_size": BATCH, "workers": 0, "amp": "off", "checkpoint_minutes": None,
    "optimizer": {"name": "sgd", "learning_rate_per_image": 1e-4}, "augment": {"mosaic": 0.0, "mixup": 0.0},
}  # fmt: skip


def joined(backend: str) -> Processes:
    """This process and its device, the group initialised."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cards = torch.cuda.device_count()
    device = torch.device("cuda", rank % cards if backend == "nccl" else 0) if cards else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if backend != "none":
        distributed.init_process_group(backend, timeout=datetime.timedelta(seconds=60))
    return Processes(rank, world, device)


def main() -> None:
    backend, structure, data, out = sys.argv[1], *map(Path, sys.argv[2:])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    processes = joined(backend)
    splits = load_splits(data, lambda _: None)
    torch.manual_seed(0)
    network = Network(read_structure(structure).with_classes(splits.train.num_classes))
    run = assembly.assemble(network, splits, build_config(SETTINGS), out, processes, print)
    run.train_set.set_epoch(0)
    run.stepper.module.train()
    totals: dict[str, float] = {}
    for step, batch in zip(range(STEPS), run.train_loader):
        found = run.stepper.run(batch.to(processes.device))
        total = torch.tensor(found["total"], device=processes.device)
        if backend != "none":
            distributed.all_reduce(total)
        totals[f"step {step}"] = float(total) / processes.world_size
    if processes.is_main:
        torch.save(totals, out / "losses.pt")
    if backend != "none":
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
