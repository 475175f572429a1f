"""The closed loop: time the best candidates on this machine, correct the table by them, search again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from latency_tables import Table, predict
from latency_tables.host import is_this_host
from latency_tables.on_device.host import host_processor
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.plugins import load_plugin
from tinynas.budgets import Target
from tinynas.evolution.engine import Engine
from tinynas.pricing.table_views import corrected
from tinynas.search.folder import SearchFolder
from tinynas.search.found import found_network, note_provenance
from tinynas.search.plan import FoundNetwork, SearchPlan, SearchResult
from tinynas.search.run import run_search

ROUNDS = 3
TOLERANCE = 0.02
"""Relative difference of corrected and measured latency at which the loop ends."""
WIDE = 1.25
"""Largest over smallest prediction from which on an offset can be told from a factor."""
Timings = dict[str, list[list[tuple[float, float]]]]
"""By table id and target: (latency by the table, measured latency) in ms of every candidate timed, best first."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Measured = `factor` x table + `offset_ms`, near the networks that were measured."""

    factor: float = 1.0
    offset_ms: float = 0.0

    def of(self, latency_ms: float) -> float:
        return self.factor * latency_ms + self.offset_ms


def fit(pairs: list[tuple[float, float]]) -> Correction:
    """The correction for (table, measured) pairs: a line where the figures are wide enough apart (a family), else the
    median ratio."""
    table, measured = np.array(pairs, np.float64).T
    if len(pairs) >= 4 and table.max() / table.min() >= WIDE:
        # relative errors count, as latencies of a family differ manyfold
        design = np.column_stack([table, np.ones_like(table)]) / measured[:, None]
        factor, offset = np.linalg.lstsq(design, np.ones_like(table), rcond=None)[0]
        if factor > 0:
            return Correction(float(factor), float(offset))
    return Correction(float(np.median(measured / table)))


def check_measurable(plan: SearchPlan) -> dict[str, ModuleType]:
    """The runtime plug-in of every table; raises UserError unless all of them can be timed on this machine."""
    if not plan.tables:
        raise UserError("--measure needs a latency budget: say --budget 12ms --device cpu")
    if plan.backbone_only:
        raise UserError("--measure times whole detectors; leave --backbone-only out")
    found = {}
    for name, table in plan.tables.items():
        metadata = table.metadata
        if metadata.kind == "cpu" and metadata.processor and not is_this_host(metadata):
            raise UserError(
                f"--measure: table {name} is for {metadata.processor}, this host has {host_processor()}; profile this host "
                "(tinynas profile) and search with its table"
            )
        if metadata.batch != 1:
            raise UserError(
                f"--measure: table {name} is for batch {metadata.batch}, networks are timed at batch 1; search with a table "
                "of batch 1"
            )
        try:
            found[name] = runtime_here(table)
        except UserError as error:
            raise UserError(f"--measure: {error}") from None
    return found


def runtime_here(table: Table) -> ModuleType:
    """The runtime plug-in that times networks as the table's were. Raises UserError when it cannot run on this machine."""
    runtime = table.metadata.runtime
    try:
        plugin = load_plugin("latency_tables.runtimes", runtime)
        plugin.version()
    except (ImportError, UserError) as error:
        raise UserError(f"the runtime of table {table.id} cannot run here ({error})") from None
    kind = plugin.device_kind()
    if table.metadata.kind != kind:
        raise UserError(f"table {table.id} is for a {table.metadata.kind}, {runtime} runs on a {kind} here")
    return plugin


def measured_search(plan: SearchPlan, count: int, engine: Engine, run: SearchFolder, *, resume: bool) -> SearchResult:
    """Search, time the best `count` candidates of each target, correct the tables, search again; at most ROUNDS times,
    until corrected and measured latency of every member agree. A member that was measured above its budget gives way to the
    best candidate that was measured within it. What was measured is kept for a resume."""
    plugins = check_measurable(plan)
    earlier = _load_rounds(run) if resume else []
    rounds: list[Timings] = []
    corrections: dict[str, Correction] = {}
    while True:
        number = len(rounds)
        tables = {name: _seen(table, corrections.get(name)) for name, table in plan.tables.items()}
        result = run_search(replace(plan, tables=tables), engine, run, resume=resume, part=number)
        if result.interrupted:
            return result
        rounds.append(earlier[number] if number < len(earlier) else _time(plan, result, count, plugins))
        write_text(run.unfinished / "measured.json", json.dumps(rounds) + "\n")
        for member in range(len(result.members)):
            _account(plan, result, member, 0, rounds, corrections)
        if len(rounds) == ROUNDS or _agree(result):
            _prefer_met(replace(plan, tables=tables), result, rounds, corrections)
            result.notes += _shortfalls(result)
            return result
        corrections = {name: fit([p for pairs in targets for p in pairs]) for name, targets in rounds[-1].items()}


def _seen(table: Table, correction: Correction | None) -> Table:
    return table if correction is None else corrected(table, correction.factor, correction.offset_ms)


def _agree(result: SearchResult) -> bool:
    rows = [row for member in result.members for row in (member.measured or {}).values()]
    return all(abs(row["corrected_ms"] / row["measured_ms"] - 1) <= TOLERANCE for row in rows)


def _prefer_met(
    plan: SearchPlan, result: SearchResult, rounds: list[Timings], corrections: Mapping[str, Correction]
) -> None:
    """For each member measured above its budgets the best candidate of the last round that met them, if one did."""
    assert result.state is not None
    for number, member in enumerate(result.members):
        timed = {name: targets[number] for name, targets in rounds[-1].items()}
        limits = _limits(member.target)
        met = [
            all(row[1] <= limits.get(name, np.inf) for name, row in zip(timed, rows)) for rows in zip(*timed.values())
        ]
        place = met.index(True) if True in met else 0
        if place:
            pool = result.state.pool(number)
            better = found_network(plan, member.target, pool.genes[:, place : place + 1], float(pool.score[place]))
            better.history = member.history
            result.notes.append(
                f"{_named(result, member)}the best by score ({member.score:.2f}) was measured above the budget; of the "
                f"{len(met)} timed, number {place + 1} takes its place, the first that was measured within it"
            )
            result.members[number] = better
            _account(plan, result, number, place, rounds, corrections)


def _named(result: SearchResult, member: FoundNetwork) -> str:
    """What a note of one of several members begins with."""
    return f"{member.target.name}: " if len(result.members) > 1 else ""


def _limits(target: Target) -> dict[str | None, float]:
    """Of the latency, by table."""
    return {budget.device: budget.limit for budget in target.budgets if budget.quantity == "latency_ms"}


def _shortfalls(result: SearchResult) -> list[str]:
    """What the loop did not reach: corrected latency that is not the measured one, and a budget that is exceeded."""
    said = []
    for member in result.members:
        name = _named(result, member)
        limits = _limits(member.target)
        for table, row in (member.measured or {}).items():
            measured, corrected_ms = row["measured_ms"], row["corrected_ms"]
            found = []
            if measured > limits.get(table, float("inf")):
                found.append(f"above the budget of {limits[table]:g} ms")
            if abs(corrected_ms / measured - 1) > TOLERANCE:
                found.append(f"{100 * abs(measured / corrected_ms - 1):.1f} % off what the search went by")
            if found:
                said.append(f"{name}{measured:.3f} ms measured on {table}, {' and '.join(found)}")
    if not said:
        return []
    return [f"{'; '.join(said)}: search again while nothing else keeps the machine busy, or with a smaller --budget"]


def _time(plan: SearchPlan, result: SearchResult, count: int, plugins: Mapping[str, ModuleType]) -> Timings:
    """Time the best candidates of all targets together, so that a disturbed machine disturbs all alike."""
    if result.state is None:
        raise ValueError("candidates to measure come from an evolution")
    encoding = plan.encoding()
    graphs, counts = [], []
    for number in range(len(plan.targets)):
        pool = result.state.pool(number)
        counts.append(min(count, int((pool.excess <= 0).sum())))
        graphs += [emit_detector(encoding.single(pool.genes, place)) for place in range(counts[-1])]
    timings: Timings = {}
    for name, table in plan.tables.items():
        metadata = table.metadata
        measured = plugins[name].network_ms(graphs, threads=metadata.threads or 1, precision=metadata.precision)
        pairs = [(predict(graph, table).total_ms, float(ms)) for graph, ms in zip(graphs, measured, strict=True)]
        ends = np.cumsum(counts).tolist()
        timings[name] = [pairs[end - size : end] for size, end in zip(counts, ends, strict=True)]
    return timings


def _account(
    plan: SearchPlan, result: SearchResult, number: int, place: int, rounds: list[Timings],
    corrections: Mapping[str, Correction],
) -> None:  # fmt: skip
    """Note on a member, the candidate at a place of those timed, what the table says, what the search went by, and what was
    measured."""
    member = result.members[number]
    member.measured = {}
    for name, targets in rounds[-1].items():
        own, measured = targets[number][place]
        member.measured[name] = {
            "predicted_ms": own,
            "corrected_ms": corrections[name].of(own) if corrections else own,
            "measured_ms": measured,
            "rounds": len(rounds),
            "candidates": sum(map(len, targets)),
        }
    note_provenance(plan, member, result.evaluated)


def _load_rounds(run: SearchFolder) -> list[Timings]:
    path = run.unfinished / "measured.json"
    if not path.is_file():
        return []
    data: list[dict[str, list[list[list[float]]]]] = json.loads(path.read_text())
    return [
        {name: [[(pair[0], pair[1]) for pair in pairs] for pairs in targets] for name, targets in timings.items()}
        for timings in data
    ]
