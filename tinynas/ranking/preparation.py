"""Before the second stage trains: its data, the settings of each search's candidates, and what a training costs here.

torch is imported by the functions alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import UserError
from search_spaces.saying import Say, silent
from search_spaces.structure import Structure
from tinynas.ranking.rungs import Pace

if TYPE_CHECKING:
    from detector.training.run import Splits

FEWEST_TRAIN, FEWEST_VAL = 8, 4
"""Pictures below which no candidate can be told from another."""
FEW_BOXES = 100
"""Of val: with fewer, a difference of some points says little."""
LOOKS = 2
OWN_SETTINGS = ("epochs", "minutes", "eval.every_epochs", "seed", "image_size")


@dataclass(frozen=True, slots=True)
class StageData:
    """The user's training and validation split; the test split is never read. `mark`: a hash of names and boxes."""

    source: Path
    splits: Splits
    mark: str

    @property
    def images(self) -> tuple[int, int]:
        return len(self.splits.train), len(self.splits.val)


def load_data(source: Path, say: Say) -> StageData:
    """Raises UserError for data that cannot be read, that have no validation split, or too few pictures in one."""
    from detector.training.start import load_splits

    splits = load_splits(source, say)
    for name, split, fewest in (("training", splits.train, FEWEST_TRAIN), ("validation", splits.val, FEWEST_VAL)):
        if len(split) < fewest:
            raise UserError(
                f"{source}: {len(split)} pictures in the {name} split, expected {fewest} at least to tell candidates apart; "
                "add pictures, or search without --rank-by-training"
            )
    boxes = int((~splits.val.ignore).sum())
    if boxes < FEW_BOXES:
        say(f"note: the validation split has only {boxes} boxes: a few points of AP more or less are chance")
    return StageData(source, splits, splits.fingerprint())


def check_settings(settings: Sequence[str]) -> None:
    """Raises UserError for a setting that is none, and for one that the rungs decide."""
    from detector.training.settings.config import build_config

    for text in settings:
        key = text.partition("=")[0].strip().removeprefix("train.")
        if key in OWN_SETTINGS:
            raise UserError(f"--set {text}: --rank-by-training decides {key} itself; leave it out")
    build_config({}, None, settings)


def base_configs(
    structures: Sequence[Structure], data: StageData, settings: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Training settings of each structure (one of each search) as plain values: the preset `auto`, `settings` over it."""
    from detector.data.mirror import advise
    from detector.training.settings.auto_preset import choice_of, facts_of
    from detector.training.settings.config import build_config

    facts, mirror = facts_of(data.splits.train), advise(data.splits.train)
    configs = []
    for structure in structures:
        values = choice_of(structure, facts, mirror).values
        config = build_config(values, None, settings, direct={"seed": seed})
        configs.append(config.model_dump(mode="json"))
    return configs


def measured_pace(
    structure: Structure, data: StageData, config: Mapping[str, Any], folder: Path, threads: int | None
) -> tuple[Pace, int, dict[str, Any]]:
    """What a training of this structure takes here, steps of an epoch, and the settings with batch and precision decided, so
    that all trainings have the same. Nothing is written."""
    import torch

    from detector.network import Network
    from detector.training.assembly import assemble
    from detector.training.machine.processes import join_processes
    from detector.training.settings.config import validate
    from detector.training.step.terms import no_terms
    from detector.training.timing.time_budget import measure

    if threads is not None:
        torch.set_num_threads(threads)
    settings, splits = validate(config), data.splits
    network = Network(structure.with_classes(splits.train.num_classes))
    processes = join_processes(settings.device)
    trial = assemble(network, splits, settings, folder, processes, silent, terms=no_terms, trial=True)
    try:
        looks = [measure(trial) for _ in range(LOOKS)]  # a busy moment of the machine must not decide over hours
    finally:
        trial.stop_workers()
        trial.log.close()
    decided = {name: getattr(trial.config, name) for name in ("batch_size", "accumulate", "amp")}
    pace = Pace(*(min(getattr(look, part) for look in looks) for part in ("step", "evaluation", "reading")))
    return pace, len(trial.train_loader), {**config, **decided}
