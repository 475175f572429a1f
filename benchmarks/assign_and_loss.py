"""Which share of a training step is assignment and loss? Prints JSON.

    python benchmarks/assign_and_loss.py [--structures Ns T] [--assigners align_ota atss] [--batch 16] [--boxes 100]

A step is forward, assignment, losses, backward and the optimiser's update, fp32, on random images and boxes, without
data loading, and on a CPU with what training does there (channels_last, its own depthwise gradients, freed memory
kept). The parts are timed in turn, the backward pass in two: through the losses to the head's outputs, and from there
through the network. Times are medians, in milliseconds.
"""

from __future__ import annotations

import argparse
import json

import torch
from _clock import Clock
from torch import Tensor
from tqdm import tqdm

from detector import assigners
from detector.criterion import DetectionCriterion
from detector.data.loader import Batch
from detector.losses import LossConfig
from detector.network import Network
from detector.training.machine.depthwise import speed_up_depthwise
from detector.training.machine.process_settings import keep_freed_memory
from search_spaces.text import resolve_structure


def random_batch(batch: int, boxes: int, side: int, num_classes: int, device: torch.device) -> Batch:
    """Images of noise with boxes of 4 px to half the side, most of them small."""
    generator = torch.Generator().manual_seed(0)
    center = torch.rand(batch, boxes, 2, generator=generator) * side
    half = 2 + torch.rand(batch, boxes, 2, generator=generator).square() * side / 4
    return Batch(
        images=torch.randint(0, 256, (batch, 3, side, side), generator=generator, dtype=torch.uint8),
        boxes_xyxy=torch.cat((center - half, center + half), dim=-1).clamp(0, side),
        labels=torch.randint(0, num_classes, (batch, boxes), generator=generator),
        valid=torch.ones(batch, boxes, dtype=torch.bool),
        ignore=torch.zeros(batch, boxes, dtype=torch.bool),
        regions=torch.zeros(batch, 0, side // 8, side // 8, dtype=torch.uint8),
        indices=torch.arange(batch),
        scale_xy=torch.ones(batch, 2),
    ).to(device)


def step(
    network: Network, criterion: DetectionCriterion, optimizer: torch.optim.Optimizer, batch: Batch, clock: Clock
) -> None:
    """One training step, its parts timed; the assignment is timed within `criterion_forward`."""
    optimizer.zero_grad()
    with clock.part("network_forward"):
        raw = network.forward_raw(batch.images.to(torch.float32, memory_format=torch.channels_last))
    outputs = [raw.cls_logits, raw.reg_logits]
    leaves = [output.detach().requires_grad_() for output in outputs]
    with clock.part("criterion_forward"):
        total: Tensor = criterion(*leaves, raw.priors, batch)["total"]
    with clock.part("criterion_backward"):
        total.backward()  # type: ignore[no-untyped-call]
    with clock.part("network_backward"):
        torch.autograd.backward(outputs, [leaf.grad for leaf in leaves])
    with clock.part("optimizer"):
        optimizer.step()


def measure(structure: str, assigner: str, args: argparse.Namespace) -> dict[str, object]:
    """Medians over `args.steps` steps, after one that is not counted."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    network = Network(resolve_structure(structure).with_classes(args.num_classes)).train()
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cpu":
        speed_up_depthwise(network)
        keep_freed_memory()
    criterion = DetectionCriterion(LossConfig(assigner=assigner))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    batch = random_batch(args.batch, args.boxes, args.side, args.num_classes, device)
    assign = criterion.assign
    step(network, criterion, optimizer, batch, Clock(device))
    clock = Clock(device)
    criterion.assign = clock.timed("assign", assign)
    for _ in tqdm(range(args.steps), desc=f"{structure} {assigner}"):
        step(network, criterion, optimizer, batch, clock)
    times = clock.medians()
    inner = times.pop("assign")
    share = (times["criterion_forward"] + times["criterion_backward"]) / sum(times.values())
    return {
        "structure": structure,
        "assigner": assigner,
        "step_ms": round(sum(times.values()), 1),
        "assign_and_loss_percent": round(100 * share, 2),
        "assign_ms": inner,
        **{f"{name}_ms": value for name, value in times.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", nargs="+", default=["Ns", "T"], help="shipped names or files")
    parser.add_argument("--assigners", nargs="+", default=assigners.names(), choices=assigners.names())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--boxes", type=int, default=100, help="per image")
    parser.add_argument("--side", type=int, default=320, help="image side in pixels, a multiple of 32")
    parser.add_argument("--num-classes", type=int, default=80)
    parser.add_argument("--steps", type=int, default=5, help="timed steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if min(args.batch, args.steps, args.threads, args.num_classes) < 1 or args.boxes < 0 or args.side % 32:
        parser.error("counts must be positive and the side a multiple of 32")
    torch.set_num_threads(args.threads)
    settings = {
        key: getattr(args, key) for key in ("device", "threads", "batch", "boxes", "side", "num_classes", "steps")
    }
    runs = [measure(structure, assigner, args) for structure in args.structures for assigner in args.assigners]
    print(json.dumps({**settings, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
