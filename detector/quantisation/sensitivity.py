"""How much harm each layer does when it alone is quantised.

Measured on the ONNX form, whose quantiser needs one calibration for all layers; the ranking serves every runtime: weights and
ranges are quantised alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from detector.export.decoding import decoded
from detector.quantisation.onnx import Inputs, OnnxQuantiser

Floats = npt.NDArray[np.float32]
CANDIDATES = 100
"""Best boxes of a picture that are looked at."""
UNDECODED = ("raw_logits", "raw_sides", "nms_priors")
"""Names inside an export with NMS of what boxes and scores of all priors are decoded from."""


def scan(quantiser: OnnxQuantiser, pictures: Inputs) -> dict[str, float]:
    """Layer -> harm, the most harmful first: over the boxes of `pictures` that the fp32 model is surest of, the mean loss
    of overlap (1 - IoU with its own box) and change of score (0..1), summed. A terminal shows a bar."""
    layers = list(quantiser.layers.of)
    expected = _outputs(quantiser.model(layers), pictures)
    harm = {}
    for layer in tqdm(layers, "int8", unit="layer", disable=None, leave=False):
        found = _outputs(quantiser.model([other for other in layers if other != layer]), pictures)
        harm[layer] = float(np.mean([_difference(one, other) for one, other in zip(expected, found)]))
    return dict(sorted(harm.items(), key=lambda item: -item[1]))


def _outputs(model: Any, pictures: Inputs) -> list[tuple[Floats, Floats]]:
    """Boxes (A, 4) and scores (A, C) per picture, before suppression."""
    import onnx
    import onnxruntime

    produced = {output for node in model.graph.node for output in node.output}
    inside = UNDECODED[0] in produced
    names = list(UNDECODED) if inside else ["boxes", "scores"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = (session.run(names, {"images": picture}) for picture in pictures)
    return [_first(decoded(*values) if inside else values) for values in found]


def _first(outputs: Sequence[Any]) -> tuple[Floats, Floats]:
    boxes, scores = outputs
    return np.asarray(boxes[0], np.float32), np.asarray(scores[0], np.float32)


def _difference(expected: tuple[Floats, Floats], found: tuple[Floats, Floats]) -> float:
    """Mean over the boxes that the first is surest of: 1 - IoU of the two boxes, and how far the best score moved."""
    (boxes, scores), (other_boxes, other_scores) = expected, found
    best = scores.max(axis=1)
    rows = np.argsort(-best, kind="stable")[:CANDIDATES]
    labels = scores[rows].argmax(axis=1)
    moved = np.abs(best[rows] - other_scores[rows, labels])
    return float((1 - _ious(boxes[rows], other_boxes[rows]) + moved).mean())


def _ious(first: Floats, second: Floats) -> Floats:
    """IoU of box pairs (N, 4) xyxy."""
    shared = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    area = np.maximum(shared, 0).prod(axis=1)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1) for boxes in (first, second)]
    ious: Floats = area / np.maximum(areas[0] + areas[1] - area, 1e-9)
    return ious
