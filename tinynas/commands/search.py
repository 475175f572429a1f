"""`tinynas search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError


def run(
    budget: Annotated[str | None, typer.Option(help="Latency of the whole detector, with its unit: 3.8ms.")] = None,
    device: Annotated[str | None, typer.Option(help="Latency table: t4, cpu, an id or a path.")] = None,
    space: Annotated[
        str | None, typer.Option(help="res, csp, mob or a space file; by default res for a GPU, mob for a CPU.")
    ] = None,
    image_size: Annotated[str | None, typer.Option(help="H or HxW in pixels; by default the space's.")] = None,
    num_classes: Annotated[int, typer.Option(min=1, help="Classes that the head is priced for.")] = 80,
    max_layers: Annotated[
        str | None, typer.Option(help="Convs on the main path; the space's limit if not given.")
    ] = None,
    max_params: Annotated[str | None, typer.Option(help="Parameters in deploy form: 16M.")] = None,
    max_macs: Annotated[str | None, typer.Option(help="Multiply-accumulates of the convs: 9G.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="Peak activation memory in fp32: 24MB.")] = None,
    evaluations: Annotated[int, typer.Option(min=1, help="Candidates to look at in all.")] = 500_000,
    population: Annotated[int, typer.Option(min=1, help="Survivors of a generation.")] = 512,
    seed: Annotated[int, typer.Option(min=0, help="One seed, one result.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for structure.txt, search.json and pictures.")] = Path(),
    overwrite: Annotated[bool, typer.Option(help="Replace the results of an earlier search in the folder.")] = False,
) -> int:
    """Find the best detector within a latency budget, without training."""
    from search_spaces.files import claim_outputs
    from tinynas.evolution import SearchSettings
    from tinynas.search import OUTPUTS, run_search, write_result

    settings = SearchSettings(evaluations=evaluations, population=population, seed=seed)
    limits = {"layers": max_layers, "params": max_params, "conv_macs": max_macs, "peak_memory_bytes": max_memory}
    plan = _plan(budget, device, space, image_size, num_classes, limits, settings)
    claim_outputs(out, OUTPUTS, overwrite)
    with _bar(evaluations) as bar:

        def progress(pool: Any) -> None:
            note = f"best score {pool.best_score:.2f}" if pool.feasible else "nothing within budget yet"
            bar.set_postfix_str(note, refresh=False)
            bar.update(pool.evaluated - bar.n)

        result = run_search(plan, progress)
    out.mkdir(parents=True, exist_ok=True)
    write_result(result, out)
    _print_summary(result, out)
    return 130 if result.interrupted else 0


def _plan(
    budget: str | None, device: str | None, space: str | None, image_size: str | None, num_classes: int,
    limits: dict[str, str | None], settings: Any,
) -> Any:  # fmt: skip
    from search_spaces.image_size import parse_image_size
    from search_spaces.space import load_space
    from tinynas.budgets import Budget, parse_count, parse_latency, parse_memory
    from tinynas.search import SearchPlan

    budgets: list[Budget] = []
    table = None
    if (budget is None) != (device is None):
        raise UserError("--budget and --device go together: a time means something on a device only (--device t4)")
    if budget is not None and device is not None:
        from latency_tables import find_table

        budgets.append(parse_latency(budget))
        table = find_table(device)
    loaded = load_space(space or (table.metadata.default_space if table is not None else "res"))
    layers = limits["layers"] or (str(loaded.max_layers) if loaded.max_layers else None)
    if layers is not None:
        budgets.append(parse_count(layers, "layers", "--max-layers"))
    if limits["params"] is not None:
        budgets.append(parse_count(limits["params"], "params", "--max-params"))
    if limits["conv_macs"] is not None:
        budgets.append(parse_count(limits["conv_macs"], "conv_macs", "--max-macs"))
    if limits["peak_memory_bytes"] is not None:
        budgets.append(parse_memory(limits["peak_memory_bytes"]))
    if budget is None and not any(limits.values()):
        raise UserError("no budget: say --budget 3.8ms --device t4, or a limit such as --max-macs 9G")
    size = parse_image_size(image_size) if image_size else loaded.image_size
    return SearchPlan(loaded, loaded.name, table, tuple(budgets), size, num_classes, settings)


def _bar(total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="candidates", unit_scale=True, desc="search", dynamic_ncols=True)


def _print_summary(result: Any, out: Path) -> None:
    prediction, plan = result.prediction, result.plan
    if result.interrupted:
        print(
            f"interrupted after {result.pool.evaluated:,} of {plan.settings.evaluations:,} candidates; the best so far:"
        )
    line = f"score {result.score:.2f}"
    if prediction is not None:
        split = " + ".join(f"{part} {ms:.2f}" for part, ms in prediction.parts.items())
        line += f", {prediction.total_ms:.3f} ms predicted on {plan.table.id} ({split} + fixed {prediction.overhead_ms:.2f})"
    print(line)
    print(f"wrote {out / 'structure.txt'}, search.json, search.png, network.png")
    print(f"next: tinynas train {out / 'structure.txt'} --data DIR")
