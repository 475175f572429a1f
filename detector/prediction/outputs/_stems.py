"""File names for frames and classes that no other has, on any file system."""

from __future__ import annotations

from pathlib import PurePath

from detector.data.file_tree import FreeNames, one_form
from detector.prediction.frames import Frame

_RESERVED = frozenset('/\\:*?"<>|')


class Stems:
    """A path without a suffix for every frame: its own stem, with a number behind where another picture has it."""

    def __init__(self) -> None:
        self._free: dict[str, FreeNames] = {}

    def of(self, frame: Frame) -> PurePath:
        """Ask once for each frame."""
        if frame.index is not None:
            # a folder of the video's own, and a number
            return frame.stem
        free = self._free.setdefault(one_form(frame.stem.parent.as_posix()).casefold(), FreeNames())
        return frame.stem.with_name(free.take(frame.stem.name))


def folder_names(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """A folder's name for each class: its own, without what file systems forbid."""
    free = FreeNames()
    return tuple(free.take(_plain(name) or f"class {label}") for label, name in enumerate(class_names))


def _plain(name: str) -> str:
    letters = ("_" if letter in _RESERVED or not letter.isprintable() else letter for letter in name)
    return "".join(letters).strip(" .")[:80].strip(" .")
