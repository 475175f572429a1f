"""What is the mask of unlabelled classes worth? One data set, made into two that label half of its classes each.

    python benchmarks/half_labelled.py FOLDER --sets bccd pcb --structure s.txt [--arms masked unmasked all_labels]
        [--steps 600] [--size 192] [--seeds 2] [--jobs 1] [--out runs/half-labelled]

FOLDER holds data sets, one a folder. Of each, half of the training images keep the boxes of every other class, the rest those
of the other classes: two data sets whose images are full of objects that nobody annotated. `masked` trains one detector on
both, as tinynas does by default; `unmasked` the same with what a set does not label as background; `all_labels` on the images
with all their boxes. All have the preset `auto` and about as many steps. AP is that on the whole `val` and `test`, with all
labels; `together` pairs masked with unmasked over all sets and seeds. Every run can be stopped; called again, the program
goes on where it was. Prints JSON, also in half_labelled.json. Needs SciPy, of the `dev` extra.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _sets import parse_set, prepared, with_classes, write_split
from _trainings import Job, add_options, epochs_of, every_epochs, finish, run_jobs, run_program, summary
from searched_vs_published import ap_of, paired
from small_data import flat

from detector.data.annotations import Annotations
from detector.data.formats import detect, get, load_split
from detector.data.mirror import advise
from detector.training.settings.auto_preset import choice_of, facts_of
from search_spaces.errors import UserError, nearest
from search_spaces.files import write_text
from search_spaces.text import format_structure, resolve_structure

ALL_LABELS = "all_labels"
ARMS: Mapping[str, tuple[str, ...]] = {
    "masked": (),
    "unmasked": ("loss.unlabelled_as_background=true",),
    ALL_LABELS: (),
}
DRAW_SEED = 7


def main() -> None:
    options = _options()
    if unknown := next((arm for arm in options.arms if arm not in ARMS), None):
        raise UserError(f"--arms {unknown}: {nearest(unknown, ARMS)}")
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for spec in map(parse_set, options.sets):
        name, folder_name = spec.text, spec.folder
        source = prepared(spec, options.data, options.out / "data")
        train, _ = load_split(source, "train")
        if train.num_classes < 2:
            raise UserError(f"--sets {name}: {train.class_names[0]!r} is its only class; name a set of two or more")
        halves = halved(train)
        general = written(source, train.class_names, halves, options.out / "data" / f"{folder_name}-halves")
        runs: dict[str, dict[str, Any]] = {}
        for kind, data, arms in (
            ("halves", general, [arm for arm in options.arms if arm != ALL_LABELS]),
            ("whole", source, [arm for arm in options.arms if arm == ALL_LABELS]),
        ):
            more, bad = run_jobs(jobs(options, arms, train), data, options.out / f"{folder_name}-{kind}", options.jobs)
            runs |= more
            failed |= {f"{name} {job}": error for job, error in bad.items()}
        found[name] = {
            "halves": [
                {"images": len(half), "boxes": len(half.labels), "classes": list(half.class_names)} for half in halves
            ],
            "boxes": len(train.labels), "arms": summary(runs, "unmasked"), "runs": runs,
        }  # fmt: skip
    result = {
        "data": str(options.data), "structure": format_structure(resolve_structure(str(options.structure))),
        "size": options.size, "steps": options.steps, "seeds": options.seeds, "settings": options.set, "sets": found,
        "together": together([entry["runs"] for entry in found.values()]), "failed": failed,
    }  # fmt: skip
    finish(result, options.out / "half_labelled.json")


def together(sets: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The mask's gain over all sets and seeds: the mean difference in points, paired by seed, and the paired t-test's p."""
    pairs = [
        [ap_of(by_name[f"{arm}-seed{seed}"]) for arm in ("masked", "unmasked")]
        for by_name in sets
        for seed in sorted({run["seed"] for run in by_name.values()})
        if {f"masked-seed{seed}", f"unmasked-seed{seed}"} <= by_name.keys()
    ]
    return paired([masked for masked, _ in pairs], [unmasked for _, unmasked in pairs])


def halved(train: Annotations) -> tuple[Annotations, Annotations]:
    """The images in two random halves: the first with the boxes of classes 0, 2, ... alone, the second with the others."""
    order = np.random.default_rng(DRAW_SEED).permutation(len(train))
    half = -(-len(train) // 2)
    first, second = (train.subset(sorted(part.tolist())) for part in (order[:half], order[half:]))
    return with_classes(first, train.class_names[::2]), with_classes(second, train.class_names[1::2])


def written(source: Path, class_names: Sequence[str], halves: Sequence[Annotations], folder: Path) -> Path:
    """The label space file of both halves and, as a set that is only evaluated on, the other splits of the whole set."""
    general = folder / "general.yaml"
    if general.is_file():
        return general
    shutil.rmtree(folder, ignore_errors=True)
    for name, half in zip(("first", "second"), halves, strict=True):
        write_split(folder / name, "train", half)
    for split in get(detect(source)).splits(source):
        if split != "train":
            write_split(folder / "whole", split, load_split(source, split, class_names)[0])
    sets = {name: {"path": name} for name in ("first", "second", "whole")}
    write_text(general, yaml.safe_dump({"label_space": 1, "sets": sets}, sort_keys=False))
    return general


def jobs(options: argparse.Namespace, arms: Sequence[str], train: Annotations) -> list[Job]:
    """Trainings of about `options.steps` steps with what `auto` chooses for the whole set, those of the first seed first."""
    structure = resolve_structure(str(options.structure))
    chosen = flat(choice_of(structure, facts_of(train), advise(train)).values)
    epochs = epochs_of(options.steps, len(train))
    return [
        Job(
            f"{arm}-seed{seed}", arm, structure, epochs, seed, options.size, "small", (*chosen, *options.set, *ARMS[arm]),
            every_epochs=every_epochs(epochs),
        )
        for seed in range(options.seeds)
        for arm in arms
    ]  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/half-labelled", epochs=None, seeds=2)
    parser.add_argument("--sets", nargs="+", default=["bccd", "pcb"], help="under FOLDER; with val and, better, test")
    parser.add_argument("--structure", default="Ns", help="structure file, or a shipped one")
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--steps", type=int, default=600, help="of each training, about")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
