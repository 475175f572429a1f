"""How good is the evolution? Against proven optima, three budgets in each of three spaces. Prints JSON.

    python benchmarks/search_quality.py [--evaluations 500000] [--seeds 10] [--spaces res csp mob]

Per case: the optimum that the exact solver proves, with the processor seconds it took; the best, median and worst score of
the seeds, each as percent below the optimum; and the certified gap of the median seed with the seconds of the certificate.
`--more` adds the published S settings (preset damo-s: backbone alone, convs alone, V100) and the res space with free taps.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from _record import add_record_option, record
from tqdm import tqdm

from latency_tables import Table, find_table
from search_spaces.space import load_space
from tinynas.budgets import Budget
from tinynas.evolution.loop import SearchSettings, evolve
from tinynas.exact.solver import certify, solve
from tinynas.genes.population import Encoding
from tinynas.presets import load_preset
from tinynas.pricing.objective import Objective
from tinynas.pricing.table_views import convs_only

CASES: dict[str, tuple[str, int | None, tuple[float, ...]]] = {
    "res": ("t4", None, (2.5, 3.8, 6.0)),
    "csp": ("t4", None, (4.0, 6.0, 9.0)),
    "mob": ("epyc-zen5-openvino-fp32-b1-t1", 320, (6.0, 10.0, 20.0)),
}
PUBLISHED_MS = 3.84
Found = TypeVar("Found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=500_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--spaces", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--more", action="store_true")
    add_record_option(parser)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # a CPU table of another processor ranks networks all the same
    cases: dict[str, Any] = {}
    bar = tqdm(total=(3 * len(options.spaces) + 2 * options.more) * (options.seeds + 1), unit="search")
    for name in options.spaces:
        device, side, limits = CASES[name]
        space, table = load_space(name), find_table(device)
        encoding = Encoding(space, (side, side) if side else space.image_size, 80)
        for limit in limits:
            budgets = budgets_of(table, limit, space.max_layers)
            cases[f"{name} {limit:g} ms"] = measure(encoding, budgets, {table.id: table}, options, bar)
    if options.more:
        table, space = find_table("t4"), load_space("res").model_copy(update={"tap_growth": None})
        budgets, encoding = budgets_of(table, 3.8, space.max_layers), Encoding(space, space.image_size, 80)
        cases["res free taps 3.8 ms"] = measure(encoding, budgets, {table.id: table}, options, bar)
        preset = load_preset("damo-s")
        table, space, side = (
            convs_only(find_table(preset["device"])),
            load_space(preset["space"]),
            int(preset["image_size"]),
        )
        budgets = budgets_of(table, PUBLISHED_MS, int(preset["max_layers"]))
        encoding = Encoding(space, (side, side), 80)
        found = measure(encoding, budgets, {table.id: table}, options, bar, backbone_only=True)
        cases[f"published S settings, {side} px, {PUBLISHED_MS} ms"] = found
    bar.close()
    record({"evaluations": options.evaluations, "seeds": options.seeds, "cases": cases}, options.out)


def budgets_of(table: Table, limit_ms: float, most_layers: int | None) -> tuple[Budget, ...]:
    """A latency and, where the space has one, its limit of layers."""
    layers = (Budget("layers", most_layers),) if most_layers else ()
    return (Budget("latency_ms", limit_ms, table.id), *layers)


def measure(
    encoding: Encoding, budgets: Sequence[Budget], tables: Mapping[str, Table], options: argparse.Namespace,
    bar: tqdm[Any], *, backbone_only: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Optimum, evolution and certificate of one case."""
    optimum, exact_seconds = timed(lambda: solve(encoding, budgets, tables, backbone_only=backbone_only))
    bar.update()
    objective = Objective(encoding, [tuple(budgets)], tables, backbone_only=backbone_only)
    scores, seconds, evaluated = [], [], 0
    for seed in range(options.seeds):
        searched = SearchSettings(evaluations=options.evaluations, seed=seed)
        (*_, state), took = timed(lambda searched=searched: list(evolve(objective, searched)))
        seconds.append(took)
        scores.append(float(state.pool(0, 1).score[0]))
        evaluated = state.evaluated
        bar.update()
    middle = float(np.sort(scores)[len(scores) // 2])
    certificate, certificate_seconds = timed(
        lambda: certify(encoding, budgets, tables, middle, backbone_only=backbone_only)
    )
    below = 100 * (1 - np.array(scores) / optimum.score)
    return {
        "optimum": round(optimum.score, 4), "proven_gap": optimum.gap, "exact_seconds": round(exact_seconds, 2),
        "evolution": {"best": max(scores), "median": float(np.median(scores)), "worst": min(scores)},
        "percent_below": {
            "best": round(float(below.min()), 4), "median": round(float(np.median(below)), 4),
            "worst": round(float(below.max()), 4),
        },
        "evaluated": evaluated, "evolution_seconds": round(float(np.median(seconds)), 2),
        "certified_gap_percent": round(certificate.gap_percent, 4),
        "certificate_seconds": round(certificate_seconds, 2),
    }  # fmt: skip


def timed(call: Callable[[], Found]) -> tuple[Found, float]:
    """What a call returns, and the processor seconds that it took."""
    begin = time.process_time()
    return call(), time.process_time() - begin


if __name__ == "__main__":
    main()
