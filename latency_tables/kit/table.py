"""A table from what a device sent back, checked on the kit's whole detectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.adaptation.adapted import begin, likelihood
from latency_tables.completion import Fit, complete, expected_error, fit, rough_ms
from latency_tables.fusion import FusionRules, fusion_rules
from latency_tables.kit.collected import Collected
from latency_tables.metadata import Adapted, HostFacts, Measured, TableMetadata, new_metadata
from latency_tables.partial import Key
from latency_tables.reach import Cells
from latency_tables.registry import refuse_claimed
from latency_tables.tables import Floats, Row, Table, format_rows, parse_rows, row_key, write_table
from latency_tables.verify import Check, class_factors, compared
from search_spaces.errors import UserError
from search_spaces.files import check_folder
from search_spaces.graph import Graph
from search_spaces.plugins import load_plugin

MOST_UNKNOWN = 0.2
"""Largest part of the latency that may lie in grids without one measured kernel."""
FEWEST_CHECKED = 3
"""Detectors from which a fixed overhead may be fitted; with fewer there is none."""
Rows = dict[Key, Row]


@dataclass(frozen=True, slots=True)
class Completed:
    """All rows of a table, the mean relative error of a kernel that is expected (None: not known), and what there is to
    tell. `source`: the table that the rest was adapted from, and the error of a whole detector that is expected."""

    rows: list[Row]
    expected_error: float | None
    warnings: tuple[str, ...] = ()
    source: tuple[str, float] | None = None


Completion = Callable[[Sequence[Cells], Rows], Completed]
"""From grids and their measured rows to all rows: how a table is made of few measurements."""


def completed_alone(grids: Sequence[Cells], measured: Rows) -> Completed:
    """From the measurements alone, as the profiler does. Grids without any are computed from MACs and bytes at the pace of
    the others. Raises UserError when too much of the latency lies in those."""
    fits = [fit(grid, measured) for grid in grids]
    known = [item for item in fits if len(item.measured)]
    empty = [item for item in fits if not len(item.measured)]
    pace = _pace(measured)
    share = _share([*known, *empty], len(known), pace)
    if share > MOST_UNKNOWN:
        raise UserError(
            f"too little was measured: {len(empty)} of {len(fits)} grids of kernels, with about {share:.0%} of the latency, "
            "have no figure; run the kit on the device for longer (--minutes)"
        )
    rows = complete(known, measured)
    for item in empty:
        rows += [Row(kernel, rough_ms(kernel) * pace, source="derived") for kernel in item.cells.kernels]
    names = ", ".join(str(item.cells.group) for item in empty[:3])
    told = (
        f"no kernel of {len(empty)} of {len(fits)} grids was measured ({names}); they are computed from MACs and bytes"
    )
    return Completed(rows, expected_error(known), (told,) if empty else ())


def completed_from(sources: Sequence[Table], graphs: Sequence[Graph], rules: FusionRules) -> Completion:
    """By the nearest of other devices' tables, adapted to the measurements; `graphs`: detectors (populations) whose latency
    is to be right. Raises UserError, when it is called, where nothing was measured."""

    def completion(grids: Sequence[Cells], measured: Rows) -> Completed:
        if not measured:
            raise UserError("no kernel was measured: there is nothing to adapt a table to; run the kit on the device")
        nearest = max(sources, key=lambda table: likelihood(table, measured, rules.tail_block))
        adapted = begin(nearest, grids, graphs, rules)
        adapted.learn(measured)
        return Completed(adapted.rows(measured), None, source=(nearest.id, adapted.error))

    return completion


def _pace(measured: Rows) -> float:
    return float(np.exp(np.median([np.log(row.latency_ms / rough_ms(row.kernel)) for row in measured.values()])))


def _share(fits: Sequence[Fit], known: int, pace: float) -> float:
    """Part of the latency in the fits after the first `known`, whose figures are MACs and bytes."""
    spent = [float((item.cells.visits * np.exp(item.log_ms)).sum()) for item in fits]
    unknown = pace * sum(spent[known:])
    return unknown / (sum(spent[:known]) + unknown)


def refuse_unreached(found: Collected, grids: Sequence[Cells]) -> None:
    """Raise UserError when the networks that the kit was made for no longer run kernels that were measured."""
    reached = {row_key(kernel) for grid in grids for kernel in grid.kernels}
    lost = sum(key not in reached for key in found.rows)
    if lost:
        raise UserError(
            f"kit {found.header['id']}: {lost} of its {len(found.rows)} measured kernels are of no use to this version of "
            f"tinynas (it was made by {found.header.get('tinynas', 'another one')}); make the kit anew"
        )


def write_collected(
    found: Collected, name: str, folder: Path, grids: Sequence[Cells], graphs: Mapping[str, Graph], *,
    short_names: Sequence[str] = (), reach_note: str = "", completion: Completion = completed_alone,
) -> tuple[Table, tuple[str, ...]]:  # fmt: skip
    """Write the table `{name}-{runtime}-{precision}-b1[-tN]` of the device into `folder`; the table, and what to tell.

    `graphs`: the kit's whole detectors by name; `completion`: how what was not measured is made out. Raises UserError when
    the table is there already, or when too little was measured.
    """
    metadata = _metadata(found, name, short_names, reach_note)
    check_folder(folder)
    refuse_claimed(metadata, folder)
    target = folder / f"{metadata.id}.csv"
    if target.exists():
        raise UserError(f"{target} exists; give another name or remove it")
    refuse_unreached(found, grids)
    done = completion(grids, dict(found.rows))
    measured = (metadata.measured or Measured(method="", statistic="", warm_up=0, repeats=1)).model_copy(
        update={"minutes": round(found.minutes, 1), "expected_error": _rounded(done.expected_error)}
    )
    metadata = metadata.model_copy(update={"measured": measured, "adapted": _adapted(done, found)})
    checked = _checked(metadata, done.rows, {key: graphs[key] for key in found.detectors}, found.detectors)
    path = write_table(folder, metadata.model_copy(update=checked), done.rows)
    table = _table(metadata.model_copy(update=checked), done.rows, str(path))
    return table, (*found.warnings, *done.warnings)


def _adapted(done: Completed, found: Collected) -> Adapted | None:
    if done.source is None:
        return None
    name, error = done.source
    return Adapted(
        source=name, kernels=len(found.rows), seconds=round(60 * found.minutes, 1), expected_error=_rounded(error)
    )


def _rounded(error: float | None) -> float | None:
    return None if error is None else round(error, 4)


def _metadata(found: Collected, name: str, short_names: Sequence[str], reach_note: str) -> TableMetadata:
    header, conditions = found.header, found.conditions
    runtime = str(header["runtime"])
    plugin = load_plugin("latency_tables.runtimes", runtime)
    kind = plugin.device_kind()
    suffix = f"-t{conditions['threads']}" if kind == "cpu" else ""
    processor = str(conditions["processor"]) if kind == "cpu" else ""
    facts = HostFacts(processor=processor, extensions=found.extensions) if processor and found.extensions else None
    method = f"average figures of {found.program} on a kit's models" if found.program else f"by a kit; {plugin.METHOD}"
    statistic = "mean of all runs but the warm-up's" if found.program else plugin.STATISTIC
    return new_metadata(
        id=f"{name}-{runtime}-{header['precision']}-b1{suffix}", short_names=list(short_names), kind=kind,
        device=str(conditions["device"]), processor=processor, host=facts, runtime=runtime,
        runtime_version=str(conditions["runtime_version"]), precision=header["precision"], batch=1,
        threads=conditions["threads"] if suffix else None, date=date.today().isoformat(), clocks=found.clock,
        tail_block=fusion_rules(runtime, header["precision"], found.extensions).tail_block,
        measured={
            "method": method, "statistic": statistic, "warm_up": plugin.WARM_UP, "repeats": plugin.REPEATS,
            "host": f"{conditions['host']}, {conditions['processor']}, kit {header['id']}", "reach": reach_note,
        },
    )  # fmt: skip


def _table(metadata: TableMetadata, rows: Sequence[Row], source: str) -> Table:
    text = format_rows(rows)
    return Table(
        metadata=metadata, rows=parse_rows(text, source), source=source, hash=hashlib.sha256(text.encode()).hexdigest()
    )


def _checked(
    metadata: TableMetadata, rows: Sequence[Row], graphs: Mapping[str, Graph], measured: Mapping[str, float]
) -> dict[str, Any]:  # fmt: skip
    """`scale`, `overhead_ms` and `error` by the kit's detectors: each one's error with the fit that the others give."""
    if not graphs:
        return {}
    table = _table(metadata, rows, metadata.id)
    found = fit_where_it_helps(compared(table, graphs, [measured[name] for name in graphs]))
    drawn = "the kit's own, drawn uniformly, spread over image sizes; never fitted to but for scale and overhead"
    return {
        "scale": {kind: round(factor, 4) for kind, factor in found.factors.items()},
        "overhead_ms": round(found.overhead_ms, 4),
        "error": {**found.each.summary(found.overheads_ms), "drawn_from": drawn, "scale_and_overhead": found.origin},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFit:
    """Factors by kind of kernel (none: 1) and the overhead that a kit's detectors give, and where they come from; `each`
    detector as the others' fit predicts it, with `overheads_ms` (n,)."""

    factors: dict[str, float]
    overhead_ms: float
    each: Check
    overheads_ms: Floats
    origin: str


def fit_where_it_helps(bare: Check) -> NetworkFit:
    """Scale and overhead from a few detectors.

    They say little, and a fit to noise makes predictions worse: it is taken only where each detector is predicted better
    with what the others give than without any.
    """
    number = len(bare.names)
    if number >= FEWEST_CHECKED:
        others = [_without(bare, index).best_fit() for index in range(number)]
        scaled = [bare.classes_ms[index] * class_factors(factors) for index, (factors, _) in enumerate(others)]
        each, overheads_ms = replace(bare, classes_ms=np.stack(scaled)), np.array([overhead for _, overhead in others])
        if np.abs(each.errors(overheads_ms)).mean() < np.abs(bare.errors()).mean():
            factors, overhead_ms = bare.best_fit()
            origin = "fitted on the kit's detectors; each one's error with what the others give"
            return NetworkFit(
                factors=factors, overhead_ms=overhead_ms, each=each, overheads_ms=overheads_ms, origin=origin
            )
    origin = "none: the kit's detectors are predicted no better with them"
    return NetworkFit(factors={}, overhead_ms=0.0, each=bare, overheads_ms=np.zeros(number), origin=origin)


def _without(result: Check, index: int) -> Check:
    kept = [place for place in range(len(result.names)) if place != index]
    return Check(
        tuple(result.names[place] for place in kept), result.classes_ms[kept], result.measured_ms[kept],
        result.extrapolated[kept],
    )  # fmt: skip
