"""`tinynas predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

from search_spaces.errors import UserError

if TYPE_CHECKING:
    from detector.prediction.run import Tally

AUTO = "auto"
LARGEST_TILE = 1 << 15
_WHAT, _FILES = "What is found", "What is written"

Sources: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Images, videos, and folders or patterns ('a/*.jpg') of them; - for a list on standard input; a camera's "
        "number; an rtsp:// or http:// stream.",
    ),
]
Formats: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="json|jsonl|csv|yolo|coco", rich_help_panel=_FILES,
                 help="Format of the detections; may be given several times. Default: json for images, jsonl for videos "
                 "and streams."),
]  # fmt: skip
Tile: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="[SIZE]", rich_help_panel=_WHAT,
                 help="Run the model on overlapping tiles too, for small objects in big images. SIZE: their side in pixels, "
                 "by default the model's input size."),
]  # fmt: skip
ClassThreshold: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=SCORE", help="Threshold for one class; may be given several times.", rich_help_panel=_WHAT
    ),
]


class Command(TyperCommand):
    """`--tile` may stand without a size."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`auto` is put after a `--tile` that no number follows."""
        given: list[str] = []
        for here, after in zip(args, [*args[1:], ""]):
            given += [here, AUTO] if here == "--tile" and not after.isdecimal() and after != AUTO else [here]
        return super().parse_args(ctx, given)


def run(
    model: Annotated[Path, typer.Argument(help="best.pt, or an export (.onnx, .xml, .ncnn.param, .pt2).")],
    source: Sources,
    out: Annotated[Path, typer.Option(help="Folder for drawn images and detections.", rich_help_panel=_FILES)] = Path(
        "predictions"
    ),
    formats: Formats = None,
    draw: Annotated[bool, typer.Option(help="Write copies with boxes drawn.", rich_help_panel=_FILES)] = True,
    crops: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for crops of every detection.", rich_help_panel=_FILES)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Write into folders that are not empty.", rich_help_panel=_FILES)
    ] = False,
    show: Annotated[bool, typer.Option(help="Also show the results in a window.", rich_help_panel=_FILES)] = False,
    every: Annotated[int, typer.Option(min=1, help="Process every Nth frame.", rich_help_panel=_WHAT)] = 1,
    tile: Tile = None,
    track: Annotated[
        bool, typer.Option(help="Number objects across frames; needs the package trackers.", rich_help_panel=_WHAT)
    ] = False,
    score_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lowest score of a detection. Default: 0.3.", rich_help_panel=_WHAT),
    ] = None,
    class_threshold: ClassThreshold = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="IoU threshold of NMS. Default: the model's.", rich_help_panel=_WHAT),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="Detections per image. Default: the model's.", rich_help_panel=_WHAT)
    ] = None,
) -> None:
    """Find objects in images, videos and streams; draw the boxes and write the detections."""
    from detector.prediction.outputs._window import check_screen
    from detector.prediction.run import Wishes, claim_folder, predict, wished_formats
    from detector.prediction.sources import Kind, find_items
    from detector.prediction.thresholds import Thresholds
    from detector.prediction.tracking import Tracks

    thresholds = Thresholds.parse(score_threshold, class_threshold or ())
    if tile not in (None, AUTO):
        _tile_side(str(tile))  # a mistake is told before a model is loaded
    items = find_items(source, out, sys.stdin)
    wishes = Wishes(formats=wished_formats(formats or (), items), draw=draw, crops=crops, show=show, every=every)
    claim_folder(out, items, overwrite)
    if crops is not None:
        claim_folder(crops, items, overwrite, "--crops")
    if show:
        check_screen()
    if every > 1 and all(item.kind is Kind.PICTURE for item in items):
        print("note: --every is for videos and streams; all images are processed", file=sys.stderr)
    detector, look = _looking(model, thresholds, tile, iou=iou_threshold, max_detections=max_detections)
    card = detector.card
    tracks = Tracks(every, card.score_threshold) if track else None
    with _Progress(items, every) as progress:
        outcome = predict(
            items, look, card, out, wishes, model=str(model), track=tracks, advance=progress.advance, told=progress.say
        )
    _report(outcome, detector.class_names)


def _looking(model: Path, thresholds: Any, tile: str | None, **limits: Any) -> tuple[Any, Any]:
    """The detector, and what finds objects in a picture: as a whole or in tiles."""
    from detector.detector import Detector
    from detector.prediction.looking import in_tiles, prepared

    detector = Detector.load(model)
    try:
        detector, look = prepared(detector, thresholds, **limits)
    except UserError as error:
        raise UserError(f"{model}: {error}") from None
    card = detector.card
    if tile is not None:
        size = card.image_size if tile == AUTO else (_tile_side(tile),) * 2
        look = in_tiles(look, size, card.iou_threshold, card.max_detections)
    return detector, look


def _tile_side(text: str) -> int:
    if not text.isdecimal() or not 32 <= int(text) <= LARGEST_TILE:
        raise UserError(f"--tile {text}: expected the side of a tile in pixels, from 32 to {LARGEST_TILE}, or nothing")
    return int(text)


class _Progress:
    """A bar with the time to go for files, frames per second for what has no end; none for one picture."""

    def __init__(self, items: Any, every: int) -> None:
        from tqdm import tqdm

        from detector.prediction.reading import count_frames

        total = count_frames(items, every)
        self._bar = tqdm(total=total, unit="frame", desc="predict", disable=True if total == 1 else None)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, frames: int) -> None:
        self._bar.update(frames)

    def say(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)


def _report(outcome: Tally, class_names: tuple[str, ...]) -> None:
    """What came of it; raises KeyboardInterrupt again."""
    from detector.lettering import lettering

    for line in lettering(class_names).legend if outcome.frames else ():
        print(f"in the pictures, {line}", file=sys.stderr)
    for _, reason in outcome.remarks.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    for note in outcome.remarks.notes:
        print(f"note: {note}", file=sys.stderr)
    skipped = f", {len(outcome.remarks.skipped)} skipped" if outcome.remarks.skipped else ""
    ended = f" until {outcome.ended}" if outcome.ended else ""
    wrote = "; wrote " + ", ".join(map(str, outcome.written)) if outcome.written else ""
    unit = "images" if not outcome.moving else "images and frames"
    print(f"{outcome.detections} detections in {outcome.frames} {unit}{skipped}{ended}{wrote}")
    if outcome.interrupted:
        raise KeyboardInterrupt
