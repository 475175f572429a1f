"""Measure the kernels that networks run on this machine, those first whose figures would improve predictions most.

Rounds: fit what is known (latency_tables.completion), measure the cells where the fit's error times the latency that
such kernels carry is largest, and again, until the fit is good enough, time is up, or nothing is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from latency_tables.completion import Fit, complete, expected_error, fit, latency_shares
from latency_tables.kernels import Kernel
from latency_tables.measuring import ProfileSettings, conditions, measured_metadata
from latency_tables.metadata import Measured, read_metadata
from latency_tables.partial import Partial, held, kept_on_failure
from latency_tables.reach import Cells, reach
from latency_tables.registry import refuse_claimed
from latency_tables.shards import measure_all, prepare_backend, shards
from latency_tables.tables import Row, read_rows, row_key, write_table
from search_spaces.errors import UserError
from search_spaces.files import check_folder
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin

FIRST_SHARE, FIRST_CELLS = 0.08, 4
"""Part, and least number, of each grid's cells that the first round measures."""
ROUND_GROWTH, SMALLEST_ROUND = 0.25, 96
"""A round measures so large a part of what was measured before, at least so many cells."""
SECOND_LOOKS = 0.1
"""Largest part of the kernels that are measured again because they look disturbed, and of the time that is kept for it."""
WIDE_SPREAD, SURPRISING, STRANGE = 0.15, 0.1, 3.0
"""What looks disturbed: a spread of the runs, or being slower than the neighbours say by so much (in log latency) and by
so many standard errors."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a profile has come: kernels measured, kernels in reach, and the error that the fit expects of a kernel's
    latency (None before the first fit)."""

    done: int
    reachable: int
    expected_error: float | None


def profile(
    name: str,
    runtime: str,
    folder: Path,
    graphs: Iterable[Graph],
    settings: ProfileSettings,
    *,
    device: str = "",
    short_names: Sequence[str] = (),
    reach_note: str = "",
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Measure this machine and write the table `{name}-{runtime}-{precision}-b1[-tN]` into `folder`; its CSV's path.

    `graphs`: networks (populations) whose kernels the table shall cover; `reach_note` describes them. `resume`: go on with a
    profile that was cut short, or from an adapted table of this name, whose measured kernels are not measured again.
    Raises UserError when the table is there already, when a partial one is and `resume` is not said, when the time was too
    short to measure something of every grid, when another table in `folder` has claimed a short name, or when the device
    fails.
    """
    plugin = load_plugin("latency_tables.runtimes", runtime)
    prepare_backend(settings.backend, settings.workers)
    metadata = measured_metadata(
        name, runtime, plugin, settings, device=device, short_names=short_names, reach_note=reach_note
    )
    check_folder(folder)
    refuse_claimed(metadata, folder)
    target, path = folder / f"{metadata.id}.csv", folder / f"{metadata.id}.partial.csv"
    adapted = _adapted_rows(target) if resume and target.exists() else []
    if target.exists() and not adapted:
        raise UserError(f"{target} exists; give another name or remove it")
    if path.exists() and not resume:
        raise UserError(f"{path} exists, from a profile that was cut short; go on with it by --resume or remove it")
    grids = reach(graphs, metadata.rules, [row.kernel for row in adapted])
    with held(path, conditions(metadata)):
        partial, started = Partial(path), time.monotonic()
        partial.add_rows(
            [row for row in adapted if row.source == "measured" and row_key(row.kernel) not in partial.rows]
        )
        _refuse_unreached(partial, grids)
        fits = _Rounds(grids, partial, plugin, settings, progress).run()
        rows = complete(fits, partial.rows)
        missing = [str(item.cells.group) for item in fits if not len(item.measured)]
        if missing:
            raise UserError(
                f"time was up before any {missing[0]} was measured ({len(missing)} of {len(fits)} grids are empty); the "
                f"{len(partial.rows)} kernels measured so far are kept in {path}; go on with --resume and more --minutes"
            )
        minutes = round((time.monotonic() - started) / 60, 1)
        measured = (metadata.measured or Measured(method="", statistic="", warm_up=0, repeats=1)).model_copy(
            update={"minutes": minutes, "expected_error": round(expected_error(fits), 4)}
        )
        written = write_table(folder, metadata.model_copy(update={"measured": measured}), rows)
        path.unlink()
    return written


def _adapted_rows(target: Path) -> list[Row]:
    """The rows of a table that was adapted: a profile goes on from them. None for a table of another making."""
    return read_rows(target) if read_metadata(target.with_suffix(".yaml")).adapted is not None else []


def _refuse_unreached(partial: Partial, grids: Sequence[Cells]) -> None:
    """Raise UserError when earlier measurements would be dropped because the networks no longer have such kernels."""
    reached = {row_key(kernel) for grid in grids for kernel in grid.kernels}
    lost = [row for key, row in partial.rows.items() if key not in reached]
    if lost:
        raise UserError(
            f"{partial.path}: {len(lost)} of its {len(partial.rows)} kernels are out of reach of the spaces, image sizes and "
            "classes asked for now; go on with those it was begun with (or more), or remove the file to measure anew"
        )


def coarse(fits: Sequence[Fit]) -> list[Kernel]:
    """What the first round has still to measure: a few cells spread over each grid."""
    chosen = []
    for item, share in zip(fits, latency_shares(fits)):
        visited = int((item.cells.visits > 0).sum())
        wanted = min(max(FIRST_CELLS, round(FIRST_SHARE * visited)), visited) - len(item.measured)
        chosen += [item.cells.kernels[place] for _, place in item.pick(np.sign(share), wanted)]
    return chosen


def fine(fits: Sequence[Fit], known: int) -> list[Kernel]:
    """The cells, over all grids, whose error matters most; `known`: how many are measured."""
    number = max(SMALLEST_ROUND, round(ROUND_GROWTH * known))
    offers = [
        (gain, index, place)
        for index, (item, share) in enumerate(zip(fits, latency_shares(fits)))
        for gain, place in item.pick(share, number)
    ]
    best = sorted(offers, key=lambda offer: (-offer[0], offer[1:]))[:number]
    return [fits[index].cells.kernels[place] for _, index, place in best]


class _Rounds:
    """A profile under way."""

    def __init__(
        self, grids: Sequence[Cells], partial: Partial, plugin: ModuleType, settings: ProfileSettings,
        progress: Callable[[Progress], None] | None,
    ) -> None:  # fmt: skip
        self.grids, self.partial, self.plugin, self.settings, self.progress = grids, partial, plugin, settings, progress
        self.started = time.monotonic()
        self.reachable = sum(int((grid.visits > 0).sum()) for grid in grids)
        self.error: float | None = None
        self.fits: list[Fit | None] = [None] * len(grids)

    def run(self) -> list[Fit]:
        """Measure until the fit is good enough or time is up; the last fit."""
        while True:
            fits = self._fit()
            known = sum(len(item.measured) for item in fits)
            chosen = coarse(fits)
            if not chosen:
                self.error = expected_error(fits)
                chosen = [] if self.error <= self.settings.target_error else fine(fits, known)
            self._report()
            if not chosen or not self._measure(chosen, 1 - SECOND_LOOKS):
                break
        self._measure(self._suspects(self._fit()), 1.0)
        self.fits = [None] * len(self.grids)  # second looks change figures, not their number
        return self._fit()

    def _fit(self) -> list[Fit]:
        fits = [fit(grid, self.partial.rows, before) for grid, before in zip(self.grids, self.fits)]
        self.fits = list(fits)
        return fits

    def _suspects(self, fits: Sequence[Fit]) -> list[Kernel]:
        """Kernels to look at once more: runs that spread widely, or much slower than their neighbours say."""
        found = []
        for item, share in zip(fits, latency_shares(fits)):
            for place in item.measured:
                key = row_key(item.cells.kernels[place])
                odd = item.surprise[place] > SURPRISING and item.strange[place] > STRANGE
                spread = self.partial.rows[key].spread
                if (odd or spread > WIDE_SPREAD) and self.partial.looks[key] == 1:
                    doubt = float(share[place] * max(item.surprise[place], spread))
                    found.append((doubt, item.cells.kernels[place]))
        found.sort(key=lambda pair: -pair[0])
        second = sum(looks - 1 for looks in self.partial.looks.values())
        return [kernel for _, kernel in found[: max(0, round(SECOND_LOOKS * len(self.partial.rows)) - second)]]

    def _measure(self, kernels: Sequence[Kernel], part: float) -> bool:
        """Measure and keep; False when `part` of the time is up before all are."""
        limit, settings = self.settings.time_limit_s, self.settings
        batches = self.plugin.batches(kernels)
        if not batches:
            return True
        # In no order: a time limit thins the grids instead of cutting some off.
        order = np.random.default_rng(len(self.partial.rows)).permutation(len(batches))
        work = shards([batches[index] for index in order])
        results = measure_all(
            self.plugin, work, threads=settings.threads, precision=settings.precision, workers=settings.workers,
            backend=settings.backend,
        )  # fmt: skip
        with kept_on_failure(self.partial, "profiling"):
            while limit is None or time.monotonic() - self.started < part * limit:
                measured = next(results, None)
                if measured is None:
                    return True
                self.partial.add(measured)
                self._report()
        return False

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(Progress(len(self.partial.rows), self.reachable, self.error))
