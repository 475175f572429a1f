"""A tiny detector, its fp32 exports, and a data set whose boxes are what it finds: fp32 has a high AP, and int8 loses what
quantisation costs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from detector.checkpoint import Checkpoint
from detector.detector import Detector
from detector.export import ExportSettings, export_checkpoint
from detector.quantisation.run import Fp32Export
from tests.detector.deploy.conftest import _trace_once, picture, tiny

__all__ = ["_trace_once", "tiny"]
SIDES = (64, 96)


@pytest.fixture(scope="session")
def source(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Fp32Export:
    """fp32 exports: ONNX without NMS, OpenVINO with it."""
    folder = tmp_path_factory.mktemp("exports")
    found = Fp32Export(folder / "fp32.onnx", folder / "fp32.xml")
    export_checkpoint(tiny, found.onnx, "onnx", ExportSettings(output="raw"))
    export_checkpoint(tiny, found.path, "openvino", ExportSettings(output="nms"))
    return found


@pytest.fixture(scope="session")
def data(source: Fp32Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO data: 6 pictures of train, 6 of val, with the best ten boxes that the fp32 export finds in each."""
    folder = tmp_path_factory.mktemp("data")
    detector = Detector.load(source.onnx)
    card = detector.card
    categories = [{"id": i, "name": name} for i, name in zip(card.category_ids, card.class_names)]
    for split, first in (("train", 0), ("val", 100)):
        images, boxes = [], []
        for number in range(6):
            name = f"{split}{number}.png"
            pixels = picture(first + number, *SIDES)
            (folder / f"{split}2017").mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"{split}2017" / name), pixels[..., ::-1])
            images.append({"id": number, "file_name": name, "height": SIDES[0], "width": SIDES[1]})
            found = detector.predict(pixels, score_threshold=0.0)
            for (x, y, right, low), label in zip(found.boxes_xyxy[:10].tolist(), found.labels[:10].tolist()):
                if right - x < 2 or low - y < 2:
                    continue
                box = [x, y, right - x, low - y]
                boxes.append({
                    "id": len(boxes) + 1, "image_id": number, "category_id": card.category_ids[label], "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0,
                })  # fmt: skip
        text = json.dumps({"images": images, "annotations": boxes, "categories": categories})
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{split}2017.json").write_text(text)
    return folder
