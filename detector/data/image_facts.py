"""What must be known of every image file before work starts: its size, and whether it is whole.

Looking at a large data set costs minutes, so the facts of sound files are remembered in the user's cache folder
(`$XDG_CACHE_HOME/tinynas`, else `~/.cache/tinynas`), under the file's path, number of bytes and time of change: a file
that differs in any of them is looked at anew. Data sets below `MIN_REMEMBERED` images leave nothing there.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detector.data.image import look_at, read_image, wrong_size
from search_spaces.errors import UserError
from search_spaces.files import replacing

MIN_REMEMBERED = 2000
_VERSION = 1
_CHUNK = 32
_Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ImageFact:
    """(height, width) as shown and as stored before the EXIF rotation; `reason`: why it cannot be used, "" if it can.

    digest: hash of the file's bytes in hex, "" where the pixels were not decoded.
    """

    size_hw: tuple[int, int]
    stored_hw: tuple[int, int]
    reason: str = ""
    digest: str = ""

    def mismatch(self, annotated_hw: tuple[int, int]) -> str:
        """Why annotations of that size cannot be used with this file, "" when they can."""
        if self.reason or tuple(annotated_hw) in (self.size_hw, self.stored_hw):
            return self.reason
        return wrong_size(self.size_hw, annotated_hw)


def examine(paths: Sequence[Path], *, decode: bool = False, workers: int = 1) -> list[ImageFact]:
    """The facts of each file, in order; shows progress above 500 files.

    decode: read the pixels too, in `workers` processes, and hash the bytes.
    """
    stamps = [_stamp(path) for path in paths]
    remembered = _Memory(paths, decode)
    facts = [remembered.get(path, stamp) for path, stamp in zip(paths, stamps)]
    new = [i for i, fact in enumerate(facts) if fact is None]
    todo = [paths[i] for i in new]
    with tqdm(total=len(todo), desc="images", unit="img", disable=len(todo) < 500) as bar:
        at = iter(new)
        for found in _decoded(todo, workers) if decode else _looked_at(todo):
            for fact in found:
                facts[next(at)] = fact
            bar.update(len(found))
    complete = [fact for fact in facts if fact is not None]
    if new:
        remembered.keep(paths, stamps, complete)
    return complete


def _looked_at(paths: Sequence[Path]) -> Iterator[list[ImageFact]]:
    # Waiting for the disk is most of the work: threads do.
    with ThreadPoolExecutor(8 if len(paths) > _CHUNK else 1) as pool:
        for start in range(0, len(paths), 512):
            yield list(pool.map(_look, paths[start : start + 512]))


def _decoded(paths: Sequence[Path], workers: int) -> Iterator[list[ImageFact]]:
    from joblib import Parallel, delayed

    chunks = [list(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    processes = max(1, min(workers, len(chunks)))
    yield from Parallel(n_jobs=processes, return_as="generator")(delayed(_decode_all)(chunk) for chunk in chunks)


def _decode_all(paths: Sequence[Path]) -> list[ImageFact]:
    return [_decode(path) for path in paths]


def _look(path: Path) -> ImageFact:
    try:
        return ImageFact(*look_at(path))
    except UserError as error:
        return ImageFact((0, 0), (0, 0), str(error).removeprefix(f"{path}: "))


def _decode(path: Path) -> ImageFact:
    fact = _look(path)
    if fact.reason:
        return fact
    try:
        read_image(path)
    except UserError as error:
        return ImageFact((0, 0), (0, 0), str(error).removeprefix(f"{path}: "))
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return ImageFact(fact.size_hw, fact.stored_hw, "", digest)


def _stamp(path: Path) -> _Stamp:
    """Bytes and time of change; (-1, -1) for a file that is not there."""
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


class _Memory:
    """Facts of the files below one folder, kept in one file; without effect for few files or an unusable folder."""

    def __init__(self, paths: Sequence[Path], decode: bool) -> None:
        self._known: dict[str, tuple[_Stamp, ImageFact]] = {}
        self._decode = decode
        self._file: Path | None = None
        if len(paths) < MIN_REMEMBERED:
            return
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "tinynas"
        common = os.path.commonpath([path.absolute() for path in paths])
        key = hashlib.blake2b(f"{_VERSION} {common}".encode(), digest_size=12).hexdigest()
        self._file = folder / f"images-{key}.npz"
        self._load(self._file)

    def get(self, path: Path, stamp: _Stamp) -> ImageFact | None:
        found = self._known.get(str(path.absolute()))
        if found is None or found[0] != stamp or (self._decode and not found[1].digest):
            return None
        return found[1]

    def keep(self, paths: Sequence[Path], stamps: Sequence[_Stamp], facts: Sequence[ImageFact]) -> None:
        """Add the sound ones and write the file. A cache that cannot be written is no mistake of the user's."""
        if self._file is None:
            return
        for path, stamp, fact in zip(paths, stamps, facts):
            # A file that was changed while it was read is looked at again next time.
            if not fact.reason and _stamp(path) == stamp:
                self._known[str(path.absolute())] = (stamp, fact)
        rows = list(self._known.values())
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    names=np.array(list(self._known)),
                    stamps=np.array([stamp for stamp, _ in rows], dtype=np.int64).reshape(-1, 2),
                    sizes=np.array([(*fact.size_hw, *fact.stored_hw) for _, fact in rows], dtype=np.int64).reshape(
                        -1, 4
                    ),
                    digests=np.array([fact.digest for _, fact in rows]),
                )
        except OSError:
            return

    def _load(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = (
                    file["names"].tolist(),
                    file["stamps"].tolist(),
                    file["sizes"].tolist(),
                    file["digests"].tolist(),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return
        for name, stamp, sizes, digest in zip(*columns):
            fact = ImageFact((sizes[0], sizes[1]), (sizes[2], sizes[3]), "", digest)
            self._known[name] = ((stamp[0], stamp[1]), fact)
