"""Upper bounds by Lagrangian relaxation: with a price on every budget, the best network is a longest path.

For prices p >= 0 no network within budget scores above g(p) = sum(p) + max over networks of (score - p x costs), with
costs in units of their limits. g is convex; its minimum over p is the bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinynas.exact.lattice import Lattice, Layer, signed
from tinynas.genes.layout import Genes
from tinynas.pricing.stage_tables import Values

LINE_STEPS = 45
COARSE_STEPS = 18
ELLIPSOID_STEPS = 300
HIGHEST = 1e12


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Relaxed:
    """The relaxation at one set of prices. `to_end[i]`: best value from each state after layer i to the end (i = 0: after
    the stem), sum(prices) included; `rows[i]`: best value of each row of layer i over its depths; `bound` = g(prices)."""

    prices: Values
    rows: tuple[Values, ...]
    pairs: tuple[Values, ...]
    to_end: tuple[Values, ...]
    from_start: tuple[Values, ...]
    bound: float


def relax(lattice: Lattice, prices: Values) -> Relaxed:
    """Solve the relaxation at given prices (K - 1,)."""
    weights = signed(prices)
    rows = tuple(_best_rows(layer, weights) for layer in lattice.layers)
    pairs = tuple(
        np.maximum.reduceat(values, layer.pair_start) for layer, values in zip(lattice.layers, rows, strict=True)
    )
    values = lattice.end @ weights + prices.sum()
    to_end = [values]
    for layer, best in zip(reversed(lattice.layers), reversed(pairs), strict=True):
        earlier = np.full(int(layer.source.max()) + 1, -np.inf)
        np.maximum.at(earlier, layer.source, best[layer.pair] + values[layer.target])
        to_end.append(values := earlier)
    to_end.reverse()
    values = lattice.stem @ weights
    from_start = [values]
    for layer, best in zip(lattice.layers, pairs, strict=True):
        later = np.full(int(layer.target.max()) + 1, -np.inf)
        np.maximum.at(later, layer.target, best[layer.pair] + values[layer.source])
        from_start.append(values := later)
    bound = float(np.max(from_start[0] + to_end[0]))
    return Relaxed(
        prices=prices, rows=rows, pairs=pairs, to_end=tuple(to_end), from_start=tuple(from_start), bound=bound
    )


def best_network(lattice: Lattice, relaxed: Relaxed) -> tuple[Values, Genes]:
    """The network that attains the relaxation's bound: its (score, costs) (K,) and genes (GENES, 1)."""
    weights = signed(relaxed.prices)
    stem = state = int(np.argmax(relaxed.from_start[0] + relaxed.to_end[0]))
    total: Values = lattice.stem[state].copy()
    picks = []
    for number, layer in enumerate(lattice.layers):
        arcs = np.flatnonzero(layer.source == state)
        values = relaxed.pairs[number][layer.pair[arcs]] + relaxed.to_end[number + 1][layer.target[arcs]]
        arc = int(arcs[np.argmax(values)])
        pair = int(layer.pair[arc])
        end = layer.pair_start[pair + 1] if pair + 1 < len(layer.pair_start) else len(layer.once)
        row = int(layer.pair_start[pair] + np.argmax(relaxed.rows[number][layer.pair_start[pair] : end]))
        more = tuple(
            span if deeper[row] @ weights > 0 else 0 for deeper, span in zip(layer.deeper, layer.spans, strict=True)
        )
        total += layer.once[row] + sum(
            (count * deeper[row] for deeper, count in zip(layer.deeper, more, strict=True)), np.zeros(len(weights))
        )
        picks.append((pair, row, more))
        state = int(layer.target[arc])
    return total + lattice.end[state], lattice.genes(stem, picks)


def descend(lattice: Lattice) -> Iterator[tuple[Relaxed, Values, Genes]]:
    """Prices on the way to the lowest bound, with the network that attains each: every price alone by bisection (the
    sign of cost - 1 tells the side), then all together by the ellipsoid method."""
    count = lattice.stem.shape[1] - 1
    alone = np.zeros(count)
    if not count:
        relaxed = relax(lattice, alone)
        yield relaxed, *best_network(lattice, relaxed)
    for place in range(count):
        best = np.inf
        for relaxed, totals, genes in _bisect(lattice, place, LINE_STEPS if count == 1 else COARSE_STEPS):
            if relaxed.bound < best:
                best, alone[place] = relaxed.bound, relaxed.prices[place]
            yield relaxed, totals, genes
    if count > 1 and alone.any():
        yield from _shrink(lattice, alone)


def _shrink(lattice: Lattice, alone: Values) -> Iterator[tuple[Relaxed, Values, Genes]]:
    """The ellipsoid method with deep cuts, from around what each price is alone (with others it is mostly lower)."""
    count = len(alone)
    prices, shape = 0.5 * alone, np.diag(np.maximum(alone, 0.2 * alone.max()) ** 2)
    best = np.inf
    for _ in range(ELLIPSOID_STEPS):
        below = np.flatnonzero(prices < 0)
        if len(below):
            slope, depth = -np.eye(count)[below[0]], -float(prices[below[0]])
        else:
            relaxed = relax(lattice, prices)
            totals, genes = best_network(lattice, relaxed)
            yield relaxed, totals, genes
            best = min(best, relaxed.bound)
            slope, depth = 1.0 - totals[1:], relaxed.bound - best
        reach = float(np.sqrt(max(slope @ shape @ slope, 0.0)))
        if reach < 1e-300 or depth >= reach or (not len(below) and reach < 1e-6 * abs(best)):
            return
        cut, step = depth / reach, shape @ slope / reach
        prices = prices - (1 + count * cut) / (count + 1) * step
        squeezed = shape - 2 * (1 + count * cut) / ((count + 1) * (1 + cut)) * np.outer(step, step)
        shape = count**2 / (count**2 - 1) * (1 - cut**2) * squeezed


def _bisect(lattice: Lattice, place: int, steps: int) -> Iterator[tuple[Relaxed, Values, Genes]]:
    """One price, the others being zero."""
    low, high, price = 0.0, np.inf, 0.0
    for _ in range(steps):
        prices = np.zeros(lattice.stem.shape[1] - 1)
        prices[place] = price
        relaxed = relax(lattice, prices)
        totals, genes = best_network(lattice, relaxed)
        yield relaxed, totals, genes
        if totals[1 + place] > 1.0:
            low = price
        else:
            high = price
        # a cost that no price brings within its limit is not to be had at all
        if (np.isfinite(high) and high - low <= 1e-7 * high) or price > HIGHEST:
            return
        price = 0.5 * (low + high) if np.isfinite(high) else max(4.0 * price, 1.0)


def _best_rows(layer: Layer, weights: Values) -> Values:
    values: Values = layer.once @ weights
    for deeper, span in zip(layer.deeper, layer.spans, strict=True):
        values += span * np.maximum(deeper @ weights, 0.0)
    return values
