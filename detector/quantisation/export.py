"""Checkpoint -> int8 model file: exported and verified in fp32 first, then quantised."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from detector.checkpoint import Checkpoint
from detector.export import ExportReport, ExportSettings, claimed_files, export_checkpoint
from detector.quantisation.openvino import require_nncf
from detector.quantisation.record import Record
from detector.quantisation.run import Fp32Export, Settings, quantise, read_pictures
from search_spaces.errors import UserError
from search_spaces.saying import Say, silent

FORMATS = ("onnx", "openvino")


@dataclass(frozen=True, slots=True)
class QuantisedExport:
    """files: what was written. fp32: how far the file that was quantised is from torch. record: what int8 costs."""

    files: tuple[Path, ...]
    fp32: ExportReport
    record: Record


def export_quantised(
    checkpoint: Checkpoint, path: Path, format_name: str, export: ExportSettings, data: Path, settings: Settings, *,
    overwrite: bool = False, say: Say = silent,
) -> QuantisedExport:  # fmt: skip
    """Write `checkpoint` as an int8 file, calibrated on and judged by `data`.

    Raises UserError as `export_checkpoint`, `read_pictures` and `quantise` do, and for a format that has no int8.
    """
    if format_name not in FORMATS:
        raise UserError(f"--precision int8 is for --format {' and '.join(FORMATS)}; {format_name} was asked for")
    if export.half:
        raise UserError("--half stores fp32's weights in fp16, --precision int8 stores them in int8; say one of them")
    if export.nms == "tensorrt":
        raise UserError(
            "--precision int8 is judged by the file's own AP, and --nms tensorrt runs nowhere here; say one of them"
        )
    if export.free_size:
        raise UserError("--precision int8 is calibrated at one size, --dynamic-size leaves it free; say one of them")
    if export.input == "picture":
        raise UserError("--precision int8 is calibrated on tensors, --preprocess takes pictures; say one of them")
    if format_name == "openvino":
        require_nncf()
    pictures = read_pictures(data, checkpoint.class_names, settings)
    files = claimed_files(path, format_name, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        scratch, target = Path(folder), Path(folder) / path.name
        source = Fp32Export(scratch / "fp32.onnx", scratch / "fp32.xml" if format_name == "openvino" else None)
        report = export_checkpoint(checkpoint, source.onnx, "onnx", export)
        if source.openvino is not None:
            report = export_checkpoint(checkpoint, source.openvino, "openvino", export)
        record = quantise(source, pictures, target, settings, say)
        for file in files:
            (scratch / file.name).replace(file)
    return QuantisedExport(tuple(files), report, record)
