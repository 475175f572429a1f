"""A table from what a device sent back, checked on the kit's whole detectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.completion import Fit, complete, expected_error, fit, rough_ms
from latency_tables.kernels import fusion_rules
from latency_tables.kit.collected import Collected
from latency_tables.metadata import Measured, TableMetadata, new_metadata
from latency_tables.partial import Key
from latency_tables.predictor import predict
from latency_tables.reach import Cells
from latency_tables.registry import refuse_claimed
from latency_tables.tables import Floats, Row, Table, format_rows, parse_rows, row_key, write_table
from latency_tables.verify import Check
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
    """All rows of a table, the mean relative error of a kernel that is expected, and what there is to tell."""

    rows: list[Row]
    expected_error: float
    warnings: tuple[str, ...] = ()


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
        update={"minutes": round(found.minutes, 1), "expected_error": round(done.expected_error, 4)}
    )
    metadata = metadata.model_copy(update={"measured": measured})
    checked = _checked(metadata, done.rows, {key: graphs[key] for key in found.detectors}, found.detectors)
    path = write_table(folder, metadata.model_copy(update=checked), done.rows)
    table = _table(metadata.model_copy(update=checked), done.rows, str(path))
    return table, (*found.warnings, *done.warnings)


def _metadata(found: Collected, name: str, short_names: Sequence[str], reach_note: str) -> TableMetadata:
    header, conditions = found.header, found.conditions
    runtime = str(header["runtime"])
    plugin = load_plugin("latency_tables.runtimes", runtime)
    kind = plugin.DEVICE_KIND() if callable(plugin.DEVICE_KIND) else plugin.DEVICE_KIND
    suffix = f"-t{conditions['threads']}" if kind == "cpu" else ""
    method = f"average figures of {found.program} on a kit's models" if found.program else f"by a kit; {plugin.METHOD}"
    statistic = "mean of all runs but the warm-up's" if found.program else plugin.STATISTIC
    return new_metadata(
        id=f"{name}-{runtime}-{header['precision']}-b1{suffix}", short_names=list(short_names), kind=kind,
        device=str(conditions["device"]), processor=str(conditions["processor"]) if kind == "cpu" else "",
        runtime=runtime, runtime_version=str(conditions["runtime_version"]), precision=header["precision"], batch=1,
        threads=conditions["threads"] if suffix else None, date=date.today().isoformat(), clocks=found.clock,
        tail_block=fusion_rules(runtime).tail_block,
        measured={
            "method": method, "statistic": statistic, "warm_up": plugin.WARM_UP, "repeats": plugin.REPEATS,
            "host": f"{conditions['host']}, {conditions['processor']}, kit {header['id']}", "reach": reach_note,
        },
    )  # fmt: skip


def _table(metadata: TableMetadata, rows: Sequence[Row], source: str) -> Table:
    text = format_rows(rows)
    return Table(metadata, parse_rows(text, source), source, hashlib.sha256(text.encode()).hexdigest())


def _checked(
    metadata: TableMetadata, rows: Sequence[Row], graphs: Mapping[str, Graph], measured: Mapping[str, float]
) -> dict[str, Any]:  # fmt: skip
    """`overhead_ms` and `error` by the kit's detectors: each one's error with the overhead that the others give."""
    if not graphs:
        return {}
    table = _table(metadata, rows, metadata.id)
    predicted = [predict(graph, table, max_extrapolated=1.0) for graph in graphs.values()]
    result = Check(
        tuple(graphs), np.array([item.total_ms for item in predicted]), np.array([measured[name] for name in graphs]),
        np.array([item.shares["extrapolated"] for item in predicted]),
    )  # fmt: skip
    overhead, each, origin = _overhead(result)
    drawn = "the kit's own, drawn uniformly, spread over image sizes; never fitted to but for the overhead"
    error = {**result.summary(each), "drawn_from": drawn, "overhead": origin}
    return {"overhead_ms": round(overhead, 4), "error": error}


def _overhead(result: Check) -> tuple[float, Floats, str]:
    """The fixed part of a network's latency, what each detector is checked with, and where it comes from.

    A few detectors say little of it, and a fit to noise makes small networks worse: it is taken only where each detector is
    predicted better with what the others give than without any.
    """
    number = len(result.names)
    each = np.array([_without(result, index) for index in range(number)]) if number >= FEWEST_CHECKED else None
    if each is None or np.abs(result.errors(each)).mean() >= np.abs(result.errors()).mean():
        return 0.0, np.zeros(number), "none: the kit's detectors are predicted no better with one"
    return result.best_overhead_ms(), each, "fitted on the kit's detectors; each one's error with what the others give"


def _without(result: Check, index: int) -> float:
    kept = [place for place in range(len(result.names)) if place != index]
    others = Check(
        tuple(result.names[place] for place in kept), result.kernels_ms[kept], result.measured_ms[kept],
        result.extrapolated[kept],
    )  # fmt: skip
    return others.best_overhead_ms()
