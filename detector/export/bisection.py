"""Where an ONNX model leaves torch: layer by layer, by values, whatever the exporter named them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detector.deploy import Floats
from detector.network import Network
from search_spaces.graph import Op

_RELATIVE = 1e-3
Values = npt.NDArray[np.float32]


def where_it_leaves(network: Network, model: Any, images: Floats) -> str:
    """A clause that names the first layer (the op's path) whose values no tensor of the ONNX model has, and the last that
    one has. images (N, 3, H, W), as the model takes them."""
    tensors = _tensors(model, images)
    last = "its input"
    for path, expected in _layers(network, images):
        name = next((name for name, found in tensors.items() if _alike(expected, found)), None)
        if name is None:
            return f"its ONNX model follows torch up to {last} and leaves it at {path}"
        last = f"{path} (tensor {name})"
    if all(any(_alike(one, found) for found in tensors.values()) for one in _outputs(network, images)):
        return "its ONNX model agrees with torch in every layer: the conversion from ONNX changes the result"
    return f"its ONNX model follows torch up to {last} and leaves it where boxes and scores are decoded"


def _tensors(model: Any, images: Floats) -> dict[str, Values]:
    """Every float tensor between the nodes of an ONNX model."""
    import onnx
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    there = {output.name for output in shown.graph.output}
    for node in shown.graph.node:
        shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name and name not in there)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # as written: what the runtime fuses would not be there to look at
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {session.get_inputs()[0].name: images})
    return {name: value for name, value in zip(names, values) if value.dtype == np.float32}


def _layers(network: Network, images: Floats) -> Iterator[tuple[str, Values]]:
    """(path, output) of every op that computes something, in order."""
    found: list[tuple[str, Values]] = []
    run, scales = network._run, network.scales

    def recorded(op: Op, inputs: list[Tensor]) -> Tensor:
        value = run(op, inputs)
        if op.kind in ("conv", "add", "concat", "max_pool", "upsample"):
            scale = scales.get(op.path)  # the exported conv has it inside
            found.append((op.path, (value if scale is None else value * scale).numpy().copy()))
        return value

    network._run = recorded  # type: ignore[method-assign]
    try:
        with torch.no_grad():
            network(torch.from_numpy(images))
    finally:
        del network._run
    return iter(found)


def _outputs(network: Network, images: Floats) -> tuple[Values, ...]:
    with torch.no_grad():
        return tuple(output.numpy() for output in network(torch.from_numpy(images)))


def _alike(expected: Values, found: Values) -> bool:
    if expected.shape != found.shape:
        return False
    return bool(np.abs(expected - found).max(initial=0) <= _RELATIVE * max(1.0, float(np.abs(expected).max(initial=0))))
