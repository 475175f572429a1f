"""Decoding and NMS of 8400 priors x 80 classes as an export has them inside: milliseconds of one core, by runtime.

    python benchmarks/suppression_speed.py

Behind known logits as a trained detector gives them: a number of objects, each with 25 neighbouring priors of one class
above the score threshold, and noise below it; and, as the worst case, noise above it everywhere. The time is the
process's own, so other processes on the core hardly move it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from detector.deploy import Floats
from detector.export.suppression import with_suppression
from detector.model_card import ModelCard
from detector.priors import priors

SIZE, CLASSES, BINS = (640, 640), 80, 17
AROUND = 25
RUNS, WARM_UP = 40, 5
GIVEN = """
<ir_version: 10, opset_import: ["" : 18]>
given (float[1, A, {classes}] cls, float[1, A, 4, {bins}] reg)
    => (float[1, A, {classes}] logits, float[1, A, 4, {bins}] sides)
{{
    logits = Identity (cls)
    sides = Identity (reg)
}}
"""


def model() -> Any:
    """Logits as inputs, with decoding and NMS behind them."""
    card = ModelCard(
        class_names=tuple(map(str, range(CLASSES))), category_ids=tuple(range(CLASSES)), image_size=SIZE, output="nms",
        batch=1, score_threshold=0.05, iou_threshold=0.7, max_detections=500, preprocessing={}, structure="",
        tool_version="",
    )  # fmt: skip
    given = onnx.parser.parse_model(GIVEN.format(classes=CLASSES, bins=BINS))
    return with_suppression(given, card, priors(SIZE).numpy())


def logits(objects: int | None, generator: np.random.Generator, count: int) -> Floats:
    """(1, count, CLASSES); None: noise of which two in a hundred are above the threshold."""
    noise = generator.normal(-8 if objects is not None else -5, 1, (1, count, CLASSES)).astype(np.float32)
    for _ in range(objects or 0):
        first, label = generator.integers(count - AROUND), generator.integers(CLASSES)
        noise[0, first : first + AROUND, label] = generator.uniform(-2.9, 3, AROUND)
    return noise


def runners(path: Path) -> Iterator[tuple[str, Callable[[Floats, Floats], Any]]]:
    """Each runtime on one thread."""
    import onnxruntime

    from detector.deploy.openvino import compiled_model

    request = compiled_model(path, threads=1).create_infer_request()
    yield "openvino", lambda cls, reg: request.infer({"cls": cls, "reg": reg}, share_inputs=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    yield "onnxruntime", lambda cls, reg: session.run(None, {"cls": cls, "reg": reg})


def milliseconds(run: Callable[[Floats, Floats], Any], cls: Floats, reg: Floats) -> dict[str, float]:
    """Median and least of RUNS."""
    times = []
    for _ in range(WARM_UP + RUNS):
        start = time.process_time_ns()
        run(cls, reg)
        times.append((time.process_time_ns() - start) / 1e6)
    times = sorted(times[WARM_UP:])
    return {"median_ms": round(times[RUNS // 2], 2), "least_ms": round(times[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[0, 5, 20, 100])
    objects = parser.parse_args().objects
    generator = np.random.default_rng(0)
    count = len(priors(SIZE))
    reg = generator.normal(0, 2, (1, count, 4, BINS)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suppression.onnx"
        onnx.save(model(), path)
        for name, run in runners(path):
            for number in [*objects, None]:
                cls = logits(number, generator, count)
                label = f"{number} objects" if number is not None else "worst case"
                print(json.dumps({"runtime": name, "logits": label, **milliseconds(run, cls, reg)}))


if __name__ == "__main__":
    main()
