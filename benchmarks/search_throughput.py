"""How fast is a search, and how far from what the machine could do at best? Prints JSON.

    python benchmarks/search_throughput.py [--evaluations 500000] [--repeats 3] [--spaces res csp mob]

Per space: the command `tinynas search` as a whole process (wall and processor seconds, peak memory), the loop alone, the
compilation before it, and one generation taken apart. The floor is the time of the memory traffic and random numbers that
a generation cannot do without, measured with numpy on arrays of the same sizes. The least of the repeats counts: other
work on the machine can only add.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _record import add_record_option, record
from tqdm import tqdm

from latency_tables import find_table
from search_spaces.space import load_space
from tinynas.budgets import Budget
from tinynas.evolution.front import Front
from tinynas.evolution.islands import MOST_CHANGES, Island, Task, advance, lottery
from tinynas.evolution.loop import SearchSettings, evolve
from tinynas.genes.layout import GENES, Genes
from tinynas.genes.population import Encoding
from tinynas.pricing.objective import Objective

CASES = {"res": ("t4", None, 3.8), "csp": ("t4", None, 6.0), "mob": ("epyc-zen5-openvino-fp32-b1-t1", 320, 10.0)}
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spaces", nargs="+", choices=CASES, default=list(CASES))
    add_record_option(parser)
    options = parser.parse_args()
    spaces: dict[str, Any] = {}
    for space in tqdm(options.spaces, unit="space"):
        spaces[space] = {
            "budget": f"{CASES[space][2]} ms on {CASES[space][0]}",
            "evaluations": options.evaluations,
            "whole_process": whole_process(space, options),
            **loop(space, options),
            **one_generation(space, options.repeats),
        }
    record({"spaces": spaces}, options.out)


def whole_process(space: str, options: argparse.Namespace) -> dict[str, float]:
    """The command from start to end, on one core where the system allows to say so."""
    device, size, budget = CASES[space]
    command = [
        sys.executable, "-m", "tinynas", "search", "--space", space, "--budget", f"{budget}ms", "--device", device,
        "--evaluations", str(options.evaluations), "--overwrite",
    ]  # fmt: skip
    command += ["--image-size", str(size)] if size else []
    rows = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            child = subprocess.Popen(
                [*command, "--out", folder], env={**os.environ, **ONE_THREAD},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - begin
        if status:
            raise SystemExit(f"search ended with status {status}: {' '.join(command)}")
        rows.append((wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
    wall, cpu, memory = (min(column) for column in zip(*rows, strict=True))
    return {"wall_s": round(wall, 3), "processor_s": round(cpu, 3), "peak_memory_mib": round(memory)}


def objective(space: str) -> Objective:
    device, size, budget = CASES[space]
    table, loaded = find_table(device), load_space(space)
    budgets = [Budget("latency_ms", budget)]
    budgets += [Budget("layers", float(loaded.max_layers))] if loaded.max_layers else []
    encoding = Encoding(loaded, (size, size) if size else loaded.image_size, 80)
    return Objective(encoding, [tuple(budgets)], {table.id: table})


def loop(space: str, options: argparse.Namespace) -> dict[str, Any]:
    """Compilation, and all epochs from an objective that is ready."""
    subject = objective(space)
    compiled = least(lambda: objective(space), options.repeats)
    *_, state = evolve(subject, SearchSettings(evaluations=options.evaluations))
    seconds = least(lambda: list(evolve(subject, SearchSettings(evaluations=options.evaluations))), options.repeats)
    return {
        "compilation_s": round(compiled, 3),
        "loop": {"processor_s": round(seconds, 3), "candidates_per_s": round(state.evaluated / seconds, -4)},
    }


def one_generation(space: str, repeats: int) -> dict[str, Any]:
    """Microseconds per candidate of a generation in the middle of a search, by what they are spent on."""
    subject, settings = objective(space), SearchSettings()
    size, keep = settings.offspring, settings.population
    front = Front.empty(subject.front_key, *subject.cost_range(subject.front_key))
    island = Island.start(subject, np.random.SeedSequence(0))
    island, front, _ = advance(island, Task(batches=(size,) * 8), front, subject, keep=keep, chunk=size)
    rng, pool = np.random.default_rng(0), island.pools[0]
    tickets = lottery(pool.size)
    room = np.empty((GENES, size), np.int64)

    def draw() -> Genes:
        members = tickets.take(rng.integers(0, tickets.size, size))
        return pool.genes.take(members, axis=1, out=room, mode="clip")

    children = subject.encoding.moves.mutate(draw(), rng, MOST_CHANGES).copy()
    evaluation = subject.evaluate(children)
    cost = evaluation.costs[subject.front_key]
    parts: dict[str, Callable[[], Any]] = {
        "draw_parents": draw,
        "mutate_and_repair": lambda: subject.encoding.moves.mutate(room, rng, MOST_CHANGES),
        "price_and_score": lambda: subject.evaluate(children),
        "select": lambda: pool.offer(children, evaluation, 0, keep),
        "front": lambda: front.copy().offer(children, evaluation.score, cost, subject.admitted(evaluation)),
    }
    taken = {name: repeated(part, repeats) / size * 1e6 for name, part in parts.items()}
    lowest = {name: repeated(part, repeats) / size * 1e6 for name, part in floor(subject, size, pool.size).items()}
    return {
        "generation_us_per_candidate": {**rounded(taken), "sum": round(sum(taken.values()), 4)},
        "floor_us_per_candidate": {**rounded(lowest), "sum": round(sum(lowest.values()), 4)},
    }


def floor(subject: Objective, size: int, pool: int) -> dict[str, Callable[[], Any]]:
    """What no implementation on arrays of this layout can leave out, per generation, into memory that is there already.

    Random numbers: a parent's ticket and two changes per candidate. Row lookups: the stem, first and repeated block of
    five stages, neck and head. Small lookups: about two per stage for the rules between genes and two for the places of
    rows. Integer operations: three per stage for the rules, four for the places.
    """
    rng = np.random.default_rng(0)
    additive = subject.additive
    assert additive is not None
    genes, members = rng.integers(0, 64, (GENES, pool)), rng.integers(0, pool, size)
    children = np.empty((GENES, size), np.int64)
    table, found = rng.random((pool, len(additive.columns))), np.empty((size, len(additive.columns)))
    small, at, one = rng.integers(0, 64, 513), rng.integers(0, 513, size), rng.integers(0, 64, size)
    result = np.empty(size, np.int64)
    return {
        "random_numbers": lambda: rng.integers(0, 2**63, size * 3),
        "copy_of_parents": lambda: genes.take(members, axis=1, out=children, mode="clip"),
        "row_lookups": lambda: [table.take(members, axis=0, out=found, mode="clip") is None for _ in range(12)],
        "small_lookups": lambda: [small.take(at, out=result, mode="clip") is None for _ in range(20)],
        "integer_operations": lambda: [np.add(one, at, out=result) is None for _ in range(35)],
    }


def least(call: Callable[[], Any], repeats: int) -> float:
    """Least processor seconds of some calls."""
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        found.append(time.process_time() - begin)
    return min(found)


def repeated(call: Callable[[], Any], repeats: int, times: int = 50) -> float:
    """Least processor seconds of one call, from rows of `times`."""
    return least(lambda: [call() for _ in range(times)], repeats * 3) / times


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


if __name__ == "__main__":
    main()
