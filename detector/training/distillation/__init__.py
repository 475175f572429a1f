"""A teacher in a training: which losses it adds, from a checkpoint's features or from an exported model's outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detector import distillers
from detector.distillers import DistillConfig
from detector.network import Network
from detector.teachers import check_classes
from detector.training.machine.processes import Processes
from detector.training.settings.config import TrainConfig
from detector.training.step.terms import LossTerm, Terms, no_terms
from search_spaces.errors import UserError
from search_spaces.saying import Say

EXPORTS = (".onnx", ".xml")
_Made = Callable[[Network, str], Mapping[str, LossTerm]]


def check_distiller(config: DistillConfig) -> None:
    """Raise UserError for a distiller, which compares features, with an export as teacher, which has none."""
    usual = DistillConfig()
    exported = config.teacher is not None and Path(config.teacher).suffix.lower() in EXPORTS
    if exported and (config.distiller, config.options) != (usual.distiller, usual.options):
        raise UserError(
            f"--teacher {config.teacher}: an export has no features, so distill.distiller and distill.options do nothing; "
            "leave them out, or name a checkpoint as teacher"
        )


def distillation_terms(config: TrainConfig, class_names: Sequence[str], processes: Processes, say: Say) -> Terms:
    """What makes a run's losses from its teacher, and nothing without one. The teacher is read and checked now.

    Raises UserError for a teacher that cannot be read or knows other classes, and an unknown distiller or option.
    """
    if config.distill.teacher is None:
        return no_terms
    path = Path(config.distill.teacher)
    suffix = path.suffix.lower()
    if suffix not in (".pt", *EXPORTS):
        raise UserError(f"--teacher {path}: expected a checkpoint (best.pt), or a raw export (.onnx, .xml)")
    load = _from_outputs if suffix in EXPORTS else _from_features
    made = load(path, config, class_names, processes, say)
    fingerprint = hashlib.sha256(path.read_bytes())
    if suffix == ".xml":
        fingerprint.update(path.with_suffix(".bin").read_bytes())
    return lambda network: made(network, fingerprint.hexdigest())


def _from_features(
    path: Path, config: TrainConfig, class_names: Sequence[str], processes: Processes, say: Say
) -> _Made:
    from detector.teachers.checkpoint import load
    from detector.training.distillation.features import TERM, Distillation

    settings, seed = config.distill, [config.seed, processes.rank]
    teacher = load(path)
    distillers.build(settings.distiller, (1,), settings.options)
    shared = check_classes(teacher, class_names, settings.teacher_classes, str(path))
    known = "the same classes" if settings.teacher_classes == "same" else f"{len(shared)} of the classes"
    say(f"teacher {path}: {known}; {settings.distiller} on the neck's outputs, weight {settings.weight:g}")

    def made(network: Network, fingerprint: str) -> Mapping[str, LossTerm]:
        teacher.module.to(next(network.parameters()).device)
        return {TERM: Distillation(network, teacher, settings, seed, fingerprint, say)}

    return made


def _from_outputs(path: Path, config: TrainConfig, class_names: Sequence[str], processes: Processes, say: Say) -> _Made:
    from detector.teachers.outputs import load
    from detector.training.distillation.outputs import output_terms

    teacher = load(path, class_names, config.distill.teacher_classes)
    height, width = teacher.image_size
    say(f"teacher {path}: {len(teacher.known)} of {len(class_names)} classes, at {width}x{height}")

    def made(network: Network, fingerprint: str) -> Mapping[str, LossTerm]:
        size, one_size = network.structure.image_size, config.multi_scale is None
        return output_terms(teacher, size, one_size, config.distill, config.loss, fingerprint, say)

    return made
