"""Changes of genes as table lookups: mutation, the rules between genes, neighbourhoods.

Everything that depends on a space alone is compiled into small arrays indexed by gene values, so that a generation costs
a few gathers per gene and no divisions. What is allowed is said in choices.py.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.space import Space
from tinynas.genes.choices import dictated, hidden_limits, is_dictated, tap_before, to_multiple
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STAGES, STEM, TAP_STAGES, Genes

SLOTS = 16
"""A mutation draws one of so many slots; the moves that change a gene share them out."""


@dataclass(frozen=True, slots=True)
class StageRules:
    """What a stage's genes owe to others. Every array is indexed by a width in channels, from 0 on: `low` and `high`, the
    limits of hidden, by the stage's own width; `dictated`, the width that it must have, and `capped`, the most it may, by
    the width of the last tap before it; None where the space has no such rule."""

    low: Genes
    high: Genes
    dictated: Genes | None
    capped: Genes | None


class GeneMoves:
    """The compiled rules of one space."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.free_rows = _free_rows(space)
        self._rules = [_stage_rules(space, index) for index in range(STAGES)]
        self._highest = max(int(np.max(rules.high)) for rules in self._rules)
        self._highest = max(self._highest, *(stage.out[1] for stage in space.stages))
        self._targets = {
            (row, value): targets for row in self.free_rows for value in self._values(row)
            if (targets := self._reachable(row, value))
        }  # fmt: skip
        self._moves = self._compile_moves()
        self._uniform_kernels = self._compile_uniform_kernels()

    def snap(self, genes: Genes) -> Genes:
        """Bring every gene to its own steps and range, in place (the rules between genes: `settle`)."""
        space, step = self.space, self.space.channel_step
        genes[STEM] = np.clip(to_multiple(genes[STEM], step), *space.stem.out)
        for index, stage in enumerate(space.stages):
            genes[OUT + index] = np.clip(to_multiple(genes[OUT + index], step), *stage.out)
            genes[HIDDEN + index] = np.minimum(to_multiple(genes[HIDDEN + index], step), self._highest)
            genes[DEPTH + index] = np.clip(genes[DEPTH + index], *stage.depth)
        return genes

    def settle(self, genes: Genes) -> Genes:
        """Make snapped genes agree, in place: widths that never shrink, hidden ratios, tap growth, ties."""
        before = genes[STEM]
        for index, (stage, rules) in enumerate(zip(self.space.stages, self._rules, strict=True)):
            out, hidden = genes[OUT + index], genes[HIDDEN + index]
            if stage.tied:
                for row in (OUT, HIDDEN, KERNEL):
                    genes[row + index] = genes[row + index - 1]
            else:
                if rules.dictated is not None:
                    rules.dictated.take(genes[OUT + tap_before(index + 1) - 1], out=out, mode="clip")
                elif rules.capped is not None:
                    np.minimum(out, rules.capped.take(genes[OUT + tap_before(index + 1) - 1]), out=out)
                np.maximum(out, before, out=out)
                np.maximum(hidden, rules.low.take(out), out=hidden)
                np.minimum(hidden, rules.high.take(out), out=hidden)
            before = out
        return genes

    def mutate(self, genes: Genes, rng: np.random.Generator, most: int) -> Genes:
        """Change genes in place, then settle: of the candidates' first part one gene each, of the next two, ... `most`.

        The order of candidates must therefore be without meaning, as that of drawn parents is.
        """
        size = genes.shape[1]
        flat = genes.reshape(-1)  # gene `row` of candidate `column` is at row * size + column
        columns = np.arange(size)
        rows = np.array(self.free_rows)
        for number in range(most):
            start = size * number // most
            # one draw per change: 32 bits of it choose the row (scaled to their number, without a division), the lowest four
            # the slot
            bits = rng.integers(0, 2**63, size - start, dtype=np.int64)
            row = rows.take(((bits >> 8 & 0xFFFFFFFF) * rows.size) >> 32)
            places = row * size + columns[start:]
            index = (row * (self._highest + 1) + flat.take(places)) * SLOTS + (bits & (SLOTS - 1))
            flat[places] = self._moves.take(index)
        return self.settle(genes)

    def neighbours(self, column: Genes, rng: np.random.Generator) -> Genes:
        """The candidates (GENES, n) around one candidate (GENES,), settled: all that are one move away; all that have
        one kernel size throughout and are at most one more move away; all that are two moves away, in random order, so
        that a part of them is a fair sample. Candidates may repeat.
        """
        rows, values = self._singles(column)
        near = [_changed(column, (rows, values))]
        for kernels in self._uniform_kernels:
            alike = np.where(kernels > 0, kernels, column)
            near += [alike[:, None], _changed(alike, self._singles(alike))]
        first, second = np.nonzero(rows[:, None] < rows[None, :])
        order = rng.permutation(first.size)
        first, second = first[order], second[order]
        pairs = _changed(column, (rows[first], values[first]), (rows[second], values[second]))
        return self.settle(np.concatenate([*near, pairs], axis=1))

    def _singles(self, column: Genes) -> tuple[Genes, Genes]:
        """Rows and new values of all moves from a candidate, rows ascending."""
        found = [(row, self._targets.get((row, value), ())) for row, value in enumerate(column.tolist())]
        rows = np.array([row for row, targets in found for _ in targets], np.int64)
        return rows, np.array([value for _, targets in found for value in targets], np.int64)

    def _compile_uniform_kernels(self) -> list[Genes]:
        """Per kernel size: the kernel genes (GENES,) with that size wherever a stage offers it; 0 for what stays.

        Sizes of several stages trade against depth together, too many genes at once for pairs of moves.
        """
        sizes = sorted({size for stage in self.space.stages if len(stage.kernels) > 1 for size in stage.kernels})
        uniform = np.zeros((len(sizes), GENES), np.int64)
        for genes, size in zip(uniform, sizes, strict=True):
            for index, stage in enumerate(self.space.stages):
                if len(stage.kernels) > 1 and size in stage.kernels:
                    genes[KERNEL + index] = size
        return list(uniform)

    def _reachable(self, row: int, value: int) -> list[int]:
        """Values that a gene may change to: those of the space's mutations that stay in its range and change it."""
        space, step = self.space, self.space.channel_step
        if row >= KERNEL:
            return [kernel for kernel in space.stages[row - KERNEL].kernels if kernel != value]
        wanted: list[float]
        if row >= DEPTH:
            low, high = space.stages[row - DEPTH].depth
            wanted = [min(max(value + change, low), high) for change in space.mutation.depth_steps]
        else:
            low, high = self._width_range(row)
            factors = [int(to_multiple(np.array(value * factor), step)) for factor in space.mutation.channel_factors]
            steps = [value + change * step for change in space.mutation.channel_steps]
            wanted = [min(max(width, low), high) for width in (*factors, *steps)]
        return [int(other) for other in dict.fromkeys(wanted) if other != value]

    def _width_range(self, row: int) -> tuple[int, int]:
        if row == STEM:
            return self.space.stem.out
        if row < HIDDEN:
            return self.space.stages[row - OUT].out
        rules, (narrow, wide) = self._rules[row - HIDDEN], self.space.stages[row - HIDDEN].out
        return int(rules.low[narrow]), int(rules.high[wide])

    def _compile_moves(self) -> npt.NDArray[np.int32]:
        """What a gene becomes, flat over (row, value, slot)."""
        moves = np.zeros((GENES, self._highest + 1, SLOTS), np.int32)
        moves += np.arange(self._highest + 1, dtype=np.int32)[None, :, None]
        for (row, value), targets in self._targets.items():
            moves[row, value] = np.resize(np.array(targets, np.int32), SLOTS)
        return moves.reshape(-1)

    def _values(self, row: int) -> list[int]:
        if row >= KERNEL:
            return list(self.space.stages[row - KERNEL].kernels)
        if row >= DEPTH:
            low, high = self.space.stages[row - DEPTH].depth
            return list(range(low, high + 1))
        low, high = self._width_range(row)
        return list(range(low, high + 1, self.space.channel_step))


@functools.lru_cache(maxsize=16)
def moves_of(space: Space) -> GeneMoves:
    """The compiled rules of a space: once for all of its encodings."""
    return GeneMoves(space)


def _changed(column: Genes, *changes: tuple[Genes, Genes]) -> Genes:
    """Copies (GENES, n) of a candidate; copy i has the i-th value of each change (rows, values) in the i-th row of it."""
    genes = np.repeat(column[:, None], changes[0][0].size, axis=1)
    for rows, values in changes:
        genes[rows, np.arange(rows.size)] = values
    return genes


def _free_rows(space: Space) -> list[int]:
    """Rows that a mutation may change: not tied, not dictated by a tap, not fixed to one value."""
    rows = [STEM] if space.stem.out[0] < space.stem.out[1] else []
    for index, stage in enumerate(space.stages):
        if stage.depth[0] < stage.depth[1]:
            rows.append(DEPTH + index)
        if not stage.tied:
            rows += [] if is_dictated(space, index + 1) or stage.out[0] == stage.out[1] else [OUT + index]
            rows += [HIDDEN + index]
            rows += [KERNEL + index] if len(stage.kernels) > 1 else []
    return sorted(rows)


def _stage_rules(space: Space, index: int) -> StageRules:
    number = index + 1
    low, high = hidden_limits(space, number, np.arange(space.stages[index].out[1] + 1))
    grown = None
    if space.tap_growth is not None and number > TAP_STAGES[0]:
        grown = dictated(space, number, np.arange(space.stages[tap_before(number) - 1].out[1] + 1))
    return StageRules(low, high, *((grown, None) if is_dictated(space, number) else (None, grown)))
