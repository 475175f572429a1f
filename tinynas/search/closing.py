"""The last step of a search for this machine: what was found is built in the table's runtime and timed."""

from __future__ import annotations

import time
from types import ModuleType

import numpy as np

from latency_tables import Table
from latency_tables.host import is_this_host
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from tinynas.search.found import note_provenance
from tinynas.search.measure import runtime_here
from tinynas.search.plan import FoundNetwork, SearchResult

APART = 0.05
"""Relative difference of prediction and measurement from which on a person is told what to do about it."""
LOOK_MS, MOST_ROUNDS, FEWEST_ROUNDS = 500.0, 12, 2
"""The rounds of a look are as many as fit into the time by the table's own figures, within these bounds."""
RUNS_PER_ROUND = 4
"""A round's three runs that count, and the one before them."""
MOST_LOOKS, PATIENCE_S = 3, 2.5
"""What looks slow is looked at again, while another look fits into so many seconds."""


def measure_members(result: SearchResult, solver: str = "evolution") -> None:
    """Time every member on each table of this machine, beside its prediction (`measured`, and the structure's provenance).

    Left out: tables of other machines or batches, a backbone searched alone (no runtime tells its part of a detector),
    and members that the search itself has measured. What cannot be timed, and what lies more than APART from its
    prediction, is a note of the result.
    """
    plan = result.plan
    if plan.backbone_only or plan.convs_only or any(member.measured for member in result.members):
        return
    for table in plan.tables.values():
        if is_this_host(table.metadata) and table.metadata.batch == 1:
            result.notes += _measure(result.members, table, solver)
            for member in result.members:
                note_provenance(plan, member, result.evaluated, solver)


def _measure(members: list[FoundNetwork], table: Table, solver: str) -> list[str]:
    """Note the figures of one table on the members; what is to be said of them."""
    metadata = table.metadata
    predicted = [member.account.latency[table.id].total_ms for member in members]
    graphs = [emit_detector(member.structure) for member in members]
    try:
        plugin = runtime_here(table)
        version = plugin.version()
        found = _timed(plugin, graphs, predicted, table)
    except UserError as error:
        return [f"not timed at the end of the search: {error}"]
    except Exception as error:  # a result that was found must not be lost by what a runtime makes of it
        what = (str(error).splitlines() or [type(error).__name__])[0]
        return [f"not timed at the end of the search: {metadata.runtime} failed ({what})"]
    for member, own, measured in zip(members, predicted, found, strict=True):
        member.measured = (member.measured or {}) | {
            table.id: {
                "predicted_ms": own,
                "measured_ms": measured,
                "runtime": f"{metadata.runtime} {version}",
                "processor": metadata.processor,
            }
        }
    return _apart(members, table, solver)


def _timed(plugin: ModuleType, graphs: list[Graph], predicted: list[float], table: Table) -> list[float]:
    """Milliseconds of each. What is slower than predicted may have been disturbed: it is looked at again while there is
    time, and the faster figure counts, as in the profiler."""
    rounds = int(np.clip(LOOK_MS // (RUNS_PER_ROUND * sum(predicted)), FEWEST_ROUNDS, MOST_ROUNDS))
    metadata, start = table.metadata, time.monotonic()
    found, looks = [float("inf")] * len(graphs), 0
    while True:
        seen = plugin.network_ms(graphs, threads=metadata.threads or 1, precision=metadata.precision, rounds=rounds)
        found, looks = [min(best, float(ms)) for best, ms in zip(found, seen, strict=True)], looks + 1
        slow = any(ms > (1 + APART) * own for ms, own in zip(found, predicted, strict=True))
        if not slow or looks == MOST_LOOKS or (time.monotonic() - start) * (looks + 1) / looks > PATIENCE_S:
            return found


def _apart(members: list[FoundNetwork], table: Table, solver: str) -> list[str]:
    """One note on those whose prediction is not what was measured, with the remedy."""
    said = []
    for member in members:
        row = (member.measured or {})[table.id]
        gap = row["measured_ms"] / row["predicted_ms"] - 1
        if abs(gap) > APART:
            name = f"{member.target.name}: " if len(members) > 1 else ""
            said.append(f"{name}{row['measured_ms']:.3f} ms, {100 * abs(gap):.1f} % {'more' if gap > 0 else 'less'}")
    if not said:
        return []
    instead = " in place of --solver exact" if solver == "exact" else ""
    return [
        f"timed at the end of the search: {'; '.join(said)} than {table.id} predicts; if nothing else kept the machine busy, "
        f"--measure 8{instead} corrects the table near what it finds, and searches again"
    ]
