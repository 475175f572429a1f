"""Which checkpoint to start from: the one whose backbone is most like the structure's."""

from __future__ import annotations

import math
from pathlib import Path

from detector.checkpoint import load_checkpoint
from search_spaces.errors import UserError
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure, shipped_names


def distance(one: Structure, other: Structure) -> float:
    """How far two backbones are apart: the sum over stem and stages of |ln| of the ratios of widths and depths.

    Infinite between different blocks, 0 between equal widths and depths.
    """
    if one.backbone.space != other.backbone.space:
        return math.inf
    return sum(abs(math.log(a / b)) for a, b in zip(_sizes(one), _sizes(other), strict=True))


def nearest_published(structure: Structure) -> str | None:
    """The name of the published detector nearest to a structure; None where none has its blocks."""
    far = {name: distance(resolve_structure(name), structure) for name in shipped_names()}
    best = min(far, key=lambda name: far[name])
    return None if math.isinf(far[best]) else best


def nearest_checkpoint(folder: Path, structure: Structure) -> Path:
    """The checkpoint (*.pt) in a folder that is nearest to a structure.

    Raises UserError when none has the structure's blocks, and for a .pt file there that is no checkpoint.
    """
    far = {path: distance(load_checkpoint(path).structure, structure) for path in sorted(folder.glob("*.pt"))}
    best = min(far, key=lambda path: far[path], default=None)
    if best is None or math.isinf(far[best]):
        name = nearest_published(structure)
        advice = (
            f"; the nearest published detector is {name}: tinynas import-weights FILE.pth --model {name}"
            if name
            else ""
        )
        raise UserError(
            f"{folder}: {len(far)} checkpoints (*.pt), none with {structure.backbone.space} blocks; --weights expects a "
            f"checkpoint or a folder with one that fits{advice}"
        )
    return best


def _sizes(structure: Structure) -> list[float]:
    backbone = structure.backbone
    stages = [(stage.out_channels, stage.hidden_channels, stage.depth) for stage in backbone.stages]
    return [float(size) for sizes in ((backbone.stem.out_channels,), *stages) for size in sizes]
