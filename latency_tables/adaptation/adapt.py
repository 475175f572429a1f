"""Adapt a table to this host: measure the kernels that whole detectors gain most by, and fit the ratio, until time is up."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from latency_tables.adaptation.adapted import AdaptedFigures, begin, likelihood
from latency_tables.fusion import FusionRules
from latency_tables.kernels import Kernel
from latency_tables.measuring import ProfileSettings, conditions, measured_metadata
from latency_tables.metadata import Adapted, TableMetadata
from latency_tables.partial import Partial, held, kept_on_failure
from latency_tables.reach import reach
from latency_tables.registry import refuse_claimed
from latency_tables.shards import Measurement, measure_all, shards, unsteadiness
from latency_tables.tables import Row, Table, read_rows, read_table, write_table
from search_spaces.errors import UserError
from search_spaces.files import check_folder
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin

FIRST, EACH = 24, 32
"""Kernels of the first round, which also finds the nearest source, and of each later one."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an adaptation has come: seconds since it began, kernels measured, the error of a whole detector that is
    expected (None before the first fit), and the source (the id of its table)."""

    seconds: float
    kernels: int
    expected_error: float | None
    source: str


def adapt(
    name: str,
    sources: Sequence[Table],
    folder: Path,
    graphs: Sequence[Graph],
    settings: ProfileSettings,
    *,
    runtime: str,
    short_names: Sequence[str] = (),
    reach_note: str = "",
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    finish: Callable[[Table], object] | None = None,
) -> Path:
    """Write the table `{name}-{runtime}-{precision}-b1[-tN]` of this host into `folder`; its CSV's path.

    `sources`: tables of other devices, the likeliest first; the one whose figures explain the first measurements best is
    adapted. `graphs`: detectors (populations) whose latency is to be right; what they run beyond the source's kernels is
    added. `settings.time_limit_s`: how long to measure. Measurements are kept in the same file as a profile's: either
    goes on with what the other began (`resume`). `finish(table)` sets the table right and checks it, and stores that with it:
    until it is through there is no table, and the measurements are kept.

    Raises UserError when no source is given, when the table is there already, when measurements of a stopped run are and
    `resume` is not said, or when the device fails.
    """
    _check(sources, settings)
    plugin = load_plugin("latency_tables.runtimes", runtime)
    metadata = measured_metadata(name, runtime, plugin, settings, short_names=short_names, reach_note=reach_note)
    check_folder(folder)
    refuse_claimed(metadata, folder)
    target, path = folder / f"{metadata.id}.csv", folder / f"{metadata.id}.partial.csv"
    if target.exists():
        raise UserError(f"{target} exists; give another name, or remove it")
    if path.exists() and not resume:
        raise UserError(f"{path} exists, from a run that was cut short; go on with it by --resume or remove it")
    with held(path, conditions(metadata)):
        run = _Run(sources, Partial(path), list(graphs), settings, metadata, plugin, progress)
        adapted = run.run()
        provenance = Adapted(
            source=run.source.id, kernels=len(run.partial.rows), seconds=round(time.monotonic() - run.started, 1),
            expected_error=round(adapted.error, 4),
            unsteadiness=round(unsteadiness(plugin, settings.threads, settings.precision), 3),
        )  # fmt: skip
        metadata = metadata.model_copy(update={"adapted": provenance})
        _write(folder, metadata, adapted.rows(run.partial.rows), finish)
        path.unlink(missing_ok=True)
    return target


def _write(
    folder: Path, metadata: TableMetadata, rows: Iterable[Row], finish: Callable[[Table], object] | None
) -> None:  # fmt: skip
    """Write a table once it is finished, in a folder that no one takes a table from until then."""
    unfinished = folder / f".{metadata.id}.unfinished"
    try:
        written = write_table(unfinished, metadata, rows)
        if finish is not None:
            finish(read_table(written))
        for path in (written.with_suffix(".yaml"), written):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check(sources: Sequence[Table], settings: ProfileSettings) -> None:
    if not sources:
        raise UserError("no table to adapt from: measure this host with tinynas profile --name NAME")
    check_seconds(settings.time_limit_s)


def check_seconds(seconds: float | None) -> None:
    """Raise UserError where it is no time to measure in."""
    if seconds is None or not 0 < seconds < float("inf"):
        raise UserError(f"{seconds} seconds to measure in; a positive number expected, 60 for example")


class _Run:
    """An adaptation under way."""

    def __init__(
        self, sources: Sequence[Table], partial: Partial, graphs: list[Graph], settings: ProfileSettings,
        metadata: TableMetadata, plugin: ModuleType, progress: Callable[[Progress], None] | None,
    ) -> None:  # fmt: skip
        self.started = time.monotonic()
        self.sources, self.partial, self.graphs, self.settings = sources, partial, graphs, settings
        self.plugin, self.rules, self.progress = plugin, metadata.rules, progress
        self.source = sources[0]

    def run(self) -> AdaptedFigures:
        """Measure until time is up; the last fit."""
        adapted = _begin(self.source, self.rules, self.graphs)
        if len(self.partial.rows) < FIRST:
            self._measure(adapted, FIRST - len(self.partial.rows))
        nearest = self._nearest()
        if nearest is not self.source:
            self.source, adapted = nearest, _begin(nearest, self.rules, self.graphs)
        adapted.learn(self.partial.rows)
        while self._measure(adapted, EACH):
            adapted.learn(self.partial.rows)
            self._report(adapted)
        adapted.learn(self.partial.rows)
        return adapted

    def _nearest(self) -> Table:
        if len(self.sources) == 1 or not self.partial.rows:
            return self.source
        block = self.rules.tail_block
        return max(self.sources, key=lambda table: likelihood(table, self.partial.rows, block))

    def _measure(self, adapted: AdaptedFigures, number: int) -> bool:
        """Measure the next kernels and keep them; False when time is up or nothing is left."""
        kernels = adapted.next(number)
        for measured in self._measured(kernels):
            self.partial.add(measured)
            self._report(adapted)
            if self._seconds() >= float(self.settings.time_limit_s or 0):
                return False
        return bool(kernels) and self._seconds() < float(self.settings.time_limit_s or 0)

    def _measured(self, kernels: Sequence[Kernel]) -> Iterator[list[Measurement]]:
        settings = self.settings
        work = shards(self.plugin.batches(kernels))
        with kept_on_failure(self.partial, "kernels were measured"):
            yield from measure_all(
                self.plugin, work, threads=settings.threads, precision=settings.precision, quick=True
            )

    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _report(self, adapted: AdaptedFigures) -> None:
        if self.progress is not None:
            known = adapted.error if adapted.learnt else None
            self.progress(Progress(self._seconds(), len(self.partial.rows), known, self.source.id))


def _begin(source: Table, rules: FusionRules, graphs: Sequence[Graph]) -> AdaptedFigures:
    own = [row.kernel for row in read_rows(Path(source.source))] if source.metadata.runtime == rules.runtime else []
    return begin(source, reach(graphs, rules, own), graphs, rules)
