"""Does the search pay? Published, searched and random networks of one measured latency, trained alike.

    python benchmarks/searched_vs_published.py FOLDER --sets bccd signs pcb [--published Ns Nm T] [--spaces mob res csp]
        [--random 4] [--score-weights 0,0,4,4,8] [--sized-spaces mob --image-sizes 256 320 384] [--size 320] [--steps 2000]
        [--seeds 3] [--jobs 1] [--device cpu] [--out runs/searched-vs-published]

FOLDER holds data sets, one a folder (parts of them as small_data.py names them: `signs:150`). For each published detector,
the best network of each space and some random ones of its own space are found whose latency, timed on this machine in turn
with the published one's, is within 3 % of it (networks-NAME.json, written once; `equal: false` marks those that a last timing
of all together finds farther off, as on a busy machine). --score-weights adds the best of the published one's own space under
other weights of the score's groups. Those of --sized-spaces are searched over --image-sizes too, by `entropy_sized`. All are
trained at their own size with the preset `auto` for about --steps steps.

AP is that of the evaluation best on `val`, on `test` where a set has one, else of the last epoch on `val`. By set and
detector: mean and standard deviation of each network, the difference to the published one paired by seed with its t-test,
the same over all sets together, and Kendall's tau of score and AP at --size with a 95 % interval (bootstrap over networks
and seeds).
Every run can be stopped; called again, the program goes on where it was. `--size 192 --steps 300 --seeds 1` is a rehearsal.
Prints JSON, also in searched_vs_published.json, with the picture searched_vs_published.png. Needs SciPy, of the `dev` extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _equal_latency import bench_of, networks_of, sized_networks, time_together, weighed_networks
from _sets import parse_set, prepared
from _trainings import Job, add_options, epochs_of, every_epochs, finish, run_jobs, run_program, summary
from scipy.stats import ttest_rel
from small_data import flat

from detector.data.annotations import Annotations
from detector.data.formats import load_split
from detector.data.mirror import advise
from detector.training.settings.auto_preset import choice_of, facts_of
from search_spaces.files import replacing
from search_spaces.text import parse_structure, resolve_structure

EVALUATIONS = 6
RESAMPLES = 2000
COLOURS = {
    "published": "tab:red", "searched": "tab:blue", "weighed": "tab:purple", "sized": "tab:green", "random": "tab:gray",
}  # fmt: skip
Groups = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By published detector and network, what is known of it."""


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    specs = [parse_set(text) for text in options.sets]
    folders = {spec.text: prepared(spec, options.data, options.out / "data") for spec in specs}
    trains = {text: load_split(folder, "train")[0] for text, folder in folders.items()}
    classes = max(train.num_classes for train in trains.values())
    groups = _groups(options, classes)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for spec in specs:
        wanted = jobs(groups, trains[spec.text], options)
        runs, bad = run_jobs(wanted, folders[spec.text], options.out / spec.folder, options.jobs)
        failed |= {f"{spec.text} {name}": error for name, error in bad.items()}
        found[spec.text] = {name: compared(group, name, runs, options.seeds) for name, group in groups.items()}
    result = {
        "data": str(options.data), "size": options.size, "image_sizes": options.image_sizes, "steps": options.steps,
        "seeds": options.seeds,
        "settings": options.set, "device": options.device, "networks": groups, "sets": found,
        "together": {name: over_sets(found, group, name) for name, group in groups.items()}, "failed": failed,
    }  # fmt: skip
    draw(found, groups, options.out / "searched_vs_published.png")
    finish(result, options.out / "searched_vs_published.json")


def jobs(groups: Groups, train: Annotations, options: argparse.Namespace) -> list[Job]:
    """The trainings on one set, the first seed of every network first."""
    rows = {name: row for group in groups.values() for name, row in trained(group).items()}
    return alike(rows, train, options, {name: side_of(row) for name, row in rows.items()})


def side_of(row: Mapping[str, Any]) -> int:
    """The image size of a row's network, px."""
    return parse_structure(row["structure"]).image_size[0]


def alike(
    rows: Mapping[str, Mapping[str, Any]], train: Annotations, options: argparse.Namespace, sizes: Mapping[str, int]
) -> list[Job]:
    """Trainings of networks with the preset `auto`, each at its size (px), the first seed of every network first."""
    facts, mirror = facts_of(train), advise(train)
    epochs = epochs_of(options.steps, len(train))
    made = []
    for seed in range(options.seeds):
        for name, row in rows.items():
            structure = parse_structure(row["structure"])
            settings = (*flat(choice_of(structure, facts, mirror).values), *options.set)
            made.append(
                Job(
                    f"{name}-seed{seed}", name, structure, epochs, seed, sizes[name], "small", settings,
                    every_epochs=every_epochs(epochs, EVALUATIONS),
                )
            )  # fmt: skip
    return made


def trained(group: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The networks of a group that there are."""
    return {name: row for name, row in group.items() if "structure" in row}


def ap_of(run: Mapping[str, Any]) -> float | None:
    """AP of a run on `test` where the set has one, else on `val`."""
    value = run["test_ap"] if run["test_ap"] is not None else run["val_ap"]
    return None if value is None else float(value)


def compared(
    group: Mapping[str, Mapping[str, Any]], published: str, runs: Mapping[str, Mapping[str, Any]], seeds: int
) -> dict[str, Any]:
    """A group's figures on one set: `aps` by network (one a seed, None where it failed), statistics, pairs, tau."""
    names = list(trained(group))
    aps = {
        name: [ap_of(run) if (run := runs.get(f"{name}-seed{seed}")) else None for seed in range(seeds)]
        for name in names
    }
    mine = {name: run for name, run in runs.items() if run["arm"] in names}
    one_size = [name for name in names if group[name]["kind"] != "sized"]
    return {
        "aps": aps,
        "arms": summary(mine, published),
        "paired": {name: paired(aps[name], aps[published]) for name in names if name != published},
        "tau": tau_with_interval([group[name]["score"] for name in one_size], [aps[name] for name in one_size]),
        "random_to_searched": beside_random(group, aps),
    }


def paired(ones: Sequence[float | None], others: Sequence[float | None]) -> dict[str, Any]:
    """Mean difference in points over the pairs that are whole, and the paired t-test's p (None below two pairs)."""
    pairs = [(one, other) for one, other in zip(ones, others, strict=True) if one is not None and other is not None]
    if not pairs:
        return {"pairs": 0, "difference_points": None, "p": None}
    differences = [one - other for one, other in pairs]
    varied = len(pairs) > 1 and len(set(differences)) > 1
    p = float(ttest_rel(*zip(*pairs)).pvalue) if varied else None
    return {"pairs": len(pairs), "difference_points": round(100 * float(np.mean(differences)), 2), "p": p}


def beside_random(group: Mapping[str, Mapping[str, Any]], aps: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """What the score, and not the space, is worth: the searched network of the random ones' space against their mean, in
    points, and how many of them it beats."""
    mean = {name: _mean(values) for name, values in aps.items()}
    randoms = {name: mean[name] for name in aps if group[name]["kind"] == "random" and mean[name] is not None}
    space = next((group[name]["space"] for name in randoms), None)
    searched = next((n for n in aps if group[n]["kind"] == "searched" and group[n]["space"] == space), None)
    if searched is None or mean[searched] is None:
        return {"random": len(randoms), "difference_points": None, "beaten": None}
    values = [value for value in randoms.values() if value is not None]
    own = mean[searched]
    assert own is not None
    return {
        "random": len(values), "difference_points": round(100 * (own - float(np.mean(values))), 2),
        "beaten": sum(value < own for value in values),
    }  # fmt: skip


def tau_with_interval(scores: Sequence[float], aps: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    """Kendall's tau-b of scores and mean APs, with a 95 % interval: networks are drawn again with replacement, and of each
    its seeds. None below three networks, and where all have one value."""
    kept = [
        (score, values)
        for score, aps_ in zip(scores, aps, strict=True)
        if (values := [v for v in aps_ if v is not None])
    ]
    if len(kept) < 3:
        return {"networks": len(kept), "tau": None, "interval": None}
    rng = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(kept), size=len(kept))
        again = [(kept[i][0], float(np.mean(rng.choice(kept[i][1], size=len(kept[i][1]))))) for i in chosen.tolist()]
        if (tau := _tau(again)) is not None:
            found.append(tau)
    whole = _tau([(score, float(np.mean(values))) for score, values in kept])
    interval = [round(float(end), 3) for end in np.percentile(found, [2.5, 97.5])] if found else None
    return {"networks": len(kept), "tau": None if whole is None else round(whole, 3), "interval": interval}


def _tau(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-b, as SciPy has it, which takes a hundred times as long over so few; None without an order."""
    signs = [np.sign(column[:, None] - column) for column in np.array(pairs).T]
    scale = np.sqrt(np.prod([np.sum(sign**2) for sign in signs]))
    return float(np.sum(signs[0] * signs[1]) / scale) if scale else None


def over_sets(found: Mapping[str, Any], group: Mapping[str, Mapping[str, Any]], published: str) -> dict[str, Any]:
    """The paired differences of each network to the published one over all sets and seeds together."""
    names = [name for name in trained(group) if name != published]
    aps = {
        name: [ap for entry in found.values() for ap in entry[published]["aps"][name]] for name in (published, *names)
    }
    return {name: paired(aps[name], aps[published]) for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def draw(found: Mapping[str, Any], groups: Groups, path: Path) -> None:
    """AP against score: a row for each published detector, a column for each set; bars are a standard deviation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9 * len(found) + 0.6, 3.3 * len(groups) + 0.4), dpi=120, layout="constrained")
    axes = figure.subplots(len(groups), len(found), squeeze=False)
    for row, (name, group) in zip(axes, groups.items(), strict=True):
        for axis, (title, entry) in zip(row, found.items(), strict=True):
            for network, aps in entry[name]["aps"].items():
                values, about = [100 * ap for ap in aps if ap is not None], group[network]
                if not values:
                    continue
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
                axis.errorbar(about["score"], np.mean(values), spread, fmt="o", color=COLOURS[about["kind"]])
                label = {
                    "published": name, "random": "", "weighed": network.removeprefix(f"{name}-"),
                    "sized": f"{about['space']} {side_of(about)} px",
                }.get(about["kind"], about["space"])  # fmt: skip
                axis.annotate(
                    label, (about["score"], np.mean(values)), xytext=(5, 4), textcoords="offset points", fontsize=7
                )
            tau = entry[name]["tau"]
            said = (
                ""
                if tau["tau"] is None
                else f", tau {tau['tau']:.2f} ({tau['interval'][0]:.2f} to {tau['interval'][1]:.2f})"
            )
            axis.set(title=f"{title}, as fast as {name}{said}", xlabel="score", ylabel="AP, %")
            axis.title.set_fontsize(8)
            axis.grid(alpha=0.3)
    for kind, colour in COLOURS.items():
        axes[0][0].plot([], [], "o", color=colour, label=kind)
    axes[0][0].legend(fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _groups(options: argparse.Namespace, classes: int) -> dict[str, dict[str, dict[str, Any]]]:
    own = {name: resolve_structure(name).backbone.space for name in options.published}
    spaces = list(dict.fromkeys([*options.spaces, *options.sized_spaces, *own.values()]))
    bench = bench_of(options.device, spaces, (options.size, *options.image_sizes), classes, options.draw_seed)
    groups = {}
    for name in options.published:
        path = options.out / f"networks-{name}.json"
        group = networks_of(name, options.spaces, own[name], options.random, bench, path)
        weighed_networks(group, name, own[name], options.score_weights, bench, path)
        sized_networks(group, name, options.sized_spaces, options.image_sizes, bench, path)
        time_together(group, bench, path)
        groups[name] = group
    return groups


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/searched-vs-published", epochs=None)
    parser.add_argument(
        "--sets", nargs="+", default=["bccd", "signs", "pcb"], help="NAME[:IMAGES][@CLASS] under FOLDER"
    )
    parser.add_argument("--published", nargs="+", default=["Ns", "Nm", "T"])
    parser.add_argument("--spaces", nargs="*", default=["mob", "res", "csp"], help="searched at --size")
    parser.add_argument("--sized-spaces", nargs="*", default=[], help="searched over --image-sizes")
    parser.add_argument("--image-sizes", nargs="*", type=int, default=[], help="sides of the images, px")
    parser.add_argument("--random", type=int, default=4, help="random networks beside each published one")
    parser.add_argument("--score-weights", nargs="*", default=[], help="such as 0,0,4,4,8: a network for each")
    parser.add_argument("--steps", type=int, default=2000, help="of every training, about")
    parser.add_argument("--device", default="cpu", help="latency table; its runtime times the networks here")
    parser.add_argument("--draw-seed", type=int, default=0, help="of the random networks")
    options = parser.parse_args()
    if bool(options.sized_spaces) != bool(options.image_sizes):
        parser.error("--sized-spaces needs --image-sizes, and the other way round")
    return options


if __name__ == "__main__":
    run_program(main)
