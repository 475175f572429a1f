"""One stage of a space, compiled: rows of values for every (in, out, hidden, kernel), affine in the depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from search_spaces.emit import emit_backbone
from search_spaces.errors import UserError
from search_spaces.graph import Graph
from search_spaces.structure import Structure
from tinynas.genes import choices
from tinynas.genes.choices import Ints
from tinynas.genes.population import Encoding

Values = npt.NDArray[np.float64]
Sums = Callable[[Graph, int, Callable[[str], bool]], Values]
"""Sums the columns over the ops whose path fits: (graph, number of candidates n, fits) -> (n, Q)."""
MOST_ROWS = 5_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StageTables:
    """Rows of an untied stage, Q values each.

    With `place` = hidden in channel steps x number of kernels + position of the kernel, a candidate's first block (and
    all that the stage has once) is row `pair_rows[in, out] + place` of `first`, and one repeated block is row
    `out_rows[out] + place` of `repeats`: one array for the stage itself, one for each stage that is tied to it.
    In and out are in channel steps from `low_in` and `low_out`.
    """

    first: Values
    repeats: tuple[Values, ...]
    pair_rows: Ints
    out_rows: Ints
    low_in: int
    low_out: int
    kernel_places: Ints

    def place(self, hidden_steps: Ints, kernel: Ints) -> Ints:
        """`place` of each candidate."""
        count = len(self.kernel_places)
        return (
            hidden_steps if count == 1 else hidden_steps * int(self.kernel_places[-1] + 1) + self.kernel_places[kernel]
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Grid:
    """All (hidden, kernel) of a list of widths: `source` indexes the list, `starts` is per item of the list."""

    source: Ints
    hidden: Ints
    kernel: Ints
    place: Ints
    starts: Ints


def check_size(encoding: Encoding) -> None:
    """Raises UserError when a space has too many combinations of widths to be tabulated."""
    space, step, total = encoding.space, encoding.space.channel_step, 0
    for number, stage in enumerate(space.stages, start=1):
        if not stage.tied:
            low, high = choices.hidden_limits(space, number, choices.width_pairs(space, number)[1])
            total += int(((high - low) // step + 1).sum()) * len(set(stage.kernels))
    if total > MOST_ROWS:
        raise UserError(
            f"space {space.name}: {total:,} combinations of widths within stages, at most {MOST_ROWS:,} can be tabulated; "
            "take a larger channel_step or narrower ranges"
        )


def compile_stage(encoding: Encoding, base: Structure, number: int, sums: Sums) -> StageTables:
    """Tables of untied stage `number`, with the stages that are tied to it. `base`: any one network of the space."""
    space, step = encoding.space, encoding.space.channel_step
    ins, outs = choices.width_pairs(space, number)
    every, unique = _grid(encoding, number, outs), np.unique(outs)
    again = _grid(encoding, number, unique)
    low_in, low_out = int(ins.min()) // step, int(outs.min()) // step
    pair_rows = np.zeros((int(ins.max()) // step - low_in + 1, int(outs.max()) // step - low_out + 1), np.int64)
    pair_rows[ins // step - low_in, outs // step - low_out] = every.starts
    out_rows = np.zeros(pair_rows.shape[1], np.int64)
    out_rows[unique // step - low_out] = again.starts
    first = _values(base, encoding, number, (ins[every.source], outs[every.source]), every, sums)
    width = unique[again.source]
    once = _values(base, encoding, number, (width, width), again, sums)
    members = (number, *choices.followers(space, number))
    repeats = tuple(
        _values(base, encoding, number, (width, width), again, sums, deeper=member) - once for member in members
    )
    # a tied stage is depth x repeated block; whatever else it has stays with this stage
    for extra in repeats[1:]:
        first -= extra[out_rows[outs[every.source] // step - low_out] + every.place]
    return StageTables(
        first=first,
        repeats=repeats,
        pair_rows=pair_rows,
        out_rows=out_rows,
        low_in=low_in,
        low_out=low_out,
        kernel_places=_kernel_places(encoding, number),
    )


def _kernel_places(encoding: Encoding, number: int) -> Ints:
    """Position of each kernel size among the stage's, indexed by size; length 1 where there is no choice."""
    kernels = sorted(set(encoding.space.stages[number - 1].kernels))
    places = np.zeros(1 if len(kernels) == 1 else kernels[-1] + 1, np.int64)
    if len(kernels) > 1:
        places[kernels] = np.arange(len(kernels))
    return places


def _grid(encoding: Encoding, number: int, outs: Ints) -> _Grid:
    space, step = encoding.space, encoding.space.channel_step
    kernels = np.array(sorted(set(space.stages[number - 1].kernels)), np.int64)
    low, high = (limits // step for limits in choices.hidden_limits(space, number, outs))
    counts = high - low + 1
    ends = np.cumsum(counts)
    source = np.repeat(np.arange(len(outs)), counts)
    hidden = np.arange(int(ends[-1])) - np.repeat(ends - counts, counts) + low[source]
    starts = (ends - counts - low) * len(kernels)
    source, hidden = np.repeat(source, len(kernels)), np.repeat(hidden, len(kernels))
    position = np.tile(np.arange(len(kernels)), int(ends[-1]))
    return _Grid(
        source=source,
        hidden=hidden * step,
        kernel=kernels[position],
        place=hidden * len(kernels) + position,
        starts=starts,
    )


def _values(
    base: Structure,
    encoding: Encoding,
    number: int,
    widths: tuple[Ints, Ints],
    grid: _Grid,
    sums: Sums,
    deeper: int = 0,
) -> Values:
    """Columns of the stage and those tied to it, at depth 1 each, but 2 for stage `deeper`: (n, Q)."""
    inputs, out = widths
    members = (number, *choices.followers(encoding.space, number))
    stages = list(base.backbone.stages)
    before = inputs
    for member in members:
        stages[member - 1] = replace(
            stages[member - 1], in_channels=before, out_channels=out, hidden_channels=grid.hidden, kernel=grid.kernel,
            depth=2 if member == deeper else 1,
        )  # fmt: skip
        before = out
    if members[-1] < len(stages):
        stages[members[-1]] = replace(stages[members[-1]], in_channels=out)
    stem = base.backbone.stem
    if number == 1:
        stem = replace(stem, out_channels=inputs)
    else:  # the stages before have the width of this one's input, tied ones together
        for member in range(choices.leader(encoding.space, number - 1), number):
            stages[member - 1] = replace(stages[member - 1], out_channels=inputs)
    structure = replace(base, backbone=replace(base.backbone, stem=stem, stages=tuple(stages)))
    prefixes = tuple(f"backbone.stage{member}." for member in members)
    return sums(emit_backbone(structure), len(out), lambda path: path.startswith(prefixes))
