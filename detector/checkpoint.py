"""The checkpoint: one file that holds all that evaluation, export, prediction and going on with training need."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detector.network import Network
from search_spaces.errors import UserError
from search_spaces.files import check_file, replacing, uninterrupted
from search_spaces.structure import Structure
from search_spaces.text import format_structure, parse_structure

FORMAT_VERSION = 1
_FORMAT_KEY = "tinynas_checkpoint"
PREPROCESSING: Mapping[str, str | float] = {
    "channels": "rgb",
    "low": 0.0,
    "high": 255.0,
    "resize": "stretch",
    "fill": 114.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """weights: the network's state dict in training form; ema: the averaged one, None where `weights` is the average.

    category_ids: the data's own ids per class. class_aliases: by class, the other names that its data sets have for it, where
    it was trained on several. config: the resolved training settings, as plain values. metrics: of
    these weights. training: optimiser, schedule, RNG and the like (`last.pt` alone), empty otherwise.
    """

    structure: Structure
    class_names: tuple[str, ...]
    weights: Mapping[str, Tensor]
    category_ids: tuple[int, ...] = ()
    class_aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ema: Mapping[str, Tensor] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    preprocessing: Mapping[str, str | float] = field(default_factory=lambda: dict(PREPROCESSING))
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best_weights(self) -> Mapping[str, Tensor]:
        """The averaged weights where there are any."""
        return self.weights if self.ema is None else self.ema

    def network(self) -> Network:
        """The network in training form, evaluation mode, with `best_weights`, on the CPU."""
        network = Network(self.structure)
        network.load_state_dict(dict(self.best_weights))
        return network.eval()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write under a temporary name, flush, rename: `path` is the old file or the whole new one at any time.

    Raises UserError when the disk is full or the folder cannot be written; what was there before stays.
    """
    content = {
        _FORMAT_KEY: FORMAT_VERSION,
        "structure": format_structure(checkpoint.structure),
        "class_names": list(checkpoint.class_names),
        "category_ids": [int(number) for number in checkpoint.category_ids],
        "class_aliases": {name: list(others) for name, others in checkpoint.class_aliases.items()},
        "weights": _on_cpu(checkpoint.weights),
        "ema": None if checkpoint.ema is None else _on_cpu(checkpoint.ema),
        "config": dict(checkpoint.config),
        "metrics": {name: float(value) for name, value in checkpoint.metrics.items()},
        "preprocessing": dict(checkpoint.preprocessing),
        "training": dict(checkpoint.training),
    }
    try:
        with uninterrupted(), replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path}: cannot write the checkpoint ({_reason(error)}); free some space or make the folder writable"
        ) from None


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint without running code from it, and check that its weights fit its structure.

    Raises UserError, one line, for a missing, cut-short or foreign file.
    """
    path = Path(path)
    data = load_safely(path, "best.pt or last.pt of a training run")
    if not isinstance(data, Mapping) or _FORMAT_KEY not in data:
        hint = "; a public DAMO-YOLO checkpoint? convert it with: tinynas import-weights" if _is_public(data) else ""
        raise UserError(f"{path}: not a checkpoint of this project (no {_FORMAT_KEY!r} in it){hint}")
    if data[_FORMAT_KEY] != FORMAT_VERSION:
        raise UserError(f"{path}: checkpoint version {data[_FORMAT_KEY]}, this release reads {FORMAT_VERSION}")
    checkpoint = _parsed(data, path)
    _check_weights(checkpoint, path)
    return checkpoint


def load_safely(path: Path, expected: str) -> object:
    """What a torch file holds, loaded without running code from it.

    Raises UserError, one line that ends in `expected`, for a missing or damaged file and for one with Python objects.
    """
    check_file(path, f"a checkpoint ({expected})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of plain pickles, before they are refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it holds Python code, {found.group(1)}" if found else "it is damaged, cut short or no torch file"
        raise UserError(f"{path}: not a checkpoint that can be loaded safely ({reason}); expected {expected}") from None


def _parsed(data: Mapping[str, Any], path: Path) -> Checkpoint:
    """The checkpoint in a file's content. Raises UserError for a part that is missing or of another type."""
    kinds: dict[str, type] = {
        "structure": str, "class_names": list, "category_ids": list, "weights": dict, "ema": dict, "config": dict,
        "metrics": dict, "preprocessing": dict, "training": dict,
    }  # fmt: skip
    for key, kind in kinds.items():
        if not isinstance(data.get(key), kind) and not (key == "ema" and data.get(key) is None):
            raise UserError(f"{path}: its {key!r} is missing or not a {kind.__name__}; was it written by hand?")
    aliases = data.get("class_aliases", {})  # not in files of earlier versions
    if not isinstance(aliases, dict) or not all(isinstance(others, list) for others in aliases.values()):
        raise UserError(f"{path}: its 'class_aliases' are not lists of names by class; was it written by hand?")
    same: dict[str, Any] = {
        key: data.get(key) for key in kinds if key not in ("structure", "class_names", "category_ids")
    }
    return Checkpoint(
        structure=parse_structure(data["structure"], f"{path} (its structure)"),
        class_names=tuple(data["class_names"]),
        category_ids=tuple(data["category_ids"]),
        class_aliases={str(name): tuple(map(str, others)) for name, others in aliases.items()},
        **same,
    )


def _check_weights(checkpoint: Checkpoint, path: Path) -> None:
    if len(checkpoint.class_names) != checkpoint.structure.head.num_classes:
        raise UserError(
            f"{path}: {len(checkpoint.class_names)} class names for a head of {checkpoint.structure.head.num_classes}"
        )
    with torch.device("meta"):
        wanted = {key: value.shape for key, value in Network(checkpoint.structure).state_dict().items()}
    for name, weights in (("weights", checkpoint.weights), ("ema", checkpoint.ema)):
        if weights is None:
            continue
        found = {key: getattr(value, "shape", None) for key, value in weights.items()}
        if found != wanted:
            wrong = [key for key in (wanted | found) if wanted.get(key) != found.get(key)]
            raise UserError(
                f"{path}: its {name} are of another model than its structure ({len(wrong)} keys differ, {wrong[0]} first)"
            )


def _on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in weights.items()}


def _is_public(data: object) -> bool:
    return isinstance(data, Mapping) and ("model" in data or any(str(key).startswith("backbone.") for key in data))


def _reason(error: Exception) -> str:
    """In words: torch's own error may hide the system's, which it followed."""
    for cause in (error, error.__context__):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    lines = str(error).strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__
