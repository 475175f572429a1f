"""All items as one row of frames, whatever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detector.data.image import read_image
from detector.prediction.frames import Frame
from detector.prediction.live import live_frames
from detector.prediction.sources import Item, Kind
from detector.prediction.video import video_facts, video_frames
from search_spaces.errors import UserError
from search_spaces.saying import Say


@dataclass(slots=True)
class Remarks:
    """skipped: (name, reason) of what could not be read; notes: of what was read in part."""

    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refusal(self) -> UserError:
        """What to raise when nothing at all could be read."""
        others = len(self.skipped) - 1
        more = f" (and {others} more that cannot be read)" if others > 0 else ""
        return UserError(f"{self.skipped[0][1]}{more}")


def count_frames(items: Sequence[Item], every: int) -> int | None:
    """How many frames there will be, as far as the files tell; None for what has no end or does not tell."""
    total = 0
    for item in items:
        if item.kind is Kind.PICTURE:
            total += 1
            continue
        try:
            frames = video_facts(item).frames if item.kind is Kind.VIDEO else 0
        except UserError:
            # told of when its turn comes
            continue
        if not frames:
            return None
        total += -(-frames // every)
    return total


def read_frames(
    items: Sequence[Item],
    every: int,
    remarks: Remarks,
    *,
    told: Say,
    pause: Callable[[float], bool],
) -> Iterator[Frame]:
    """The frames of all items in order. What cannot be read is a remark; of a camera or stream it is raised.

    every: of a video's or stream's frames, each n-th. told: of streams, as things happen. pause: see `live_frames`.
    """
    for item in items:
        if item.kind is Kind.LIVE:
            yield from live_frames(item, every, told, pause=pause)
            continue
        try:
            if item.kind is Kind.PICTURE:
                yield Frame(name=item.name, pixels=read_image(Path(str(item.address))))
            else:
                yield from video_frames(item, every, remarks.notes.append)
        except UserError as error:
            remarks.skipped.append((item.name.as_posix(), str(error)))
