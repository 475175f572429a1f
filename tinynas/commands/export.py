"""`tinynas export`."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from search_spaces.errors import UserError
from search_spaces.files import check_file

Preprocess: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="any|HxW", help="Take 8-bit images [N,H,W,3] of any size or a fixed one, and resize inside."),
]
ClassThresholds: TypeAlias = Annotated[
    Path | None,
    typer.Option(help='Score thresholds of predict by class: JSON, {"name": score} or what eval --json prints.'),
]
GoldenPicture: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="PICTURE", help="Image to store in the file and to check it with. Default: a generated one."),
]
Nms: TypeAlias = Annotated[
    str, typer.Option(help="NMS inside: onnx (the operator) or tensorrt (TensorRT's plug-in EfficientNMS_TRT).")
]
DynamicSize: TypeAlias = Annotated[
    bool, typer.Option("--dynamic-size", help="Leave height and width free, in multiples of 32.")
]
Channels: TypeAlias = Annotated[str, typer.Option(help="Order of the images' channels with --preprocess: rgb or bgr.")]
MaxDrop: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0, max=100, help="With int8: largest accepted loss of COCO AP, in points. Default: 0.5."),
]

ReduceRange: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--reduce-range", help="With int8: weights of 7 bits, for x86 CPUs without VNNI, where sums can saturate."
    ),
]


def run(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="best.pt of a training run.")],
    format_: Annotated[
        str | None, typer.Option("--format", help="onnx, openvino, ...; by default what -o ends in, else onnx.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; by default beside the checkpoint.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Leave NMS out: output all boxes and scores.")] = False,
    nms: Nms = "onnx",
    preprocess: Preprocess = None,
    channels: Channels = "rgb",
    image_size: Annotated[str | None, typer.Option(help="H or HxW in pixels; by default the checkpoint's.")] = None,
    dynamic_size: DynamicSize = False,
    batch: Annotated[str, typer.Option(help="Images per call: a number, or dynamic.")] = "1",
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Lowest score of a detection. Default: as in evaluations.")
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="IoU threshold of NMS. Default: as in evaluations.")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Detections per image. Default: as in evaluations.")
    ] = None,
    class_thresholds: ClassThresholds = None,
    half: Annotated[bool, typer.Option("--half", help="Store the weights in fp16.")] = False,
    golden: GoldenPicture = None,
    precision: Annotated[str, typer.Option(help="fp32, or int8: quantised, which needs --data.")] = "fp32",
    data: Annotated[
        Path | None, typer.Option(help="With int8: the data set; train calibrates, val measures the loss of AP.")
    ] = None,
    max_drop: MaxDrop = None,
    reduce_range: ReduceRange = False,
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
) -> None:
    """Write a model file for deployment, verified against the checkpoint."""
    from search_spaces.image_size import parse_image_size

    size = parse_image_size(image_size) if image_size else None
    images = _batch(batch)
    pictures = _picture_size(preprocess)
    _check_choices(channels, preprocess, nms)
    thresholds = None if class_thresholds is None else _thresholds(class_thresholds)
    name, path = _target(checkpoint, out, format_)
    from detector.checkpoint import load_checkpoint
    from detector.export import ExportSettings, export_checkpoint

    settings = ExportSettings(
        output="raw" if raw else "nms", image_size=size, batch=images, score_threshold=score_threshold,
        iou_threshold=iou_threshold, max_detections=max_detections, half=half,
        input="tensor" if preprocess is None else "picture", picture_size=pictures,
        channels=channels, class_thresholds=thresholds, golden=golden,  # type: ignore[arg-type]
        nms=nms, free_size=dynamic_size,  # type: ignore[arg-type]
    )  # fmt: skip
    if precision != "fp32" or data is not None or reduce_range or max_drop is not None:
        _quantised(checkpoint, path, name, settings, precision, data, max_drop, reduce_range, overwrite)
        return
    report = export_checkpoint(load_checkpoint(checkpoint), path, name, settings, overwrite=overwrite)
    _tell(report, nms_was_run=not (nms == "tensorrt" and name == "onnx"))


def _tell(report: Any, *, nms_was_run: bool) -> None:
    print(f"largest differences from torch: {report.network}")
    if report.detections is not None:
        print(f"largest differences of NMS inside from torch's: {report.detections}")
    elif not nms_was_run:
        print("NMS is TensorRT's plug-in, which was not run: what comes before it was checked")
    print(f"from the golden picture's bytes to boxes: {report.golden}")
    if not report.golden.compared:
        print("note: torch finds nothing certain in the golden picture; --golden PICTURE takes one with objects in it")
    print(f"wrote {', '.join(str(file) for file in report.files)} in {report.seconds:.1f} s")


def _check_choices(channels: str, preprocess: str | None, nms: str) -> None:
    if nms not in ("onnx", "tensorrt"):
        raise UserError(f"--nms {nms}: expected onnx or tensorrt")
    if channels not in ("rgb", "bgr"):
        raise UserError(f"--channels {channels}: expected rgb or bgr")
    if channels == "bgr" and preprocess is None:
        raise UserError("--channels bgr goes with --preprocess; without it the input is an RGB tensor")


def _quantised(
    checkpoint: Path, path: Path, name: str, settings: Any, precision: str, data: Path | None, max_drop: float | None,
    reduce_range: bool, overwrite: bool,
) -> None:  # fmt: skip
    if reduce_range and precision != "int8":
        raise UserError("--reduce-range is for --precision int8, whose weights it makes smaller; say both, or neither")
    if max_drop is not None and precision != "int8":
        raise UserError("--max-drop is for --precision int8, which loses some AP; say both, or neither")
    if precision != "int8":
        known = "fp32 or int8" if data is None else "int8, which --data is for,"
        raise UserError(f"--precision {precision}: {known} expected")
    if data is None:
        raise UserError("--precision int8 is calibrated on your pictures; say which: --data DIR")
    from detector.checkpoint import load_checkpoint
    from detector.quantisation import Settings
    from detector.quantisation.export import export_quantised

    say = partial(print, file=sys.stderr)
    done = export_quantised(
        load_checkpoint(checkpoint),
        path,
        name,
        settings,
        data,
        Settings(reduced_range=reduce_range)
        if max_drop is None
        else Settings(max_drop=max_drop, reduced_range=reduce_range),
        overwrite=overwrite,
        say=say,
    )
    record = done.record
    print(
        f"AP {100 * record.ap:.2f} in int8, {100 * record.ap_fp32:.2f} in fp32, on {record.judged_on} ({record.tool})"
    )
    if record.kept:
        print(f"left in floating point: {', '.join(record.kept)}")
    print(f"wrote {', '.join(str(file) for file in done.files)}")


def _target(checkpoint: Path, out: Path | None, format_: str | None) -> tuple[str, Path]:
    """The format, and the file to write: `out`, else one beside the checkpoint."""
    from detector.deploy import writable

    name = format_ or _format_by(out)
    suffix = writable(name).SUFFIXES[0]
    check_file(checkpoint, "a checkpoint (best.pt or last.pt of a training run)")
    return name, out or checkpoint.with_suffix(suffix)


def _format_by(out: Path | None) -> str:
    """The format that the file's suffix tells; ONNX where it tells none."""
    from detector.deploy import exportable, get_format

    suffixes = {get_format(name).SUFFIXES[0]: name for name in exportable()}
    return next((name for suffix, name in suffixes.items() if out is not None and out.name.endswith(suffix)), "onnx")


def _batch(text: str) -> int | None:
    if text == "dynamic":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise UserError(f"--batch {text}: expected a number from 1 to 1024, or dynamic")
    return int(text)


def _picture_size(text: str | None) -> tuple[int, int] | None:
    """None for any size, and where nothing was asked for."""
    if text in (None, "any"):
        return None
    height, _, width = str(text).lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UserError(f"--preprocess {text}: expected any, or a camera's HxW in pixels, as in 720x1280")
    return int(height), int(width)


def _thresholds(path: Path) -> dict[str, float]:
    from search_spaces.files import read_text

    expected = 'expected {"class name": score} or the output of tinynas eval --json'
    try:
        content = json.loads(read_text(path, "JSON"))
        rows = content["classes"] if isinstance(content.get("classes"), dict) else content
        found = {name: row["score_threshold"] if isinstance(row, dict) else row for name, row in rows.items()}
        # a class that was never found right has no best threshold
        scores = {name: 0.0 if value is None else float(value) for name, value in found.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no class thresholds ({error}); {expected}") from None
    for name, score in scores.items():
        if not 0 <= score <= 1 or isinstance(found[name], bool | str):
            raise UserError(f"{path}: class threshold {found[name]!r} of {name!r}; expected a score from 0 to 1")
    return scores
