"""TensorRT engines (.engine), built on and for the GPU at hand from the ONNX model; the card stands before the engine.

Not run by this project's tests unless such a GPU is there.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.deploy import Input, Model, Outputs
from detector.deploy._runtimes import cannot_run, runtime
from detector.model_card import ModelCard
from search_spaces.errors import UserError

if TYPE_CHECKING:
    from detector.deploy._source import Source

SUFFIXES = (".engine",)
RUNTIME = "tensorrt"
FROM_ONNX, BATCHES = True, True
OUTPUTS, INPUTS, PRECISIONS = ("raw", "nms"), ("tensor", "picture"), ("fp32", "half")
NMS = ("onnx", "tensorrt")
REASONS: dict[str, str] = {}
MOST_IMAGES = 16
"""Of an engine whose batch is free."""
PICTURES_HW = ((32, 32), (720, 1280), (4320, 7680))
"""Smallest, usual and largest picture of an engine that takes any."""
WORKSPACE_BYTES = 2 << 30
TIMING_CACHE = "tensorrt-timing.cache"
_LENGTH = struct.Struct("<I")


def load(path: Path, device: str | None = None, threads: int | None = None) -> Model:
    """device: cuda or cuda:N. threads: not for GPUs.

    Raises UserError when TensorRT or a GPU is missing, and for an engine of another GPU or version, or of another project.
    """
    trt = runtime("tensorrt", path)
    if device not in (None, "auto") and not str(device).startswith("cuda"):
        raise UserError(f"{path}: --device {device}: an engine runs on cuda")
    data = path.read_bytes()
    try:
        (length,) = _LENGTH.unpack_from(data)
        texts = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    except (struct.error, ValueError) as error:
        raise cannot_run(path, "an engine that tinynas wrote", error, line=0) from None
    card = ModelCard.from_strings(texts, str(path))
    torch = _torch_with_cuda(path)
    logger = trt.Logger(trt.Logger.ERROR)
    if card.nms == "tensorrt":
        trt.init_libnvinfer_plugins(logger, "")
    engine = trt.Runtime(logger).deserialize_cuda_engine(data[_LENGTH.size + length :])
    if engine is None:
        raise UserError(
            f"{path}: built for another GPU or another TensorRT than {trt.__version__}; export it again here"
        )
    return Model(card, _Runner(torch, engine, card, device if device not in (None, "auto") else "cuda"))


def write(source: Source, path: Path) -> None:
    """Build an engine for the GPU at hand; precision `half` lets TensorRT compute in fp16. Timings of kernels are kept
    beside the file, so that the next build is faster.

    Raises UserError when TensorRT or a GPU is missing, and when it cannot build the model.
    """
    trt = runtime("tensorrt", path)
    _torch_with_cuda(path)
    logger = trt.Logger(trt.Logger.ERROR)
    if source.card.nms == "tensorrt":
        trt.init_libnvinfer_plugins(logger, "")
    builder = trt.Builder(logger)
    # explicit batch is the only kind from TensorRT 10 on, and its flag is going away
    explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(source.onnx().SerializeToString()):
        raise UserError(f"{path}: TensorRT {trt.__version__} cannot parse the model: {parser.get_error(0)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)
    if source.card.precision == "half":
        if not hasattr(trt.BuilderFlag, "FP16"):
            raise UserError(f"{path}: TensorRT {trt.__version__} takes fp16 from the model alone; leave --half out")
        config.set_flag(trt.BuilderFlag.FP16)
    config.add_optimization_profile(_profile(builder, network, source.card))
    cache = path.parent.parent / TIMING_CACHE
    timings = config.create_timing_cache(cache.read_bytes() if cache.is_file() else b"")
    config.set_timing_cache(timings, ignore_mismatch=False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise UserError(f"{path}: TensorRT {trt.__version__} cannot build the model; try --raw or a smaller --batch")
    cache.write_bytes(bytes(config.get_timing_cache().serialize()))
    card = json.dumps(source.card.to_strings()).encode()
    path.write_bytes(_LENGTH.pack(len(card)) + card + bytes(engine))


def _profile(builder: Any, network: Any, card: ModelCard) -> Any:
    """Smallest, usual and largest shape of the input."""
    profile = builder.create_optimization_profile()
    counts = (1, 1, MOST_IMAGES) if card.batch is None else (card.batch,) * 3
    sizes = (card.image_size,) * 3 if card.input == "tensor" else (card.picture_size,) * 3
    if card.input == "picture" and card.picture_size is None:
        sizes = PICTURES_HW
    shapes = []
    for count, size in zip(counts, sizes):
        assert size is not None
        shapes.append((count, 3, *size) if card.input == "tensor" else (count, *size, 3))
    profile.set_shape(network.get_input(0).name, *shapes)
    return profile


class _Runner:
    """An engine with its buffers in torch's GPU memory."""

    def __init__(self, torch: Any, engine: Any, card: ModelCard, device: str) -> None:
        self._torch, self._engine, self._card = torch, engine, card
        self._device = torch.device(device)
        self._context = engine.create_execution_context()

    def __call__(self, images: Input) -> Outputs:
        torch, context = self._torch, self._context
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
        context.set_input_shape(self._card.input_name, tuple(given.shape))
        context.set_tensor_address(self._card.input_name, given.data_ptr())
        outputs = {}
        for name in self._card.output_names:
            kind = torch.from_numpy(np.empty(0, dtype=_kind(self._engine.get_tensor_dtype(name)))).dtype
            outputs[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=kind, device=self._device)
            context.set_tensor_address(name, outputs[name].data_ptr())
        stream = torch.cuda.current_stream(self._device)
        context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return tuple(outputs[name].cpu().numpy() for name in self._card.output_names)


def _kind(dtype: Any) -> Any:
    import tensorrt

    return tensorrt.nptype(dtype)


def _torch_with_cuda(path: Path) -> Any:
    import torch

    if not torch.cuda.is_available():
        raise UserError(f"{path}: a TensorRT engine is built and run on an NVIDIA GPU; torch finds none here")
    return torch
