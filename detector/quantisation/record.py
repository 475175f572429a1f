"""What a quantised file says about its quantisation."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError

KEY = "quantisation"
"""Of the metadata, beside the model card's."""
PRECISION = ("precision", json.dumps("int8"))
"""What a quantised file's card says in place of fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """tool: what quantised, with its version. calibrated_on, judged_on: how many pictures of which split.

    ap, ap_fp32: COCO AP (0..1) of this file and of the fp32 file on the judged pictures. kept: layers left in floating
    point, the most harmful first. harm: by layer, what quantising it alone does to detections (`sensitivity`), where it
    was measured. reduced_range: whether weights have 7 bits, for processors without VNNI.
    """

    tool: str
    calibrated_on: str
    judged_on: str
    ap: float
    ap_fp32: float
    kept: tuple[str, ...] = ()
    harm: dict[str, float] = field(default_factory=dict)
    precision: str = "int8"
    reduced_range: bool = False

    @property
    def drop(self) -> float:
        """AP lost, in points (0..100)."""
        return 100 * (self.ap_fp32 - self.ap)

    def to_text(self) -> str:
        """JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str, source: str) -> Record:
        """Raises UserError, naming `source`, for a text that `to_text` did not write."""
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(**values | {"kept": tuple(values["kept"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{source}: what it says of its quantisation is damaged ({error}); export it again"
            ) from None


def read_record(path: Path) -> Record | None:
    """The record of a model file (.onnx, .xml); None for one that was not quantised by tinynas."""
    if path.suffix == ".onnx":
        import onnx

        model = onnx.load(path, load_external_data=False)
        text = next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
    else:
        from detector.deploy.openvino import core

        found = core().read_model(path)
        place = ["tinynas", KEY]
        text = found.get_rt_info(place).astype(str) if found.has_rt_info(place) else None
    return None if text is None else Record.from_text(text, str(path))
