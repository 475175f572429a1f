"""ONNX Runtime's static quantisation: QDQ pairs, uint8 activations, int8 weights per out channel.

Calibration runs once; models with any choice of layers come from its ranges. onnx and onnxruntime are imported inside
functions only.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.quantisation.layers import Layers, find_layers
from detector.quantisation.record import KEY, PRECISION

QUANTISED = ("Conv", "Relu", "Sigmoid", "Mul", "Add", "Concat", "MaxPool", "Resize")
Inputs = Sequence[npt.NDArray[np.float32]]


class OnnxQuantiser:
    """A fp32 ONNX export, calibrated. `layers`: what can be kept in floating point."""

    def __init__(self, path: Path, pictures: Inputs, *, reduced_range: bool = False) -> None:
        """`reduced_range`: weights of 7 bits. Raises UserError when the file is no fp32 export."""
        import onnx

        self._reduced_range = reduced_range
        self._model = onnx.load(path)
        _say_each_opset_once(self._model)
        self.layers: Layers = find_layers(self._model, path)
        self._ranges = _calibrated(self._model, pictures)

    def model(self, kept: Collection[str]) -> Any:
        """The onnx.ModelProto with all layers quantised but `kept`."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        floating = set(self.layers.nodes(frozenset(kept)))
        network = [name for name in self.layers.network if name not in floating]
        quantiser = QDQQuantizer(
            _copy(self._model), True, self._reduced_range, QuantType.QInt8, QuantType.QUInt8, self._ranges, network, [],
            list(QUANTISED), {},
        )  # fmt: skip
        with quiet():
            quantiser.quantize_model()
        return quantiser.model.model

    def save(self, model: Any, path: Path, record: str) -> None:
        """Write a model with its record in its metadata."""
        import onnx

        for key, text in ((KEY, record), PRECISION):
            entry = next((e for e in model.metadata_props if e.key == key), None) or model.metadata_props.add()
            entry.key, entry.value = key, text
        onnx.save(model, path)

    @property
    def tool(self) -> str:
        """What quantises, with its version."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"


def _calibrated(model: Any, pictures: Inputs) -> Any:
    """The range of every tensor of the network over the pictures."""
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    with tempfile.TemporaryDirectory() as folder, quiet():
        source = Path(folder) / "model.onnx"
        onnx.save(model, source)
        calibrator = create_calibrator(
            source, list(QUANTISED), str(Path(folder) / "augmented.onnx"), calibrate_method=CalibrationMethod.MinMax
        )
        calibrator.collect_data(_Reader(pictures))
        return calibrator.compute_data()


class _Reader:
    """Pictures, one by one, as a calibrator asks for them."""

    def __init__(self, pictures: Inputs) -> None:
        self._left: Iterator[npt.NDArray[np.float32]] = iter(pictures)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        picture = next(self._left, None)
        return None if picture is None else {"images": picture}


def _say_each_opset_once(model: Any) -> None:
    """NMS comes with a list of its own; the quantiser takes a domain that is named twice for one that is missing."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]
    for domain, version in versions.items():
        model.opset_import.add(domain=domain, version=version)


def _copy(model: Any) -> Any:
    found = type(model)()
    found.CopyFrom(model)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tools' notes on what they would like done first."""
    level = logging.getLogger().manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
