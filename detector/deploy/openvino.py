"""OpenVINO files (.xml with its .bin), run on the CPU in fp32; the card is in `rt_info`."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.deploy import Input, Model, Outputs
from detector.deploy._runtimes import cannot_run, runtime
from detector.model_card import VERSION_KEY, ModelCard
from search_spaces.errors import UserError
from search_spaces.files import check_folder

if TYPE_CHECKING:
    from detector.deploy._source import Source

SUFFIXES = (".xml", ".bin")
RUNTIME = "openvino"
FROM_ONNX, BATCHES = True, True
OUTPUTS, INPUTS, PRECISIONS = ("raw", "nms"), ("tensor", "picture"), ("fp32", "half")
NMS = ("onnx",)
FREE_SIZE = True
REASONS: dict[str, str] = {}
_RT_INFO_ROOT = "tinynas"
_ONNX_RT_INFO_ROOT = "framework"
"""Where OpenVINO puts the metadata of an ONNX file that it reads."""
CACHE_VARIABLE = "TINYNAS_OPENVINO_CACHE"
"""Names a folder where OpenVINO keeps what it compiled, as large as the model, for the next start."""


def load(path: Path, device: str | None = None, threads: int | None = None) -> Model:
    """device: cpu, or another that OpenVINO finds here (gpu, npu). An ONNX export is run by OpenVINO, too.

    Raises UserError as `compiled_model` does, and when the file is no export of this project.
    """
    model, compiled = _compiled(path, device, threads)
    card = ModelCard.from_strings(_metadata(model), str(path))
    outputs = [compiled.output(name) for name in card.output_names]

    def run(images: Input) -> Outputs:
        result = compiled(images)
        return tuple(np.array(result[output]) for output in outputs)

    return Model(card, run)


def compiled_model(path: Path, device: str | None = None, threads: int | None = None) -> Any:
    """OpenVINO's compiled model of an .xml or .onnx file.

    Raises UserError when OpenVINO cannot read the file, or the device is not there.
    """
    return _compiled(path, device, threads)[1]


def _compiled(path: Path, device: str | None, threads: int | None) -> tuple[Any, Any]:
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and not weights.is_file():
        raise UserError(f"{weights}: no such file; an OpenVINO model is two files, {path.name} and {weights.name}")
    _import_openvino(path)
    runtime_core = core()
    place = "CPU" if device in (None, "auto") else str(device).upper()
    if place != "CPU":  # always there, and asking loads the plug-ins of all devices
        there = {name.partition(".")[0] for name in runtime_core.available_devices}
        if place.partition(".")[0] not in there:
            raise UserError(f"{path}: --device {device}: OpenVINO finds {', '.join(sorted(there)).lower()} here")
    # the CPU plug-in's own choice is bf16 where the processor has it
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    if cache_folder := os.environ.get(CACHE_VARIABLE):
        check_folder(Path(cache_folder), f"{CACHE_VARIABLE} names it")
        config["CACHE_DIR"] = cache_folder
    try:
        model = runtime_core.read_model(path)
        return model, runtime_core.compile_model(model, place, config)
    except RuntimeError as error:
        raise cannot_run(path, "a model that OpenVINO can run", error, line=-1) from None


def write(source: Source, path: Path) -> None:
    """Convert the ONNX model and write it; precision `half` stores the weights in fp16."""
    import onnx
    import openvino
    from openvino.tools.ovc import convert_model

    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "model.onnx"
        onnx.save(source.onnx(), original)
        converted = convert_model(original)
        for key, text in source.card.to_strings().items():
            converted.set_rt_info(text, [_RT_INFO_ROOT, key])
        openvino.save_model(converted, path, compress_to_fp16=source.card.precision == "half")


def _import_openvino(path: Path) -> None:
    """Without the package's converter, which it imports for no other reason than to offer it: a third of its import time."""
    if sys.modules.get("openvino") is not None:
        return
    sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
    try:
        runtime("openvino", path)
    finally:
        del sys.modules["openvino.tools.ovc"]


@cache
def core() -> Any:
    """One core for the process. Each core installs a signal stack of its own, and of several the last one leaves a freed
    one installed: the next Ctrl-C would crash, or write into memory that is something else's by then."""
    import openvino

    return openvino.Core()


def _metadata(model: Any) -> dict[str, str]:
    keys = (VERSION_KEY, *ModelCard.__dataclass_fields__)
    root = _RT_INFO_ROOT if model.has_rt_info([_RT_INFO_ROOT]) else _ONNX_RT_INFO_ROOT
    paths = {key: [root, key] for key in keys}
    return {key: model.get_rt_info(path).astype(str) for key, path in paths.items() if model.has_rt_info(path)}
