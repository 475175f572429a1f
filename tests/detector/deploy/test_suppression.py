"""Decoding and NMS inside find what `suppress` finds, though only likely priors are decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from detector.deploy import Floats
from detector.export.decoding import decoded
from detector.export.suppression import undecoded, with_suppression
from detector.model_card import ModelCard
from detector.priors import decode_distances, expected_distances, priors
from detector.suppression import suppress

CLASSES, BINS, SIZE = 3, 8, (64, 96)
PRIORS = priors(SIZE).numpy()
GIVEN = """
<ir_version: 10, opset_import: ["" : 18]>
given (float[n, A, 3] cls, float[n, A, 4, 8] reg) => (float[n, A, 3] logits, float[n, A, 4, 8] sides)
{
    logits = Identity (cls)
    sides = Identity (reg)
}
"""


def card(score: float) -> ModelCard:
    return ModelCard(
        class_names=("a", "b", "c"), category_ids=(0, 1, 2), image_size=SIZE, output="nms", batch=None,
        score_threshold=score, iou_threshold=0.6, max_detections=40, preprocessing={}, structure="", tool_version="",
    )  # fmt: skip


def run(runtime: str, score: float, logits: Floats, sides: Floats, folder: Path) -> list[np.ndarray]:
    path = folder / "m.onnx"
    onnx.save(with_suppression(onnx.parser.parse_model(GIVEN), card(score), PRIORS), path)
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return list(session.run(None, {"cls": logits, "reg": sides}))
    from detector.deploy.openvino import compiled_model

    compiled = compiled_model(path)
    found = compiled({"cls": logits, "reg": sides})
    return [np.array(found[output]) for output in compiled.outputs]


def tables(images: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(1)
    logits = generator.normal(-3, 2, (images, len(PRIORS), CLASSES)).astype(np.float32)
    return logits, generator.normal(0, 2, (images, len(PRIORS), 4, BINS)).astype(np.float32)


def test_decoded_is_as_torch_decodes() -> None:
    import torch

    logits, sides = tables(2)
    boxes, scores = decoded(logits, sides, PRIORS)
    distances = expected_distances(torch.from_numpy(sides.reshape(2, -1, 4 * BINS)))
    np.testing.assert_allclose(boxes, decode_distances(distances, priors(SIZE)).numpy(), atol=1e-4)
    np.testing.assert_allclose(scores, torch.from_numpy(logits).sigmoid().numpy(), atol=1e-6)
    assert decoded(np.full_like(logits, -1e4), sides, PRIORS)[1].max() == 0


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("score", [0.0, 0.05, 0.5, 1.0])
def test_images_of_a_batch_have_their_own_priors(runtime: str, score: float, tmp_path: Path) -> None:
    logits, sides = tables(3)
    logits[1] -= 8  # nothing likely in the second; the first's in its first half, the third's in the other
    logits[0, 60:] = logits[2, :60] = -20
    boxes, scores, labels, counts = run(runtime, score, logits, sides, tmp_path)
    for image, (all_boxes, all_scores) in enumerate(zip(*decoded(logits, sides, PRIORS))):
        expected = suppress(all_boxes, all_scores, score, 0.6, 40)
        count = int(counts[image])
        assert count == len(expected[1])
        np.testing.assert_array_equal(labels[image, :count], expected[2])
        np.testing.assert_allclose(boxes[image, :count], expected[0], atol=1e-3)
        np.testing.assert_allclose(scores[image, :count], expected[1], atol=1e-6)
        assert (labels[image, count:] == -1).all()
    assert counts[1] == (40 if score == 0 else 0)


@pytest.mark.parametrize("score", [0.05, 0.3, 0.999])
def test_what_scores_just_above_the_threshold_is_a_candidate(score: float, tmp_path: Path) -> None:
    logits, sides = tables(1)
    logits[:] = -20
    bar = np.log(score / (1 - score))
    logits[0, 10, 1], logits[0, 90, 2] = bar + 1e-2, bar - 1e-2
    _, scores, labels, counts = run("onnxruntime", score, logits, sides, tmp_path)
    assert counts.tolist() == [1]
    assert labels[0, 0] == 1
    assert scores[0, 0] == pytest.approx(score, rel=0.01)


def test_cutting_leaves_no_decoding_behind(models: dict[str, Path]) -> None:
    raw = onnx.load(models["onnx-raw"])
    cut = undecoded(raw)
    onnx.checker.check_model(cut)
    shapes = {out.name: [d.dim_value for d in out.type.tensor_type.shape.dim] for out in cut.graph.output}
    assert shapes == {"logits": [2, len(PRIORS), CLASSES], "sides": [2, len(PRIORS), 4, BINS]}
    assert "Softmax" not in {node.op_type for node in cut.graph.node}
    read = {name for node in cut.graph.node for name in node.input}
    assert {table.name for table in cut.graph.initializer} <= read
    assert "Softmax" in {node.op_type for node in raw.graph.node}
