"""Which files belong together: what lies below a folder, and which file a name in an annotation means."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

_NOBODYS = frozenset({"thumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"})
"""What systems put beside files: nobody's pictures or annotations, as everything that starts with a dot."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is a system's own."""
    return name.startswith(".") or name.lower() in _NOBODYS


def one_form(text: str) -> str:
    """Text in one Unicode form (NFC): Macs write letters and their accents apart."""
    return unicodedata.normalize("NFC", text)


def is_file(path: Path | str) -> bool:
    """Whether there is a file; False too for names that no file can have."""
    return os.path.isfile(path)


def files_below(folder: Path, suffixes: Iterable[str] | None = None, depth: int = 64) -> list[Path]:
    """The files in a folder and those below it, sorted; hidden ones left out. Links are followed, each folder once.
    Folders that may not be read are left out with a warning.

    suffixes: in lower case, with the dot; None: all. depth: how many levels of folders below are looked at.
    """
    wanted = None if suffixes is None else frozenset(suffixes)
    found = [
        path for path in _walk(folder, depth, set()) if wanted is None or path.suffix.lower() in wanted
    ]  # fmt: skip
    return sorted(found)


def _walk(folder: Path, depth: int, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        warnings.warn(f"{folder}: left out, you may not read this folder", stacklevel=2)
        return
    except OSError:
        return
    # The same folder reached again, through a link, ends here: a loop, or a part listed already.
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return
    seen.add(identity)
    below = []
    for entry in entries:
        if is_hidden(entry.name):
            continue
        try:
            if entry.is_dir():
                below.append(folder / entry.name)
            elif entry.is_file() or entry.is_symlink():
                # a link that leads nowhere is named by whoever opens it
                yield folder / entry.name
        except OSError:
            continue
    # real folders first, so that what a link repeats is known under its own name
    for inner in sorted(below, key=lambda path: (path.is_symlink(), path.name)) if depth > 0 else ():
        yield from _walk(inner, depth - 1, seen)


def parts_of(name: str) -> tuple[str, ...]:
    """The parts of a path as any system writes it, or of an address, without drive, root, `.` and `..`."""
    text = name.replace("\\", "/")
    if "://" in text:
        text = unquote(text.partition("://")[2].partition("?")[0])
    if len(text) > 1 and text[1] == ":" and text[0].isalpha():
        text = text[2:]
    return tuple(part for part in PurePosixPath(text.lstrip("/")).parts if part not in (".", ".."))


class Finder:
    """Finds the file that a name in an annotation means, in `folders` (best first) or anywhere below `root`.

    Tried in turn: the name as it stands; with slashes for backslashes; without its first parts, one after the other (a
    path from another machine); its last part, if one file alone has it, in one Unicode form and then without regard to
    case. What lies below `root` is listed once, when it is first needed.
    """

    def __init__(self, root: Path, folders: Sequence[Path], suffixes: Iterable[str]) -> None:
        self._root = root
        self._folders = tuple(dict.fromkeys(folders))
        self._suffixes = frozenset(suffixes)
        self._by_name: dict[str, list[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """The file, or None if there is none or several could be meant."""
        parts = parts_of(name)
        if not parts:
            return None
        for folder in self._folders:
            # as it stands, with its leading .. or root
            for text in (name, name.replace("\\", "/")):
                if is_file(folder / text):
                    return folder / text
        for start in range(len(parts)):
            for folder in self._folders:
                if is_file(folder.joinpath(*parts[start:])):
                    return folder.joinpath(*parts[start:])
        return self._by_last_part(parts)

    def find_stem(self, stem: str, beside: Path) -> Path | None:
        """The picture `stem`.* in the folder `beside`, else the only one below the root with that last part."""
        for suffix in sorted(self._suffixes):
            for ending in (suffix, suffix.upper()):
                if is_file(beside / f"{stem}{ending}"):
                    return beside / f"{stem}{ending}"
        return self._by_last_part(parts_of(stem), "stem ")

    def several(self, name: str) -> list[Path]:
        """The files that have the name's last part."""
        parts = parts_of(name)
        return self._index().get(one_form(parts[-1]), []) if parts else []

    def _by_last_part(self, parts: Sequence[str], kind: str = "") -> Path | None:
        """The only file of that name; of several, the only one whose folders end like the name's."""
        if not parts:
            return None
        name = one_form(parts[-1])
        for key in (f"{kind}{name}", f"{kind}fold {name.casefold()}"):
            found = self._index().get(key, [])
            for depth in range(1, len(parts) + 1):
                tail = [one_form(part).casefold() for part in parts[-depth:-1]]
                fitting = [path for path in found if _ends(path, tail)] if tail else found
                if len(fitting) == 1:
                    return fitting[0]
        return None

    def _index(self) -> dict[str, list[Path]]:
        if self._by_name is None:
            self._by_name = {}
            for path in files_below(self._root, self._suffixes):
                name, stem = one_form(path.name), one_form(path.stem)
                for key in (name, f"fold {name.casefold()}", f"stem {stem}", f"stem fold {stem.casefold()}"):
                    self._by_name.setdefault(key, []).append(path)
        return self._by_name


def _ends(path: Path, tail: Sequence[str]) -> bool:
    folders = [one_form(part).casefold() for part in path.parent.parts]
    return folders[len(folders) - len(tail) :] == list(tail)


class FreeNames:
    """Gives out names that no other output has, whatever the file system makes of case and Unicode form."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, stem: str, suffix: str = "") -> str:
        """`stem` + `suffix`, with a number between them when the stem is taken (with that suffix)."""
        number, free = 1, stem
        while one_form(f"{free}{suffix}").casefold() in self._taken:
            number += 1
            free = f"{stem}-{number}"
        self._taken.add(one_form(f"{free}{suffix}").casefold())
        return f"{free}"
