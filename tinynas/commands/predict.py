"""`tinynas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_SCORE = 0.3


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

    from detector.backends import load_backend
    from detector.lettering import lettering
    from detector.prediction import JSON_NAME, claim_folder, find_pictures, predict_pictures

    claim_folder(out, source, overwrite)
    pictures = find_pictures(source, out)
    backend = load_backend(
        model, score_threshold=score_threshold, iou_threshold=iou_threshold, max_detections=max_detections
    )
    if score_threshold is None:
        backend = backend.at_least(DEFAULT_SCORE)
    root = source if source.is_dir() else source.parent
    with tqdm(total=len(pictures), unit="image", desc="predict", disable=None if len(pictures) > 1 else True) as bar:
        report = predict_pictures(backend, pictures, root, out, model=str(model), advance=bar.update)
    for line in lettering(tuple(backend.class_names)).legend:
        print(f"in the pictures, {line}", file=sys.stderr)
    for _, reason in report.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    found = f"{report.num_detections} detections in {len(report.images)} images{skipped}"
    print(f"{found}; wrote {out} and {out / JSON_NAME}")
