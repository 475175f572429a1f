"""What pre-training gains a network: the same training from scratch and from `tinynas pretrain` weights.

    python benchmarks/pretraining.py DATA --structure s/structure.txt --start start.pt --out runs/pretraining \\
         [--seeds 3] [--epochs 40] [--size 320]

DATA has splits train and val; NAME:IMAGES stands for a part of a set below --root (signs:150). --start NAME=FILE adds an arm
of that name, several times if wanted. AP on `val` is that of the last epoch; AP on `test`, where the data has one, of the
evaluation that was best on `val`. Every run can be stopped; called again, the program goes on where it was. Prints JSON, also
written to pretraining.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from _sets import parse_set, prepared
from _trainings import Job, add_options, every_epochs, finish, run_jobs, run_program, summary

from detector.checkpoint import load_checkpoint
from search_spaces.errors import UserError
from search_spaces.text import format_structure, resolve_structure

BASELINE = "scratch"


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    starts = dict(map(named, options.start))
    data = options.data
    if options.root is not None:
        data = prepared(parse_set(str(options.data)), options.root, options.out / "sets")
    runs, failed = run_jobs(jobs(options, starts), data, options.out, options.jobs)
    found = {
        "data": str(options.data), "image_size": options.size, "settings": options.set,
        "structure": format_structure(resolve_structure(options.structure)),
        "starts": {name: dict(load_checkpoint(path).metrics) for name, path in starts.items()},
        "runs": runs, "arms": summary(runs, BASELINE), "failed": failed,
    }  # fmt: skip
    finish(found, options.out / "pretraining.json")


def named(text: str) -> tuple[str, Path]:
    """NAME=FILE, or FILE alone for the arm `pretrained`. Raises UserError for a file that is not there."""
    name, equals, file = text.partition("=")
    name, path = (name, Path(file)) if equals else ("pretrained", Path(text))
    if not path.is_file() or not name or name == BASELINE:
        raise UserError(f"--start {text}: expected FILE or NAME=FILE, a checkpoint of tinynas pretrain")
    return name, path.resolve()


def jobs(options: argparse.Namespace, starts: dict[str, Path]) -> list[Job]:
    """All trainings, those of the first seed first."""
    structure, every = resolve_structure(options.structure), every_epochs(options.epochs)
    return [
        Job(
            f"{arm}-seed{seed}", arm, structure, options.epochs, seed, options.size,
            overrides=tuple(options.set), every_epochs=every, weights=starts.get(arm),
        )
        for seed in range(options.seeds)
        for arm in (BASELINE, *starts)
    ]  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "runs/pretraining", epochs=40)
    parser.add_argument("--structure", required=True, help="structure file")
    parser.add_argument("--start", action="append", default=[], metavar="[NAME=]FILE", help="of tinynas pretrain")
    parser.add_argument("--root", type=Path, help="folder of data sets; DATA is then NAME or NAME:IMAGES")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
