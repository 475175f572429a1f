"""What a graph costs apart from time: params, conv MACs, layers, peak activation memory.

Every function returns ints for one network and arrays of shape (P,) for a population.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from search_spaces.graph import PARTS, Dim, Graph, Op


def params(graph: Graph, *, deploy: bool = True, part: str | None = None) -> Dim:
    """Learned parameters. `deploy`: re-parameterised branches merged into one conv with a bias, other norms kept, which
    is how the published counts are made (reference figures of the family)."""
    return _total(op.count * op_params(graph, op, deploy=deploy) for op in graph if part in (None, op.part))


def conv_macs(graph: Graph, *, part: str | None = None) -> Dim:
    """Multiply-accumulates of the convolutions for one image, deploy form."""
    return _total(op.count * op_macs(graph, op) for op in graph if part in (None, op.part))


def layers(graph: Graph) -> Dim:
    """Convs of the main path as the public search counts them: the L25 or L35 of a published name."""
    return _total(conv.count for conv in graph.published_path)


def op_params(graph: Graph, op: Op, *, deploy: bool = True) -> Dim:
    """Learned parameters of one op, not multiplied by its count."""
    if op.kind == "detect":
        return len(op.strides)
    if op.kind != "conv":
        return 0
    out = op.shape.channels
    weights = _product(fan_in(graph, op), out)
    if op.reparam:
        return (
            weights + out if deploy else weights + _product(1 if op.depthwise else graph.in_channels(op), out) + 4 * out
        )
    return weights + (2 * out if op.norm else 0) + (out if op.bias else 0)


def op_macs(graph: Graph, op: Op) -> Dim:
    """Multiply-accumulates of one op, not multiplied by its count; 0 for all but convs."""
    if op.kind != "conv":
        return 0
    return _product(fan_in(graph, op), op.shape.elements)


def parts(graph: Graph) -> list[str]:
    """The parts that the graph has, in order."""
    present = {op.part for op in graph}
    return [part for part in PARTS if part in present]


def peak_memory_bytes(graph: Graph, bytes_per_element: int = 4) -> Dim:
    """Largest sum of live activations while any one op runs, in emission order, batch 1, no op in place.

    A tensor is live from the op that makes it to the last op that reads it (named features are not kept beyond that, as
    in inference). Weights are not counted.
    """
    present = [_present(op) for op in graph.ops]
    live: list[Dim] = [0] * len(graph.ops)
    for index, op in enumerate(graph.ops):
        size = op.shape.elements * bytes_per_element
        readers = sorted(_readers(graph, present, index), key=lambda reader: reader[0])
        live[index] = live[index] + size * present[index]
        start = index + 1
        for position, (reader, _) in enumerate(readers):
            still_read: Dim = 0
            for _, flag in readers[position:]:
                still_read = _either(still_read, flag)
            for step in range(start, reader + 1):
                live[step] = live[step] + size * still_read
            start = max(start, reader + 1)
    peak = np.zeros(_width(graph), np.int64)
    for size, flag in zip(live, present, strict=True):
        np.maximum(peak, size * flag, out=peak)
    return peak if peak.ndim else int(peak)


def _readers(graph: Graph, present: list[Dim], index: int) -> list[tuple[int, Dim]]:
    """(op index, 0 / 1 flag) of everything that reads the output of op `index` where that op exists.

    Where a reader is absent and passes this output on (its `bypass`), the reader's own readers count.
    """
    found: list[tuple[int, Dim]] = []
    pending: list[tuple[int, Dim]] = [(index, present[index])]
    while pending:
        tensor, flag = pending.pop()
        for consumer in graph.consumers[tensor]:
            found.append((consumer, flag * present[consumer]))
        for other in range(tensor + 1, len(graph.ops)):
            if graph.ops[other].bypass == tensor:
                pending.append((other, flag * (1 - present[other])))
    return found


def _either(a: Dim, b: Dim) -> Dim:
    """Logical or of 0 / 1 flags."""
    return a + b - a * b


def _width(graph: Graph) -> tuple[int, ...]:
    """(P,) for a population, () for one network."""
    return np.broadcast_shapes(*(np.shape(dim) for op in graph for dim in (op.count, op.shape.channels, op.kernel)))


def _present(op: Op) -> Dim:
    if isinstance(op.count, np.ndarray):
        return (op.count > 0).astype(np.int64)
    return 1


def fan_in(graph: Graph, op: Op) -> Dim:
    """Weights per output channel of a conv."""
    return _product(op.kernel, op.kernel, 1 if op.depthwise else graph.in_channels(op))


def _product(*values: Dim) -> Dim:
    product: Dim = 1
    for value in values:
        product = product * value
    return product


def _total(values: Iterable[Dim]) -> Dim:
    total: Dim = 0
    for value in values:
        total = total + value
    return total
