"""One training of a comparison, in a process of its own, as `_trainings.py` starts it.

    python benchmarks/_training.py FOLDER DATA THREADS WORKERS

FOLDER/job.json says what to train. The run goes on from FOLDER/last.pt where there is one; then, where the data has a
`test` split, its best and last checkpoints' COCO metrics on it go into FOLDER/test.json. WORKERS: loader processes, or
`auto`. The process ends when its standard input does.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from detector.data.formats import detect, get
from detector.training.record.logged import logged_epochs
from detector.training.settings.config import TrainConfig, build_config
from detector.training.settings.presets import preset_values
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.structure import Structure
from search_spaces.text import format_structure, parse_structure


@dataclass(frozen=True, slots=True)
class Job:
    """One training. `name`: its folder; `arm`: what it is compared as; `overrides`: settings as for `--set`.

    image_size: side, px. weights: a checkpoint to start from. every_epochs: between evaluations, None: the preset's.
    """

    name: str
    arm: str
    structure: Structure
    epochs: int
    seed: int
    image_size: int
    preset: str = "small"
    overrides: tuple[str, ...] = ()
    weights: Path | None = None
    layer_decay: float = 1.0
    every_epochs: int | None = None

    def config(self, workers: int | None = None) -> TrainConfig:
        """The training settings. Raises UserError for an override that is none."""
        direct = {
            "epochs": self.epochs, "seed": self.seed, "image_size": [self.image_size] * 2, "workers": workers,
            "eval": {"every_epochs": self.every_epochs} if self.every_epochs else None,
            "optimizer": {"layer_decay": self.layer_decay},
        }  # fmt: skip
        return build_config(preset_values(self.preset, self.structure), None, self.overrides, direct=direct)


def as_json(job: Job) -> str:
    """The text of job.json."""
    values = {field.name: getattr(job, field.name) for field in fields(job)}
    texts = {"structure": format_structure(job.structure), "weights": job.weights and str(job.weights)}
    return json.dumps({**values, **texts}, indent=1)


def from_json(text: str) -> Job:
    """The job of a job.json."""
    values = json.loads(text)
    job = Job(**{**values, "structure": parse_structure(values["structure"]), "overrides": tuple(values["overrides"])})
    return replace(job, weights=Path(values["weights"]) if values["weights"] else None)


def epochs_done(folder: Path) -> int:
    """Epochs that the run in a folder has finished."""
    rows = logged_epochs(folder)
    return int(rows[-1]["epoch"]) if rows else 0


def _child(folder: Path, data: Path, threads: int, workers: int | None) -> None:
    """Train the folder's job, or go on with it, then test its checkpoints."""
    import cv2
    import torch

    from detector.detector import Detector
    from detector.devices import choose_device
    from detector.training.loop import fit
    from detector.training.start import load_splits, new_run, resumed_run

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads if threads > 1 else 0)
    job = from_json((folder / "job.json").read_text())
    if epochs_done(folder) < job.epochs:
        if (folder / "last.pt").is_file():
            fit(resumed_run(folder, data, None, print))
        else:
            fit(new_run(job.structure, load_splits(data, print), job.config(workers), folder, print, job.weights))
    if "test" in get(detect(data)).splits(data):
        device = choose_device(job.config().device)
        found = {
            name: Detector.load(folder / f"{name}.pt", device).evaluate(data, "test").numbers()
            for name in ("best", "last")
        }
        write_text(folder / "test.json", json.dumps(found, indent=1))


def _leave_with_parent() -> None:
    """As Ctrl-C, once the parent closes this process's standard input or is no more."""
    os.read(sys.stdin.fileno(), 1)  # unbuffered: a lock on sys.stdin held here would abort the interpreter's exit
    _thread.interrupt_main()


def _child_main(folder: str, data: str, threads: str, workers: str) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        _child(Path(folder), Path(data), int(threads), None if workers == "auto" else int(workers))
    except UserError as error:
        print(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception:
        with suppress(OSError):
            traceback.print_exc(file=sys.stdout)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_child_main(*sys.argv[1:]))
