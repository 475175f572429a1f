"""Pixels or layers? The best networks of one latency at several image sizes, trained alike.

    python benchmarks/image_sizes.py FOLDER --sets bccd pcb [--budget 10] [--space mob] [--sizes 192 256 320 384]
        [--steps 800] [--seeds 1] [--jobs 1] [--device cpu] [--out runs/image-sizes]

FOLDER holds data sets, one a folder (parts of them as small_data.py names them: `signs:150`). The size with the highest
`entropy_sized` within --budget (ms, of the device's table) is what `tinynas search --image-size` chooses. At every other size
the best network of the space is found whose latency, timed on this machine in turn with the chosen one's, is within 3 % of it
(networks.json, written once). All are trained at their own size with the preset `auto`, for about --steps steps.

By set: AP on `test` where there is one, else on `val`, by network and seed; the seconds of training; the difference to the
chosen size; and Kendall's tau of `entropy_sized` and AP with a 95 % interval. Every run can be stopped; called again, the
program goes on where it was. Prints JSON, also in image_sizes.json, with the picture image_sizes.png. Needs SciPy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _equal_latency import (
    PROOF_SECONDS,
    SIZED_SCORE,
    Bench,
    equally_fast,
    layer_limit,
    row_of,
    sized_score,
    time_together,
)
from _sets import parse_set, prepared
from _trainings import add_options, finish, run_jobs, run_program
from searched_vs_published import alike, compared, trained

from detector.data.formats import load_split
from search_spaces.errors import UserError
from search_spaces.files import replacing, write_text
from search_spaces.space import Space, load_space
from search_spaces.structure import Structure
from search_spaces.text import parse_structure
from tinynas.budgets import Budget
from tinynas.devices import Wanted, find_device
from tinynas.exact.solver import least, solve
from tinynas.search.measure import runtime_here

Rows = dict[str, dict[str, Any]]


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    specs = [parse_set(text) for text in options.sets]
    folders = {spec.text: prepared(spec, options.data, options.out / "data") for spec in specs}
    trains = {text: load_split(folder, "train")[0] for text, folder in folders.items()}
    rows = networks(options, max(train.num_classes for train in trains.values()))
    chosen = next(iter(rows))
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for spec in specs:
        jobs = alike(trained(rows), trains[spec.text], options, {size: int(size) for size in rows})
        runs, bad = run_jobs(jobs, folders[spec.text], options.out / spec.folder, options.jobs)
        failed |= {f"{spec.text} {name}": error for name, error in bad.items()}
        about = compared(rows, chosen, runs, options.seeds)
        seconds = {name: [run["seconds"] for run in runs.values() if run["arm"] == name] for name in trained(rows)}
        found[spec.text] = {key: about[key] for key in ("aps", "arms", "paired", "tau")} | {"seconds": seconds}
    result = {
        "data": str(options.data), "space": options.space, "budget_ms": options.budget, "steps": options.steps,
        "seeds": options.seeds, "settings": options.set, "device": options.device, "chosen": chosen, "networks": rows,
        "sets": found, "failed": failed,
    }  # fmt: skip
    draw(found, rows, options.out / "image_sizes.png")
    finish(result, options.out / "image_sizes.json")


def networks(options: argparse.Namespace, classes: int) -> Rows:
    """By image size: the rows of `_equal_latency`, or `left_out`; the size that the search chooses first. Read from
    networks.json as far as they are there. Raises UserError where no size has a network within the budget."""
    path, space = options.out / "networks.json", load_space(options.space)
    sizes = sorted(set(options.sizes))
    table = find_device(options.device, Wanted([space], [(size, size) for size in sizes], [classes]))
    bench = Bench(table=table, runtime=runtime_here(table), size=0, classes=classes, seed=0)
    found: Rows = json.loads(path.read_text()) if path.is_file() else {}
    if not found:
        base = chosen_by_score(space, bench, sizes, options.budget)
        ms = bench.times([base])[0]
        found[str(base.image_size[0])] = _scored(row_of("chosen", space.name, base, bench, ms, 1.0), space)
        write_text(path, json.dumps(found, indent=1) + "\n")
    base = parse_structure(next(iter(found.values()))["structure"])
    for size in sizes:
        if str(size) not in found:
            row = equally_fast(space, base, replace(bench, size=size), SIZED_SCORE)
            found[str(size)] = _scored(row, space) if "structure" in row else row
            write_text(path, json.dumps(found, indent=1) + "\n")
            print(f"{size} px: {found[str(size)].get('left_out') or found[str(size)]['measured_ms']}", flush=True)
    time_together(found, bench, path)
    return found


def chosen_by_score(space: Space, bench: Bench, sizes: Sequence[int], budget_ms: float) -> Structure:
    """What a search over these sizes chooses. Raises UserError where none has a network within the budget."""
    budget = Budget("latency_ms", budget_ms, bench.table.id)
    best: tuple[float, Structure] | None = None
    for size in sizes:
        encoding = replace(bench, size=size).encoding(space)
        if least(encoding, budget, {bench.table.id: bench.table}) > budget_ms:
            continue
        solution = solve(
            encoding,
            [budget, *layer_limit(space)],
            {bench.table.id: bench.table},
            score=SIZED_SCORE,
            seconds=PROOF_SECONDS,
        )
        if best is None or solution.score > best[0]:
            best = solution.score, encoding.single(solution.genes)
    if best is None:
        raise UserError(
            f"--budget {budget_ms:g}: no network of space {space.name} is so fast at {sizes[0]} px; raise it"
        )
    return best[1]


def _scored(row: dict[str, Any], space: Space) -> dict[str, Any]:
    """With the score that compares sizes in place of the one that does not."""
    return {**row, "score": sized_score(row, space)}


def draw(found: Mapping[str, Any], rows: Rows, path: Path) -> None:
    """AP against the image size, a line for each set; bars are a standard deviation, a ring is the score's choice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.6), dpi=120, layout="constrained")
    axis = figure.subplots()
    sizes = sorted(trained(rows), key=int)
    for name, entry in found.items():
        values = [[100 * ap for ap in entry["aps"][size] if ap is not None] for size in sizes]
        means = [float(np.mean(aps)) if aps else np.nan for aps in values]
        spreads = [float(np.std(aps, ddof=1)) if len(aps) > 1 else 0.0 for aps in values]
        line = axis.errorbar([int(size) for size in sizes], means, spreads, marker="o", label=name)
        chosen = next(iter(rows))
        at = sizes.index(chosen)
        axis.plot(int(chosen), means[at], "o", ms=14, mfc="none", color=line[0].get_color())
    axis.set(xlabel="image size, px (one latency; ring: what entropy_sized chooses)", ylabel="AP, %")
    axis.set_xticks([int(size) for size in sizes])
    axis.grid(alpha=0.3)
    axis.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/image-sizes", epochs=None, seeds=1, size=None)
    parser.add_argument("--sets", nargs="+", default=["bccd", "pcb"], help="NAME[:IMAGES][@CLASS] under FOLDER")
    parser.add_argument("--sizes", nargs="+", type=int, default=[192, 256, 320, 384], help="sides of the images, px")
    parser.add_argument("--space", default="mob")
    parser.add_argument("--budget", type=float, default=10.0, help="ms, of the table")
    parser.add_argument("--steps", type=int, default=800, help="of every training, about")
    parser.add_argument("--device", default="cpu", help="latency table; its runtime times the networks here")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
