"""Populations as integer arrays: sampling, mutation, repair, and the way back to structures.

Candidates are the columns of a gene array (layout.py). Every random draw comes from a Generator that was handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from search_spaces.builder import scaled
from search_spaces.graph import Dim
from search_spaces.space import Space
from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STEM, TAP_STAGES, Genes
from tinynas.genes.moves import GeneMoves, moves_of


@dataclass(frozen=True, slots=True)
class Encoding:
    """The gene operations of one space at one image size and number of classes."""

    space: Space
    image_size: tuple[int, int]
    num_classes: int
    moves: GeneMoves = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", moves_of(self.space))

    # ---- genes -> structures ---------------------------------------------------------------------------------------

    def taps(self, genes: Genes) -> tuple[Genes, Genes, Genes]:
        """Widths of the three taps, each (P,)."""
        three, four, five = (genes[OUT + stage - 1] for stage in TAP_STAGES)
        return three, four, five

    def population(self, genes: Genes) -> Structure:
        """One structure with arrays of shape (P,) as dimensions."""
        return self._structure(list(genes.astype(np.int64, copy=False)))

    def single(self, genes: Genes, index: int = 0) -> Structure:
        """Candidate `index` as a structure of plain ints."""
        return self._structure([int(value) for value in genes[:, index]])

    def with_taps(self, taps: tuple[Dim, Dim, Dim]) -> Neck:
        """The neck that the space's rule gives to taps of these widths."""
        rule, step = self.space.neck, self.space.channel_step
        out = tuple(scaled(tap // step, rule.out_ratio) * step for tap in taps)
        return Neck(
            kind=rule.kind,
            depth=rule.depth,
            hidden_ratio=rule.hidden_ratio,
            in_channels=taps,
            out_channels=out,
            activation=rule.activation,
            depthwise=rule.depthwise,
            links=rule.links,
            fusion=rule.fusion,
        )

    def head(self) -> Head:
        rule = self.space.head
        return Head(
            kind=rule.kind,
            reg_max=rule.reg_max,
            kernel=rule.kernel,
            num_classes=self.num_classes,
            depth=rule.depth,
            activation=rule.activation,
        )

    def _structure(self, rows: list[Dim]) -> Structure:
        space = self.space
        stages, channels = [], rows[STEM]
        for index, stage in enumerate(space.stages):
            kernel = rows[KERNEL + index] if len(stage.kernels) > 1 or stage.tied else stage.kernels[0]
            out = rows[OUT + index]
            stages.append(
                Stage(
                    in_channels=channels,
                    out_channels=out,
                    hidden_channels=rows[HIDDEN + index],
                    depth=rows[DEPTH + index],
                    stride=stage.stride,
                    kernel=kernel,
                )
            )
            channels = out
        taps = (rows[OUT + 1], rows[OUT + 3], rows[OUT + 4])
        backbone = Backbone(
            space=space.block,
            stem=Stem(space.stem.kind, rows[STEM], space.stem.kernel),
            stages=tuple(stages),
            activation=space.activation,
            spp=space.spp,
            reparam=space.reparam,
        )
        return Structure(image_size=self.image_size, backbone=backbone, neck=self.with_taps(taps), head=self.head())

    # ---- drawing and changing --------------------------------------------------------------------------------------

    def sample(self, size: int, rng: np.random.Generator) -> Genes:
        """`size` candidates drawn uniformly from the ranges, then repaired."""
        space, step = self.space, self.space.channel_step
        genes = np.empty((GENES, size), np.int64)
        genes[STEM] = rng.integers(space.stem.out[0] // step, space.stem.out[1] // step + 1, size) * step
        for index, stage in enumerate(space.stages):
            genes[OUT + index] = rng.integers(stage.out[0] // step, stage.out[1] // step + 1, size) * step
            genes[HIDDEN + index] = genes[OUT + index] * rng.uniform(*stage.hidden, size)
            genes[DEPTH + index] = rng.integers(stage.depth[0], stage.depth[1] + 1, size)
            genes[KERNEL + index] = rng.choice(np.array(stage.kernels), size)
        return self.repair(genes)

    def corner(self, *, largest: bool) -> Genes:
        """The candidate (GENES, 1) with every gene at its lowest or highest value."""
        space, end = self.space, int(largest)
        genes = np.empty((GENES, 1), np.int64)
        genes[STEM] = space.stem.out[end]
        for index, stage in enumerate(space.stages):
            genes[OUT + index] = stage.out[end]
            genes[HIDDEN + index] = np.ceil(stage.out[end] * stage.hidden[end])
            genes[DEPTH + index] = stage.depth[end]
            genes[KERNEL + index] = max(stage.kernels) if largest else min(stage.kernels)
        return self.repair(genes)

    def extremes(self, size: int, rng: np.random.Generator) -> Genes:
        """`size` candidates (GENES, size) whose every gene is at its lowest or highest value, by the toss of a coin: where
        a search ends up when no budget holds it, and the far corners of what a table must cover."""
        low, high = self.corner(largest=False), self.corner(largest=True)
        genes = np.where(rng.integers(0, 2, (GENES, size)) == 1, high, low)
        for index, stage in enumerate(self.space.stages):
            ratio = np.array(stage.hidden)[rng.integers(0, 2, size)]
            genes[HIDDEN + index] = np.ceil(genes[OUT + index] * ratio)
        return self.repair(genes)

    def mutate(self, genes: Genes, rng: np.random.Generator, most: int = 3) -> Genes:
        """A changed copy: every candidate gets 1 to `most` changes of single genes, then repair."""
        return self.moves.mutate(np.ascontiguousarray(genes).copy(), rng, most)

    def repair(self, genes: Genes) -> Genes:
        """Bring genes into the space, in place: channel steps, ranges, widths that never shrink, hidden ratios, ties."""
        return self.moves.settle(self.moves.snap(genes))


def fingerprints(genes: Genes) -> npt.NDArray[np.uint64]:
    """A 64-bit mark per candidate; equal genes have equal marks.

    A sum of genes times random odd factors: two given candidates share it by a chance of about 2 ** -63.
    """
    marks = np.zeros(genes.shape[1], np.uint64)
    for row, factor in zip(genes.view(np.uint64), _FACTORS, strict=True):
        marks += row * factor
    return marks


_FACTORS = np.random.default_rng(0x5EED).integers(0, 2**63, GENES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
