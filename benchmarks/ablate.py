"""What each part of the small-data recipe gains: the same short training with one part at a time taken out or put back.

    python benchmarks/ablate.py DATA --out runs/ablate [--structure Ns] [--size 320] [--epochs 15] [--seeds 3]

`small` is the baseline. The arms of the first rows of ARMS switch one part off, the `published` ones put one group of
settings (or all of them) back to the published recipe, whose rates are per image as everywhere. AP on `val` is that of
the last epoch's averaged weights; AP on `test`, where the data has one, that of the evaluation that was best on `val`.
Every run can be stopped; called again, the program goes on where it was. Prints JSON, also written to ablate.json with
the picture ablate.png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from _trainings import Job, add_options, every_epochs, finish, run_jobs, run_program, summary

from detector.training.settings.config import build_config
from detector.training.settings.presets import preset_values
from search_spaces.files import replacing
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure

BASELINE = "small"


@dataclass(frozen=True, slots=True)
class Arm:
    """What an arm does to the baseline: settings of its own, and settings or groups taken from a published recipe."""

    about: str
    settings: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    recipe_of: str | None = None
    """Structure whose published recipe is meant; None: that of the structure under test."""
    preset: str = "small"


ARMS = {
    BASELINE: Arm("the small-data preset"),
    "no_mosaic": Arm("no mosaic", ("augment.mosaic=0",)),
    "no_ema": Arm("raw weights in place of their moving average", ("ema.decay=0",)),
    "atss": Arm("ATSS in place of AlignOTA", ("loss.assigner=atss",)),
    "sgd": Arm(
        "SGD at its published rate per image and decay in place of AdamW",
        published=("optimizer.name", "optimizer.learning_rate_per_image", "optimizer.weight_decay"),
        recipe_of="S",
    ),
    "no_quiet_epochs": Arm(
        "strong augmentation and the cosine to the very end: no last epochs without it at the floor rate",
        ("schedule.no_aug_epochs=0",),
    ),
    "published": Arm(
        "the published preset, at batch 16 (its 256 would be one step an epoch here)",
        ("batch_size=16",),
        preset="published",
    ),
    "published_augment": Arm("published augmentation", published=("augment",)),
    "published_optimizer": Arm("published optimiser, rate per image, decay, no clipping", published=("optimizer",)),
    "published_schedule": Arm("published warm-up and last epochs", published=("schedule",)),
    "published_ema": Arm("published moving average", published=("ema",)),
}


def main() -> None:
    options = _options()
    structure = resolve_structure(options.structure).with_image_size(options.size, options.size)
    runs, failed = run_jobs(jobs(structure, options), options.data, options.out, options.jobs)
    arms = {
        arm: {"about": ARMS[arm].about, "settings": overrides(ARMS[arm], structure), **found}
        for arm, found in summary(runs, BASELINE).items()
    }
    found = {
        "data": str(options.data), "structure": options.structure, "image_size": options.size,
        "epochs": options.epochs, "settings": options.set, "baseline": BASELINE, "arms": arms, "runs": runs,
        "failed": failed,
    }  # fmt: skip
    if runs:
        draw(runs, arms, options.out / "ablate.png")
    finish(found, options.out / "ablate.json")


def jobs(structure: Structure, options: argparse.Namespace) -> list[Job]:
    """All trainings, the first seed of every arm first."""
    return [
        Job(
            f"{arm}-seed{seed}", arm, structure, options.epochs, seed, options.size, ARMS[arm].preset,
            (*options.set, *overrides(ARMS[arm], structure)), every_epochs=every_epochs(options.epochs),
        )
        for seed in range(options.seeds)
        for arm in options.arms
    ]  # fmt: skip


def overrides(arm: Arm, structure: Structure) -> tuple[str, ...]:
    """The arm's settings as for `--set`; published values are read from the preset."""
    of = structure if arm.recipe_of is None else resolve_structure(arm.recipe_of)
    recipe = build_config(preset_values("published", of)).model_dump(mode="json")
    return (*arm.settings, *(line for key in arm.published for line in _lines(key, recipe)))


def _lines(key: str, recipe: Mapping[str, Any]) -> list[str]:
    """`key=value` of a setting, or of every setting of a group."""
    value = reduce(lambda node, word: node[word], key.split("."), recipe)
    if isinstance(value, Mapping):
        return [line for name in value for line in _lines(f"{key}.{name}", recipe)]
    return [f"{key}={json.dumps(value)}"]


def draw(runs: Mapping[str, Mapping[str, Any]], arms: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Per arm every run (small dots), their mean and standard deviation; a line at the baseline's mean."""
    from matplotlib.figure import Figure

    panels = {"val_ap": "AP on val, last epoch", "test_ap": "AP on test, best on val"}
    shown = {key: title for key, title in panels.items() if any(arms[arm][key]["runs"] for arm in arms)}
    figure = Figure(figsize=(5 * len(shown) + 1, 0.4 * len(arms) + 1.4), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True, squeeze=False)
    for axis, (key, title) in zip(axes[0], shown.items()):
        for place, arm in enumerate(arms):
            values = [100 * run[key] for run in runs.values() if run["arm"] == arm and run[key] is not None]
            axis.plot(values, [place] * len(values), "o", markersize=3.5, color="tab:orange", alpha=0.8, zorder=3)
            row = arms[arm][key]
            if row["runs"]:
                spread = 100 * (row["standard_deviation"] or 0)
                axis.errorbar(100 * row["mean"], place, xerr=spread, fmt="D", color="tab:blue", capsize=3, markersize=5)
        if BASELINE in arms and arms[BASELINE][key]["runs"]:
            axis.axvline(100 * arms[BASELINE][key]["mean"], color="grey", linewidth=1, linestyle="--", zorder=0)
        axis.set(xlabel=f"{title}, %", yticks=range(len(arms)))
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticklabels(list(arms))
    axes[0][0].invert_yaxis()
    figure.suptitle("mean and standard deviation (blue), single runs (orange), baseline (dashed)", fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/ablate", epochs=15)
    parser.add_argument("--structure", default="Ns", help="name of a published detector, or a structure file")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
