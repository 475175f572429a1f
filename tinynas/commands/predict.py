"""`tinynas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from search_spaces.errors import UserError


def run(
    model: Annotated[Path, typer.Argument(help="best.pt, or an exported .onnx or OpenVINO .xml.")],
    source: Annotated[Path, typer.Argument(metavar="IMAGE|DIR", help="A picture, or a folder (with those below it).")],
    out: Annotated[Path, typer.Option(help="Folder for drawn pictures and detections.json.")] = Path("predictions"),
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Show what scores above this.  [default: 0.3]")
    ] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap that suppresses; the model's own if not given.")
    ] = None,
    max_detections: Annotated[int | None, typer.Option(min=1, help="Per image; the model's own if not given.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Write into a folder that is not empty.")] = False,
) -> None:
    """Find objects in pictures: boxes drawn, JSON written."""
    import sys

    from tqdm import tqdm

    from detector.detector import PREDICT_SCORE_THRESHOLD, Detector
    from detector.lettering import lettering
    from detector.prediction import JSON_NAME, claim_folder, find_pictures, predict_pictures

    claim_folder(out, source, overwrite)
    pictures = find_pictures(source, out)
    detector = Detector.load(model)
    score = max(PREDICT_SCORE_THRESHOLD, detector.card.score_threshold) if score_threshold is None else score_threshold
    try:
        detector = detector.with_thresholds(score=score, iou=iou_threshold, max_detections=max_detections)
    except UserError as error:
        raise UserError(f"{model}: {error}") from None
    root = source if source.is_dir() else source.parent
    with tqdm(total=len(pictures), unit="image", desc="predict", disable=None if len(pictures) > 1 else True) as bar:
        report = predict_pictures(detector, pictures, root, out, model=str(model), advance=bar.update)
    for line in lettering(detector.class_names).legend:
        print(f"in the pictures, {line}", file=sys.stderr)
    for _, reason in report.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    found = f"{report.num_detections} detections in {len(report.images)} images{skipped}"
    print(f"{found}; wrote {out} and {out / JSON_NAME}")
