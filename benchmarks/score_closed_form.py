"""Does the closed form of the maximum-entropy score rank networks as forward passes do? Prints JSON.

    python benchmarks/score_closed_form.py [--networks 60] [--side 128] [--padding zeros]

Random backbones of the res and mob spaces get weights from N(0, 1) and images from N(0, 1), without norms, activations,
shortcuts and SPP. A group's entropy is measured as ln(standard deviation of its output) + ln(channels), and weighted
like the closed form. The closed form knows no borders: with `--padding circular` the convs have none either.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import numpy as np
import torch
from _record import add_record_option, record
from scipy.stats import kendalltau, spearmanr
from tqdm import tqdm

from search_spaces.emit import emit_backbone
from search_spaces.graph import Graph, Op
from search_spaces.space import load_space
from tinynas.genes.population import Encoding
from tinynas.scores._groups import groups
from tinynas.scores._random_network import gaussian_conv, run_main_branch
from tinynas.scores.entropy import WEIGHTS, score


def measured_score(graph: Graph, images: int, repeats: int, circular: bool, seed: int) -> float:
    """The score with measured standard deviations, mean of `repeats` random networks."""
    ends = {group.convs[-1].path: (weight, group) for weight, group in zip(WEIGHTS, groups(graph), strict=True)}
    totals = []
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(seed + repeat)
        log_std = total = 0.0

        def conv(op: Op, x: torch.Tensor) -> torch.Tensor:
            # the network is linear: scaling a map to standard deviation 1 and adding its logarithm keeps fp32 in range
            nonlocal log_std, total
            y = circular_conv(op, x, generator) if circular else gaussian_conv(op, x, generator)  # noqa: B023
            std = y.std()
            log_std += math.log(float(std))
            if op.path in ends:
                weight, group = ends[op.path]
                total += weight * (log_std + math.log(int(group.out_channels)))
            return y / std

        with torch.inference_mode():
            inputs = torch.randn(images, 3, *graph.image_size, generator=generator)
            run_main_branch(graph, inputs, conv, activations=False)
        totals.append(total)
    return float(np.mean(totals))


def circular_conv(op: Op, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """`gaussian_conv` on a torus: padded with the opposite side, the rim that zeros were added to is cut off again."""
    pad = int(op.kernel) // 2
    if pad == 0:
        return gaussian_conv(op, x, generator)
    # twice the rim keeps the phase of a stride of 2
    rows, columns = (torch.arange(-2 * pad, size + 2 * pad) % size for size in x.shape[-2:])
    wrapped = x[..., rows, :][..., columns]
    rim = 2 * pad // op.stride
    return gaussian_conv(op, wrapped, generator)[..., rim:-rim, rim:-rim]


def compare(space_name: str, args: argparse.Namespace) -> dict[str, float | int | str]:
    """Closed form against forward passes over random networks of one space."""
    start = time.perf_counter()
    encoding = Encoding(load_space(space_name), (args.side, args.side), 80)
    genes = encoding.sample(args.networks, np.random.default_rng(args.seed))
    closed, measured = [], []
    for index in tqdm(range(args.networks), desc=space_name):
        structure = encoding.single(genes, index)
        graph = emit_backbone(replace(structure, backbone=replace(structure.backbone, spp=False)))
        closed.append(score(graph, WEIGHTS))
        measured.append(measured_score(graph, args.images, args.repeats, args.padding == "circular", args.seed))
    deviation = np.abs(np.array(measured) / np.array(closed) - 1)
    return {
        "space": space_name,
        "networks": args.networks,
        "kendall_tau": round(float(kendalltau(closed, measured).statistic), 4),
        "spearman": round(float(spearmanr(closed, measured).statistic), 4),
        "median_deviation_percent": round(100 * float(np.median(deviation)), 3),
        "largest_deviation_percent": round(100 * float(deviation.max()), 3),
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=60, help="random networks per space")
    parser.add_argument("--side", type=int, default=128, help="image side, a multiple of 32")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2, help="random networks per structure")
    parser.add_argument("--padding", choices=["zeros", "circular"], default="zeros")
    parser.add_argument("--seed", type=int, default=0)
    add_record_option(parser)
    args = parser.parse_args()
    if args.side < 32 or args.side % 32 or args.networks < 2:
        parser.error("the side must be a multiple of 32, and there must be at least two networks")
    torch.set_num_threads(1)
    settings = {key: getattr(args, key) for key in ("side", "images", "repeats", "padding", "seed")}
    record({**settings, "spaces": [compare(name, args) for name in ("res", "mob")]}, args.out)


if __name__ == "__main__":
    main()
