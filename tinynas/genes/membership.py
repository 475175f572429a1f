"""Whether a structure is one of a space's networks, by the rules that the search itself keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from search_spaces.space import NeckRule, Space
from search_spaces.structure import Structure
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STEM, Genes
from tinynas.genes.population import Encoding

ROWS = (("out", OUT), ("hidden", HIDDEN), ("depth", DEPTH), ("kernel", KERNEL))


def genes_of(structure: Structure) -> Genes:
    """The genes (GENES, 1) of a single structure, whatever space it is from."""
    genes = np.empty((GENES, 1), np.int64)
    genes[STEM] = structure.backbone.stem.out_channels
    for index, stage in enumerate(structure.backbone.stages):
        genes[OUT + index], genes[HIDDEN + index] = stage.out_channels, stage.hidden_channels
        genes[DEPTH + index], genes[KERNEL + index] = stage.depth, stage.kernel
    return genes


def neck_rule_of(structure: Structure, space: Space) -> NeckRule | None:
    """The rule of the space that gives the structure's neck, the space's own first; None where none does."""
    three, four, five = structure.neck.in_channels
    for rule in space.necks():
        if _encoding(structure, space, rule).with_taps((three, four, five)) == structure.neck:
            return rule
    return None


def outside(structure: Structure, space: Space) -> str | None:
    """What keeps a single structure out of a space, in a line; None for a member. Image size, number of classes and of
    layers do not matter: they are asked of a search."""
    genes = genes_of(structure)
    kept = _encoding(structure, space, space.neck).repair(genes.copy())
    for index, stage in enumerate(space.stages):
        for name, row in ROWS:
            found, nearest = int(genes[row + index, 0]), int(kept[row + index, 0])
            allowed = found in stage.kernels if row == KERNEL else found == nearest
            if not allowed:
                near = f"{list(stage.kernels)}" if row == KERNEL else f"{nearest} nearest to it"
                return f"stages.{index + 1}.{name}: {found}, space {space.name} has {near}"
    if genes[STEM, 0] != kept[STEM, 0]:
        return f"stem.out: {genes[STEM, 0]}, space {space.name} has {kept[STEM, 0]} nearest to it"
    rule = neck_rule_of(structure, space)
    if rule is None:
        return f"neck: none of the {len(space.necks())} neck rules of space {space.name} gives it"
    member = _encoding(structure, space, rule).single(genes)
    if member != replace(structure, search=None):
        return f"block, stem, activations or head are not those of space {space.name}"
    return None


def _encoding(structure: Structure, space: Space, rule: NeckRule) -> Encoding:
    return Encoding(space.with_neck(rule), structure.image_size, structure.head.num_classes)
