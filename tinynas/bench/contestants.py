"""Model files as something to time: exports of tinynas, and foreign ONNX and OpenVINO files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.deploy import load_model, openvino
from detector.detector import Detector
from detector.golden import drawn_scene
from search_spaces.errors import UserError
from search_spaces.files import check_file

PICTURE_HW = (720, 1280)
"""Of the picture that is timed from pixels to boxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """threads: of the runtime. batch: images per run. image_size: height, width for foreign files that leave it open.
    onnx_runtime: what runs foreign and own .onnx files, `onnxruntime` or `openvino`. device: as the runtime names it."""

    threads: int = 1
    batch: int = 1
    image_size: tuple[int, int] = (640, 640)
    onnx_runtime: str = "onnxruntime"
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """run: the model once, on a fixed input, images in a batch together. whole: from a picture's pixels to boxes, None for
    foreign files; detector: None for these, too. images: per run."""

    name: str
    path: Path
    run: Callable[[], object]
    whole: Callable[[], object] | None
    detector: Detector | None
    images: int


def contestant(path: Path, setting: Setting) -> Contestant:
    """Load a file. Raises UserError for one that cannot be run, and for a batch that it does not take."""
    check_file(path, "a model file, as .onnx, .xml or best.pt")
    by_openvino = path.suffix == ".xml" or (path.suffix == ".onnx" and setting.onnx_runtime == "openvino")
    try:
        if by_openvino:
            model = openvino.load(path, setting.device, setting.threads)
        else:
            model = load_model(path, device=setting.device, threads=setting.threads)
    except UserError as error:
        if path.suffix not in (".onnx", ".xml") or "not an export of this project" not in str(error):
            raise
        run = _openvino_run(path, setting) if by_openvino else _onnxruntime_run(path, setting)
        return Contestant(name=str(path), path=path, run=run, whole=None, detector=None, images=setting.batch)
    card = model.card
    if card.batch not in (None, setting.batch):
        raise UserError(f"{path}: takes {card.batch} images at once; --batch {setting.batch} needs another export")
    detector = Detector(model)
    picture = drawn_scene(card.picture_size or PICTURE_HW)
    if card.input == "picture":
        given: npt.NDArray[Any] = np.stack([picture] * setting.batch)
    else:
        given = _noise((setting.batch, 3, *card.image_size))
    pictures = [picture] * setting.batch
    return Contestant(
        name=str(path), path=path, run=lambda: model.run(given), whole=lambda: detector.detect(pictures),
        detector=detector, images=setting.batch,
    )  # fmt: skip


def _onnxruntime_run(path: Path, setting: Setting) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = setting.threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {}
    for one in session.get_inputs():
        kind = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(one.type)
        feed[one.name] = _input(path, one.name, one.shape, kind, setting)
    return lambda: session.run(None, feed)


def _openvino_run(path: Path, setting: Setting) -> Callable[[], object]:
    compiled = openvino.compiled_model(path, setting.device, setting.threads)
    feed = {}
    for one in compiled.inputs:
        shape = [axis.get_length() if axis.is_static else None for axis in one.get_partial_shape()]
        kind = {"f32": np.float32, "f16": np.float16, "u8": np.uint8}.get(one.get_element_type().get_type_name())
        feed[one.get_any_name()] = _input(path, one.get_any_name(), shape, kind, setting)
    return lambda: compiled(feed)


def _input(path: Path, name: str, shape: Any, kind: Any, setting: Setting) -> npt.NDArray[Any]:
    """A fixed random input; axes that are open are the batch, then the image size."""
    if len(shape) != 4 or kind is None:
        raise UserError(
            f"{path}: its input {name!r} is no image [N, 3, H, W] of floats or bytes; it cannot be timed here"
        )
    height, width = setting.image_size
    sides = (setting.batch, height, width, 3) if shape[-1] == 3 else (setting.batch, 3, height, width)
    whole = [axis if isinstance(axis, int) and axis > 0 else side for axis, side in zip(shape, sides)]
    if whole[0] != setting.batch:
        raise UserError(f"{path}: takes {whole[0]} images at once; --batch {setting.batch} needs another export")
    noise = _noise(tuple(whole))
    return noise.astype(kind) if kind == np.uint8 else (noise / 255).astype(kind)


def _noise(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Values like a picture's: on memory as it comes, denormals can slow a conv down thirtyfold."""
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
