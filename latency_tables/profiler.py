"""Measure the kernels that the search spaces can reach, and complete them to a table.

Measurements are appended to a partial CSV as they come, so a profile that was cut short goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np

from latency_tables.kernels import TWO_CHANNEL_KINDS, Kernel
from latency_tables.metadata import Measured, TableMetadata
from latency_tables.registry import host_processor
from latency_tables.tables import COLUMNS, Floats, Group, Row, format_row, parse_row, row_key, write_table
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin

INTERLEAVED = 4
"""Models whose runs are interleaved."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which grid of kernels to measure. A cell whose work exceeds `max_macs` or `max_bytes` is left to the fit: no
    network in reach has it."""

    sides: tuple[int, ...] = (7, 10, 20, 40, 80, 160, 320)
    inputs: tuple[int, ...] = (8, 16, 32, 64, 96, 128, 256, 512, 1024, 2048)
    outputs: tuple[int, ...] = (1, 8, 16, 32, 64, 96, 128, 256, 512, 1024)
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

    Batches come in a shuffled (always the same) order, so that a time limit thins the grid instead of cutting it off.
    """
    rows = read_partial(partial)
    known = {row_key(row.kernel) for row in rows}
    batches = plugin.batches([kernel for kernel in kernels if row_key(kernel) not in known])
    batches = [batches[index] for index in np.random.default_rng(0).permutation(len(batches))]
    started, total = time.monotonic(), len(kernels)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a") as file:
        if not rows and partial.stat().st_size == 0:
            file.write(",".join(COLUMNS) + "\n")
        for start in range(0, len(batches), INTERLEAVED):
            if time_limit_s is not None and time.monotonic() - started > time_limit_s:
                break
            chosen = batches[start : start + INTERLEAVED]
            for batch, results in zip(chosen, plugin.measure(chosen, threads=threads, precision=precision)):
                for kernel, (latency, spread) in zip(batch, results):
                    row = Row(kernel, max(latency, 1e-4), spread)
                    rows.append(row)
                    file.write(format_row(row) + "\n")
            file.flush()
            if progress is not None:
                progress(len(rows), total)
    return rows


def read_partial(partial: Path) -> list[Row]:
    """Rows measured before; a last line that a kill cut short is dropped from the file."""
    if not partial.exists():
        return []
    text = partial.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        partial.write_text(whole)
    return [parse_row(line) for line in whole.splitlines()[1:]]


def complete(cells: Iterable[Kernel], measured: Sequence[Row]) -> list[Row]:
    """The measured rows, and `fitted` ones for the cells of their grids that were not measured.

    A hole is filled from its measured neighbours along each axis: log latency goes on with the slope of the nearest two
    on that axis, averaged over the axes, nearest holes first. Groups with nothing measured are left out.
    """
    rows = {row_key(row.kernel): row for row in measured}
    by_group: dict[Group, list[Kernel]] = {}
    for kernel in cells:
        key = Group(kernel.kind, int(kernel.kernel), kernel.stride, kernel.activation, kernel.fused_add)
        by_group.setdefault(key, []).append(kernel)
    result: list[Row] = []
    for group, kernels in by_group.items():
        if not any(row_key(kernel) in rows for kernel in kernels):
            continue
        places, shape = _places(group, kernels)
        logs = np.full(shape, np.nan)
        coordinates = [np.log([_axes(group, kernel)[axis] for kernel in kernels]) for axis in range(3)]
        knots = [np.unique(column) for column in coordinates]
        for kernel, place in zip(kernels, places):
            if row_key(kernel) in rows:
                logs[place] = np.log(rows[row_key(kernel)].latency_ms)
        filled = fill(logs, knots)
        for kernel, place in zip(kernels, places):
            known = rows.get(row_key(kernel))
            result.append(known or Row(kernel, float(np.exp(filled[place])), source="fitted"))
    return result


def fill(logs: Floats, knots: Sequence[Floats]) -> Floats:
    """A grid with its NaNs filled by continuing along the axes, nearest first (work grows with size: slopes 0..1.2)."""
    filled = logs.copy()
    while np.isnan(filled).any():
        holes = np.argwhere(np.isnan(filled))
        guesses = {tuple(hole): _guess(filled, tuple(hole), knots) for hole in holes}
        ready = {hole: guess for hole, guess in guesses.items() if guess is not None}
        if not ready:
            raise UserError("too few kernels were measured to complete the table; give the profile more time")
        for hole, guess in ready.items():
            filled[hole] = guess
    return filled


def _guess(filled: Floats, hole: tuple[int, ...], knots: Sequence[Floats]) -> float | None:
    found = []
    for axis, coordinates in enumerate(knots):
        line = filled[(*hole[:axis], slice(None), *hole[axis + 1 :])]
        known = np.flatnonzero(~np.isnan(line))
        if len(known) == 0:
            continue
        nearest = known[np.argsort(np.abs(coordinates[known] - coordinates[hole[axis]]), kind="stable")[:2]]
        if abs(int(nearest[0]) - hole[axis]) != 1:
            continue
        slope = 1.0
        if len(nearest) == 2:
            rise = line[nearest[1]] - line[nearest[0]]
            slope = float(np.clip(rise / (coordinates[nearest[1]] - coordinates[nearest[0]]), 0.0, 1.2))
        found.append(line[nearest[0]] + slope * (coordinates[hole[axis]] - coordinates[nearest[0]]))
    return float(np.mean(found)) if found else None


def _axes(group: Group, kernel: Kernel) -> tuple[float, float, float]:
    outputs = float(kernel.out_channels) if group.kind in TWO_CHANNEL_KINDS else 1.0
    return float(kernel.in_channels), outputs, float(kernel.area)


def _places(group: Group, kernels: Sequence[Kernel]) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    columns = np.array([_axes(group, kernel) for kernel in kernels]).T
    inverse = [np.unique(column, return_inverse=True) for column in columns]
    shape = tuple(len(values) for values, _ in inverse)
    return [tuple(int(index[1][row]) for index in inverse) for row in range(len(kernels))], shape
