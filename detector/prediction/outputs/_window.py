"""Frames shown in a window as they are done: OpenCV's where it was built with one, else Tk's."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from PIL import Image

from detector.data.image import Pixels
from detector.prediction.frames import Looked
from detector.prediction.outputs import Skipped
from search_spaces.errors import UserError

TITLE = "tinynas (q ends it)"
_KEYS = (27, ord("q"))


class WindowClosed(Exception):
    """Who looks on has seen enough."""


class Writer:
    """Raises UserError where there is no screen, when made; WindowClosed once it is closed, or q or Esc was pressed."""

    def __init__(self) -> None:
        check_screen()
        self._show: Callable[[Pixels], None] = _opencv_window() if _opencv_has_windows() else _tk_window()

    def write(self, looked: Looked) -> None:
        """Draws and shows; large frames are made smaller."""
        self._show(looked.found.draw(looked.frame.pixels, looked.ids))

    def close(self, skipped: Skipped) -> list[Path]:
        """Nothing was written."""
        with contextlib.suppress(Exception):
            getattr(self._show, "end", lambda: None)()
        return []


def check_screen() -> None:
    """Raises UserError where no window can be opened."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(
            "--show: there is no screen here (DISPLAY is not set); leave it out, and look at the files in --out"
        )


def _opencv_has_windows() -> bool:
    lines = (line.split(":") for line in cv2.getBuildInformation().splitlines())
    return any(parts[0].strip() == "GUI" and parts[-1].strip() not in ("NONE", "") for parts in lines)


def _opencv_window() -> Callable[[Pixels], None]:
    def show(picture: Pixels) -> None:
        cv2.imshow(TITLE, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in _KEYS or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            raise WindowClosed

    return show


class _TkWindow:
    def __init__(self, root: Any, photo: Callable[[Any], Any], label: Any) -> None:
        self._root, self._photo, self._label = root, photo, label
        self._closed = False
        self._most = int(root.winfo_screenwidth() * 0.9), int(root.winfo_screenheight() * 0.85)
        root.title(TITLE)
        root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<q>", "<Escape>"):
            root.bind(key, lambda _: self._close())

    def __call__(self, picture: Pixels) -> None:
        image = Image.fromarray(picture)
        image.thumbnail(self._most)
        shown = self._photo(image)
        self._label.configure(image=shown)
        self._label.image = shown  # Tk keeps no reference of its own
        self._root.update()
        if self._closed:
            raise WindowClosed

    def end(self) -> None:
        self._root.destroy()

    def _close(self) -> None:
        self._closed = True


def _tk_window() -> _TkWindow:
    try:
        import tkinter

        from PIL import ImageTk
    except ImportError:
        raise UserError(
            "--show: this Python has no Tk, and this OpenCV no windows; install python3-tk or opencv-python, or leave it out"
        ) from None
    try:
        root = tkinter.Tk()
    except tkinter.TclError as error:
        raise UserError(
            f"--show: no window can be opened ({error}); leave it out, and look at the files in --out"
        ) from None
    label = tkinter.Label(root)
    label.pack()
    return _TkWindow(root, ImageTk.PhotoImage, label)
