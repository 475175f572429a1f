"""What weight transfer gains a searched network: the same short training from transferred and from fresh weights.

    python benchmarks/transfer_gain.py DATA --out runs/transfer-gain [--seeds 3] [--epochs 10 30] [--source-epochs 100]

A source (a published detector) is trained on DATA from scratch; a network is searched at the source's latency (or taken
from --target); then it is trained per seed and number of epochs from fresh weights (`scratch`), from the source's by
weight transfer (`transfer`) and, with --layer-decay, so with layer-wise rates (`transfer_layerwise`). `scratch_long` has
the source's epochs on top: the price of the source in training of the target. Every run can be stopped; called again, the
program goes on where it was. Prints JSON: AP of the last epoch per run, mean and spread per arm, the gain in points of AP.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.checkpoint import load_checkpoint
from detector.network import Network
from detector.training.config import build_config
from detector.training.loop import fit
from detector.training.presets import preset_values
from detector.training.processes import leave_processes
from detector.training.start import load_splits, new_run, resumed_run
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


@dataclass(frozen=True, slots=True)
class Job:
    """One training: `arm` of ARMS or `source`; `epochs` of the comparison that it belongs to."""

    arm: str
    structure: Structure
    epochs: int
    seed: int
    trained_epochs: int
    weights: Path | None = None
    layer_decay: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.epochs}-seed{self.seed}"


def main() -> None:
    options = _options()
    warnings.simplefilter("ignore")  # a CPU table of another processor ranks networks all the same
    options.out.mkdir(parents=True, exist_ok=True)
    source = resolve_structure(options.source).with_image_size(options.size, options.size)
    target = _target(options, source)
    first = Job("source", source, options.source_epochs, 0, options.source_epochs)
    found = {"source": train(first, options)}
    weights = options.out / first.name / "best.pt"
    runs: dict[str, dict[str, Any]] = {}
    for job in jobs(target, weights, options):
        runs[job.name] = {"arm": job.arm, "epochs": job.epochs, "seed": job.seed, **train(job, options)}
    result = {
        "data": str(options.data), "image_size": options.size, "source": {"structure": options.source, **found["source"]},
        "target": {"structure": format_structure(target), "transferred": _shares(weights, target)},
        "runs": runs, "arms": summary(runs),
    }  # fmt: skip
    write_text(options.out / "transfer_gain.json", json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def jobs(target: Structure, weights: Path, options: argparse.Namespace) -> Iterator[Job]:
    """All trainings of the target, those of the first seed first."""
    for seed in range(options.seeds):
        for epochs in options.epochs:
            for arm in options.arms:
                yield Job(
                    arm, target, epochs, seed, epochs + (options.source_epochs if arm == "scratch_long" else 0),
                    weights if arm.startswith("transfer") else None,
                    options.layer_decay if arm == "transfer_layerwise" else 1.0,
                )  # fmt: skip


def train(job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """Train a job, go on with it, or read what it found before: AP by epoch and of the last one."""
    folder = options.out / job.name
    rows = _rows(folder)
    if not rows or rows[-1]["epoch"] < job.trained_epochs:
        print(f"{job.name}: {job.trained_epochs} epochs", file=sys.stderr)
        try:
            if (folder / "last.pt").is_file():
                fit(resumed_run(folder, options.data, None, _tell))
            else:
                fit(
                    new_run(
                        job.structure,
                        load_splits(options.data, _tell),
                        _config(job, options),
                        folder,
                        _tell,
                        job.weights,
                    )
                )
        finally:
            leave_processes()
        rows = _rows(folder)
    curve = [(int(row["epoch"]), round(row["ap"], 4), round(row["ap50"], 4)) for row in rows if "ap" in row]
    return {"ap": curve[-1][1], "ap50": curve[-1][2], "seconds": round(rows[-1]["seconds"], 1), "epoch_ap_ap50": curve}


def summary(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over seeds per arm and number of epochs, and the gain over `scratch` in points."""
    table = []
    for epochs, arm in dict.fromkeys((run["epochs"], run["arm"]) for run in runs.values()):
        row: dict[str, Any] = {"epochs": epochs, "arm": arm}
        for key in ("ap", "ap50"):
            values, base = (
                np.array([run[key] for run in runs.values() if (run["epochs"], run["arm"]) == (epochs, one)])
                for one in (arm, "scratch")
            )
            spread = float(values.std(ddof=1)) if len(values) > 1 else None
            row[key] = {
                "mean": round(float(values.mean()), 4),
                "spread": spread and round(spread, 4),
                "runs": len(values),
            }
            if len(base):
                row[key]["gain_points"] = round(100 * float(values.mean() - base.mean()), 2)
        table.append(row)
    return table


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


def _config(job: Job, options: argparse.Namespace) -> Any:
    values = {
        "epochs": job.trained_epochs, "seed": job.seed, "image_size": [options.size, options.size],
        "workers": options.workers,
    }  # fmt: skip
    base = preset_values("small", job.structure)
    return build_config(base, None, [f"optimizer.layer_decay={job.layer_decay}", *options.set], direct=values)


def _shares(weights: Path, target: Structure) -> dict[str, float]:
    """Share of the target's parameters that came from the source, per part."""
    checkpoint = load_checkpoint(weights)
    network = Network(target.with_classes(len(checkpoint.class_names)))
    names = checkpoint.class_names
    report = transfer_weights(checkpoint.network(), network, match_classes(names, names))
    return {part or "all": round(report.share(part), 4) for part in ("", "backbone", "neck", "head")}


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer-gain"))
    parser.add_argument("--source", default="Ns", help="structure of the source")
    parser.add_argument("--target", help="structure file; by default one is searched")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--source-epochs", type=int, default=100)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["scratch", "transfer"])
    parser.add_argument("--layer-decay", type=float, default=0.8)
    parser.add_argument("--device-table", default="cpu", help="latency table of the search")
    parser.add_argument("--evaluations", type=int, default=200_000, help="of the search")
    parser.add_argument("--workers", type=int, help="loader processes")
    parser.add_argument("--set", action="append", default=[], help="training setting, key=value")
    return parser.parse_args()


if __name__ == "__main__":
    main()
