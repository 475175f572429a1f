"""A model with known logits, to verify decoding and NMS whatever the trained network says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detector.deploy import Floats
from detector.export.decoding import decoded
from detector.export.free_size import add_priors
from detector.model_card import ModelCard

_CANDIDATES = 2000
_CROWDED_CLASSES = 3
_THRESHOLD = 0.225
_GRAPH = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
stand_in (float[{n}, 3, height, width] images) => (float[{n}, A, {C}] logits, float[{n}, A, 4, {bins}] sides)
<int64[1] last = {{3}}, float zero = {{0.0}}, int64[2] within = {{1, 2}}, int64 none = {{0}}, int64 one = {{1}},
 int64 two = {{2}}, int64[1] axis0 = {{0}}, int64[1] axis2 = {{2}}>
{{
    count = Shape <start = 0, end = 1> (images)
    number = Squeeze (count, axis0)
    places = Range (none, number, one)
    order = Mod (places, two)
    mean = ReduceMean <keepdims = 1> (images, within)
    means = ReduceMean <keepdims = 0> (mean, last)
    nothing = Mul (means, zero)
    nothings = Unsqueeze (nothing, axis2)
    known_logits = Gather <axis = 0> (logit_table, order)
    known_sides = Gather <axis = 0> (side_table, order)
    logits = Add (known_logits, nothing)
    sides = Add (known_sides, nothings)
}}
"""


@dataclass(frozen=True, slots=True)
class StandIn:
    """model: ONNX, as `suppression.undecoded` gives one, of the card's shapes; boxes (2, A, 4), scores (2, A, C): what
    it gives, decoded, for images at even and odd places of a batch.

    card: thresholds that leave NMS thousands of overlapping candidates.
    """

    model: Any
    card: ModelCard
    boxes: Floats
    scores: Floats


def stand_in(undecoded: Any, card: ModelCard, priors_A3: Floats) -> StandIn:
    """A stand-in for a model: no two candidates of an image score alike, so NMS has one right answer."""
    import onnx

    classes, bins = (output.type.tensor_type.shape.dim[-1].dim_value for output in undecoded.graph.output[:2])
    logits, sides = _tables(priors_A3, classes, bins)
    text = _GRAPH.format(
        ir_version=undecoded.ir_version, opset=undecoded.opset_import[0].version, n=card.batch or "batch", C=classes,
        bins=bins,
    )  # fmt: skip
    model = onnx.parser.parse_model(text)
    model.graph.input[0].CopyFrom(undecoded.graph.input[0])
    for name, table in (("logit_table", logits), ("side_table", sides)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(table, name))
    if card.free_size:
        add_priors(model.graph, sorted({int(stride) for stride in priors_A3[:, 2]}))
        model.graph.output.append(undecoded.graph.output[2])
    busy = replace(card, score_threshold=_THRESHOLD)
    return StandIn(model, busy, *decoded(logits, sides, priors_A3))


def _tables(priors_A3: Floats, classes: int, bins: int) -> tuple[Floats, Floats]:
    """Logits (2, A, C): of few classes and of priors that lie together, no two candidates of an image alike, the rest far
    below. Logits of sides (2, A, 4, bins): every distance is about half of what bins can say, so neighbours overlap.

    All of it is exact in 16 bits, so that storing it in fp16 makes no ties.
    """
    generator = np.random.default_rng(0)
    priors = len(priors_A3)
    crowded = min(_CROWDED_CLASSES, classes)
    count = min(_CANDIDATES, priors * crowded // 2)
    together = -(-count // crowded)
    likely = np.concatenate([np.arange(1024, 2048) / 2048, np.arange(1024, 2048) / 1024])  # every fp16 of [0.5, 2)
    logits = generator.uniform(-9, -2, (2, priors, classes)).astype(np.float16)
    for image in logits:
        labels = generator.choice(classes, crowded, replace=False)
        start = generator.integers(0, priors - together + 1)
        rows = start + np.arange(count) // crowded
        image[rows, labels[np.arange(count) % crowded]] = generator.choice(likely, count, replace=False)
    sides = generator.normal(0, 1, (2, priors, 4, bins)) + 2 * (np.arange(bins) == bins // 2)
    return logits.astype(np.float32), sides.astype(np.float16).astype(np.float32)
