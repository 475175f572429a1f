"""What the user means by a source: pictures, videos, folders and patterns of them, lists, cameras, streams."""

from __future__ import annotations

import glob
import os
import stat
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from detector.data.file_tree import files_below
from detector.data.image import IMAGE_SUFFIXES, OTHER_PICTURES, READABLE
from detector.data.image_facts import examine
from detector.data.picture_header import read_header
from search_spaces.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".m2ts", ".mts", ".wmv", ".flv", ".3gp", ".ogv",
     ".mjpeg", ".gif"}
)  # fmt: skip
PICTURE_SUFFIXES = (IMAGE_SUFFIXES | OTHER_PICTURES) - VIDEO_SUFFIXES
LIST = "-"
WANTED = "a picture, a video, a folder or pattern of them, - for a list on standard input, a camera's number, or a URL"


class Kind(Enum):
    """How a source is read."""

    PICTURE = "picture"
    VIDEO = "video"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to read. address: a path, a URL or a camera's number; name: what outputs are named after, relative."""

    kind: Kind
    address: str | int
    name: PurePath

    @property
    def shown(self) -> str:
        """The address as messages show it: without a password."""
        return f"camera {self.address}" if isinstance(self.address, int) else without_password(self.address)


def find_items(sources: Sequence[str], out: Path, listed: Iterable[str] = ()) -> list[Item]:
    """What `sources` mean, in order, each file once; pictures and videos in folders sorted, without hidden files and what
    lies in `out` below them; links are followed.

    listed: the lines of standard input, for the source `-`. Raises UserError for a source that means nothing, and for a
    camera or stream beside others.
    """
    live = [item for source in sources if (item := _live(source)) is not None]
    if live:
        if len(sources) > 1:
            raise UserError(f"{live[0].shown}: a camera or stream has no end; look at it in a run of its own")
        return live
    texts = [text for source in sources for text in (_lines(listed) if source == LIST else [source])]
    if not texts:
        raise UserError("-: no line on standard input; expected the paths of pictures or videos, one a line")
    paths = list(dict.fromkeys(path for text in texts for path in _files(text, out)))
    root = texts[0] if len(texts) == 1 and os.path.isdir(texts[0]) else _shared_folder(paths)
    return [Item(_kind(path), str(path), _name(path, root)) for path in paths]


def find_pictures(folders: Sequence[Path], out: Path) -> list[Path]:
    """All sound pictures in the folders and below, each once; unsound ones are left out with a warning.

    out: what is written later; never among them. Raises UserError for a folder that is not there or holds none.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        for item in find_items([str(folder)], out):
            path = Path(str(item.address))
            if item.kind is Kind.PICTURE and path.suffix.lower() in IMAGE_SUFFIXES:
                found.setdefault(path.resolve(), path)
    paths = list(found.values())
    facts = examine(paths)
    sound = [path for path, fact in zip(paths, facts) if not fact.reason]
    if not sound:
        raise UserError(f"{', '.join(map(str, folders))}: not one sound picture; expected {READABLE}")
    if len(sound) < len(paths):
        bad = next((path, fact.reason) for path, fact in zip(paths, facts) if fact.reason)
        warnings.warn(f"{len(paths) - len(sound)} pictures are left out; {bad[0]}: {bad[1]}", stacklevel=2)
    return sound


def without_password(address: str) -> str:
    """A URL with `***` for the password (or whatever stands before the host alone)."""
    if "://" not in address:
        return address
    scheme, _, rest = address.partition("://")
    head, slash, tail = rest.partition("/")
    user, at, host = head.rpartition("@")
    return f"{scheme}://{user.partition(':')[0] + ':***@' if at else ''}{host}{slash}{tail}"


def _lines(listed: Iterable[str]) -> list[str]:
    """The names of a list: one a line, or ended by zeros as `find -print0` writes them."""
    lines = [name.removeprefix("\ufeff").rstrip("\r\n") for line in listed for name in line.split("\0")]
    return [_without_marks(line) for line in lines if line.strip()]


def _without_marks(line: str) -> str:
    """A line as it stands if that is there, else without the space and quotes round it."""
    if os.path.lexists(line):
        return line
    plain = line.strip()
    return plain[1:-1] if len(plain) > 2 and plain[0] == plain[-1] and plain[0] in "\"'" else plain


def _live(source: str) -> Item | None:
    if source.isascii() and source.isdecimal() and not os.path.lexists(source):
        return Item(Kind.LIVE, int(source), PurePath(f"camera{int(source)}"))
    if "://" in source and not source.lower().startswith("file://"):
        return Item(Kind.LIVE, source, _stream_name(source))
    if _is_device(source):
        return Item(Kind.LIVE, source, PurePath(Path(source).name))
    return None


def _stream_name(address: str) -> PurePath:
    """A file's name for a stream: host and path, letters, digits, dots and dashes; no user, password or query."""
    try:
        parts = urlsplit(address)
        text = f"{parts.hostname or 'stream'}{parts.path}"
    except ValueError:
        text = "stream"
    plain = "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in unquote(text))
    return PurePath(plain.strip("._")[:100] or "stream")


def _is_device(source: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(source).st_mode)
    except (OSError, ValueError):
        return False


def _files(text: str, out: Path) -> list[Path]:
    """The files that one source means."""
    if text.lower().startswith("file://"):
        text = unquote(urlsplit(text).path)
    if os.path.isdir(text):
        return _in_folder(Path(text), out)
    if os.path.isfile(text):
        return [Path(text)]
    if glob.has_magic(text):
        found = sorted(path for path in glob.glob(text, recursive=True) if os.path.isfile(path))
        if not found:
            raise UserError(
                f"{text}: no file has such a name; expected a pattern of pictures or videos, e.g. 'a/*.jpg'"
            )
        return [Path(path) for path in found]
    raise UserError(f"{text}: no such file or folder; expected {WANTED}")


def _in_folder(folder: Path, out: Path) -> list[Path]:
    drawn, home = out.resolve(), folder.resolve()
    earlier = folder / drawn.relative_to(home) if drawn.is_relative_to(home) and drawn != home else None
    found = [path for path in files_below(folder, PICTURE_SUFFIXES | VIDEO_SUFFIXES) if earlier not in path.parents]
    if not found:
        raise UserError(f"{folder}: no pictures in this folder, and no videos; expected {READABLE}, .mp4, .avi, ...")
    return found


def _shared_folder(paths: Sequence[Path]) -> str | None:
    """The innermost folder that holds all files; None on several drives."""
    try:
        return os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    except ValueError:
        return None


def _name(path: Path, root: str | None) -> PurePath:
    """The path from the root on, which never leaves it: absolute paths know no `..`."""
    if root is None:
        return PurePath(path.name)
    return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(root)))


def _kind(path: Path) -> Kind:
    """By the suffix; by the first bytes where that says nothing."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return Kind.PICTURE
    if suffix in VIDEO_SUFFIXES:
        return Kind.VIDEO
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError:
        return Kind.PICTURE
    marks = (b"\x1aE\xdf\xa3", b"FLV\1", b"\0\0\1\xba", b"OggS", b"GIF8")
    transport = len(head) == 256 and head[0] == head[188] == 0x47  # MPEG-TS: packets of 188 bytes
    moving = head.startswith(marks) or head[4:8] == b"ftyp" or head[8:12] == b"AVI " or transport
    return Kind.VIDEO if moving and not read_header(head).kind else Kind.PICTURE
