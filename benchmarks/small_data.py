"""Small data sets x networks x recipes x seeds: what a recipe is worth whatever the pictures are.

    python benchmarks/small_data.py FOLDER --sets bccd signs:150 signs@stop --structures a.txt b.txt
        [--recipes auto small] [--steps 1500] [--seeds 3] [--size 320] [--out runs/small-data]

FOLDER holds data sets, one a folder. `signs:150` is `signs` with 150 of its training images, `signs@stop` its class
`stop` alone (pictures that have it, all splits), `signs:150@stop` both; what is left out is drawn with a fixed seed and
written beside the results, the pictures as links. --together makes one split of `val` and `test`.

Recipes: `auto` and `small` are the presets; the others change one thing of `auto` (RECIPES). All trainings have about as
many steps. AP and AP50 on `val` are those of the last epoch, on `test` those of the evaluation that was best on `val`,
and every evaluation stands with the seconds of training until then.
Every run can be stopped; called again, the program goes on where it was. Prints JSON, also in small_data.json, with the
picture small_data.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _sets import parse_set, prepared
from _trainings import Job, add_options, epochs_of, every_epochs, finish, run_jobs, run_program, summary

from detector.data.annotations import Annotations
from detector.data.formats import load_split
from detector.training.record.logged import logged_epochs
from detector.training.settings.auto_preset import choose
from search_spaces.errors import UserError
from search_spaces.files import replacing
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure

BASELINE = "small"
EVALUATIONS = 6

RECIPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "small": ("the preset small", ()),
    "auto": ("the preset auto", ()),
    "adamw": ("AdamW in place of Muon", ("optimizer.name=adamw",)),
    "rate_small": ("auto at the peak rate of small", ("optimizer.short_run_factor=1",)),
    "rate_half": ("auto at half its peak rate", ("optimizer.short_run_factor=4",)),
    "rate_double": ("auto at twice its peak rate", ("optimizer.short_run_factor=16",)),
    "atss": ("ATSS in place of AlignOTA", ("loss.assigner=atss",)),
    "task_aligned": ("task-aligned assignment in place of AlignOTA", ("loss.assigner=task_aligned",)),
    "no_mosaic": ("no mosaic", ("augment.mosaic=0",)),
    "all_mosaic": ("every image a mosaic", ("augment.mosaic=1",)),
    "colour": (
        "hue, saturation and brightness drawn",
        ("augment.hue=0.015", "augment.saturation=0.5", "augment.brightness=0.3"),
    ),
    "no_quiet_epochs": ("strong augmentation and the cosine to the very end", ("schedule.no_aug_epochs=0",)),
    "more_decay": ("weight decay 0.05", ("optimizer.weight_decay=0.05",)),
}
"""What a recipe is, and its settings over those of `auto`."""


def main() -> None:
    options = _options()
    names = _network_names(options.structures)
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    specs = [parse_set(text) for text in options.sets]
    for spec in specs:
        parts = options.out / ("data-together" if options.together else "data")
        data = prepared(spec, options.data, parts, together=options.together)
        train, _ = load_split(data, "train")
        networks = {name: _network(text, options.size) for name, text in zip(names, options.structures)}
        wanted = [job for name, structure in networks.items() for job in jobs(name, structure, train, options)]
        out = options.out / spec.folder
        runs, bad = run_jobs(wanted, data, out, options.jobs)
        failed.update({f"{spec.text} {name}": error for name, error in bad.items()})
        for name, run in runs.items():
            rows = [row for row in logged_epochs(out / name) if "ap" in row]
            run["seconds_ap_ap50"] = [
                [round(row["seconds"], 1), round(row["ap"], 5), round(row["ap50"], 5)] for row in rows
            ]
        found[spec.text] = {
            "images": len(train), "boxes": int((~train.ignore).sum()), "classes": train.num_classes,
            "networks": {name: summary(_of(runs, name), BASELINE) for name in networks}, "runs": runs,
        }  # fmt: skip
    recipes = {name: {"about": RECIPES[name][0], "settings": RECIPES[name][1]} for name in options.recipes}
    result = {
        "data": str(options.data), "together": options.together, "size": options.size, "steps": options.steps,
        "settings": options.set, "recipes": recipes, "sets": found, "failed": failed,
    }  # fmt: skip
    if any(entry["runs"] for entry in found.values()):
        draw(found, options.recipes, options.out / "small_data.png")
    finish(result, options.out / "small_data.json")


def jobs(name: str, structure: Structure, train: Annotations, options: argparse.Namespace) -> list[Job]:
    """The trainings of a network on one set, the first seed of every recipe first."""
    auto = flat(choose(structure, train).values)
    epochs = epochs_of(options.steps, len(train))
    return [
        Job(
            f"{name}-{recipe}-seed{seed}", recipe, structure, epochs, seed, options.size, "small",
            (*(() if recipe == BASELINE else auto), *RECIPES[recipe][1], *options.set),
            every_epochs=every_epochs(epochs, EVALUATIONS),
        )
        for seed in range(options.seeds)
        for recipe in options.recipes
    ]  # fmt: skip


def flat(values: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """A preset's values as for `--set`, but for what a job says itself (epochs, evaluations, the preset's name)."""
    found: list[str] = []
    for key, value in values.items():
        if not prefix and key in ("preset", "epochs", "eval"):
            continue
        if isinstance(value, Mapping) and key != "flip_pairs":
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}={json.dumps(value, ensure_ascii=False)}")
    return tuple(found)


def _of(runs: Mapping[str, Mapping[str, Any]], network: str) -> dict[str, Mapping[str, Any]]:
    return {name: run for name, run in runs.items() if name.rsplit("-", 2)[0] == network}


def _network_names(texts: Sequence[str]) -> list[str]:
    """A short name for each structure: the file's folder or the file, whatever tells them apart."""
    stems = [Path(text).stem for text in texts]
    if len(set(stems)) == len(stems):
        return stems
    parents = [Path(text).resolve().parent.name for text in texts]
    if len(set(parents)) == len(parents):
        return parents
    raise UserError("--structures: two files have the same name; name or place them differently")


def _network(text: str, size: int) -> Structure:
    return resolve_structure(text).with_image_size(size, size)


def draw(found: Mapping[str, Any], recipes: Sequence[str], path: Path) -> None:
    """Per set: AP on val against the seconds of training, a line per recipe (mean over seeds and networks)."""
    from matplotlib.figure import Figure

    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.9 * rows + 0.5), dpi=120, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, entry) in zip(axes, found.items()):
        for number, recipe in enumerate(recipes):
            curves = [run["seconds_ap_ap50"] for run in entry["runs"].values() if run["arm"] == recipe]
            for curve in curves:
                points = np.array(curve)
                axis.plot(points[:, 0] / 60, 100 * points[:, 1], color=f"C{number}", alpha=0.3, linewidth=0.8)
            length = min((len(curve) for curve in curves), default=0)
            if length:
                mean = np.mean([np.array(curve)[:length] for curve in curves], axis=0)
                axis.plot(mean[:, 0] / 60, 100 * mean[:, 1], color=f"C{number}", label=recipe)
        axis.set(title=name, xlabel="minutes", ylabel="AP on val, %")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/small-data", epochs=None)
    parser.add_argument("--sets", nargs="+", required=True, help="NAME[:IMAGES][@CLASS] under FOLDER")
    parser.add_argument("--structures", nargs="+", default=["Ns"], help="structure files, or published names")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["small", "auto"])
    parser.add_argument("--together", action="store_true", help="evaluate on val and test as one split")
    parser.add_argument("--steps", type=int, default=1500, help="of every training, about")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
