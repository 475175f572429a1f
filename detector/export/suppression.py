"""Non-maximum suppression as ONNX ops behind a model that is cut before its boxes are decoded.

Boxes are decoded, and scores computed, for the priors alone that have a candidate in any image: of 8400 those are mostly
a few hundred. What is found is the same; decoding all and reading 8400 x 80 scores twice took longer than suppression.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.model_card import ModelCard

# The likeliest prior is kept in any case: runtimes differ in what they make of tensors without elements. GatherND for the
# logits: OpenVINO moves the sigmoid before a Gather, to all scores.
_DECODING = """
    best = ReduceMax <keepdims = 0> (raw_logits, images_and_classes)
    best_of_all = ReduceMax <keepdims = 1> (best, axis0)
    least = Min (best_of_all, logit)
    likely = GreaterOrEqual (best, least)
    places = NonZero (likely)
    kept = Squeeze (places, axis0)
    kept_column = Transpose <perm = [1, 0]> (places)
    images = Shape <start = 0, end = 1> (raw_logits)
    by_image = Concat <axis = 0> (images, axis1, axis1)
    kept_by_image = Expand (kept_column, by_image)
    few_logits = GatherND <batch_dims = 1> (raw_logits, kept_by_image)
    few_scores = Sigmoid (few_logits)
    few_sides = Gather <axis = 1> (raw_sides, kept)
    shares = Softmax <axis = 3> (few_sides)
    weighted = Mul (shares, bins)
    distances = ReduceSum <keepdims = 0> (weighted, axis3)
    few_priors = Gather <axis = 0> (priors, kept)
    points, strides = Split <axis = 1> (few_priors, two_and_one)
    offsets = Mul (distances, strides)
    left_top, right_bottom = Split <axis = 2, num_outputs = 2> (offsets)
    low = Sub (points, left_top)
    high = Add (points, right_bottom)
    few_boxes = Concat <axis = 2> (low, high)
"""
# Rows of `chosen` are image, class, prior. Every image ranks all rows, those of other images at -1, with
# max_detections empty rows behind them: so TopK has a constant length whatever was found, and outputs a fixed shape.
_GRAPH = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
suppression (float[{n}, A, {c}] raw_logits, float[{n}, A, 4, {bins}] raw_sides{priors})
    => (float[{n}, {k}, 4] boxes, float[{n}, {k}] scores, int64[{n}, {k}] labels, int64[{n}] num_detections)
<int64[1] limit = {{{k}}}, float[1] iou = {{{iou}}}, float[1] score = {{{score}}}, float[1] logit = {{{logit}}},
 float[1, 1] nobody = {{-1.0}}, float[1] bar = {{-0.5}}, float[1] nothing = {{0.0}}, int64[1] no_label = {{-1}},
 int64[4] below = {{0, 0, {k}, 0}}, int64 zero = {{0}}, int64 one = {{1}}, int64[1] axis0 = {{0}}, int64[1] axis1 = {{1}},
 int64[1] axis2 = {{2}}, int64[1] axis3 = {{3}}, int64[2] images_and_classes = {{0, 2}}, int64[2] two_and_one = {{2, 1}}>
{{
    {decoding}
    by_class = Transpose <perm = [0, 2, 1]> (few_scores)
    chosen = NonMaxSuppression (few_boxes, by_class, limit, iou, score)
    chosen_scores = GatherND (by_class, chosen)
    image, label, prior = Split <axis = 1, num_outputs = 3> (chosen)
    row = Transpose <perm = [1, 0]> (image)
    images_scalar = Squeeze (images, axis0)
    ids = Range (zero, images_scalar, one)
    column = Unsqueeze (ids, axis1)
    own = Equal (column, row)
    own_scores = Where (own, chosen_scores, nobody)
    empty_shape = Concat <axis = 0> (images, limit)
    empty = Expand (nobody, empty_shape)
    ranked = Concat <axis = 1> (own_scores, empty)
    top, place = TopK <axis = 1, largest = 1, sorted = 1> (ranked, limit)
    found = Greater (top, bar)
    scores = Where (found, top, nothing)
    padded = Pad (chosen, below)
    rows = Gather <axis = 0> (padded, place)
    row_image, row_label, row_prior = Split <axis = 2, num_outputs = 3> (rows)
    flat_label = Squeeze (row_label, axis2)
    labels = Where (found, flat_label, no_label)
    where = Concat <axis = 2> (row_image, row_prior)
    all_boxes = GatherND (few_boxes, where)
    found_column = Unsqueeze (found, axis2)
    boxes = Where (found_column, all_boxes, nothing)
    counted = Cast <to = 7> (found)
    num_detections = ReduceSum <keepdims = 0> (counted, axis1)
}}
"""
_OWN_PRIORS = "priors = Identity (raw_priors)"
_SLACK = 1e-3
"""In scores: what rounds to a candidate must not be left out before its score is computed."""
_FAR = 1e30


def with_suppression(undecoded: Any, card: ModelCard, priors_A3: npt.NDArray[np.float32]) -> Any:
    """A model as `undecoded` gives it, with decoding and the card's NMS behind it; the model stays as it is.

    priors_A3: x, y and stride in input pixels, as `detector.priors.priors`; of a free size, the model's own are taken.
    Outputs, K = max_detections, best first and filled up: `boxes` (N, K, 4) xyxy in input pixels (0), `scores` (N, K)
    (0), `labels` (N, K) int64 (-1) and `num_detections` (N,) int64, the rows that count. Multi-label, per class, then
    the best K of all classes: as `detector.postprocess`.
    """
    import onnx

    names = [output.name for output in undecoded.graph.output]
    classes, bins = (output.type.tensor_type.shape.dim[-1].dim_value for output in undecoded.graph.output[:2])
    text = _GRAPH.format(
        ir_version=undecoded.ir_version, opset=undecoded.opset_import[0].version, n=card.batch or "batch", c=classes,
        bins=bins, k=card.max_detections, iou=_literal(card.iou_threshold), score=_literal(card.score_threshold),
        logit=_literal(_least_logit(card.score_threshold)), priors=", float[A, 3] raw_priors" if card.free_size else "",
        decoding=(_OWN_PRIORS if card.free_size else "") + _DECODING,
    )  # fmt: skip
    behind = onnx.parser.parse_model(text)
    tables = {"bins": np.arange(bins, dtype=np.float32)} | ({} if card.free_size else {"priors": priors_A3})
    behind.graph.initializer.extend(onnx.numpy_helper.from_array(table, name) for name, table in tables.items())
    only_outputs = dict.fromkeys(("rename_nodes", "rename_edges", "rename_inputs", "rename_initializers"), False)
    before = onnx.compose.add_prefix(undecoded, "raw_", **only_outputs)
    behind = onnx.compose.add_prefix(behind, "nms_", rename_inputs=False, rename_outputs=False)
    pairs = [(f"raw_{name}", f"raw_{name}") for name in names]
    merged = onnx.compose.merge_models(before, behind, io_map=pairs)
    merged.graph.name = undecoded.graph.name
    merged.producer_name = undecoded.producer_name
    onnx.checker.check_model(merged)
    return merged


def undecoded(raw: Any) -> Any:
    """A raw ONNX model cut where decoding begins: outputs `logits` (N, A, C) before the sigmoid, `sides`
    (N, A, 4, reg_max + 1) before the softmax and, of a model of free size, `priors` (A, 3); `raw` stays as it is."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(raw)
    graph = model.graph
    (scores,) = (node for node in graph.node if "scores" in node.output)
    (shares,) = (node for node in graph.node if node.op_type == "Softmax")
    assert scores.op_type == "Sigmoid"
    shapes = {value.name: value.type for value in (*graph.value_info, *graph.output)}
    cuts = {"logits": (scores.input[0], shapes["scores"]), "sides": (shares.input[0], shapes[shares.output[0]])}
    del graph.output[:]
    for name, (cut, kind) in cuts.items():
        producer = next(node for node in graph.node if cut in node.output)
        producer.output[list(producer.output).index(cut)] = name
        graph.output.append(onnx.ValueInfoProto(name=name, type=kind))
    graph.output.extend(value for value in graph.value_info if value.name == "priors")
    _drop_what_is_not_needed(graph)
    return model


def _drop_what_is_not_needed(graph: Any) -> None:
    """Nodes that lead to no output, and tables and types of values that no node is left for."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(node.input)
    kept.reverse()
    del graph.node[:]
    graph.node.extend(kept)
    for values in (graph.initializer, graph.value_info):
        left = [value for value in values if value.name in needed]
        del values[:]
        values.extend(left)


def _least_logit(score: float) -> float:
    """Below what every candidate's logit is for sure."""
    likely = score - _SLACK
    return -_FAR if likely <= 0 else math.log(likely / (1 - likely))


def _literal(value: float) -> str:
    """A float as the parser reads it (no exponent without a point)."""
    return f"{value:.9f}"
