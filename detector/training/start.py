"""From structure, data and settings to a Run: new, or taken up from its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from detector.checkpoint import load_checkpoint
from detector.data.annotations import Annotations
from detector.data.dataset import check_images
from detector.data.formats import load_split
from detector.data.label_space import table
from detector.data.origins import aliases_of
from detector.data.sampling import SamplingConfig
from detector.data.vanishing import tell_of_vanishing
from detector.distillers import DistillConfig
from detector.evaluation import crowding_note
from detector.network import Network
from detector.training.assembly import assemble
from detector.training.distillation import check_distiller, distillation_terms
from detector.training.distillation.unlabelled import with_unlabelled
from detector.training.machine.processes import Processes, join_processes
from detector.training.record import sampling
from detector.training.record.run_log import TENSORBOARD_FOLDER
from detector.training.record.state import restore
from detector.training.run import Run, Splits, beside_bars
from detector.training.settings.config import TrainConfig, dump, validate
from detector.training.step import bad_steps
from detector.training.step.terms import Terms, no_terms
from detector.training.timing.time_budget import fitted
from detector.transfer import TransferReport, transfer_checkpoint
from detector.transfer.nearest import nearest_checkpoint
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.saying import Say, silent
from search_spaces.structure import Structure
from search_spaces.text import format_structure

RUN_FILES = (
    "best.pt", "last.pt", "metrics.csv", "metrics.jsonl", "per_class.csv", "config.yaml", "structure.txt",
    "augmented.jpg", "report.html", "report-error.txt", "pseudo_labels.json", table.FILE_NAME,
    sampling.FILE_NAME,
)  # fmt: skip
RUN_FOLDERS = ("evaluation", TENSORBOARD_FOLDER)
"""What a run and its report leave in the run folder."""


def load_splits(data: Path, say: Say) -> Splits:
    """Both splits, the validation classes matched to the training ones by name, every picture looked at.

    Raises UserError for unsound data and for pictures that are missing, cut short or of another size.
    """
    train, report = load_split(data, "train")
    say(str(report))
    _refuse_without_boxes(train, report.dropped, f"{data}: the training split", "nothing can be learnt")
    val, report = load_split(data, "val", train.class_names)
    say(str(report))
    _refuse_without_boxes(val, report.dropped, f"{data}: the validation split", "no epoch can be called the best")
    _refuse_sets_without_boxes(train, data)
    if lines := table.describe(train, val):
        say("\n".join(lines))
    for split in (train, val):
        check_images(split)
    if note := crowding_note(val):
        say(f"note: {note}")
    return Splits(str(data), train, val)


def _refuse_without_boxes(split: Annotations, dropped: int, name: str, why: str) -> None:
    if split.ignore.all():
        crowds = f" ({len(split.ignore)} crowd or difficult ones aside)" if len(split.ignore) else ""
        remedy = (
            f"{dropped} were dropped, with less than 1 px inside their images: look whether the boxes are in the unit and "
            "the order that the format has"
            if dropped
            else "look whether the annotation files are where the layout has them"
        )
        raise UserError(f"{name} has {len(split)} images but not one box{crowds}, {why}; {remedy}")


def _refuse_sets_without_boxes(train: Annotations, data: Path) -> None:
    """Of several data sets, each has to bring something to learn."""
    if train.origins is None:
        return
    images, boxes = table.images_of(train), table.boxes_of(train)
    for number, source in enumerate(train.origins.sources):
        if images[number] and not boxes[number].any():
            raise UserError(
                f"{data}: sets.{source.name} has {images[number]} training images but not one box of a class that is kept; "
                "look at its annotations and at what is left out, or take it off the list"
            )


def new_run(
    structure: Structure, splits: Splits, config: TrainConfig, folder: Path, say: Say, weights: Path | None = None,
    *, terms: Terms = no_terms,
) -> Run:  # fmt: skip
    """A run from epoch 0; `folder` gets structure.txt and config.yaml.

    weights: a checkpoint to start from, of this structure or another one; or a folder of them: the nearest is taken.
    terms: losses beside the detector's own.
    What an earlier run left in `folder` is deleted, once everything that could be refused has been checked.
    """
    if config.quantise != "off" and weights is None:
        raise UserError(
            f"quantise={config.quantise} fine-tunes what is trained already, with its BatchNorms as they are; pass --weights"
        )
    check_distiller(config.distill)
    source = None if weights is None else nearest_checkpoint(weights, structure) if weights.is_dir() else weights
    start = None if source is None else load_checkpoint(source)
    processes = join_processes(config.device)
    if not processes.is_main:
        say = silent
    files = {} if splits.train.origins is None else {table.FILE_NAME: table.as_csv(splits.train, splits.val)}
    splits, labels = with_unlabelled(splits, config.distill, processes, say)
    num_classes = splits.train.num_classes
    if structure.head.num_classes != num_classes:
        say(f"classes: {num_classes} from the data (the structure file has {structure.head.num_classes}); "
            "the head's class convs change, nothing else does")  # fmt: skip
    if splits.train.origins is None and config.sampling.smoothing not in (SamplingConfig().smoothing, 1.0):
        say("note: sampling.smoothing is of several data sets' sizes: on one data set it changes nothing")
    height, width = config.image_size or structure.image_size
    structure = structure.with_classes(num_classes).with_image_size(int(height), int(width))
    terms = _with_teacher(terms, config, splits, processes, say)
    if config.minutes is not None:
        config = fitted(config, structure, splits, folder, processes, say, terms)
    tell_of_vanishing(splits.train, structure.image_size, config.augment.min_side_px, say)
    torch.manual_seed(config.seed)
    network = Network(structure)
    taken = None
    if start is not None:
        aliases = aliases_of(splits.train.origins)
        taken = transfer_checkpoint(start, network, splits.train.class_names, str(source), aliases)
        say("\n".join(taken.lines(str(source))))
    run = assemble(network, splits, config, folder, processes, say, terms=terms)
    _tell_of_frozen_starts(run, taken)
    if processes.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*(folder / name for name in RUN_FILES), *folder.glob(bad_steps.PATTERN)):
            path.unlink(missing_ok=True)
        for name in RUN_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        texts = {"structure.txt": format_structure(structure), "config.yaml": dump(run.config), **labels, **files}
        for name, text in texts.items():
            write_text(folder / name, text)
    return run


def _with_teacher(more: Terms, config: TrainConfig, splits: Splits, processes: Processes, say: Say) -> Terms:
    """The terms, and distillation where the settings name a teacher."""
    teaching = distillation_terms(config, splits.train.class_names, processes, beside_bars(say))
    return lambda network: {**teaching(network), **more(network)}


def _tell_of_frozen_starts(run: Run, taken: TransferReport | None) -> None:
    """Say which frozen weights no training has made: they would stay at their random start."""
    frozen = [name for name, p in run.stepper.network.named_parameters() if not p.requires_grad]
    fresh = [name for name in frozen if taken is None or taken.taken.get(name, 0) < taken.sizes[name]]
    if fresh:
        run.say(
            f"freeze: {len(fresh)} of the {len(frozen)} frozen tensors stay at their random start, wholly or in part "
            f"({fresh[0]} first); pass --weights that have them, or freeze less"
        )


def resumed_run(
    folder: Path,
    data: Path | None,
    device: str | None,
    say: Say,
    teacher: Path | None = None,
    *,
    terms: Terms = no_terms,
) -> Run:
    """Go on with the run in `folder` from its last.pt, as if it had not stopped.

    data, device, teacher: where they are now, if elsewhere than then. terms: those of the run, as `new_run` had them.
    Raises UserError when there is nothing to go on with.
    """
    checkpoint = load_checkpoint(folder / "last.pt")
    if not checkpoint.training:
        raise UserError(
            f"{folder / 'last.pt'}: holds no training state; start anew with --weights {folder / 'last.pt'}"
        )
    config = validate(checkpoint.config)
    if device is not None:
        config = config.model_copy(update={"device": device})
    if teacher is not None:
        config = config.model_copy(update={"distill": _moved(config.distill, teacher, folder)})
    processes = join_processes(config.device)
    if not processes.is_main:
        say = silent
    there = Path(checkpoint.training["data"])
    if data is None and not there.exists():
        raise UserError(f"{there}: the run's data are not there any more; say where they are now with --data")
    splits = load_splits(data or there, say)
    if splits.train.class_names != checkpoint.class_names:
        classes = ", ".join(checkpoint.class_names)
        raise UserError(f"{splits.source}: its classes are not those of the run in {folder} ({classes})")
    torch.manual_seed(config.seed)
    splits, _ = with_unlabelled(splits, config.distill, processes, say, resumed=folder)
    terms = _with_teacher(terms, config, splits, processes, say)
    network = Network(checkpoint.structure)
    done = checkpoint.training["epoch"]
    run = assemble(network, splits, config, folder, processes, say, terms=terms, epochs_done=done)
    restore(run, checkpoint)
    _tell_of_other_data(run, checkpoint.training.get("data_fingerprint"))
    return run


def _moved(config: DistillConfig, teacher: Path, folder: Path) -> DistillConfig:
    if config.teacher is None:
        raise UserError(
            f"--teacher {teacher}: the run in {folder} began without a teacher and goes on without; for one, start a new "
            f"run with --weights {next(file for file in (folder / 'best.pt', folder / 'last.pt') if file.is_file())}"
        )
    return config.model_copy(update={"teacher": str(teacher)})


def _tell_of_other_data(run: Run, fingerprint: str | None) -> None:
    """Say when an epoch is longer or shorter than it was, as the schedule then goes by the new length; else when pictures or
    boxes are others. fingerprint: of those that the run began with, where it is known."""
    length, progress = len(run.train_loader), run.progress
    expected = progress.epoch * length + progress.part.batches
    if run.stepper.step != expected:
        run.say(
            f"warning: {run.stepper.step} steps are done, and {expected} would be by now with {length} an epoch: the number "
            "of training images or of processes has changed; the learning rate goes on by the new number, and the run "
            "does not end as one that was never stopped"
        )
    elif fingerprint not in (None, run.data_fingerprint):
        run.say(
            f"warning: {run.data}: not the pictures and boxes that the run began with; it goes on with those of now, and "
            "does not end as one that was never stopped"
        )
