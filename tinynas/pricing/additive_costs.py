"""Costs and scores that are sums over stages, compiled into arrays: pricing a candidate is a handful of row lookups.

A stage's share depends on its own in, out, hidden, kernel and is affine in its depth: first block + (depth - 1) x
repeated block. Neck and head depend on the widths of the three taps. Latency from a table, params, conv MACs, layers and
the entropy score are of this form; the constructor holds every column to it on random candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from search_spaces.emit import emit_backbone, emit_detector, emit_neck_and_head
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from tinynas.genes import choices
from tinynas.genes.choices import Ints
from tinynas.genes.layout import DEPTH, HIDDEN, KERNEL, OUT, STEM, TAP_STAGES, Genes
from tinynas.genes.population import Encoding
from tinynas.pricing.columns import Column
from tinynas.pricing.stage_tables import StageTables, Values, check_size, compile_stage

TOLERANCE = 1e-9
CHECKED = 64
MOST_TRIPLES = 60_000_000


class AdditiveCosts:
    """Additive columns of one encoding. Q = number of columns; every method returns float64 rows of Q values.

    `backbone_only`: neck, head and fixed parts are zero. Raises UserError when a column is not additive on this space
    (a runtime that fuses across stages, say), or when the space is too large to be tabulated.
    """

    def __init__(self, encoding: Encoding, columns: Sequence[Column], *, backbone_only: bool = False) -> None:
        self.encoding, self.backbone_only = encoding, backbone_only
        self.columns: tuple[str, ...] = tuple(column.name for column in columns)
        self._terms = tuple(columns)
        self.fixed: Values = np.array([0.0 if backbone_only else column.fixed for column in columns])
        space = encoding.space
        self._step = space.channel_step
        self._base = encoding.single(encoding.corner(largest=False))
        check_size(encoding)
        try:
            self._stem = self._compile_stem()
            self._tables: dict[int, StageTables] = {
                number: compile_stage(encoding, self._base, number, self._sums)
                for number, stage in enumerate(space.stages, start=1)
                if not stage.tied
            }
        except ValueError as error:
            raise UserError(f"space {space.name}: {error}") from None
        self._leaders = tuple(choices.leader(space, number) for number in range(1, 6))
        self._axes = self._tap_axes()
        self._slots, self._triples = self._no_triples()
        self._check()

    def with_neck(self, encoding: Encoding) -> AdditiveCosts:
        """The same columns of an encoding that differs from this one in its neck alone: what the stages cost is not compiled
        again. Raises UserError as the constructor does, ValueError for another space or image size."""
        before = self.encoding
        alike = encoding.space.with_neck(before.space.neck) == before.space and encoding.image_size == before.image_size
        if not alike or encoding.num_classes != before.num_classes:
            raise ValueError("the encodings differ in more than the neck")
        other = copy.copy(self)
        other.encoding, other._base = encoding, encoding.single(encoding.corner(largest=False))
        other._slots, other._triples = other._no_triples()
        other._check()
        return other

    # ---- lookups ---------------------------------------------------------------------------------------------------

    def stem(self, out: Ints) -> Values:
        """Stem of width `out` (n,): (n, Q)."""
        rows: Values = self._stem.take(out // self._step - self.encoding.space.stem.out[0] // self._step, axis=0)
        return rows

    def stage(self, number: int, inputs: Ints, out: Ints, hidden: Ints, kernel: Ints, depth: Ints) -> Values:
        """Stage `number` (1..5), each argument (n,): (n, Q).

        A tied stage has depth x its repeated block; all else belongs to the stage that it is tied to. Rows of values
        outside the space are undefined.
        """
        leader, step = self._leaders[number - 1], self._step
        table = self._tables[leader]
        width, place = out // step - table.low_out, table.place(hidden // step, kernel)
        repeated: Values = table.repeats[number - leader].take(table.out_rows.take(width) + place, axis=0)
        if number != leader:
            repeated *= depth[:, None]
            return repeated
        pairs = (inputs // step - table.low_in) * table.pair_rows.shape[1] + width
        values: Values = table.first.take(table.pair_rows.take(pairs) + place, axis=0)
        repeated *= (depth - 1)[:, None]
        values += repeated
        return values

    def neck_head(self, taps: tuple[Ints, Ints, Ints]) -> Values:
        """Neck and head on taps of these widths, each (n,): (n, Q). Computed once per triple, when first met."""
        if self.backbone_only:
            return np.zeros((len(taps[0]), len(self.columns)))
        codes = np.zeros(len(taps[0]), np.int64)
        for tap, (low, count) in zip(taps, self._axes, strict=True):
            codes = codes * count + (tap // self._step - low)
        slots = self._slots.take(codes)
        if not slots.all():
            self._add_triples(np.unique(codes[slots == 0]))
            slots = self._slots.take(codes)
        rows: Values = self._triples.take(slots, axis=0)
        return rows

    def total(self, genes: Genes) -> Values:
        """Every column of every candidate, fixed parts included: (P, Q)."""
        inputs = genes[STEM]
        values = self.stem(inputs)
        for number in range(1, 6):
            out, hidden, kernel, depth = (genes[row + number - 1] for row in (OUT, HIDDEN, KERNEL, DEPTH))
            values += self.stage(number, inputs, out, hidden, kernel, depth)
            inputs = out
        if not self.backbone_only:
            values += self.neck_head(self.encoding.taps(genes))
            values += self.fixed
        return values

    # ---- compilation -----------------------------------------------------------------------------------------------

    def _sums(self, graph: Graph, size: int, fits: Callable[[str], bool]) -> Values:
        sums = np.zeros((len(self._terms), size))
        has_backbone = any(op.part == "backbone" for op in graph)
        for column, row in zip(self._terms, sums, strict=True):
            if column.backbone_only and not has_backbone:
                continue
            for path, value in column.terms(graph):
                if fits(path):
                    row += value
        return np.ascontiguousarray(sums.T)

    def _compile_stem(self) -> Values:
        backbone = self._base.backbone
        out = choices.widths(self.encoding.space, self.encoding.space.stem.out)
        backbone = replace(backbone, stem=replace(backbone.stem, out_channels=out))
        graph = emit_backbone(replace(self._base, backbone=backbone))
        return self._sums(graph, len(out), lambda path: not path.startswith("backbone.stage"))

    def _tap_axes(self) -> tuple[tuple[int, int], ...]:
        """Lowest width and number of widths of each tap, in channel steps."""
        stages = [self.encoding.space.stages[self._leaders[number - 1] - 1] for number in TAP_STAGES]
        return tuple((s.out[0] // self._step, (s.out[1] - s.out[0]) // self._step + 1) for s in stages)

    def _no_triples(self) -> tuple[npt.NDArray[np.int32], Values]:
        """Where each triple's row is (0: not known yet; pages that nobody touches cost no memory), and no rows."""
        triples = 1 if self.backbone_only else int(np.prod([count for _, count in self._axes], dtype=np.float64))
        if triples > MOST_TRIPLES:
            raise UserError(
                f"space {self.encoding.space.name}: {triples:,} combinations of tap widths, at most {MOST_TRIPLES:,} can be "
                "tabulated; take a larger channel_step or narrower ranges"
            )
        return np.zeros(triples, np.int32), np.full((1, len(self.columns)), np.nan)

    def _add_triples(self, codes: Ints) -> None:
        widths, rest = [], codes
        for low, count in reversed(self._axes):
            rest, place = np.divmod(rest, count)
            widths.append((place + low) * self._step)
        five, four, three = widths
        graph = emit_neck_and_head(replace(self._base, neck=self.encoding.with_taps((three, four, five))))
        rows = self._sums(graph, len(codes), lambda path: True)
        self._slots[codes] = np.arange(len(codes), dtype=np.int32) + len(self._triples)
        self._triples = np.concatenate([self._triples, rows])

    def _check(self) -> None:
        """Hold the compiled sums to the whole graph on random candidates and on the corners."""
        genes = self.encoding.sample(CHECKED, np.random.default_rng(0))
        genes = np.concatenate([genes, *(self.encoding.corner(largest=end) for end in (False, True))], axis=1)
        population = self.encoding.population(genes)
        graphs = {True: emit_backbone(population), False: emit_detector(population)}
        for place, column in enumerate(self._terms):
            whole = np.zeros(genes.shape[1])
            for _, value in column.terms(graphs[self.backbone_only or column.backbone_only]):
                whole += value
            parts = self.total(genes)[:, place] - self.fixed[place]
            apart = float(np.max(np.abs(parts - whole) / np.maximum(np.abs(whole), 1e-12)))
            if not apart <= TOLERANCE:
                raise UserError(
                    f"{column.name} is not a sum over the stages of space {self.encoding.space.name}: off by {apart:.1%}; "
                    "it cannot be tabulated stage by stage"
                )
