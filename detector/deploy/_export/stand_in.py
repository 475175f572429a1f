"""A raw model with known outputs, to verify NMS whatever the trained network says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detector.deploy import Floats
from detector.model_card import ModelCard

_CANDIDATES = 2000
_GRAPH = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
stand_in (float[{n}, 3, {height}, {width}] images) => (float[{n}, {A}, 4] boxes, float[{n}, {A}, {C}] scores)
<int64[1] last = {{3}}, float zero = {{0.0}}, int64[2] within = {{1, 2}}>
{{
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
    """model: ONNX, raw outputs of the card's shapes; boxes (N, A, 4), scores (N, A, C): what it gives for any images.

    card: thresholds that leave NMS thousands of overlapping candidates.
    """

    model: Any
    card: ModelCard
    boxes: Floats
    scores: Floats


def stand_in(raw: Any, card: ModelCard) -> StandIn:
    """A stand-in for the raw ONNX model `raw`: no two scores of an image are equal, so NMS has one right answer."""
    import onnx

    priors, classes = (dim.dim_value for dim in raw.graph.output[1].type.tensor_type.shape.dim[1:])
    boxes, scores = _tables(priors, classes, card.image_size)
    order = np.arange(card.batch or 2) % 2
    text = _GRAPH.format(
        ir_version=raw.ir_version, opset=raw.opset_import[0].version, n=card.batch or "batch", A=priors, C=classes,
        height=card.image_size[0], width=card.image_size[1],
    )  # fmt: skip
    model = onnx.parser.parse_model(text)
    for name, table in (("box_table", boxes), ("score_table", scores), ("order", order)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, name))
    rank = min(_CANDIDATES, priors * classes // 2)
    # between two scores: no candidate sits on the threshold
    busy = replace(card, score_threshold=1 - (rank - 0.5) / (priors * classes))
    return StandIn(model, busy, boxes[order], scores[order])


def _tables(priors: int, classes: int, image_size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Boxes (2, A, 4) crowded round twelve places, scores (2, A, C), evenly spaced and shuffled."""
    generator = np.random.default_rng(0)
    sides = np.array(image_size[::-1], dtype=np.float32)
    centres = (generator.uniform(0.2, 0.8, (12, 2)) * sides)[generator.integers(0, 12, (2, priors))]
    centres = centres + generator.normal(0, 0.02, (2, priors, 2)) * sides
    half = generator.uniform(0.08, 0.16, (2, priors, 2)) * sides
    boxes = np.concatenate([centres - half, centres + half], axis=-1).astype(np.float32)
    steps = np.arange(1, priors * classes + 1) / (priors * classes)
    scores = np.stack([generator.permutation(steps) for _ in range(2)])
    return boxes, scores.reshape(2, priors, classes).astype(np.float32)
