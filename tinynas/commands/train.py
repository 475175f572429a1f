"""`tinynas train`: structure + data -> trained detector."""

from __future__ import annotations

import os
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from detector.training.machine.process_settings import let_threads_sleep
from detector.training.timing.durations import parse_minutes
from search_spaces.errors import UserError
from search_spaces.files import check_folder
from search_spaces.image_size import parse_image_size
from tinynas.commands._teaching import refuse_without_teacher, teaching
from tinynas.commands._train_options import (
    ACCEPTED_DATA,
    BatchSize,
    Config,
    Data,
    Device,
    Epochs,
    Freeze,
    ImageSize,
    Out,
    Overwrite,
    Preset,
    Resume,
    Seed,
    Settings,
    Split,
    StructureName,
    Teacher,
    TeacherClasses,
    Time,
    Unlabelled,
    Weights,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from detector.training.run import Splits
    from detector.training.settings.config import TrainConfig
    from search_spaces.structure import Structure

_MORE_EPOCHS = (
    "a run's learning rate falls over its own epochs: for more, start another run from its weights (tinynas train "
    "RUN/structure.txt --weights RUN/best.pt --epochs N --out NEW)"
)


def run(
    structure: StructureName = None,
    data: Data = None,
    out: Out = None,
    split: Split = None,
    epochs: Epochs = None,
    time: Time = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    preset: Preset = None,
    config: Config = None,
    set_: Settings = None,
    weights: Weights = None,
    teacher: Teacher = None,
    unlabelled: Unlabelled = None,
    teacher_classes: TeacherClasses = None,
    freeze: Freeze = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Train a structure on your data: best.pt, last.pt, metrics.csv, config.yaml and report.html in the run folder."""
    if time is not None and epochs is not None:
        raise UserError("--time and --epochs: the time says how many epochs; leave one of them out")
    direct = {
        "epochs": epochs, "minutes": None if time is None else parse_minutes(time),
        "batch_size": batch_size, "seed": seed, "device": device,
        "image_size": None if image_size is None else list(parse_image_size(image_size)),
        "freeze": None if freeze is None else parse_freeze(freeze),
        "distill": teaching(teacher, teacher_classes, unlabelled) if resume is None else None,
    }  # fmt: skip
    let_threads_sleep()
    if resume is not None:
        only_new = {
            "structure": structure,
            "split": split,
            "out": out,
            "preset": preset,
            "config": config,
            "set": set_,
            "weights": weights,
            "teacher_classes": teacher_classes,
            "unlabelled": unlabelled,
            "overwrite": overwrite or None,
        }
        _refuse_with_resume({**direct, **only_new})
        _resume(resume, data, device, teacher)
    elif structure is None:
        raise UserError("train what? name a structure file or a shipped structure: tinynas train S --data DIR")
    else:
        found = find_data(data)
        if split is not None:
            ensure_split(found, split)
        _start(structure, found, out, preset, config, set_ or [], direct, weights, overwrite)


def find_data(data: Path | None) -> Path:
    """`data`, or ./data.yaml or ./data. Raises UserError that says what is accepted and how to get sample data."""
    if data is not None:
        return data
    for candidate in (Path("data.yaml"), Path("data")):
        if candidate.exists():
            return candidate
    raise UserError(
        f"no data: pass --data ({ACCEPTED_DATA}), or have ./data.yaml or ./data here; "
        "sample data to try with: tinynas sample-data data"
    )


def ensure_split(data: Path, share: float) -> None:
    """Lists for a data set without a validation split; those that are there already are kept, and that is said."""
    from detector.data.formats import available_splits
    from detector.data.label_space.document import is_document
    from detector.data.split_lists import read_lists
    from detector.data.splitting import split_data

    if is_document(data):
        raise UserError(
            f"{data}: a list of data sets; leave out --split, and split those that need it: tinynas data split SET"
        )
    while not _is_first_process() and read_lists(data) is None and "val" not in available_splits(data):
        time.sleep(0.5)  # the first process of the run writes them
    lists = read_lists(data)
    if lists is not None:
        _say(f"split: follows the lists in {lists.folder}, which were there already")
        return
    if "val" in (there := available_splits(data)):
        raise UserError(f"{data}: has the splits {', '.join(there)} already; leave out --split")
    made = split_data(data, share)
    for note in made.notes:
        print(f"note: {note}")
    print(
        f"split: {', '.join(f'{name} {count}' for name, count in made.pictures.items())} pictures; wrote {made.folder}"
    )


def parse_freeze(text: str) -> list[str]:
    """`backbone`, `stem..stage2,neck` or `none`, as the setting `freeze`."""
    return [] if text.strip() == "none" else [name.strip() for name in text.split(",")]


def _start(
    structure: str, data: Path, out: Path | None, preset: str | None, config: Path | None, settings: list[str],
    direct: dict[str, Any], weights: Path | None, overwrite: bool,
) -> None:  # fmt: skip
    from detector.training.settings.config import build_config
    from detector.training.settings.presets import preset_values, with_rounding
    from search_spaces.text import resolve_structure

    chosen = resolve_structure(structure)
    if preset is not None:
        preset_values(preset, chosen)
    folder = out or Path("runs") / Path(structure).stem
    _check_folder(folder, overwrite)
    first = build_config({}, config, settings, direct=direct)
    if first.distill.teacher is None:
        refuse_without_teacher(settings, direct["distill"] or {})
    quantised = first.quantise != "off"

    from detector.devices import choose_device
    from detector.lettering import lettering
    from detector.training.start import load_splits, new_run

    choose_device(first.device)
    splits = load_splits(data, _say)
    for line in lettering(splits.train.class_names).legend:
        _say(f"in pictures, {line}")
    resolved = _settings(
        preset, chosen, splits,
        lambda values: build_config(with_rounding(values) if quantised else values, config, settings, direct=direct),
        from_weights=weights is not None,
    )  # fmt: skip
    _fit(lambda: new_run(chosen, splits, resolved, folder, _say, weights), folder, _written(folder / "last.pt"))


def _settings(
    preset: str | None, structure: Structure, splits: Splits, over: Callable[[dict[str, Any]], TrainConfig],
    *, from_weights: bool,
) -> TrainConfig:  # fmt: skip
    """The settings to train with: those of the named preset, or of the one for the number of images, with what goes
    `over` it. Says what was chosen, and what mirrored pictures would teach wrongly."""
    from detector.data.mirror import advise
    from detector.training.settings.auto_preset import choose
    from detector.training.settings.presets import SMALL_DATA_IMAGES, preset_for, preset_values

    images = len(splits.train)
    name = preset or preset_for(images)
    if name == "auto":
        choice = choose(structure, splits.train, from_weights=from_weights)
        config = over(choice.values)
        height, width = config.image_size or structure.image_size
        _say("\n".join(choice.lines(config, (height, width))))
        return config
    if preset is None:
        _say(f"preset {name}, for {images} training images (at least {SMALL_DATA_IMAGES}); --preset chooses another")
    config = over(preset_values(name, structure))
    if config.augment.flip and not config.augment.flip_pairs:
        advice = advise(splits.train)
        if advice.setting:
            _say(f"warning: pictures are mirrored as they are, but {advice.why}; --set {advice.setting!r} mends that")
    return config


def _resume(folder: Path, data: Path | None, device: str | None, teacher: Path | None) -> None:
    from detector.training.start import resumed_run

    if folder.is_file():
        raise UserError(f"{folder}: it is a file; expected the run folder: --resume {folder.parent}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder; --resume expects one with last.pt in it")
    _fit(lambda: resumed_run(folder, data, device, _say, teacher), folder, earlier=None)


def _fit(start: Any, folder: Path, earlier: float | None) -> None:
    """Train. earlier: when the last.pt of another run was written that this one replaces."""
    from detector.training.loop import fit
    from detector.training.machine.processes import leave_processes
    from tinynas.results.training import report_run

    together = False
    try:
        run = start()
        if run.progress.epoch >= run.config.epochs:
            _say(f"{folder}: all {run.progress.epoch} epochs are done already; nothing to go on with; {_MORE_EPOCHS}")
            if run.processes.is_main and not (folder / "report.html").is_file():
                report_run(run)
        else:
            metrics = fit(run)
            if metrics is not None:
                _say(f"done: best AP {run.progress.best_ap:.3f} in {folder / 'best.pt'}; last epoch: {metrics}")
                report_run(run)
        together = True
    except KeyboardInterrupt:
        if _written(folder / "last.pt") not in (None, earlier):
            command = f"tinynas train --resume {quote(str(folder))}"
            print(f"\nstopped; the work up to the last save is kept. Go on with: {command}")
        raise
    finally:
        leave_processes(together=together)


def _written(file: Path) -> float | None:
    return file.stat().st_mtime if file.is_file() else None


def _check_folder(folder: Path, overwrite: bool) -> None:
    check_folder(folder)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite and _is_first_process():
        raise UserError(
            f"{folder}: already exists and is not empty; pass --overwrite to replace it, --resume {folder} to go on with "
            "it, or another --out"
        )


def _say(text: str) -> None:
    """Print, in the first process of a run only."""
    if _is_first_process():
        print(text, flush=True)


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _refuse_with_resume(options: dict[str, Any]) -> None:
    given = [name.replace("_", "-") for name, value in options.items() if value is not None and name != "device"]
    if given:
        raise UserError(
            f"--resume goes on with the run's own settings; leave out {', '.join(given)} "
            "(only --data, --device and --teacher may be given)" + (f"; {_MORE_EPOCHS}" if "epochs" in given else "")
        )
