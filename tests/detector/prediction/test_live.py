"""Cameras and streams that drop, come back, or stay away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import PurePath

import cv2
import pytest

from detector.prediction.live import Patience, live_frames
from detector.prediction.sources import Item, Kind
from search_spaces.errors import UserError
from tests.detector.prediction.clips import shot
from tests.detector.prediction.test_video import FakeCapture

USUAL = Patience()
STREAM = Item(Kind.LIVE, "rtsp://me:secret@cam/1", PurePath("cam_1"))


class Absent(FakeCapture):
    def __init__(self) -> None:
        super().__init__(0, 0)

    def isOpened(self) -> bool:
        return False


class Scene:
    """Captures one after the other, and a clock that pauses move on."""

    def __init__(self, *captures: FakeCapture) -> None:
        self.captures, self.pauses, self.told, self.now = list(captures), [], [], 0.0  # type: ignore[var-annotated]

    def frames(self, patience: Patience = USUAL, stop_after: int = 1000) -> Iterator[int]:
        def pause(seconds: float) -> bool:
            self.pauses.append(seconds)
            self.now += seconds
            return len(self.pauses) >= stop_after

        frames = live_frames(
            STREAM, told=self.told.append, patience=patience, pause=pause, clock=lambda: self.now,
            opener=lambda _: self.captures.pop(0) if self.captures else Absent(),
        )  # fmt: skip
        return (frame.index for frame in frames if frame.index is not None)


def test_a_stream_that_drops_is_tried_again() -> None:
    scene = Scene(FakeCapture(3, 0), Absent(), Absent(), FakeCapture(2, 0))
    assert list(scene.frames(stop_after=4)) == [0, 1, 2, 3, 4]
    assert scene.pauses == [1, 2, 4, 1]  # each wait twice the one before; from the start after the next drop
    assert scene.told[0] == "rtsp://me:***@cam/1: no more frames after 3; trying again"
    assert scene.told[1] == "rtsp://me:***@cam/1: back"


def test_a_stream_that_stays_away_is_given_up() -> None:
    scene, seen = Scene(FakeCapture(3, 0)), []
    with pytest.raises(UserError, match=r"gone for 100 s, given up; what was seen before is kept") as error:
        for index in scene.frames(Patience(1, 16, 100)):
            seen.append(index)
    assert seen == [0, 1, 2]
    assert max(scene.pauses) == 16
    assert 100 <= scene.now <= 116
    assert "secret" not in str(error.value)


def test_what_is_not_there_at_first_is_refused_at_once() -> None:
    scene = Scene()
    with pytest.raises(UserError, match="see that the address, user and password are right"):
        list(scene.frames())
    assert scene.pauses == []
    camera = Item(Kind.LIVE, 7, PurePath("camera7"))
    with pytest.raises(UserError, match="camera 7: cannot be opened; see that the camera is plugged in"):
        list(live_frames(camera, pause=lambda _: True, opener=lambda _: Absent()))


def test_a_recording_that_comes_as_a_stream_ends() -> None:
    scene = Scene(FakeCapture(300, 300))
    assert len(list(scene.frames())) == 300
    assert scene.told == []


class Server:
    """Motion JPEG over HTTP on this machine: so many frames for each connection, then it hangs up."""

    def __init__(self, *frames: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}/live.mjpg"
        self.thread = threading.Thread(target=self._serve, args=(frames,), daemon=True)
        self.thread.start()

    def _serve(self, counts: tuple[int, ...]) -> None:
        index = 0
        for count in counts:
            connection, _ = self.socket.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(
                    b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
                )
                for _ in range(count):
                    data = cv2.imencode(".jpg", shot(index))[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    connection.sendall(head.encode() + data + b"\r\n")
                    index += 1
        self.socket.close()


def test_a_real_stream_over_http_that_hangs_up() -> None:
    server, told, pauses = Server(12, 9), [], []  # type: ignore[var-annotated]
    item = Item(Kind.LIVE, server.address, PurePath("live"))

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) > 1

    frames = list(live_frames(item, told=told.append, pause=pause))
    server.thread.join(5)
    assert len(told) == 3  # dropped, back, dropped
    assert 19 <= len(frames) <= 21  # the last one of a connection may be left in mid-air
    assert all(frame.live for frame in frames)
    assert frames[-1].pixels[40, 100:].max() > 0
