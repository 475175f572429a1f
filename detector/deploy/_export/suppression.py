"""Non-maximum suppression as ONNX ops behind a raw model."""

from __future__ import annotations

from typing import Any

from detector.model_card import ModelCard

# Rows of `chosen` are image, class, prior. Every image ranks all rows, those of other images at -1, with
# max_detections empty rows behind them: so TopK has a constant length whatever was found, and outputs a fixed shape.
_GRAPH = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
suppression (float[{n}, A, 4] raw_boxes, float[{n}, A, C] raw_scores)
    => (float[{n}, {k}, 4] boxes, float[{n}, {k}] scores, int64[{n}, {k}] labels, int64[{n}] num_detections)
<int64[1] limit = {{{k}}}, float[1] iou = {{{iou}}}, float[1] score = {{{score}}}, float[1, 1] nobody = {{-1.0}},
 float[1] bar = {{-0.5}}, float[1] nothing = {{0.0}}, int64[1] no_label = {{-1}}, int64[4] below = {{0, 0, {k}, 0}},
 int64 zero = {{0}}, int64 one = {{1}}, int64[1] axis0 = {{0}}, int64[1] axis1 = {{1}}, int64[1] axis2 = {{2}}>
{{
    by_class = Transpose <perm = [0, 2, 1]> (raw_scores)
    chosen = NonMaxSuppression (raw_boxes, by_class, limit, iou, score)
    chosen_scores = GatherND (by_class, chosen)
    image, label, prior = Split <axis = 1, num_outputs = 3> (chosen)
    row = Transpose <perm = [1, 0]> (image)
    images = Shape <start = 0, end = 1> (raw_boxes)
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
    all_boxes = GatherND (raw_boxes, where)
    found_column = Unsqueeze (found, axis2)
    boxes = Where (found_column, all_boxes, nothing)
    counted = Cast <to = 7> (found)
    num_detections = ReduceSum <keepdims = 0> (counted, axis1)
}}
"""


def with_suppression(raw: Any, card: ModelCard) -> Any:
    """A raw ONNX model with the card's NMS behind it; `raw` stays as it is.

    Outputs, K = max_detections, best first and filled up: `boxes` (N, K, 4) xyxy in input pixels (0), `scores` (N, K)
    (0), `labels` (N, K) int64 (-1) and `num_detections` (N,) int64, the rows that count. Multi-label, per class, then
    the best K of all classes: as `detector.postprocess`.
    """
    import onnx

    text = _GRAPH.format(
        ir_version=raw.ir_version, opset=raw.opset_import[0].version, n=card.batch or "batch", k=card.max_detections,
        iou=_literal(card.iou_threshold), score=_literal(card.score_threshold),
    )  # fmt: skip
    only_outputs = dict.fromkeys(("rename_nodes", "rename_edges", "rename_inputs", "rename_initializers"), False)
    first = onnx.compose.add_prefix(raw, "raw_", **only_outputs)
    second = onnx.compose.add_prefix(onnx.parser.parse_model(text), "nms_", rename_inputs=False, rename_outputs=False)
    pairs = [("raw_boxes", "raw_boxes"), ("raw_scores", "raw_scores")]
    merged = onnx.compose.merge_models(first, second, io_map=pairs)
    merged.graph.name = raw.graph.name
    merged.producer_name = raw.producer_name
    onnx.checker.check_model(merged)
    return merged


def _literal(value: float) -> str:
    """A float as the parser reads it (no exponent without a point)."""
    return f"{value:.9f}"
