"""Measure the kernels that the search spaces can reach, and complete them to a table.

Measurements are appended to a partial CSV as they come, so a profile that was cut short goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np

from latency_tables.completion import complete
from latency_tables.kernels import Kernel
from latency_tables.metadata import Measured, TableMetadata
from latency_tables.registry import host_processor
from latency_tables.tables import COLUMNS, Row, format_row, parse_row, row_key, write_table
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin

INTERLEAVED = 4
"""Models whose runs are interleaved."""
SECOND_LOOKS = 2
"""How often suspicious measurements are repeated at the end of a profile."""
WIDE_SPREAD = 0.1
TOO_SLOW = 1.08
SHORTEST_MS = 1e-4


@dataclass(frozen=True, slots=True)
class Plan:
    """Which grid of kernels to measure. A cell whose work exceeds `max_macs` or `max_bytes` is left to the fit: no
    network in reach has it."""

    sides: tuple[int, ...] = (7, 10, 20, 40, 80, 160, 320)
    inputs: tuple[int, ...] = (8, 16, 32, 64, 96, 128, 256, 512, 1024, 2048)
    outputs: tuple[int, ...] = (1, 8, 16, 32, 64, 96, 128, 256, 512, 1024, 2048)
    channels: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    activations: tuple[str, ...] = ("relu", "silu")
    max_macs: float = 6e8
    max_elements: float = 8e6
    stem_sides: tuple[int, ...] = (64, 128, 320, 640)
    coarsest_sides: tuple[int, ...] = (4, 8, 13, 20)
    classes: tuple[int, ...] = (1, 20, 80)
    conv_types: tuple[tuple[int, int, bool], ...] = field(
        default=((1, 1, False), (1, 1, True), (3, 1, False), (3, 1, True), (3, 2, False))
    )


QUICK = Plan(sides=(10, 40), inputs=(16, 64), outputs=(16, 64), channels=(16, 64), activations=("relu",),
             stem_sides=(64, 128), coarsest_sides=(4, 8), classes=(1, 20))  # fmt: skip


def plan_kernels(plan: Plan) -> Iterator[Kernel]:
    """Every cell of the plan's grids, measured or not."""
    for (size, stride, add), act, side in product(plan.conv_types, plan.activations, plan.sides):
        if not (size == 1 and add and act != "relu"):
            for inputs, outputs in product(plan.inputs, plan.outputs):
                yield Kernel("conv", inputs, outputs, side, side, size, stride, act, add)
    for size, stride, act, side in product((3, 5), (1, 2), plan.activations, plan.sides):
        for channels in plan.channels:
            yield Kernel("depthwise", channels, channels, side, side, size, stride, act)
    for side, channels in product(plan.sides, plan.channels):
        yield Kernel("add", channels, channels, side, side, activation="relu")
        yield Kernel("concat", channels, channels, side, side)
        yield Kernel("upsample", channels, channels, side, side)
        for size in (5, 9, 13):
            yield Kernel("max_pool", channels, channels, side, side, size)
    for act, side, outputs in product(plan.activations, plan.stem_sides, (8, 16, 24, 32, 48, 64)):
        yield Kernel("stem", 3, outputs, side, side, 3, 2, act)
        yield Kernel("stem", 12, outputs, side // 2, side // 2, 3, 1, act)
    for side in plan.stem_sides:
        yield Kernel("space_to_depth", 3, 12, side, side)
    for side, bins, classes in product(plan.coarsest_sides, (32, 68), plan.classes):
        yield Kernel("detect", bins, classes, 21 * side * side, 1)


def worth_measuring(plan: Plan, kernel: Kernel) -> bool:
    """Whether a network in reach may have the kernel (the rest of a grid is fitted)."""
    inputs, outputs = int(kernel.in_channels), int(kernel.out_channels)
    if kernel.kind in ("stem", "space_to_depth", "detect"):
        return True
    elements = kernel.area * max(inputs, outputs if kernel.stride == 1 else 0)
    out_area = kernel.area / kernel.stride**2
    macs = int(kernel.kernel) ** 2 * out_area * outputs * (inputs if kernel.kind == "conv" else 1)
    pools = kernel.kind == "max_pool" and kernel.height > 40
    return elements <= plan.max_elements and macs <= plan.max_macs and not pools


def profile(
    name: str,
    runtime: str,
    folder: Path,
    *,
    device: str = "",
    precision: str = "fp32",
    threads: int = 1,
    plan: Plan | None = None,
    short_names: Sequence[str] = (),
    time_limit_s: float | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Measure this machine and write the table `{name}-{runtime}-{precision}-b1[-tN]` into `folder`; its CSV's path.

    `progress(done, total)` is called after every batch. At the time limit what was measured is completed by the fit.
    Raises UserError when the table is there already, or when a partial one is and `resume` is not said.
    """
    plan = plan or Plan()
    plugin = load_plugin("latency_tables.runtimes", runtime)
    suffix = f"-t{threads}" if plugin.DEVICE_KIND == "cpu" else ""
    table_id = f"{name}-{runtime}-{precision}-b1{suffix}"
    target, partial = folder / f"{table_id}.csv", folder / f"{table_id}.partial.csv"
    if target.exists():
        raise UserError(f"{target} exists; give another name or remove it")
    if partial.exists() and not resume:
        raise UserError(f"{partial} exists, from a profile that was cut short; go on with it by --resume or remove it")
    cells = list(plan_kernels(plan))
    measured = measure_kernels(
        [cell for cell in cells if worth_measuring(plan, cell)], plugin, partial, precision=precision, threads=threads,
        time_limit_s=time_limit_s, progress=progress,
    )  # fmt: skip
    metadata = TableMetadata(
        id=table_id, short_names=list(short_names), kind=plugin.DEVICE_KIND, device=device or host_processor(),
        processor=host_processor(), runtime=runtime, runtime_version=plugin.version(), precision=precision, batch=1,
        threads=threads if suffix else None, date=date.today().isoformat(),
        measured=Measured(
            method=plugin.METHOD, statistic=plugin.STATISTIC, warm_up=plugin.WARM_UP, repeats=plugin.REPEATS,
            host=f"{os.cpu_count()} cores",
        ),
    )  # fmt: skip
    path = write_table(folder, metadata, complete(cells, measured))
    partial.unlink()
    return path


def measure_kernels(
    kernels: Sequence[Kernel],
    plugin: ModuleType,
    partial: Path,
    *,
    precision: str,
    threads: int,
    time_limit_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Rows of all kernels, those in `partial` read from there, the others measured and appended to it at once.

    What looks disturbed is then measured again, and the faster figure counts.

    Batches come in a shuffled (always the same) order, so that a time limit thins the grid instead of cutting it off.
    """
    rows = {row_key(row.kernel): row for row in read_partial(partial)}
    wanted = {row_key(kernel) for kernel in kernels}
    gauge = plugin.Gauge(threads, precision)
    started = time.monotonic()
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a") as file:
        if partial.stat().st_size == 0:
            file.write(",".join(COLUMNS) + "\n")
        for turn in range(1 + SECOND_LOOKS):
            missing = [kernel for kernel in kernels if row_key(kernel) not in rows]
            batches = plugin.batches(missing if turn == 0 else suspects(list(rows.values())))
            batches = [batches[index] for index in np.random.default_rng(turn).permutation(len(batches))]
            for start in range(0, len(batches), INTERLEAVED):
                if time_limit_s is not None and time.monotonic() - started > time_limit_s:
                    return list(rows.values())
                chosen = batches[start : start + INTERLEAVED]
                results = plugin.measure(chosen, threads=threads, precision=precision, gauge=gauge)
                for batch, figures in zip(chosen, results):
                    for kernel, (latency, spread) in zip(batch, figures):
                        row = faster(rows.get(row_key(kernel)), Row(kernel, max(latency, SHORTEST_MS), spread))
                        rows[row_key(kernel)] = row
                        file.write(format_row(row) + "\n")
                file.flush()
                if progress is not None:
                    progress(len(rows.keys() & wanted), len(kernels))
    return list(rows.values())


def suspects(rows: Sequence[Row]) -> list[Kernel]:
    """Kernels to look at again: runs that spread widely, or a kernel slower than one that does more of the same work."""
    found = [row.spread > WIDE_SPREAD for row in rows]
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, row in enumerate(rows):
        alike.setdefault((row.kernel.kind, row.kernel.kernel, row.kernel.stride), []).append(index)
    for indices in alike.values():
        work = np.array([_work(rows[index].kernel) for index in indices])
        latency = np.array([rows[index].latency_ms for index in indices])
        for place, index in enumerate(indices):
            more = (work >= work[place]).all(axis=1)
            found[index] |= bool(latency[more].min() < latency[place] / TOO_SLOW)
    return [row.kernel for row, suspect in zip(rows, found) if suspect]


def faster(first: Row | None, second: Row) -> Row:
    """Of two measurements of one kernel the faster: disturbances only ever slow."""
    return second if first is None or second.latency_ms <= first.latency_ms else first


def _work(kernel: Kernel) -> tuple[float, ...]:
    return (
        float(kernel.in_channels), float(kernel.out_channels), kernel.area, kernel.activation == "silu", kernel.fused_add,
    )  # fmt: skip


def read_partial(partial: Path) -> list[Row]:
    """Rows measured before; a last line that a kill cut short is dropped from the file."""
    if not partial.exists():
        return []
    text = partial.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        partial.write_text(whole)
    rows: dict[tuple[object, ...], Row] = {}
    for row in map(parse_row, whole.splitlines()[1:]):
        rows[row_key(row.kernel)] = faster(rows.get(row_key(row.kernel)), row)
    return list(rows.values())
