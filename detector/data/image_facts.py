"""What must be known of every image file before work starts: its size, and whether it is whole.

Looking at a large data set costs minutes, so the facts of sound files are remembered in the user's cache folder
(`$XDG_CACHE_HOME/tinynas`, else `~/.cache/tinynas`), each under its path and a fingerprint: a file whose fingerprint
differs is looked at anew. Data sets below `MIN_REMEMBERED` images leave nothing there.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from detector.data.image import fills_the_range, look_at, read_with_damage, wrong_size
from detector.data.likeness import look_of
from search_spaces.errors import UserError
from search_spaces.files import replacing

MIN_REMEMBERED = 2000
_VERSION = 3
_CHUNK = 32
_EDGE_BYTES = 4096
DARK = (
    "16-bit samples that stay below 4096 (12 bits in 16): read by their upper byte, it is nearly black; stretch it to 16 "
    "bits, or to 8"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFact:
    """(height, width) as shown and as stored before the EXIF rotation; `reason`: why it cannot be used, "" if it can.

    digest: hash of the file's bytes in hex, look: of what it shows, damage: what the decoder says of damaged data; "" where
    the pixels were not decoded. bits: per sample; dark: 16 bits of which the highest four are unused, once decoded.
    """

    size_hw: tuple[int, int]
    stored_hw: tuple[int, int]
    reason: str = ""
    digest: str = ""
    damage: str = ""
    look: str = ""
    bits: int = 8
    dark: bool = False

    def mismatch(self, annotated_hw: tuple[int, int]) -> str:
        """Why annotations of that size cannot be used with this file, "" when they can."""
        if self.reason or tuple(annotated_hw) in (self.size_hw, self.stored_hw):
            return self.reason
        return wrong_size(self.size_hw, annotated_hw)


def examine(paths: Sequence[Path], *, decode: bool = False, workers: int = 1) -> list[ImageFact]:
    """The facts of each file, in order; shows progress above 500 files.

    decode: read the pixels too, in `workers` processes, and hash the bytes.
    """
    memory = _Memory(paths, decode)
    facts = memory.recall()
    new = [i for i, fact in enumerate(facts) if fact is None]
    todo = [paths[i] for i in new]
    with tqdm(total=len(todo), desc="images", unit="img", disable=True if len(todo) < 500 else None) as bar:
        at = iter(new)
        for found in _decoded(todo, workers) if decode else _looked_at(todo):
            for fact in found:
                facts[next(at)] = fact
            bar.update(len(found))
    complete = [fact for fact in facts if fact is not None]
    if new:
        memory.keep(complete)
    return complete


def _looked_at(paths: Sequence[Path]) -> Iterator[list[ImageFact]]:
    with _threads(len(paths)) as pool:
        for start in range(0, len(paths), 512):
            yield list(pool.map(_look, paths[start : start + 512]))


def _threads(files: int) -> ThreadPoolExecutor:
    """For work that mostly waits for the disk."""
    return ThreadPoolExecutor(8 if files > _CHUNK else 1)


def _decoded(paths: Sequence[Path], workers: int) -> Iterator[list[ImageFact]]:
    from joblib import Parallel, delayed

    chunks = [list(paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    processes = max(1, min(workers, len(chunks)))
    yield from Parallel(n_jobs=processes, return_as="generator")(delayed(_decode_all)(chunk) for chunk in chunks)


def _decode_all(paths: Sequence[Path]) -> list[ImageFact]:
    return [_decode(path) for path in paths]


def _look(path: Path) -> ImageFact:
    try:
        shown, stored, bits = look_at(path)
        return ImageFact(size_hw=shown, stored_hw=stored, bits=bits)
    except UserError as error:
        return ImageFact(size_hw=(0, 0), stored_hw=(0, 0), reason=str(error).removeprefix(f"{path}: "))


def _decode(path: Path) -> ImageFact:
    fact = _look(path)
    if fact.reason:
        return fact
    try:
        image, damage = read_with_damage(path)
    except UserError as error:
        return ImageFact(size_hw=(0, 0), stored_hw=(0, 0), reason=str(error).removeprefix(f"{path}: "))
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    dark = fact.bits == 16 and not fills_the_range(path)
    return replace(fact, digest=digest, damage=damage, look=look_of(image), dark=dark)


def _fingerprint(path: Path) -> str:
    """Changes with the file's content: a hash of its first and last bytes, size, times and inode; "" if it is not there.

    The time of the inode's change cannot be set back, so it tells of an edit that keeps size, time of change and both
    ends. Reading whole files would tell no more, but takes as long as looking at them.
    """
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            digest = hashlib.blake2b(file.read(_EDGE_BYTES), digest_size=16)
            file.seek(max(_EDGE_BYTES, status.st_size - _EDGE_BYTES))
            digest.update(file.read(_EDGE_BYTES))
    except OSError:
        return ""
    digest.update(f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}".encode())
    return digest.hexdigest()


def _fingerprint_all(paths: Sequence[Path]) -> list[str]:
    return [_fingerprint(path) for path in paths]


class _Memory:
    """Facts of the files below one folder, kept in one file; without effect for few files or an unusable folder."""

    def __init__(self, paths: Sequence[Path], decode: bool) -> None:
        self._paths = paths
        self._decode = decode
        self._known: dict[str, tuple[str, ImageFact]] = {}
        self._fingerprints: list[str] = []
        self._file: Path | None = None
        if len(paths) < MIN_REMEMBERED:
            return
        base = os.environ.get("XDG_CACHE_HOME")
        folder = (Path(base) if base else Path.home() / ".cache") / "tinynas"
        common = os.path.commonpath([path.absolute() for path in paths])
        key = hashlib.blake2b(f"{_VERSION} {common}".encode(), digest_size=12).hexdigest()
        self._file = folder / f"images-{key}.npz"
        self._load(self._file)

    def recall(self) -> list[ImageFact | None]:
        """The fact of each file, None where none is known of it as it is now."""
        if self._file is None:
            return [None] * len(self._paths)
        self._fingerprints = self._fingerprints_now()
        return [self._of(path, fingerprint) for path, fingerprint in zip(self._paths, self._fingerprints)]

    def keep(self, facts: Sequence[ImageFact]) -> None:
        """Add the sound ones and write the file. A cache that cannot be written is no mistake of the user's."""
        if self._file is None:
            return
        now = self._fingerprints_now()
        for path, before, after, fact in zip(self._paths, self._fingerprints, now, facts):
            # A file that was changed while it was read is looked at again next time.
            if not fact.reason and not fact.damage and before == after:
                self._known[str(path.absolute())] = (after, fact)
        rows = list(self._known.values())
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    names=np.array(list(self._known)),
                    fingerprints=np.array([fingerprint for fingerprint, _ in rows]),
                    sizes=np.array(
                        [(*fact.size_hw, *fact.stored_hw, fact.bits, fact.dark) for _, fact in rows], np.int64
                    ).reshape(-1, 6),
                    digests=np.array([fact.digest for _, fact in rows]),
                    looks=np.array([fact.look for _, fact in rows]),
                )
        except OSError:
            return

    def _of(self, path: Path, fingerprint: str) -> ImageFact | None:
        found = self._known.get(str(path.absolute()))
        if found is None or found[0] != fingerprint or (self._decode and not found[1].digest):
            return None
        return found[1]

    def _fingerprints_now(self) -> list[str]:
        with _threads(len(self._paths)) as pool:
            parts = (self._paths[start : start + _CHUNK] for start in range(0, len(self._paths), _CHUNK))
            return [one for part in pool.map(_fingerprint_all, parts) for one in part]

    def _load(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                columns = [file[name].tolist() for name in ("names", "fingerprints", "sizes", "digests", "looks")]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return
        for name, fingerprint, sizes, digest, look in zip(*columns):
            height, width, stored_height, stored_width, bits, dark = sizes
            fact = ImageFact(
                size_hw=(height, width),
                stored_hw=(stored_height, stored_width),
                reason="",
                digest=digest,
                look=look,
                bits=bits,
                dark=bool(dark),
            )
            self._known[name] = (fingerprint, fact)
