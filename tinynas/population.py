"""Populations as integer arrays: sampling, mutation, repair, and the way back to structures.

Genes are rows, candidates are columns: an int64 array of shape (GENES, P) with the rows stem width, five stage widths,
five hidden widths, five depths, five kernels. Every random draw comes from a Generator that was handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.builder import scaled
from search_spaces.graph import Dim
from search_spaces.space import Space
from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure

Genes = npt.NDArray[np.int64]
STAGES = 5
STEM, OUT, HIDDEN, DEPTH, KERNEL = 0, 1, 6, 11, 16
GENES = 21
TAP_STAGES = (2, 4, 5)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The gene operations of one space at one image size and number of classes."""

    space: Space
    image_size: tuple[int, int]
    num_classes: int

    # ---- genes -> structures ---------------------------------------------------------------------------------------

    def taps(self, genes: Genes) -> tuple[Genes, Genes, Genes]:
        """Widths of the three taps, each (P,)."""
        three, four, five = (genes[OUT + stage - 1] for stage in TAP_STAGES)
        return three, four, five

    def population(self, genes: Genes) -> Structure:
        """One structure with arrays of shape (P,) as dimensions."""
        return self._structure(list(genes))

    def single(self, genes: Genes, index: int = 0) -> Structure:
        """Candidate `index` as a structure of plain ints."""
        return self._structure([int(value) for value in genes[:, index]])

    def with_taps(self, taps: tuple[Dim, Dim, Dim]) -> Neck:
        """The neck that the space's rule gives to taps of these widths."""
        rule, step = self.space.neck, self.space.channel_step
        out = tuple(scaled(tap // step, rule.out_ratio) * step for tap in taps)
        return Neck(rule.kind, rule.depth, rule.hidden_ratio, taps, out, rule.activation, rule.depthwise)

    def head(self) -> Head:
        rule = self.space.head
        return Head(rule.kind, rule.reg_max, rule.kernel, self.num_classes)

    def _structure(self, rows: list[Dim]) -> Structure:
        space = self.space
        stages, channels = [], rows[STEM]
        for index, stage in enumerate(space.stages):
            kernel = rows[KERNEL + index] if len(stage.kernels) > 1 or stage.tied else stage.kernels[0]
            out = rows[OUT + index]
            stages.append(Stage(channels, out, rows[HIDDEN + index], rows[DEPTH + index], stage.stride, kernel))
            channels = out
        taps = (rows[OUT + 1], rows[OUT + 3], rows[OUT + 4])
        backbone = Backbone(
            space.block, Stem(space.stem.kind, rows[STEM], space.stem.kernel), tuple(stages), space.activation,
            space.spp, space.reparam,
        )  # fmt: skip
        return Structure(self.image_size, backbone, self.with_taps(taps), self.head())

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

    def mutate(self, genes: Genes, rng: np.random.Generator, most: int = 3) -> Genes:
        """A changed copy: every candidate gets 1 to `most` changes of single genes, then repair."""
        genes = genes.copy()
        size = genes.shape[1]
        changes = rng.integers(1, most + 1, size)
        for number in range(most):
            columns = np.flatnonzero(changes > number)
            self._change_one(genes, columns, rng)
        return self.repair(genes)

    def repair(self, genes: Genes) -> Genes:
        """Bring genes into the space, in place: channel steps, ranges, widths that never shrink, hidden ratios, ties."""
        space, step = self.space, self.space.channel_step
        genes[STEM] = np.clip(_to_step(genes[STEM], step), *space.stem.out)
        before = genes[STEM]
        for index, stage in enumerate(space.stages):
            if stage.tied:
                for row in (OUT, HIDDEN, KERNEL):
                    genes[row + index] = genes[row + index - 1]
            else:
                out = np.maximum(np.clip(_to_step(self._wanted_out(genes, index), step), *stage.out), before)
                low = np.maximum(-(-np.ceil(out * stage.hidden[0]).astype(np.int64) // step) * step, step)
                high = np.maximum(np.floor(out * stage.hidden[1]).astype(np.int64) // step * step, low)
                genes[OUT + index] = out
                genes[HIDDEN + index] = np.clip(_to_step(genes[HIDDEN + index], step), low, high)
            genes[DEPTH + index] = np.clip(genes[DEPTH + index], *stage.depth)
            before = genes[OUT + index]
        return genes

    def _wanted_out(self, genes: Genes, index: int) -> Genes:
        """The width a stage asks for: its gene, or what the tap before it dictates."""
        growth, stage = self.space.tap_growth, index + 1
        wanted: Genes = genes[OUT + index]
        if growth is None:
            return wanted
        if stage in TAP_STAGES[1:]:
            before = TAP_STAGES[TAP_STAGES.index(stage) - 1]
            return _to_step(genes[OUT + before - 1] * growth, 1)
        if stage == 3:  # between two taps: not wider than the next
            wanted = np.minimum(wanted, _to_step(genes[OUT + 1] * growth, 1))
        return wanted

    def _change_one(self, genes: Genes, columns: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        """Change one gene of each of the given candidates, in place."""
        space, step = self.space, self.space.channel_step
        rows = rng.choice(self._free_rows(), columns.size)
        values = genes[rows, columns]
        factors = np.array(space.mutation.channel_factors)
        steps = np.array(space.mutation.channel_steps, np.int64) * step
        pick = rng.integers(0, factors.size + steps.size, columns.size)
        widths = np.where(
            pick < factors.size,
            _to_step(values * factors[np.minimum(pick, factors.size - 1)], step),
            values + (steps[np.maximum(pick - factors.size, 0)] if steps.size else 0),
        )
        depths = values + rng.choice(np.array(space.mutation.depth_steps), columns.size)
        values = np.where(rows < DEPTH, widths, np.where(rows < KERNEL, depths, values))
        for index, stage in enumerate(space.stages):
            here = rows == KERNEL + index
            values[here] = rng.choice(np.array(stage.kernels), int(here.sum()))
        genes[rows, columns] = values

    def _free_rows(self) -> npt.NDArray[np.int64]:
        """Rows that a mutation may change: not tied, not fixed to one kernel."""
        rows = [STEM]
        for index, stage in enumerate(self.space.stages):
            rows.append(DEPTH + index)
            if not stage.tied:
                dictated = self.space.tap_growth is not None and index + 1 in TAP_STAGES[1:]
                rows += [HIDDEN + index] if dictated else [OUT + index, HIDDEN + index]
                rows += [KERNEL + index] if len(stage.kernels) > 1 else []
        return np.array(sorted(rows))


def fingerprints(genes: Genes) -> npt.NDArray[np.uint64]:
    """A 64-bit hash per candidate; equal genes have equal hashes."""
    odd = np.random.default_rng(0x5EED).integers(0, 2**63, GENES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = np.zeros(genes.shape[1], np.uint64)
    for row, factor in zip(genes.astype(np.uint64), odd, strict=True):
        mixed = (mixed ^ row) * factor
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _to_step(values: npt.NDArray[np.float64] | Genes, step: int) -> Genes:
    steps: Genes = np.floor(np.asarray(values) / step + 0.5).astype(np.int64)
    return np.maximum(steps, 1) * step
