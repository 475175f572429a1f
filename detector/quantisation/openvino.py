"""NNCF's post-training quantisation of OpenVINO files. nncf and openvino are imported inside functions only."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.quantisation.record import KEY, PRECISION
from search_spaces.errors import UserError

Inputs = Sequence[npt.NDArray[np.float32]]


def require_nncf() -> None:
    """Raises UserError when NNCF is not installed."""
    if importlib.util.find_spec("nncf") is None:
        raise UserError("int8 for OpenVINO needs NNCF; pip install 'tinynas[int8]' (or nncf), or take --format onnx")


class OpenVINOQuantiser:
    """A fp32 OpenVINO export and the pictures to calibrate on."""

    def __init__(self, path: Path, pictures: Inputs, *, reduced_range: bool = False) -> None:
        """`reduced_range`: weights of 7 bits. Raises UserError when NNCF is not installed."""
        require_nncf()
        self._path, self._pictures, self._reduced_range = path, pictures, reduced_range

    def model(self, kept: Collection[str]) -> Any:
        """The openvino.Model with all convs quantised but those of the ONNX nodes `kept`."""
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

        from detector.deploy.openvino import core

        fix = OverflowFix.ENABLE if self._reduced_range else OverflowFix.FIRST_LAYER
        model = core().read_model(self._path)
        ignored = [*_decoding(model), *_named(model, kept)]
        nncf.set_log_level(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            return nncf.quantize(
                model, nncf.Dataset(self._pictures), subset_size=len(self._pictures),
                preset=nncf.QuantizationPreset.PERFORMANCE, ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
                advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
            )  # fmt: skip

    def save(self, model: Any, path: Path, record: str) -> None:
        """Write a model with its record in its metadata."""
        import openvino

        for key, text in ((KEY, record), PRECISION):
            model.set_rt_info(text, ["tinynas", key])
        openvino.save_model(model, path, compress_to_fp16=False)

    @property
    def tool(self) -> str:
        """What quantises, with its version."""
        import nncf

        return f"nncf {nncf.__version__}"


def _decoding(model: Any) -> list[str]:
    """Names of the ops that lead to no conv: decoding and suppression, whose numbers 256 levels are too few for."""
    leading: set[str] = set()
    for op in reversed(model.get_ordered_ops()):
        readers = {target.get_node().get_friendly_name() for out in op.outputs() for target in out.get_target_inputs()}
        if op.get_type_name() in ("Convolution", "GroupConvolution") or readers & leading:
            leading.add(op.get_friendly_name())
    return [
        op.get_friendly_name() for op in model.get_ordered_ops()
        if op.get_friendly_name() not in leading and op.get_type_name() not in ("Constant", "Parameter", "Result")
    ]  # fmt: skip


def _named(model: Any, nodes: Collection[str]) -> list[str]:
    """Ops that were converted from these ONNX nodes: of their names, or with what the converter added behind a slash."""
    wanted = set(nodes)
    return [
        op.get_friendly_name() for op in model.get_ordered_ops()
        if op.get_type_name() != "Constant" and op.get_friendly_name().split("/")[0] in wanted
    ]  # fmt: skip
