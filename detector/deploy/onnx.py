"""ONNX files, run by ONNX Runtime; the card is in `metadata_props`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from detector.deploy import Input, Model, Outputs
from detector.deploy._runtimes import cannot_run, runtime
from detector.model_card import ModelCard
from search_spaces.errors import UserError

if TYPE_CHECKING:
    from detector.deploy._source import Source

SUFFIXES = (".onnx",)
RUNTIME = "onnxruntime"
FROM_ONNX, BATCHES = True, True
OUTPUTS, INPUTS, PRECISIONS = ("raw", "nms"), ("tensor", "picture"), ("fp32",)
NMS = ("onnx", "tensorrt")
FREE_SIZE = True
REASONS = {"half": "ONNX Runtime's CPU kernels do not compute with fp16 weights well; --format openvino stores them so"}
PLUGIN = "EfficientNMS_TRT"
_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}


def load(path: Path, device: str | None = None, threads: int | None = None) -> Model:
    """device: cpu, cuda or tensorrt.

    Raises UserError when ONNX Runtime cannot read or run the file, it is no export of this project, or the device is not
    there.
    """
    onnxruntime = runtime("onnxruntime", path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    providers = _PROVIDERS.get("cpu" if device in (None, "auto") else str(device))
    there = onnxruntime.get_available_providers()
    if providers is None or providers[0] not in there:
        found = ", ".join(name for name, (first, *_) in _PROVIDERS.items() if first in there)
        raise UserError(f"{path}: --device {device}: the installed ONNX Runtime has {found}")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own exception types share no base
        if PLUGIN in str(error):
            raise UserError(
                f"{path}: its NMS is TensorRT's plug-in {PLUGIN}, which ONNX Runtime does not have; build an engine from it "
                f"(trtexec --onnx={path.name}), or export without --nms tensorrt"
            ) from None
        raise cannot_run(path, "an ONNX model that onnxruntime can run", error, line=0) from None
    card = ModelCard.from_strings(session.get_modelmeta().custom_metadata_map, str(path))

    def run(images: Input) -> Outputs:
        return tuple(session.run(list(card.output_names), {card.input_name: images}))

    return Model(card, run)


def write(source: Source, path: Path) -> None:
    """Write an ONNX model."""
    import onnx

    model = source.onnx()
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, source.card.to_strings())
    onnx.save(model, path)
