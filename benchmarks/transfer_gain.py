"""What weight transfer gains a searched network: the same short training from transferred and from fresh weights.

    python benchmarks/transfer_gain.py DATA --out runs/transfer-gain [--seeds 3] [--epochs 10 30] [--source-epochs 100]

A source (a published detector) is trained on DATA from scratch (or given: --source-checkpoint); a network is searched at
the source's latency (or taken from --target); then it is trained per seed and number of epochs from fresh weights
(`scratch`), from the source's by weight transfer (`transfer`) and, with --layer-decay, so with layer-wise rates
(`transfer_layerwise`). `scratch_long` has the source's epochs on top: the price of the source in training of the target.
AP on `val` is that of the last epoch; AP on `test`, where the data has one, of the evaluation that was best on `val`.
Every run can be stopped; called again, the program goes on where it was. Prints JSON, also written to
transfer_gain.json: every run and, per number of epochs, the arms' means, spreads and gains over `scratch` in points.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _trainings import Job, add_options, finish, run_jobs, run_program, summary

from detector.checkpoint import load_checkpoint
from detector.network import Network
from detector.transfer import match_classes, transfer_weights
from latency_tables import find_table
from latency_tables.predictor import predict
from search_spaces.emit import emit_detector
from search_spaces.files import write_text
from search_spaces.space import load_space
from search_spaces.structure import Structure
from search_spaces.text import format_structure, resolve_structure
from tinynas.budgets import Budget
from tinynas.evolution.loop import SearchSettings, evolve
from tinynas.genes.population import Encoding
from tinynas.pricing.objective import Objective

ARMS = ("scratch", "transfer", "transfer_layerwise", "scratch_long")
BASELINE = "scratch"


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    weights, source, described = _source(options)
    target = _target(options, source)
    listed = jobs(target, weights, options)
    runs, failed = run_jobs([job for job, _ in listed], options.data, options.out, options.jobs)
    for job, compared in listed:
        if job.name in runs:
            runs[job.name]["compared_epochs"] = compared
    result = {
        "data": str(options.data), "image_size": options.size, "settings": options.set, "source": described,
        "target": {"structure": format_structure(target), "transferred": _shares(weights, target)},
        "runs": runs, "arms": by_epochs(runs), "failed": failed,
    }  # fmt: skip
    finish(result, options.out / "transfer_gain.json")


def jobs(target: Structure, weights: Path, options: argparse.Namespace) -> list[tuple[Job, int]]:
    """All trainings of the target, those of the first seed first, with the number of epochs that they are compared at."""
    return [
        (
            Job(
                f"{arm}-{epochs}-seed{seed}", arm, target, epochs + (options.source_epochs if arm == "scratch_long" else 0),
                seed, options.size, overrides=tuple(options.set), weights=weights if arm.startswith("transfer") else None,
                layer_decay=options.layer_decay if arm == "transfer_layerwise" else 1.0,
            ),
            epochs,
        )
        for seed in range(options.seeds)
        for epochs in options.epochs
        for arm in options.arms
    ]  # fmt: skip


def by_epochs(runs: Mapping[str, Mapping[str, Any]]) -> dict[int, dict[str, dict[str, Any]]]:
    """The arms' statistics per number of epochs, each against `scratch` of as many."""
    numbers = dict.fromkeys(run["compared_epochs"] for run in runs.values())
    return {
        number: summary({name: run for name, run in runs.items() if run["compared_epochs"] == number}, BASELINE)
        for number in numbers
    }


def _source(options: argparse.Namespace) -> tuple[Path, Structure, dict[str, Any]]:
    """The source's checkpoint, its structure at the image size, and what is known of it; trained unless it is given."""
    if options.source_checkpoint is not None:
        checkpoint = load_checkpoint(options.source_checkpoint)
        structure = checkpoint.structure.with_image_size(options.size, options.size)
        metrics = {name: value for name, value in checkpoint.metrics.items() if math.isfinite(value)}
        described = {"checkpoint": str(options.source_checkpoint), "metrics": metrics}
        return options.source_checkpoint.resolve(), structure, described
    structure = resolve_structure(options.source).with_image_size(options.size, options.size)
    name, epochs = f"source-{options.source_epochs}-seed0", options.source_epochs
    job = Job(name, "source", structure, epochs, 0, options.size, overrides=tuple(options.set))
    runs, failed = run_jobs([job], options.data, options.out)
    if failed:
        sys.exit(1)
    return (options.out / name / "best.pt").resolve(), structure, {"structure": options.source, **runs[name]}


def _target(options: argparse.Namespace, source: Structure) -> Structure:
    """--target, or the best network of the source's space within the source's latency; written down for later calls."""
    if options.target is not None:
        return resolve_structure(options.target).with_image_size(options.size, options.size)
    path = options.out / "target.txt"
    if not path.is_file():
        table, space = find_table(options.device_table), load_space(source.backbone.space)
        limit = predict(emit_detector(source), table).total_ms
        encoding = Encoding(space, (options.size, options.size), source.head.num_classes)
        objective = Objective(encoding, [(Budget("latency_ms", limit, table.id),)], {table.id: table})
        *_, state = evolve(objective, SearchSettings(evaluations=options.evaluations))
        write_text(path, format_structure(encoding.single(state.pool(0, 1).genes)))
    return resolve_structure(str(path))


def _shares(weights: Path, target: Structure) -> dict[str, float]:
    """Share of the target's parameters that came from the source, per part."""
    checkpoint = load_checkpoint(weights)
    network = Network(target.with_classes(len(checkpoint.class_names)))
    names = checkpoint.class_names
    report = transfer_weights(checkpoint.network(), network, match_classes(names, names))
    return {part or "all": round(report.share(part), 4) for part in ("", "backbone", "neck", "head")}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/transfer-gain", epochs=None)
    parser.add_argument("--source", default="Ns", help="structure of the source")
    parser.add_argument("--source-checkpoint", type=Path, help="a trained source; in place of training one")
    parser.add_argument("--source-epochs", type=int, default=100)
    parser.add_argument("--target", help="structure file; by default one is searched")
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["scratch", "transfer"])
    parser.add_argument("--layer-decay", type=float, default=0.8)
    parser.add_argument("--device-table", default="cpu", help="latency table of the search")
    parser.add_argument("--evaluations", type=int, default=200_000, help="of the search")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
