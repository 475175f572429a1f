"""Video files, whole and spoilt."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
import pytest

from detector.prediction.reading import Remarks, count_frames, read_frames
from detector.prediction.sources import Item, Kind, find_items
from detector.prediction.video import USUAL_FPS, facts_of, video_frames
from search_spaces.errors import UserError
from tests.detector.prediction.clips import FPS, HEIGHT, WIDTH, clip, left_edge, shot


def item(path: Path) -> Item:
    return Item(Kind.VIDEO, str(path), PurePath(path.name))


def test_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    frames = list(video_frames(item(clip(tmp_path / "a.mp4", 12))))
    assert [frame.index for frame in frames] == list(range(12))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(12) / FPS, atol=1e-6)
    for index, frame in enumerate(frames):
        assert (frame.width, frame.height, frame.fps, frame.live) == (WIDTH, HEIGHT, FPS, False)
        bright = np.flatnonzero(frame.pixels[40, :, 0] > 170)
        assert abs(int(bright[0]) - left_edge(index)) <= 2


def test_colours_are_rgb(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 255), dtype=np.uint8))
    writer.release()
    (frame,) = video_frames(item(tmp_path / "red.avi"))
    assert frame.pixels[32, 32, 0] > 200
    assert frame.pixels[32, 32, 2] < 60


def test_every_third_frame(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 10)
    assert [frame.index for frame in video_frames(item(path), every=3)] == [0, 3, 6, 9]
    assert count_frames([item(path)], 3) == 4


def test_a_video_that_ends_in_mid_frame_keeps_what_there_is(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.avi", 60, "MJPG")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    told: list[str] = []
    frames = list(video_frames(item(path), told=told.append))
    assert 20 < len(frames) < 40
    # without its index at the end, an AVI names the frames that its header promised
    assert len(told) <= 1
    for line in told:
        assert "ends after" in line


class FakeCapture:
    """So many frames that can be read of so many that are promised."""

    def __init__(self, frames: int, promised: float, fps: float = 30, size: tuple[float, float] = (16, 16)) -> None:
        self.left, self.promised, self.fps, self.size = frames, promised, fps, size
        self.released = False

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.zeros((16, 16, 3), np.uint8)

    def get(self, prop: int) -> float:
        return {
            cv2.CAP_PROP_FRAME_COUNT: self.promised, cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_WIDTH: self.size[0],
            cv2.CAP_PROP_FRAME_HEIGHT: self.size[1],
        }.get(prop, 0.0)  # fmt: skip

    def release(self) -> None:
        self.released = True


def test_frames_that_are_missing_are_told() -> None:
    told: list[str] = []
    capture = FakeCapture(170, 300)
    assert len(list(video_frames(item(Path("a.mp4")), told=told.append, opener=lambda _: capture))) == 170
    assert told == ["a.mp4: ends after 170 of 300 frames (cut short or damaged); those are done"]
    assert capture.released
    list(video_frames(item(Path("a.mp4")), told=told.append, opener=lambda _: FakeCapture(299, 300)))
    assert len(told) == 1  # one frame less: an estimate
    list(video_frames(item(Path("a.gif")), told=told.append, opener=lambda _: FakeCapture(1, 2)))
    assert told[1:] == ["a.gif: ends after 1 of 2 frames (cut short or damaged); those are done"]


def test_implausible_facts() -> None:
    for frames, fps in ((-9.2e18, float("nan")), (float("inf"), 0), (1e12, 90000)):
        facts = facts_of(FakeCapture(1, frames, fps))
        assert (facts.frames, facts.fps) == (0, USUAL_FPS)
    (frame, *_) = video_frames(item(Path("a.mp4")), opener=lambda _: FakeCapture(3, 0))
    assert frame.seconds == 0


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 1000)
    cut = clip(tmp_path / "cut.mp4", 30)
    cut.write_bytes(cut.read_bytes()[:2000])
    (tmp_path / "empty.avi").touch()
    for name in ("junk.mp4", "cut.mp4", "empty.avi"):
        with pytest.raises(UserError, match="not a video that can be read"):
            list(video_frames(item(tmp_path / name)))
    with pytest.raises(UserError, match="holds no frame"):
        list(video_frames(item(Path("a")), opener=lambda _: FakeCapture(0, 10)))
    with pytest.raises(UserError, match="expected at most 8192x8192"):
        list(video_frames(item(Path("a")), opener=lambda _: FakeCapture(1, 10, size=(50000, 50000))))


def test_what_cannot_be_read_among_others_is_a_remark(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", 3)
    (tmp_path / "b.mp4").write_bytes(b"junk")
    (tmp_path / "c.jpg").write_bytes(b"junk")
    cv2.imwrite(str(tmp_path / "d.png"), shot())
    items, remarks = find_items([str(tmp_path)], tmp_path / "out"), Remarks()
    frames = list(read_frames(items, 1, remarks, told=print, pause=lambda _: True))
    assert [(frame.name.as_posix(), frame.index) for frame in frames] == [
        ("a.mp4", 0), ("a.mp4", 1), ("a.mp4", 2), ("d.png", None),
    ]  # fmt: skip
    assert [name for name, _ in remarks.skipped] == ["b.mp4", "c.jpg"]
    assert "and 1 more that cannot be read" in str(remarks.refusal())
    assert count_frames(items, 1) == 5
