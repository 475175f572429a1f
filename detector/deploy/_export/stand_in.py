"""A raw model with known outputs, to verify NMS whatever the trained network says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detector.deploy import Floats
from detector.model_card import ModelCard

_CANDIDATES = 2000
_THRESHOLD = 0.225
_GRAPH = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
stand_in (float[{n}, 3, {height}, {width}] images) => (float[{n}, {A}, 4] boxes, float[{n}, {A}, {C}] scores)
<int64[1] last = {{3}}, float zero = {{0.0}}, int64[2] within = {{1, 2}}, int64 none = {{0}}, int64 one = {{1}},
 int64 two = {{2}}, int64[1] axis0 = {{0}}>
{{
    count = Shape <start = 0, end = 1> (images)
    number = Squeeze (count, axis0)
    places = Range (none, number, one)
    order = Mod (places, two)
    mean = ReduceMean <keepdims = 1> (images, within)
    means = ReduceMean <keepdims = 0> (mean, last)
    nothing = Mul (means, zero)
    known_boxes = Gather <axis = 0> (box_table, order)
    known_scores = Gather <axis = 0> (score_table, order)
    boxes = Add (known_boxes, nothing)
    scores = Add (known_scores, nothing)
}}
"""


@dataclass(frozen=True, slots=True)
class StandIn:
    """model: ONNX, raw outputs of the card's shapes; boxes (2, A, 4), scores (2, A, C): what it gives for images at even and
    odd places of a batch.

    card: thresholds that leave NMS thousands of overlapping candidates.
    """

    model: Any
    card: ModelCard
    boxes: Floats
    scores: Floats


def stand_in(raw: Any, card: ModelCard) -> StandIn:
    """A stand-in for the raw ONNX model `raw`: no two candidates of an image score alike, so NMS has one right answer."""
    import onnx

    priors, classes = (dim.dim_value for dim in raw.graph.output[1].type.tensor_type.shape.dim[1:])
    boxes, scores = _tables(priors, classes, card.image_size)
    text = _GRAPH.format(
        ir_version=raw.ir_version, opset=raw.opset_import[0].version, n=card.batch or "batch", A=priors, C=classes,
        height=card.image_size[0], width=card.image_size[1],
    )  # fmt: skip
    model = onnx.parser.parse_model(text)
    for name, table in (("box_table", boxes), ("score_table", scores)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, name))
    busy = replace(card, score_threshold=_THRESHOLD)
    return StandIn(model, busy, boxes, scores)


def _tables(priors: int, classes: int, image_size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Boxes (2, A, 4) crowded round twelve places; scores (2, A, C): no two candidates of an image alike, the rest far below.

    All of it is exact in 16 bits, so that storing it in fp16 makes no ties.
    """
    generator = np.random.default_rng(0)
    sides = np.array(image_size[::-1], dtype=np.float32)
    centres = (generator.uniform(0.2, 0.8, (12, 2)) * sides)[generator.integers(0, 12, (2, priors))]
    centres = centres + generator.normal(0, 0.02, (2, priors, 2)) * sides
    half = generator.uniform(0.08, 0.16, (2, priors, 2)) * sides
    boxes = np.concatenate([centres - half, centres + half], axis=-1).astype(np.float16)
    above = np.concatenate([np.arange(1024, 2048) / 4096, np.arange(1024, 2048) / 2048])  # every fp16 of [0.25, 1)
    count = min(_CANDIDATES, priors * classes // 2)
    scores = generator.uniform(0, _THRESHOLD * 0.8, (2, priors * classes)).astype(np.float16)
    for row in scores:
        places = generator.choice(priors * classes, count, replace=False)
        row[places] = generator.choice(above, count, replace=False)
    return boxes.astype(np.float32), scores.reshape(2, priors, classes).astype(np.float32)
