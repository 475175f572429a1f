"""Networks of one measured latency: a published detector, the best of each space, and random ones.

A table predicts, the runtime on this machine decides: a network is taken when it and the published one, timed in turn, differ
by at most EQUAL. What is found is written down at once, so that a second call goes on with the same networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from latency_tables import Table
from latency_tables.predictor import predict
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.space import Space, load_space
from search_spaces.structure import Structure
from search_spaces.text import format_structure, parse_structure, resolve_structure
from tinynas.budgets import Budget
from tinynas.devices import Wanted, find_device
from tinynas.exact.solver import least, solve
from tinynas.explanation import explain
from tinynas.genes.population import Encoding
from tinynas.pricing import columns
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.scores import entropy_sized
from tinynas.search.measure import runtime_here
from tinynas.search.request import parse_weights

EQUAL = 0.03
"""Relative difference of two measured latencies that count as equal."""
SIZED_SCORE = "entropy_sized"
"""The score that compares image sizes."""
ATTEMPTS, PROOF_SECONDS = 8, 20.0
UNUSED = 0.97
"""Share of its limit below which the best network of a space is its largest."""
DRAWN, BATCHES, BAND = 4096, 60, 0.02
MOST_TIMED = 60
"""Random networks that are timed to find those of one latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where latency is predicted and measured, and what the networks are: `size` in px, `classes`, seed of the draws."""

    table: Table
    runtime: ModuleType
    size: int
    classes: int
    seed: int

    def times(self, structures: Sequence[Structure]) -> list[float]:
        """Milliseconds of each, timed in turn."""
        metadata = self.table.metadata
        graphs = [emit_detector(structure) for structure in structures]
        return [
            float(ms)
            for ms in self.runtime.network_ms(graphs, threads=metadata.threads or 1, precision=metadata.precision)
        ]

    def predicted(self, structure: Structure) -> float:
        return predict(emit_detector(structure), self.table).total_ms

    def encoding(self, space: Space) -> Encoding:
        return Encoding(space, (self.size, self.size), self.classes)


def bench_of(device: str, spaces: Sequence[str], sizes: Sequence[int], classes: int, seed: int) -> Bench:
    """Of the first of the sizes (px). Raises UserError where the device's runtime cannot run here."""
    wanted = Wanted([load_space(name) for name in spaces], [(size, size) for size in dict.fromkeys(sizes)], [classes])
    table = find_device(device, wanted)
    return Bench(table=table, runtime=runtime_here(table), size=sizes[0], classes=classes, seed=seed)


def networks_of(
    published: str, spaces: Sequence[str], random_space: str, number: int, bench: Bench, path: Path
) -> dict[str, dict[str, Any]]:
    """By name: kind (published, searched, random), space, structure text, score, predicted and measured ms; and as
    `left_out` in place of a structure why a space has none. Read from `path` as far as they are there."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}
    base = resolve_structure(published).with_image_size(bench.size, bench.size).with_classes(bench.classes)

    if published not in found:
        _keep(
            found, published, row_of("published", base.backbone.space, base, bench, bench.times([base])[0], 1.0), path
        )
    for space in spaces:
        name = f"{published}-searched-{space}"
        if name not in found:
            _keep(found, name, equally_fast(load_space(space), base, bench), path)
    missing = [n for n in range(1, number + 1) if f"{published}-random-{n}" not in found]
    if missing:
        known = [row["structure"] for row in found.values() if row["kind"] == "random"]
        fresh = (one for one in _random(load_space(random_space), base, bench) if one["structure"] not in known)
        for place, row in zip(missing, fresh):
            _keep(found, f"{published}-random-{place}", row, path)
    return found


def time_together(found: Mapping[str, dict[str, Any]], bench: Bench, path: Path) -> None:
    """Time a group's networks in turn, all in one go, once; `equal` says which are within EQUAL of the published one."""
    rows = [row for row in found.values() if "structure" in row]
    if all("equal" in row for row in rows):
        return
    for row, ms in zip(rows, bench.times([parse_structure(row["structure"]) for row in rows]), strict=True):
        row["measured_ms"] = round(ms, 4)
    for row in rows:
        row["ratio"] = round(row["measured_ms"] / rows[0]["measured_ms"], 4)
        row["equal"] = abs(row["ratio"] - 1) <= EQUAL
    write_text(path, json.dumps(found, indent=1) + "\n")


def layer_limit(space: Space) -> tuple[Budget, ...]:
    """The budget of layers that a search of the space has by itself."""
    return (Budget("layers", float(space.max_layers)),) if space.max_layers else ()


def equally_fast(space: Space, base: Structure, bench: Bench, score: str | None = None) -> dict[str, Any]:
    """The best of a space at the base's measured latency; the limit by the table is corrected until it is."""
    encoding, table, limit, seen = bench.encoding(space), bench.table, bench.predicted(base), []
    layers = layer_limit(space)
    for _ in range(ATTEMPTS):
        budgets = [Budget("latency_ms", limit, table.id), *layers]
        if (fastest := least(encoding, budgets[0], {table.id: table})) > limit:
            return {
                "kind": "searched", "space": space.name,
                "left_out": f"the fastest of the space takes {fastest:.2f} ms of the table's, {limit:.2f} ms are wanted",
            }  # fmt: skip
        try:
            solution = solve(encoding, budgets, {table.id: table}, score=score, seconds=PROOF_SECONDS)
        except UserError as error:
            return {"kind": "searched", "space": space.name, "left_out": str(error)}
        structure = encoding.single(solution.genes)
        own, published = bench.times([structure, base])
        ratio = own / published
        seen.append(round(ratio, 4))
        if abs(ratio - 1) <= EQUAL:
            return row_of("searched", space.name, structure, bench, own, ratio)
        if ratio < 1 and bench.predicted(structure) < UNUSED * limit:
            return {
                "kind": "searched", "space": space.name,
                "left_out": f"the largest of the space takes {ratio:.2f} of the published one's time",
            }  # fmt: skip
        limit /= ratio
    return {"kind": "searched", "space": space.name, "left_out": f"measured ratios {seen} came no nearer than {EQUAL}"}


def sized_networks(
    found: dict[str, dict[str, Any]], published: str, spaces: Sequence[str], sizes: Sequence[int], bench: Bench, path: Path
) -> None:  # fmt: skip
    """Adds the best network of each space over several image sizes (px) to what `networks_of` found, and keeps it.

    Of kind `sized`; its `sized_score` is the highest SIZED_SCORE among the sizes that have a network so fast. Where none
    has, `left_out` is the first size's."""
    base = parse_structure(found[published]["structure"])
    for space in map(load_space, spaces):
        name = f"{published}-sized-{space.name}"
        if name in found:
            continue
        rows = [equally_fast(space, base, replace(bench, size=size), SIZED_SCORE) for size in sizes]
        there = [{**row, "kind": "sized", "sized_score": sized_score(row, space)} for row in rows if "structure" in row]
        best = max(there, key=lambda row: float(row["sized_score"])) if there else {**rows[0], "kind": "sized"}
        _keep(found, name, best, path)


def weighed_networks(
    found: dict[str, dict[str, Any]], published: str, space: str, weights: Sequence[str], bench: Bench, path: Path
) -> None:
    """Adds the best network of a space under each of the score weights (`0,0,4,4,8`), of kind `weighed`; its `score` stays
    that of the default weights."""
    base = parse_structure(found[published]["structure"])
    for text in weights:
        name = f"{published}-weights-{text.replace(',', '-')}"
        if name in found:
            continue
        own = load_space(space)
        rule = own.score.model_copy(update={"weights": parse_weights(text)})
        row = equally_fast(own.model_copy(update={"score": rule}), base, bench)
        _keep(found, name, {**row, "kind": "weighed"}, path)


def sized_score(row: Mapping[str, Any], space: Space) -> float:
    """The score that compares image sizes, of a row's network."""
    graph = emit_detector(parse_structure(row["structure"]))
    return round(float(entropy_sized.score(graph, space.score.weights or entropy_sized.WEIGHTS)), 3)


def _random(space: Space, base: Structure, bench: Bench) -> Iterator[dict[str, Any]]:
    """Uniform draws of a space that take the published detector's measured time."""
    encoding, rng = bench.encoding(space), np.random.default_rng([bench.seed, 15])
    priced = AdditiveCosts(encoding, [columns.latency(bench.table), columns.layers()])
    target, most, timed = bench.predicted(base), space.max_layers or np.inf, 0
    for _ in range(BATCHES):
        genes = encoding.sample(DRAWN, rng)
        latency, layers = priced.total(genes).T
        for place in np.flatnonzero((np.abs(latency / target - 1) <= BAND) & (layers <= most)).tolist():
            if timed == MOST_TIMED:
                return
            timed += 1
            structure = encoding.single(genes, place)
            own, published = bench.times([structure, base])
            if abs(own / published - 1) <= EQUAL:
                yield row_of("random", space.name, structure, bench, own, own / published)
            # where the table errs by a factor in this space, the next draws aim at what was measured
            target = float(np.clip(target * (published / own) ** 0.5, 0.5 * target, 2 * target))


def row_of(
    kind: str, space: str, structure: Structure, bench: Bench, measured: float, ratio: float
) -> dict[str, Any]:  # fmt: skip
    """What is kept of a network. `ratio`: its measured latency over the base's."""
    found = explain(structure)
    return {
        "kind": kind, "space": space, "structure": format_structure(structure), "score": round(found.totals["score"], 3),
        "params": found.totals["params_deploy"], "conv_macs": found.totals["conv_macs"],
        "predicted_ms": round(bench.predicted(structure), 4), "measured_ms": round(measured, 4), "ratio": round(ratio, 4),
    }  # fmt: skip


def _keep(found: dict[str, dict[str, Any]], name: str, row: dict[str, Any], path: Path) -> None:
    """Add a network to those found, write them all down, and tell of it."""
    found[name] = row
    write_text(path, json.dumps(found, indent=1) + "\n")
    print(f"{name}: {row.get('left_out') or _told(row)}", flush=True)


def _told(row: Mapping[str, Any]) -> str:
    return f"score {row['score']:.1f}, {row['predicted_ms']:.2f} ms predicted, {row['measured_ms']:.2f} measured"
