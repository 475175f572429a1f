"""What the formats of text have in common: a frame's place, and its detections with the tracks they belong to."""

from __future__ import annotations

from typing import Any

from detector.prediction.frames import NO_TRACK, Frame, Looked


def place_of(frame: Frame) -> dict[str, Any]:
    """`image`, and of a video or stream `frame` (from 0) and `seconds`."""
    place: dict[str, Any] = {"image": frame.name.as_posix()}
    if frame.index is not None:
        place |= {"frame": frame.index, "seconds": None if frame.seconds is None else round(frame.seconds, 3)}
    return place


def detections_of(looked: Looked) -> list[dict[str, Any]]:
    """As `Detections.to_rows`, with `track` where tracks were asked for."""
    rows = looked.found.to_rows()
    if looked.ids is not None:
        for row, track in zip(rows, looked.ids.tolist()):
            row["track"] = None if track == NO_TRACK else track
    return rows
