"""Does the score of an untrained network rank trained detectors? Networks of one latency, from low score to high.

    python benchmarks/score_vs_ap.py DATA --out runs/score-vs-ap [--space mob] [--size 224] [--latency-ms 6] [--number 14]

Detectors whose predicted latency on --device lies within 2 % of --latency-ms are looked for by random draws and by
evolution towards the highest and towards the lowest score; --number of them, evenly spread over the scores found, are
written as files, so that a second call goes on with the same ones. All are trained alike. Kendall's tau-b with its
two-sided p-value tells how score, MACs and parameters (and latency, as a control, and two other scores) rank AP: on `val`
after the last epoch, and on `test`, where the data has one, of the evaluation that was best on `val`. Prints JSON, also
written to score_vs_ap.json with the picture score_vs_ap.png. Needs SciPy, of the `dev` extra.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from _trainings import Job, add_options, every_epochs, finish, run_jobs, run_program
from scipy.stats import kendalltau

from detector.data.formats import load_split
from latency_tables import Table, find_table
from latency_tables.predictor import predict
from search_spaces import costs
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.files import replacing, write_text
from search_spaces.space import load_space
from search_spaces.structure import Structure
from search_spaces.text import format_structure, read_structure
from tinynas.genes.layout import Genes
from tinynas.genes.population import Encoding, fingerprints
from tinynas.pricing import columns
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.scores import deepmad, zen

BAND = 0.02
"""Share of the latency by which a network may miss it."""
DRAWN, POOL, CHILDREN, GENERATIONS = 50_000, 512, 4096, 80
NEAR = 0.1
"""A network is drawn from those so near its wanted score, as a share of the distance between two wanted scores."""
QUANTITIES = ("score", "macs", "params", "latency_ms", "deepmad", "zen")
Values = npt.NDArray[np.float64]


class Networks:
    """Candidates of a space at one image size, their scores, and how far each is from being allowed."""

    def __init__(self, encoding: Encoding, table: Table, latency_ms: float) -> None:
        """Allowed: latency within BAND, and at most the space's layers."""
        self.encoding, self.latency_ms = encoding, latency_ms
        self._costs = AdditiveCosts(encoding, [columns.score(encoding), columns.latency(table), columns.layers()])

    def evaluate(self, genes: Genes) -> tuple[Values, Values]:
        """Scores (P,), and relative distances (P,) from what is allowed, 0 for what is."""
        score, latency, layers = self._costs.total(genes).T
        most = self.encoding.space.max_layers or np.inf
        outside = np.maximum(np.abs(latency / self.latency_ms - 1) - BAND, 0) + np.maximum(layers / most - 1, 0)
        return score, outside

    def explore(self, rng: np.random.Generator) -> tuple[Genes, Values]:
        """Different allowed candidates (GENES, P) with their scores (P,): all that were met on the way to the highest
        and to the lowest score."""
        met: list[tuple[Genes, Values]] = []
        drawn = self.encoding.sample(DRAWN, rng)
        for sign in (1.0, -1.0):
            pool = drawn
            for _ in range(GENERATIONS + 1):
                score, outside = self.evaluate(pool)
                met.append((pool[:, outside == 0], score[outside == 0]))
                first = np.lexsort((-sign * score, outside))[:POOL]
                best = pool[:, first]
                children = self.encoding.mutate(best[:, rng.integers(best.shape[1], size=CHILDREN)], rng)
                pool = _different(np.concatenate([best, children], axis=1))
        genes, scores = (np.concatenate(parts, axis=-1) for parts in zip(*met))
        _, first = np.unique(fingerprints(genes), return_index=True)
        return genes[:, first], scores[first]


def main() -> None:
    options = _options()
    networks = drawn_networks(options)
    names = list(networks)
    jobs = [
        Job(
            f"{name}-seed{seed}", name, read_structure(options.out / f"{name}.txt"), options.epochs, seed, options.size,
            overrides=tuple(options.set), every_epochs=every_epochs(options.epochs),
        )
        for seed in range(options.seeds)
        for name in names
    ]  # fmt: skip
    runs, failed = run_jobs(jobs, options.data, options.out, options.jobs)
    for name in names:
        for metric in ("val_ap", "test_ap"):
            values = [run[metric] for run in runs.values() if run["arm"] == name and run[metric] is not None]
            networks[name][metric] = round(float(np.mean(values)), 5) if values else None
    found = {
        "data": str(options.data), **_settings(options), "epochs": options.epochs, "seeds": options.seeds,
        "settings": options.set, "kendall": correlations(list(networks.values())), "networks": networks, "runs": runs,
        "failed": failed,
    }  # fmt: skip
    if runs:
        draw(networks, found["kendall"], options.out / "score_vs_ap.png")
    finish(found, options.out / "score_vs_ap.json")


def drawn_networks(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The networks' figures by name, in the order of their scores; drawn and written at the first call.

    Raises UserError when the folder's were drawn with other settings, and when too few have that latency.
    """
    path = options.out / "networks.json"
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["settings"] != _settings(options):
            raise UserError(f"{path}: drawn with {kept['settings']}; pass the same, or choose another --out")
        networks: dict[str, dict[str, Any]] = kept["networks"]
        return networks
    num_classes = load_split(options.data, "train")[0].num_classes
    encoding = Encoding(load_space(options.space), (options.size, options.size), num_classes)
    table, rng = find_table(options.device), np.random.default_rng(options.draw_seed)
    genes, scores = Networks(encoding, table, options.latency_ms).explore(rng)
    if len(scores) < options.number:
        raise UserError(
            f"{len(scores)} networks of {options.space} found within {BAND:.0%} of {options.latency_ms:g} ms on "
            f"{table.id} at {options.size} px; expected at least {options.number}, choose another --latency-ms"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    networks = {}
    for number, index in enumerate(spread(scores, options.number, rng), start=1):
        structure = encoding.single(genes, index)
        name = f"network{number:02d}"
        networks[name] = {"score": round(float(scores[index]), 4), **figures(structure, table)}
        write_text(options.out / f"{name}.txt", format_structure(structure))
    write_text(path, json.dumps({"settings": _settings(options), "networks": networks}, indent=1))
    return networks


def spread(scores: Values, number: int, rng: np.random.Generator) -> list[int]:
    """Indices of `number` scores, the lowest first, evenly spread from the lowest to the highest: each is drawn from
    those nearly at its place, or is the nearest of those left."""
    wanted, step = np.linspace(scores.min(), scores.max(), number, retstep=True)
    chosen: list[int] = []
    for value in wanted:
        distance = np.abs(scores - value)
        distance[chosen] = np.inf
        near = np.flatnonzero(distance <= NEAR * step)
        chosen.append(int(rng.choice(near)) if len(near) else int(distance.argmin()))
    return chosen


def figures(structure: Structure, table: Table) -> dict[str, float]:
    """What a network may be ranked by, beside the space's score."""
    graph = emit_detector(structure)
    return {
        "latency_ms": round(predict(graph, table).total_ms, 4), "macs": int(costs.conv_macs(graph)),
        "params": int(costs.params(graph)), "layers": int(costs.layers(graph)),
        "deepmad": round(float(deepmad.score(graph, deepmad.WEIGHTS)), 4),
        "zen": round(float(zen.score_structures([structure])[0]), 4),
    }  # fmt: skip


def correlations(networks: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per quantity and metric: Kendall's tau-b, its p-value and the number of networks that have a value.

    p is that of all orders, or, where values are equal, of the normal approximation. Without an entry: what less than
    three networks have, and what is equal for all of them.
    """
    table: dict[str, dict[str, Any]] = {}
    for quantity in QUANTITIES:
        table[quantity] = {}
        for metric in ("val_ap", "test_ap"):
            pairs = [(row[quantity], row[metric]) for row in networks if row[metric] is not None]
            if len(pairs) > 2 and all(len(set(column)) > 1 for column in zip(*pairs)):
                tau, p = kendalltau(*zip(*pairs))
                table[quantity][metric] = {
                    "tau": round(float(tau), 4), "p": round(float(p), 5), "networks": len(pairs)
                }  # fmt: skip
    return table


def draw(networks: Mapping[str, Mapping[str, Any]], found: Mapping[str, Any], path: Path) -> None:
    """AP on val against score, MACs and parameters, the points numbered by rising score."""
    from matplotlib.figure import Figure

    panels = {"score": ("score", 1.0), "macs": ("GMACs", 1e9), "params": ("million parameters", 1e6)}
    figure = Figure(figsize=(14, 4.6), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    shown = {name: row for name, row in networks.items() if row["val_ap"] is not None}
    for axis, (key, (label, unit)) in zip(axes, panels.items()):
        for name, row in shown.items():
            place = (row[key] / unit, 100 * row["val_ap"])
            axis.plot(*place, "o", color="tab:blue", markersize=6)
            axis.annotate(str(int(name[-2:])), place, xytext=(5, 4), textcoords="offset points", fontsize=8)
        taus = [f"{metric[:-3]} tau {row['tau']:.2f} (p {row['p']:.2g})" for metric, row in found[key].items()]
        axis.set(xlabel=label, title="\n".join([label, *taus]))
        axis.grid(alpha=0.3)
        axis.margins(0.08)
    axes[0].set_ylabel("AP on val, last epoch, %")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _different(genes: Genes) -> Genes:
    return genes[:, np.sort(np.unique(fingerprints(genes), return_index=True)[1])]


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What the drawn networks depend on."""
    return {
        "space": options.space, "image_size": options.size, "device": options.device, "latency_ms": options.latency_ms,
        "number": options.number, "draw_seed": options.draw_seed,
    }  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/score-vs-ap", epochs=15, seeds=1, size=224)
    parser.add_argument("--space", default="mob")
    parser.add_argument("--number", type=int, default=14, help="networks; three at least")
    parser.add_argument("--latency-ms", type=float, default=6.0)
    parser.add_argument("--device", default="cpu", help="latency table")
    parser.add_argument("--draw-seed", type=int, default=0, help="of the networks' choice")
    options = parser.parse_args()
    if options.number < 3:
        parser.error("--number: at least 3 networks can be ranked")
    return options


if __name__ == "__main__":
    run_program(main)
