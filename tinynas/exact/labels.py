"""Label setting: partial networks grow layer by layer, and only those that could still beat the incumbent go on.

A label is dropped when the Lagrangian bound of its best completion is not above the incumbent, when no completion is
within the limits, or when another label of its state scores no less and costs no more. With at most `width` labels kept
per layer this is a beam search; what the beam dropped is covered by the largest of the dropped labels' bounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tinynas.exact.bounds import Relaxed
from tinynas.exact.dominance import undominated
from tinynas.exact.lattice import Lattice, Layer, signed
from tinynas.genes.choices import Ints
from tinynas.genes.layout import Genes
from tinynas.pricing.stage_tables import Values

SLACK = 1e-12
"""Relative: sums over the same parts in another order may differ by so much."""
CHUNK = 4_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LayerOptions:
    """What of a layer is still worth a look: rows at certain depths (`more` indexes `Layer.depths()`), sorted by pair.
    Options of a pair: `start[pair]` to `stop[pair]`. `arcs`: the arcs to follow, sorted by target."""

    values: Values
    reduced: Values
    row: Ints
    more: Ints
    start: Ints
    stop: Ints
    arcs: Ints


@dataclass(slots=True, eq=False)
class Labels:
    """Partial networks after a layer, sorted by state: `values` (n, K), where they come from and by which option."""

    values: Values
    state: Ints
    parent: Ints
    option: Ints


@dataclass(slots=True)
class Sweep:
    """`found`: complete networks within the limits, best first. `dropped`: the highest bound among the labels that did
    not fit into the beam (-inf: none, so nothing above the incumbent was missed). `finished`: false when time ran out."""

    found: list[tuple[float, Genes]] = field(default_factory=list)
    dropped: float = -np.inf
    finished: bool = True


def sweep(lattice: Lattice, at: Sequence[Relaxed], above: float, width: int, deadline: float) -> Sweep:
    """Look for networks that score more than `above`. `at`: relaxations at several prices, the tightest first."""
    result = Sweep()
    options = [_options(layer, number, at, above) for number, layer in enumerate(lattice.layers)]
    low, high = _completions(lattice, options)
    prices = np.stack([signed(relaxed.prices) for relaxed in at], axis=1)
    count = len(lattice.stem)
    labels = Labels(lattice.stem, np.arange(count), np.full(count, -1), np.arange(count))
    trail = [labels]
    for number, layer in enumerate(lattice.layers):
        to_end = np.stack([relaxed.to_end[number + 1] for relaxed in at], axis=1)
        step = _LayerStep(
            layer=layer,
            options=options[number],
            to_end=to_end,
            prices=prices,
            above=above,
            low=low[number + 1],
            high=high[number + 1],
        )
        labels, dropped, finished = _grow(labels, step, width, deadline, last=number + 1 == len(lattice.layers))
        result.dropped = max(result.dropped, dropped)
        result.finished &= finished
        trail.append(labels)
    totals = labels.values + lattice.end[labels.state]
    within = np.flatnonzero((totals[:, 1:] <= 1.0 + SLACK).all(axis=1))
    for label in within[np.argsort(-totals[within, 0], kind="stable")][:20].tolist():
        result.found.append((float(totals[label, 0]), _trace(lattice, options, trail, label)))
    return result


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _LayerStep:
    layer: Layer
    options: LayerOptions
    to_end: Values
    prices: Values
    above: float
    low: Values
    high: Values


def _options(layer: Layer, number: int, at: Sequence[Relaxed], above: float) -> LayerOptions:
    through = np.full((len(at), len(layer.pair_start)), -np.inf)
    alive = np.ones(len(layer.source), np.bool_)
    for place, relaxed in enumerate(at):
        ends = relaxed.from_start[number][layer.source] + relaxed.to_end[number + 1][layer.target]
        np.maximum.at(through[place], layer.pair, ends)
        alive &= ends + relaxed.pairs[number][layer.pair] > above
    row_pair = layer.row_pairs()
    weights = np.stack([signed(relaxed.prices) for relaxed in at], axis=1)
    once, deeper = layer.once @ weights, [extra @ weights for extra in layer.deeper]
    rows, mores = [], []
    for index, further in enumerate(layer.depths()):
        bound = once + through.T[row_pair]
        for count, extra in zip(further, deeper, strict=True):
            bound += count * extra
        keep = np.flatnonzero((bound > above).all(axis=1))
        rows.append(keep)
        mores.append(np.full(len(keep), index))
    row, more = np.concatenate(rows), np.concatenate(mores)
    order = np.argsort(row_pair[row], kind="stable")
    row, more = row[order], more[order]
    values = layer.once[row]
    further_of = np.array(layer.depths(), np.float64)[more]
    for member, extra in enumerate(layer.deeper):
        values = values + further_of[:, member, None] * extra[row]
    keep = _best_of_pairs(values, row_pair[row])
    row, more, values = row[keep], more[keep], values[keep]
    pairs = np.arange(len(layer.pair_start))
    start, stop = (np.searchsorted(row_pair[row], pairs, side=side) for side in ("left", "right"))
    arcs = np.flatnonzero(alive)
    return LayerOptions(
        values=values,
        reduced=values @ weights,
        row=row,
        more=more,
        start=start,
        stop=stop,
        arcs=arcs[np.argsort(layer.target[arcs], kind="stable")],
    )


def _best_of_pairs(values: Values, pair: Ints) -> Ints:
    """Indices of the options that no other option of the same pair dominates."""
    if not len(pair):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    stops = np.append(starts[1:], len(pair))
    return np.concatenate(
        [start + np.flatnonzero(undominated(values[start:stop])) for start, stop in zip(starts, stops, strict=True)]
    )


def _completions(lattice: Lattice, options: Sequence[LayerOptions]) -> tuple[list[Values], list[Values]]:
    """Least and most that each cost can still grow by, from every state to the end: per layer (states, K - 1).

    Backwards through the layers. A layer's arcs lead from a state (`source`) to one of the next layer (`target`) through a
    (in, out) pair of widths; the pair's options lie side by side in `choice.values` (n, K), `start` to `stop`. So the least
    of a pair is one `reduceat` over the options of the pairs that any arc takes, and the least of a state is the minimum
    over its arcs of the pair's least plus the next state's own.
    """
    least, most = [lattice.end[:, 1:]], [lattice.end[:, 1:]]
    for layer, choice in zip(reversed(lattice.layers), reversed(options), strict=True):
        size = (int(layer.source.max()) + 1, lattice.end.shape[1] - 1)
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        arcs = choice.arcs[choice.stop[layer.pair[choice.arcs]] > choice.start[layer.pair[choice.arcs]]]
        pairs = np.unique(layer.pair[arcs])
        if len(pairs):
            costs = choice.values[:, 1:]  # column 0 is the score
            # options of the pairs in use, one pair after the other, and where each pair begins among them
            inside = np.concatenate([np.arange(choice.start[pair], choice.stop[pair]) for pair in pairs])
            counts = choice.stop[pairs] - choice.start[pairs]
            begin = np.cumsum(counts) - counts
            lows = np.minimum.reduceat(costs[inside], begin, axis=0)  # (pairs in use, K - 1)
            highs = np.maximum.reduceat(costs[inside], begin, axis=0)
            place = np.searchsorted(pairs, layer.pair[arcs])  # of each arc's pair among those in use
            np.minimum.at(low, layer.source[arcs], lows[place] + least[-1][layer.target[arcs]])
            np.maximum.at(high, layer.source[arcs], highs[place] + most[-1][layer.target[arcs]])
        least.append(low)
        most.append(high)
    return least[::-1], most[::-1]


def _grow(labels: Labels, step: _LayerStep, width: int, deadline: float, *, last: bool) -> tuple[Labels, float, bool]:
    """All labels of the next layer that are worth keeping, the highest bound of those that were not kept for want of
    room, and whether there was time."""
    layer, options = step.layer, step.options
    reduced = labels.values @ step.prices
    states = np.arange(int(layer.source.max()) + 1)
    start, stop = (np.searchsorted(labels.state, states, side=side) for side in ("left", "right"))
    targets = layer.target[options.arcs]
    parts: list[Labels] = []
    dropped, finished = -np.inf, True
    for target in np.unique(targets).tolist():
        if time.monotonic() > deadline:
            finished = False
            break
        found: list[tuple[Ints, Ints]] = []
        for arc in options.arcs[np.searchsorted(targets, target) : np.searchsorted(targets, target, side="right")]:
            source, pair = layer.source[arc], layer.pair[arc]
            ours, theirs = slice(start[source], stop[source]), slice(options.start[pair], options.stop[pair])
            found += _combine(reduced[ours], options.reduced[theirs], step, target, ours.start, theirs.start)
        if not found:
            continue
        parent, option = (np.concatenate(side) for side in zip(*found, strict=True))
        part, lost = _best_of_state(labels, options, parent, option, target, step, width, last)
        dropped = max(dropped, lost)
        parts.append(part)
    if not parts:
        empty = np.zeros(0, np.int64)
        return Labels(np.zeros((0, labels.values.shape[1])), empty, empty, empty), dropped, finished
    joined = Labels(
        *(np.concatenate(side) for side in zip(*((p.values, p.state, p.parent, p.option) for p in parts), strict=True))
    )
    kept, lost = _fit(joined, _bounds(joined.values, step, joined.state), width)
    return kept, max(dropped, lost), finished


def _combine(
    ours: Values, theirs: Values, step: _LayerStep, target: int, first_label: int, first_option: int
) -> list[tuple[Ints, Ints]]:
    """(label, option) pairs whose bound is above the incumbent."""
    found = []
    need = step.above - step.to_end[target]
    size = max(CHUNK // max(len(theirs), 1), 1)
    for begin in range(0, len(ours), size):
        block = ours[begin : begin + size]
        label, option = np.nonzero(block[:, :1] + theirs[:, 0] > need[0])
        for place in range(1, len(need)):
            keep = block[label, place] + theirs[option, place] > need[place]
            label, option = label[keep], option[keep]
        if len(label):
            found.append((label + (begin + first_label), option + first_option))
    return found


def _best_of_state(
    labels: Labels,
    options: LayerOptions,
    parent: Ints,
    option: Ints,
    target: int,
    step: _LayerStep,
    width: int,
    last: bool,
) -> tuple[Labels, float]:
    values = labels.values[parent] + options.values[option]
    keep = np.flatnonzero((values[:, 1:] + step.low[target] <= 1.0 + SLACK).all(axis=1))
    part = Labels(values[keep], np.full(len(keep), target), parent[keep], option[keep])
    part, lost = _fit(part, _bounds(part.values, step, part.state), max(4 * width, 1000))
    if last or len(part.state) < 2:
        return part, lost
    # costs so low that no completion exceeds the limit are as good as each other
    clamped = part.values.copy()
    clamped[:, 1:] = np.maximum(clamped[:, 1:], 1.0 - step.high[target])
    return _take(part, np.flatnonzero(undominated(clamped))), lost


def _bounds(values: Values, step: _LayerStep, state: Ints) -> Values:
    bounds: Values = (values @ step.prices + step.to_end[state]).min(axis=1, initial=np.inf)
    return bounds


def _fit(labels: Labels, bounds: Values, width: int) -> tuple[Labels, float]:
    """The `width` labels of the highest bounds, in the order they had, and the highest bound of the others."""
    if len(bounds) <= width:
        return labels, -np.inf
    order = np.argpartition(-bounds, width)
    return _take(labels, np.sort(order[:width])), float(bounds[order[width:]].max())


def _take(labels: Labels, index: npt.NDArray[np.intp]) -> Labels:
    return Labels(labels.values[index], labels.state[index], labels.parent[index], labels.option[index])


def _trace(lattice: Lattice, options: Sequence[LayerOptions], trail: Sequence[Labels], label: int) -> Genes:
    picks: list[tuple[int, int, tuple[int, ...]]] = []
    for layer, choice, labels in zip(reversed(lattice.layers), reversed(options), reversed(trail[1:]), strict=True):
        option = int(labels.option[label])
        row = int(choice.row[option])
        pair = int(np.searchsorted(layer.pair_start, row, side="right")) - 1
        picks.append((pair, row, layer.depths()[int(choice.more[option])]))
        label = int(labels.parent[label])
    return lattice.genes(int(trail[0].option[label]), picks[::-1])
