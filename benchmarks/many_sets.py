"""Several data sets as one model beside each set's own model: equal steps, with the mask of what each set labels and without.

    python benchmarks/many_sets.py ROOT --sets amenity tiny_coco bccd signs --structure Ns --out runs/many-sets \\
        [--arms own joint unmasked unsmoothed] [--steps 600] [--batch 16] [--size 224] [--seeds 1] [--space general.yaml]

ROOT holds the sets, each with splits train and val. `own` trains a model on each set alone; `joint` one on all of them;
`unmasked` the same with what a set does not label as background; `unsmoothed` with the sets drawn by their sizes. Every
training has about so many steps of one batch size. AP of a set is that of the last epoch on the set's own `val` images, over
the classes that have boxes there; `own` models know the set's classes alone. The label space is tinynas' own proposal, or
that of --space. Every run can be stopped; called again, the program goes on where it was. Prints JSON, also written to
many_sets.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _trainings import Job, epochs_of, every_epochs, finish, run_jobs, run_program, summary

from detector.data.formats import load_split
from detector.data.label_space.proposal import find_sets, propose, text_of
from detector.data.label_space.reading import read_label_space, read_members
from detector.training.record.logged import logged_epochs
from search_spaces.errors import UserError, nearest
from search_spaces.files import write_text
from search_spaces.text import format_structure, resolve_structure

OWN = "own"
ARMS: Mapping[str, tuple[str, ...]] = {
    OWN: (),
    "joint": (),
    "unmasked": ("loss.unlabelled_as_background=true",),
    "unsmoothed": ("sampling.smoothing=1",),
}


def main() -> None:
    options = _options()
    unknown = next((arm for arm in options.arms if arm not in ARMS), None)
    if unknown is not None:
        raise UserError(f"--arms {unknown}: {nearest(unknown, ARMS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    general = label_space(options)
    _, members = read_members(general)
    images = {name: len(load_split(path, "train")[0]) for name, path in members.items()}
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in members}
    failed: dict[str, str] = {}
    for data, name, arms in [(general, "", [arm for arm in options.arms if arm != OWN])] + [
        (path, name, [OWN] if OWN in options.arms else []) for name, path in members.items()
    ]:
        chosen = jobs(options, arms, images[name] if name else sum(images.values()))
        folder = options.out / (f"{OWN}-{name}" if name else "together")
        runs, wrong = run_jobs(chosen, data, folder, options.jobs)
        failed |= {f"{folder.name}/{job}": error for job, error in wrong.items()}
        for job, run in runs.items():
            last = logged_epochs(folder / job)[-1]
            for of in [name] if name else members:
                found[of][job] = {"arm": run["arm"], **_aps(last["ap"] if name else last.get(f"ap@{of}"))}
    told = {
        "sets": {name: {"path": str(path), "train_images": images[name]} for name, path in members.items()},
        "classes": len(read_label_space(general).class_names), "structure": format_structure(_structure(options)),
        "image_size": options.size, "steps": options.steps, "batch": options.batch, "settings": options.set,
    }  # fmt: skip
    table = {
        name: {arm: numbers["val_ap"] for arm, numbers in summary(runs, OWN).items()} for name, runs in found.items()
    }
    finish({**told, "ap": table, "failed": failed}, options.out / "many_sets.json")


def label_space(options: argparse.Namespace) -> Path:
    """The file that lists the sets: as given, or proposed once and kept. Raises UserError for sets that are none."""
    if options.space is not None:
        return Path(options.space)
    path = Path(options.out) / "general.yaml"
    if not path.is_file():
        write_text(path, text_of(propose(find_sets([options.root / name for name in options.sets])), path))
    return path


def jobs(options: argparse.Namespace, arms: list[str], images: int) -> list[Job]:
    """Trainings of about `options.steps` steps on so many images, those of the first seed first."""
    epochs = epochs_of(options.steps, images, options.batch)
    return [
        Job(
            f"{arm}-seed{seed}", arm, _structure(options), epochs, seed, options.size,
            overrides=(f"batch_size={options.batch}", *options.set, *ARMS[arm]), every_epochs=every_epochs(epochs),
        )
        for seed in range(options.seeds)
        for arm in arms
    ]  # fmt: skip


def _structure(options: argparse.Namespace) -> Any:
    return resolve_structure(options.structure)


def _aps(ap: float | None) -> dict[str, float | None]:
    return {"val_ap": ap, "val_ap50": None, "test_ap": None, "test_ap50": None}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the data sets")
    parser.add_argument("--sets", nargs="+", default=["amenity", "tiny_coco", "bccd", "signs"])
    parser.add_argument("--space", type=Path, help="label space to use, in place of a proposal for --sets")
    parser.add_argument("--structure", default="Ns", help="structure file, or a shipped one")
    parser.add_argument("--out", type=Path, default=Path("runs/many-sets"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--steps", type=int, default=600, help="of each training, about")
    parser.add_argument("--batch", type=int, default=16, help="images per step")
    parser.add_argument("--size", type=int, default=224, help="side of the images, px")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time; each has cores / jobs threads")
    parser.add_argument("--set", action="append", default=[], help="training setting of all runs, key=value")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
