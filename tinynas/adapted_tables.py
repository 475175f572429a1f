"""A table of this host from other devices' tables: adapted, then set right and checked on whole detectors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from latency_tables import Table, find_table, read_table
from latency_tables.adaptation.adapt import Progress, adapt
from latency_tables.measuring import ProfileSettings
from latency_tables.registry import SHIPPED, list_tables
from latency_tables.verify import check, fit_networks, store
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.space import Space
from tinynas.sampling import ImageSize, populations, random_detectors

DRAWN = 16
"""Candidates drawn per space, image size and number of classes: their latency is what is to be right."""
CHECK_ROUNDS = 4
FIT_SEED, CHECK_SEED = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """What to adapt: the table `{name}-{runtime}-{precision}-b1[-tN]` into `folder`, from the nearest of `sources`, for
    networks of these spaces, image sizes and numbers of classes; `fitted` whole detectors set its scale, `checked` others
    check it."""

    name: str
    sources: Sequence[Table]
    runtime: str
    precision: str
    threads: int
    folder: Path
    spaces: Sequence[Space]
    sizes: Sequence[ImageSize]
    classes: Sequence[int]
    seconds: float
    fitted: int = 8
    checked: int = 8
    short_names: Sequence[str] = ()
    note: str = ""

    def run(
        self, *, resume: bool = False, progress: Callable[[Progress], None] | None = None,
        checked: Callable[[int], None] | None = None,
    ) -> Table:  # fmt: skip
        """Measure, fit the scale, check, and write the table with the check's figures in it. Raises UserError as `adapt`."""
        settings = ProfileSettings(precision=self.precision, threads=self.threads, time_limit_s=self.seconds)
        path = adapt(
            self.name, self.sources, self.folder, self.populations(), settings, runtime=self.runtime,
            short_names=self.short_names, reach_note=self.note, resume=resume, progress=progress,
            finish=lambda table: self._finish(table, checked),
        )  # fmt: skip
        return read_table(path)

    def _finish(self, table: Table, checked: Callable[[int], None] | None) -> None:
        """Set the scale by some detectors, check the table on others, and store both."""
        fitted = self.fit_detectors()
        table = fit_networks(table, list(fitted.items()), checked, rounds=CHECK_ROUNDS)
        others = self._detectors(self.checked, CHECK_SEED, fitted)
        result = check(table, list(others.items()), checked, rounds=CHECK_ROUNDS)
        names = ", ".join(space.name for space in self.spaces)
        figures = result.summary(table.metadata.overhead_ms) | {
            "drawn_from": f"{names}, small to large images; never fitted to",
            "scale_and_overhead": f"fitted on {len(fitted)} other random detectors, none of them checked",
        }
        store(table, figures)

    def populations(self) -> list[Graph]:
        """Candidates whose latency is to be right."""
        return list(populations(self.spaces, self.sizes, self.classes, members=DRAWN, seed=1))

    def fit_detectors(self) -> dict[str, Graph]:
        """The whole detectors, by name, that set the table's scale."""
        return self._detectors(self.fitted, FIT_SEED)

    def _detectors(self, number: int, seed: int, exclude: Collection[str] = ()) -> dict[str, Graph]:
        """Of all image sizes, small to large, and of each space in turn: on large images networks were seen to take 2 to 4 %
        longer, beside what their kernels take, than on small ones."""
        found: dict[str, Graph] = {}
        for place in range(number):
            space, size = self.spaces[place % len(self.spaces)], self.sizes[place * len(self.sizes) // number]
            found |= random_detectors(
                [space], [size], 1, num_classes=self.classes[-1], seed=(seed, place), exclude=[*exclude, *found]
            )
        return found


def possible_sources(
    runtime: str, precision: str, threads: int, *, processor: str, across_runtimes: bool = False, kind: str = "cpu"
) -> list[Table]:
    """Known tables of devices of a `kind` that another device's table can be adapted from, those of as many threads first;
    of the same runtime and precision, or, with `across_runtimes` and where there are none, of another runtime. A user's
    own table of the same processor, runtime and threads is left out: the new one would only repeat it.

    Raises UserError when there is none.
    """
    alike = [
        (metadata, path) for metadata, path in list_tables()
        if metadata.kind == kind and metadata.precision == precision and metadata.batch == 1
    ]  # fmt: skip
    own = (processor, runtime, threads)
    alike = [
        (m, path) for m, path in alike if path.parent == SHIPPED or (m.processor, m.runtime, m.threads or 1) != own
    ]  # fmt: skip
    found = [(m, path) for m, path in alike if m.runtime == runtime] or (alike if across_runtimes else [])
    if not found:
        raise UserError(
            f"no table to adapt from: none of a {kind.upper()} is known for {runtime}, {precision}; measure this host "
            "from nothing with tinynas profile --name NAME"
        )
    # a table that was adapted itself comes last: its source is among the others
    found.sort(key=lambda pair: (abs((pair[0].threads or 1) - threads), pair[0].adapted is not None, pair[0].id))
    nearest = abs((found[0][0].threads or 1) - threads)
    return [read_table(path) for m, path in found if abs((m.threads or 1) - threads) == nearest]


def chosen_sources(
    device: str, runtime: str | None, precision: str, threads: int, *, processor: str, across_runtimes: bool = False,
    kind: str = "cpu",
) -> list[Table]:  # fmt: skip
    """The tables that `--adapt` names, for a table of `processor`: one by id, short name or path; all that fit for `auto`.

    Raises UserError for one of another kind, batch or precision, and for one of another runtime than the one that is asked
    for (None: the table's own), unless `across_runtimes` is said.
    """
    if device == "auto":
        return possible_sources(
            runtime or "openvino", precision, threads, processor=processor, across_runtimes=across_runtimes, kind=kind
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it was measured on another processor is why it is adapted
        table = find_table(device)
    found = table.metadata
    if found.kind != kind:
        raise UserError(
            f"--adapt {device}: table {found.id} is of a {found.kind}; a {kind.upper()}'s is expected, or auto"
        )
    if found.batch != 1:
        raise UserError(f"--adapt {device}: table {found.id} is for batch {found.batch}; one for batch 1 is expected")
    if found.precision != precision:
        raise UserError(
            f"--adapt {device}: table {found.id} is of {found.precision}, {precision} was asked for; say --precision "
            f"{found.precision}, or take another table"
        )
    if runtime not in (None, found.runtime) and not across_runtimes:
        raise UserError(
            f"--adapt {device}: table {found.id} is of {found.runtime}, {runtime} was asked for; take a table of {runtime}, "
            "or add --across-runtimes: it works, with a larger error"
        )
    return [table]
