"""ONNX models, run by onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.backends import Floats, Run
from detector.model_card import ModelCard
from search_spaces.errors import UserError


def load(path: Path) -> tuple[ModelCard, Run]:
    """Raises UserError when onnxruntime cannot read the file, or it is no export of this project."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exception types share no base
        reason = str(error).strip().splitlines()[0][:120]
        raise UserError(f"{path}: not an ONNX model that onnxruntime can run ({reason}); export it again") from None
    card = ModelCard.from_strings(session.get_modelmeta().custom_metadata_map, str(path))

    def run(images: Floats) -> tuple[npt.NDArray[np.generic], ...]:
        return tuple(session.run(list(card.output_names), {"images": images}))

    return card, run
