"""A space as a layered graph for the exact solver: states are widths (and the taps that later costs hang on), arcs are
stages between two widths, options are what a stage can be between them.

Vectors of K values are (score, cost 1, ..., cost K - 1), with costs in units of their limits: a network is within budget
when none of its costs exceeds 1. A cost with a lower limit is 2 less its multiple of the limit. Stages that are tied are one
layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from tinynas.genes import choices
from tinynas.genes.choices import Ints
from tinynas.genes.layout import DEPTH, GENES, HIDDEN, KERNEL, OUT, STEM, TAP_STAGES, Genes
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.pricing.stage_tables import Values

FORBIDDEN = 100.0
"""A cost, in units of its limit, that no network within budget has."""
Key = tuple[int, int, int]
"""(width, tap 1, tap 2): a tap is 0 as long as nothing later hangs on it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Layer:
    """One untied stage with those tied to it (`members`).

    Arcs lead from a state of the layer before to one of this layer (`source`, `target`: (A,)) over a pair of widths
    (`pair`: (A,)). A pair has the rows from `pair_start[pair]` on: hidden width and kernel. A row costs `once` (R, K) at
    the lowest depths, and `deeper[m]` (R, K) for every further block of member m, at most `spans[m]`.
    """

    members: tuple[int, ...]
    source: Ints
    target: Ints
    pair: Ints
    out: Ints
    pair_start: Ints
    hidden: Ints
    kernel: Ints
    once: Values
    deeper: tuple[Values, ...]
    spans: tuple[int, ...]
    lowest: tuple[int, ...]

    def row_pairs(self) -> Ints:
        """Pair of each row, (R,)."""
        return np.repeat(np.arange(len(self.pair_start)), np.diff(np.append(self.pair_start, len(self.once))))

    def depths(self) -> list[tuple[int, ...]]:
        """All combinations of further blocks of the members."""
        return list(itertools.product(*(range(span + 1) for span in self.spans)))


@dataclass(frozen=True, slots=True, eq=False)
class Lattice:
    """`stem` (n, K): each width of the stem. `end` (n, K): what comes after the last layer: neck, head, fixed parts."""

    stem_out: Ints
    stem: Values
    layers: tuple[Layer, ...]
    end: Values

    def genes(self, stem: int, picks: Sequence[tuple[int, int, tuple[int, ...]]]) -> Genes:
        """The network (GENES, 1) of a stem state and a (pair, row, further blocks) per layer."""
        genes = np.zeros((GENES, 1), np.int64)
        genes[STEM] = self.stem_out[stem]
        for layer, (pair, row, more) in zip(self.layers, picks, strict=True):
            for member, low, further in zip(layer.members, layer.lowest, more, strict=True):
                genes[OUT + member - 1], genes[HIDDEN + member - 1] = layer.out[pair], layer.hidden[row]
                genes[KERNEL + member - 1], genes[DEPTH + member - 1] = layer.kernel[row], low + further
        return genes


def build_lattice(costs: AdditiveCosts, limits: Sequence[float], floors: Sequence[bool] = ()) -> Lattice:
    """The lattice of a space. `costs`: the score's column first, then one for each of the limits. `floors`: which of them are
    lower ones (none where left out)."""
    lower = np.array([False, *(floors or [False] * len(limits))])
    scale = np.array([1.0, *(1.0 / limit for limit in limits)]) * np.where(lower, -1.0, 1.0)
    space = costs.encoding.space
    stem_out = choices.widths(space, space.stem.out)
    keys: list[Key] = [(int(width), 0, 0) for width in stem_out]
    layers = []
    for number, stage in enumerate(space.stages, start=1):
        if not stage.tied:
            layer, keys = _layer(costs, scale, number, keys)
            layers.append(layer)
    ends = np.array(keys, np.int64).T
    end = costs.neck_head((ends[1], ends[2], ends[0])) if not costs.backbone_only else np.zeros((len(keys), len(scale)))
    end = (end + costs.fixed) * scale + 2.0 * lower
    return Lattice(stem_out, costs.stem(stem_out) * scale, tuple(layers), end)


def with_width(lattice: Lattice, stage: int, width: int) -> Lattice:
    """The lattice with whatever has another width in a stage priced beyond every limit."""
    layers = []
    for layer in lattice.layers:
        if stage in layer.members:
            once = layer.once.copy()
            once[layer.out[layer.row_pairs()] != width, 1:] += FORBIDDEN
            layer = replace(layer, once=once)
        layers.append(layer)
    return replace(lattice, layers=tuple(layers))


def attainable(lattice: Lattice, place: int, limit: float) -> float:
    """The highest value up to `limit` that a cost counted in whole numbers (number `place`, in units of `limit`) can take;
    `limit` itself where none is below. All values of a space are a lowest one plus multiples of a step."""
    alternatives = [lattice.stem, *(layer.once for layer in lattice.layers), lattice.end]
    counts = [np.rint(values[:, 1 + place] * limit).astype(np.int64) for values in alternatives]
    further = [
        np.rint(more[:, 1 + place] * limit).astype(np.int64) for layer in lattice.layers for more in layer.deeper
    ]
    low = sum(int(values.min()) for values in counts)
    step = int(np.gcd.reduce(np.concatenate([*(values - values.min() for values in counts), *further])))
    if low > limit:
        return limit
    return float(low + (limit - low) // step * step) if step else float(low)


def _layer(costs: AdditiveCosts, scale: Values, number: int, before: list[Key]) -> tuple[Layer, list[Key]]:
    space = costs.encoding.space
    members = (number, *choices.followers(space, number))
    after: dict[Key, int] = {}
    pairs: dict[tuple[int, int], int] = {}
    arcs: list[tuple[int, int, int]] = []
    outs = partial(choices.outs_after, space, number)
    for source, (width, tap1, tap2) in enumerate(before):
        for out in outs(width, width if number == TAP_STAGES[1] + 1 else tap1).tolist():
            key = _key(costs, members, out, tap1, tap2)
            target = after.setdefault(key, len(after))
            arcs.append((source, target, pairs.setdefault((width, out), len(pairs))))
    source, target, pair = np.array(arcs, np.int64).T
    inputs, out = np.array(list(pairs), np.int64).T
    start, rows, hidden, kernel = _rows(costs, number, out)
    once, deeper = _values(costs, members, (inputs[rows], out[rows], hidden, kernel))
    ranges = [space.stages[member - 1].depth for member in members]
    layer = Layer(
        members=members,
        source=source,
        target=target,
        pair=pair,
        out=out,
        pair_start=start,
        hidden=hidden,
        kernel=kernel,
        once=once * scale,
        deeper=tuple(more * scale for more in deeper),
        spans=tuple(high - low for low, high in ranges),
        lowest=tuple(low for low, _ in ranges),
    )
    return layer, list(after)


def _key(costs: AdditiveCosts, members: tuple[int, ...], out: int, tap1: int, tap2: int) -> Key:
    """The state after a layer: taps are kept as long as the neck's cost or a dictated width hangs on them."""
    grows, neck = costs.encoding.space.tap_growth is not None, not costs.backbone_only
    done = members[-1]
    if TAP_STAGES[0] in members:
        tap1 = out
    if TAP_STAGES[1] in members:
        tap2 = out
    return out, tap1 if neck or (grows and done < TAP_STAGES[1]) else 0, tap2 if neck else 0


def _rows(costs: AdditiveCosts, number: int, out: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """First row of each pair; pair, hidden width and kernel of each row."""
    space, step = costs.encoding.space, costs.encoding.space.channel_step
    kernels = np.array(sorted(set(space.stages[number - 1].kernels)), np.int64)
    low, high = choices.hidden_limits(space, number, out)
    counts = ((high - low) // step + 1) * len(kernels)
    start = np.cumsum(counts) - counts
    rows = np.repeat(np.arange(len(out)), counts)
    within = np.arange(int(counts.sum())) - start[rows]
    return start, rows, low[rows] + within // len(kernels) * step, kernels[within % len(kernels)]


def _values(
    costs: AdditiveCosts, members: tuple[int, ...], dims: tuple[Ints, Ints, Ints, Ints]
) -> tuple[Values, list[Values]]:
    """`once` and `deeper` of a layer's rows."""
    inputs, out, hidden, kernel = dims
    once: Values = np.zeros((len(out), len(costs.columns)))
    deeper = []
    for member in members:
        low = costs.encoding.space.stages[member - 1].depth[0]
        at_low, above = (
            costs.stage(member, inputs, out, hidden, kernel, np.full(len(out), depth)) for depth in (low, low + 1)
        )
        once += at_low
        deeper.append(above - at_low)
        inputs = out
    return once, deeper


def signed(prices: npt.NDArray[np.float64]) -> Values:
    """The vector (K,) that turns (score, costs) into score - prices x costs."""
    return np.concatenate([[1.0], -prices])
