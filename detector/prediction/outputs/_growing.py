"""Text files that grow frame by frame, and appear whole under their names when they are closed."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from search_spaces.errors import UserError


class GrowingText:
    """A UTF-8 file made by the first `write`. hidden: under another name until `close` puts it in its place."""

    def __init__(self, path: Path, *, hidden: bool = True) -> None:
        self.path = path
        self._place = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}") if hidden else path
        self._file: TextIO | None = None

    def __bool__(self) -> bool:
        """Whether anything was written."""
        return self._file is not None

    def write(self, text: str, *, now: bool = False) -> None:
        """now: others shall be able to read it at once. Raises UserError when the disk does not take it."""
        with told(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._place.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
            self._file.write(text)
            if now:
                self._file.flush()

    def parts(self) -> Iterator[str]:
        """What was written, piece by piece, to go into another file; this one is gone afterwards."""
        if self._file is None:
            return
        try:
            self._file.close()
            with self._place.open(encoding="utf-8", newline="") as file:
                while piece := file.read(1 << 20):
                    yield piece
        finally:
            self._place.unlink(missing_ok=True)

    def close(self) -> list[Path]:
        """The file, in its place; nothing when nothing was written."""
        if self._file is None:
            return []
        with told(self.path):
            try:
                self._file.close()
                os.replace(self._place, self.path)
            except OSError:
                self._place.unlink(missing_ok=True)
                raise
        return [self.path]


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """An error of the disk as one line for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from None
