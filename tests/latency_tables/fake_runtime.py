"""A device on which a kernel takes as long as it has elements and weights: a runtime plug-in without a runtime.

It appends a line per measured kernel to the file that FAKE_LOG names, whichever process it runs in, and kills its
process after FAKE_DIES kernels.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from latency_tables.fusion import fuse, fusion_rules
from latency_tables.kernels import Kernel
from search_spaces.graph import Graph

PRECISIONS = {"fp32": ""}
METHOD, STATISTIC, WARM_UP, REPEATS = "fake", "fake", 0, 1
OVERHEAD_MS = 0.2


class Gauge:
    def __init__(self, threads: int, precision: str) -> None:
        self.measured = 0


def device_kind() -> str:
    return "cpu"


def version() -> str:
    return "0"


def batches(kernels: Sequence[Kernel]) -> list[list[Kernel]]:
    return [list(kernels[start : start + 5]) for start in range(0, len(kernels), 5)]


def measure(
    groups: Sequence[Sequence[Kernel]], *, threads: int, precision: str, gauge: Gauge, quick: bool = False
) -> list[list[tuple[float, float]]]:
    kernels = [kernel for group in groups for kernel in group]
    gauge.measured += len(kernels)
    if gauge.measured > int(os.environ.get("FAKE_DIES", "1000000000")):
        os.kill(os.getpid(), signal.SIGKILL)
    if "FAKE_LOG" in os.environ:
        with open(os.environ["FAKE_LOG"], "a") as file:
            file.write("".join(f"{kernel}\n" for kernel in kernels))
    return [[(fake_ms(kernel), 0.01) for kernel in group] for group in groups]


def network_ms(
    graphs: Sequence[Graph], *, threads: int, precision: str, rounds: int = 12, runs: int = 3
) -> list[float]:
    rules = fusion_rules("openvino")
    return [OVERHEAD_MS + sum(fake_ms(s.kernel) * float(s.count) for s in fuse(graph, rules)) for graph in graphs]


def fake_ms(kernel: Kernel) -> float:
    """A launch, MACs and bytes; a part-filled last block of 16 channels costs as much as a full one."""
    inputs, outputs = float(kernel.in_channels), float(kernel.out_channels)
    if kernel.kind in ("conv", "stem", "depthwise"):
        outputs = -(-outputs // 16) * 16
    area = kernel.area / kernel.stride**2
    macs = float(kernel.kernel) ** 2 * area * outputs * (inputs if kernel.kind in ("conv", "stem") else 1)
    return 2e-3 + 1e-8 * macs + 2e-7 * (kernel.area * inputs + area * outputs)
