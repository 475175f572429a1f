"""A prediction from its sources to its files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.detections import Detections
from detector.model_card import ModelCard
from detector.prediction.frames import Frame, Looked
from detector.prediction.looking import Look
from detector.prediction.outputs import Heading, Output, _crops, _drawn, _window, format_names, open_output
from detector.prediction.pipeline import overlapped
from detector.prediction.reading import Remarks, read_frames
from detector.prediction.sources import Item, Kind
from search_spaces.errors import UserError, nearest
from search_spaces.files import check_folder
from search_spaces.saying import Say, silent

Track = Callable[[Frame, Detections], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """formats: of text, by plug-in; draw: copies of pictures and videos with boxes; crops: a folder for what is cut out;
    show: a window; every: of a video's frames, each n-th."""

    formats: tuple[str, ...]
    draw: bool = True
    crops: Path | None = None
    show: bool = False
    every: int = 1


@dataclass(slots=True, kw_only=True)
class Tally:
    """frames, detections: how many; moving: whether any frame was of a video or stream; written: files and folders; ended:
    why it stopped early, "" if it did not."""

    frames: int = 0
    detections: int = 0
    moving: bool = False
    written: list[Path] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)
    ended: str = ""
    interrupted: bool = False


def wished_formats(names: Sequence[str], items: Sequence[Item]) -> tuple[str, ...]:
    """The formats named, each once; of none, JSON Lines where anything moves, one JSON file for pictures alone.

    Raises UserError for a format that there is not.
    """
    if not names:
        return ("json",) if all(item.kind is Kind.PICTURE for item in items) else ("jsonl",)
    unknown = next((name for name in names if name not in format_names()), None)
    if unknown is not None:
        raise UserError(f"--format {unknown}: no such format; {nearest(unknown, format_names())}")
    return tuple(dict.fromkeys(names))


def claim_folder(folder: Path, items: Sequence[Item], overwrite: bool, option: str = "--out") -> None:
    """Raise UserError when the output folder holds anything (unless `overwrite`) or what is to be looked at, in folders of
    it too, or cannot be written. Makes nothing: the first frame does."""
    check_folder(folder, f"choose another {option}")
    inside = folder.resolve()
    files = (Path(item.address) for item in items if item.kind is not Kind.LIVE and isinstance(item.address, str))
    if any(home.resolve().is_relative_to(inside) for home in {path.parent for path in files}):
        raise UserError(f"{folder}: holds the pictures to look at; choose another {option}")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise UserError(f"{folder}: not empty; choose another {option} or say --overwrite")


def predict(
    items: Sequence[Item],
    look: Look,
    card: ModelCard,
    out: Path,
    wishes: Wishes,
    *,
    model: str,
    track: Track | None = None,
    advance: Callable[[int], object] = lambda _: None,
    told: Say = silent,
) -> Tally:
    """Look at all items and write what is wished for.

    What cannot be read is left out and a remark; when nothing can, nothing is written and UserError is raised. Ctrl-C, a
    closed window and a stream that stays away end it early: what was done until then is whole in its files.
    model: named in the JSON. advance: told of frames done; told: of what happens to streams.
    """
    tally = Tally()
    drawings = _drawn.drawn_places(items) if wishes.draw else {}
    heading = Heading(model, card, drawings)
    outputs = _outputs(out, heading, wishes)
    stopping = threading.Event()
    frames = read_frames(items, wishes.every, tally.remarks, told=told, pause=stopping.wait)
    try:
        with _all_closed(outputs, tally):
            pairs = overlapped(frames, look, batch=card.batch or 1, stopping=stopping)
            with contextlib.closing(pairs):
                for frame, found in pairs:
                    ids = None if track is None else track(frame, found)
                    for output in outputs:
                        output.write(Looked(frame, found, ids))
                    tally.frames += 1
                    tally.detections += len(found)
                    tally.moving |= frame.index is not None
                    advance(1)
    except _window.WindowClosed:
        tally.ended = "the window was closed"
    except KeyboardInterrupt:
        tally.ended, tally.interrupted = "it was stopped", True
    if not tally.frames and not tally.ended:
        raise tally.remarks.refusal()
    return tally


def _outputs(out: Path, heading: Heading, wishes: Wishes) -> list[Output]:
    outputs: list[Output] = [_window.Writer()] if wishes.show else []
    if wishes.draw:
        outputs.append(_drawn.Writer(out, heading, wishes.every))
    if wishes.crops is not None:
        outputs.append(_crops.Writer(wishes.crops, heading))
    return outputs + [open_output(name, out, heading) for name in wishes.formats]


@contextlib.contextmanager
def _all_closed(outputs: Sequence[Output], tally: Tally) -> Iterator[None]:
    """All outputs closed, whatever happens to one of them or in the block."""
    with contextlib.ExitStack() as stack:
        for output in reversed(outputs):
            stack.callback(_close, output, tally)
        yield


def _close(output: Output, tally: Tally) -> None:
    tally.written += output.close(tally.remarks.skipped)
