"""OpenVINO models (.xml with its .bin), run on the CPU in fp32."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detector.backends import Floats, Run
from detector.model_card import VERSION_KEY, ModelCard
from search_spaces.errors import UserError

RT_INFO_ROOT = "tinynas"


def load(path: Path) -> tuple[ModelCard, Run]:
    """Raises UserError when OpenVINO cannot read the file, or it is no export of this project."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; an OpenVINO model is two files, {path.name} and {weights.name}")
    try:
        model = _core().read_model(path)
        # the CPU plug-in's own choice is bf16 where the processor has it
        compiled = _core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1][:120]
        raise UserError(f"{path}: not a model that OpenVINO can run ({reason}); export it again") from None
    card = ModelCard.from_strings(_metadata(model), str(path))
    outputs = [compiled.output(name) for name in card.output_names]

    def run(images: Floats) -> tuple[npt.NDArray[np.generic], ...]:
        result = compiled(images)
        return tuple(np.array(result[output]) for output in outputs)

    return card, run


@cache
def _core() -> Any:
    """One core for the process. Each core installs a signal stack of its own, and of several the last one leaves a freed
    one installed: the next Ctrl-C would crash, or write into memory that is something else's by then."""
    import openvino

    return openvino.Core()


def _metadata(model: Any) -> dict[str, str]:
    keys = (VERSION_KEY, *ModelCard.__dataclass_fields__)
    paths = {key: [RT_INFO_ROOT, key] for key in keys}
    return {key: model.get_rt_info(path).astype(str) for key, path in paths.items() if model.has_rt_info(path)}
