"""A traced ONNX model whose height and width are free: multiples of the largest stride, whatever it was traced at.

A traced size stands in two places only: where maps are flattened, and in the table of priors. torch can trace with a
free size itself, but takes minutes of symbolic algebra for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_LEVEL = """
    cells{s} = Div (height_width, stride{s})
    rows{s}, columns{s} = Split <axis = 0, num_outputs = 2> (cells{s})
    row_count{s} = Squeeze (rows{s}, axis0)
    column_count{s} = Squeeze (columns{s}, axis0)
    row_numbers{s} = Range (zero, row_count{s}, one)
    column_numbers{s} = Range (zero, column_count{s}, one)
    y_column{s} = Unsqueeze (row_numbers{s}, axis1)
    y_map{s} = Expand (y_column{s}, cells{s})
    x_map{s} = Expand (column_numbers{s}, cells{s})
    one_map{s} = Expand (one, cells{s})
    y{s} = Unsqueeze (y_map{s}, axis2)
    x{s} = Unsqueeze (x_map{s}, axis2)
    ones{s} = Unsqueeze (one_map{s}, axis2)
    map{s} = Concat <axis = 2> (x{s}, y{s}, ones{s})
    rows_of_three{s} = Reshape (map{s}, by_three)
    level{s} = Mul (rows_of_three{s}, stride{s})
"""
_PRIORS = """
<ir_version: 10, opset_import: ["" : 18]>
of_size (float[n, 3, height, width] images) => (float[A, 3] priors)
<int64 zero = {{0}}, int64 one = {{1}}, int64[1] axis0 = {{0}}, int64[1] axis1 = {{1}}, int64[1] axis2 = {{2}},
 int64[2] by_three = {{-1, 3}}, {strides}>
{{
    height_width = Shape <start = 2, end = 4> (images)
    {levels}
    all = Concat <axis = 0> ({names})
    priors = Cast <to = 1> (all)
}}
"""


def with_free_size(model: Any, strides: Sequence[int]) -> Any:
    """The traced raw model with a free height and width; `model` stays as it is. It computes `priors` (A, 3) itself."""
    import onnx

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    graph = opened.graph
    count = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    _open_reshapes(graph)
    _compute_tables(graph, count, strides)
    for value, place, name in ((graph.input[0], 2, "height"), (graph.input[0], 3, "width"),
                               (graph.output[0], 1, "priors"), (graph.output[1], 1, "priors")):  # fmt: skip
        value.type.tensor_type.shape.dim[place].dim_param = name
    del graph.value_info[:]
    onnx.checker.check_model(opened)
    return onnx.shape_inference.infer_shapes(opened)


def add_priors(graph: Any, strides: Sequence[int]) -> None:
    """Put nodes before all others that compute `priors` (A, 3), as `detector.priors.priors`, from the size of `images`."""
    import onnx

    text = _PRIORS.format(
        strides=", ".join(f"int64 stride{s} = {{{s}}}" for s in strides),
        levels="".join(_LEVEL.format(s=s) for s in strides).strip(),
        names=", ".join(f"level{s}" for s in strides),
    )
    own = onnx.compose.add_prefix(
        onnx.parser.parse_model(text), "priors_", rename_inputs=False, rename_outputs=False
    ).graph
    nodes = [*own.node, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(own.initializer)


def _open_reshapes(graph: Any) -> None:
    """Maps (N, C, H, W) -> (N, C, H x W), and logits (N, A, 4 x bins) -> (N, A, 4, bins)."""
    import onnx

    tables = {table.name: onnx.numpy_helper.to_array(table) for table in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape":
            continue
        shape = tables[node.input[1]]
        new = [0, shape[1], -1] if len(shape) == 3 else [0, -1, *shape[2:]]
        name = f"{node.name}_free_shape"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(new, dtype=np.int64), name))
        node.input[1] = name
        del node.attribute[:]  # allowzero: here 0 means the size that comes in


def _compute_tables(graph: Any, count: int, strides: Sequence[int]) -> None:
    """The constant tables of `count` priors: columns of `priors`."""
    import onnx

    kept: list[Any] = []
    cut: list[Any] = []
    for table in graph.initializer:
        (cut if list(table.dims) in ([count, 1], [count, 2]) else kept).append(table)
    assert sorted(table.dims[1] for table in cut) == [1, 2]
    by_width = {table.dims[1]: table.name for table in cut}
    widths = onnx.numpy_helper.from_array(np.array([2, 1], dtype=np.int64), "prior_widths")
    split = onnx.helper.make_node(
        "Split", ["priors", widths.name], [by_width[2], by_width[1]], name="priors_split", axis=1
    )
    nodes = [split, *graph.node]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(table for table in [*kept, widths] if table.name in used)
    add_priors(graph, strides)
