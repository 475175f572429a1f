"""Non-maximum suppression as TensorRT's plug-in EfficientNMS_TRT behind raw boxes and scores.

After the plug-in's documentation (NVIDIA/TensorRT, plugin/efficientNMSPlugin/README.md). TensorRT's parser finds it by the
op's type, version and namespace; other runtimes have no such op.
"""

from __future__ import annotations

from typing import Any

from detector.deploy.onnx import PLUGIN
from detector.model_card import ModelCard

DOMAIN = "TRT"
_CORNERS, _NO_BACKGROUND = 0, -1


def with_plugin(raw: Any, card: ModelCard) -> Any:
    """A raw ONNX model, with or without pre-processing, with the plug-in behind it; `raw` stays as it is.

    Outputs, K = max_detections: `num_detections` (N, 1) int32, the rows that count, `detection_boxes` (N, K, 4) xyxy,
    `detection_scores` (N, K) and `detection_classes` (N, K) int32. Multi-label and per class, as `detector.postprocess`,
    but of the 4096 best candidates.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(raw)
    batch, most = card.batch or "batch", card.max_detections
    outputs = [
        helper.make_tensor_value_info("num_detections", TensorProto.INT32, [batch, 1]),
        helper.make_tensor_value_info("detection_boxes", TensorProto.FLOAT, [batch, most, 4]),
        helper.make_tensor_value_info("detection_scores", TensorProto.FLOAT, [batch, most]),
        helper.make_tensor_value_info("detection_classes", TensorProto.INT32, [batch, most]),
    ]
    node = helper.make_node(
        PLUGIN, ["boxes", "scores"], [output.name for output in outputs], name="nms", domain=DOMAIN, plugin_version="1",
        plugin_namespace="", score_threshold=card.score_threshold, iou_threshold=card.iou_threshold,
        max_output_boxes=most, background_class=_NO_BACKGROUND, score_activation=0, class_agnostic=0,
        box_coding=_CORNERS,
    )  # fmt: skip
    model.graph.node.append(node)
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.checker.check_model(model)
    return model
