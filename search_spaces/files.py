"""Text files read with a clear refusal, files written whole or not at all, folders checked before work starts."""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import io
import os
import signal
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from search_spaces.errors import UserError


def text_encoding(head: bytes) -> str:
    """The encoding of a text that starts with these bytes: UTF-16 or UTF-32 by their byte order mark, else UTF-8."""
    for mark, encoding in ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                           (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):  # fmt: skip
        if head.startswith(mark):
            return encoding
    return "utf-8-sig"


def read_text(path: Path, expected: str) -> str:
    """The text of a UTF-8 file, or of one in UTF-16 or UTF-32 with a byte order mark (marks are left out).

    Raises UserError, with the line of the first foreign byte, for any other encoding; `expected` ends the message.
    """
    try:
        data = path.read_bytes()
        text = data.decode(text_encoding(data[:4])).replace("\r\n", "\n").replace("\r", "\n")
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise UserError(f"{path}:{line}: cannot be read as text (a zero byte); expected {expected} in UTF-8")
        return text
    except UnicodeDecodeError as error:
        line, byte = error.object[: error.start].count(b"\n") + 1, error.object[error.start]
        raise UserError(
            f"{path}:{line}: cannot be read as text (the byte {byte:#04x} is not UTF-8); expected {expected} in UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None


def check_file(path: Path, expected: str) -> None:
    """Raise UserError, a line that ends in what is `expected`, unless `path` is a file."""
    if not path.is_file():
        raise UserError(f"{path}: {'it is a folder' if path.is_dir() else 'no such file'}; expected {expected}")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 to a temporary name beside `path`, then rename; what UTF-8 cannot hold (parts of file names) is written
    as JSON escapes it. Raises UserError when that fails.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from None


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows of cells as CSV, lines ended by a line feed alone; None and nan are empty cells."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([None if cell != cell else cell for cell in row] for row in rows)
    return table.getvalue()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is deleted when it does not.

    An OSError of the block names `path`, not the temporary file, or none as those of a full disk do.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(folder: Path, remedy: str = "choose another --out") -> None:
    """Raise UserError unless `folder` can be written into, or made where it is not there yet. Makes nothing."""
    existing = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path())
    what = "it" if existing == folder else existing
    if not existing.is_dir():
        raise UserError(f"{folder}: {what} is a file, expected a folder; {remedy}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {what} is read-only, expected a folder to write into; {remedy}")


def check_new_file(path: Path, *, overwrite: bool, option: str = "-o") -> None:
    """Raise UserError unless a file may be written at `path`, which the user names by `option`. Makes nothing."""
    if path.is_dir():
        raise UserError(f"{path}: it is a folder, expected a file to write; choose another {option}")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already; choose another {option} or say --overwrite")
    check_folder(path.parent, f"choose another {option}")


def check_new_folder(folder: Path, remedy: str, *, overwrite: bool = False) -> None:
    """Raise UserError unless a new folder can take the place of `folder`: it is not there yet or empty (`overwrite`:
    whatever it holds), and it is not the one that the user is in, which would be gone. Makes nothing."""
    check_folder(folder.parent, remedy)
    check_folder(folder, remedy)
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UserError(f"{folder}: already exists and is not empty; {remedy}")
    if folder.resolve() == Path.cwd():
        raise UserError(f"{folder}: the folder that you are in cannot be replaced; name a new one")


def claim_outputs(folder: Path, names: list[str], overwrite: bool, option: str = "--out") -> None:
    """Make sure that the named files may be written into `folder`, which the user names by `option`.

    Raises UserError when one exists (unless `overwrite`), or when the folder cannot be made or written.
    """
    check_folder(folder, f"choose another {option}")
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise UserError(f"{folder / existing[0]}: exists already; choose another {option} or say --overwrite")


def lock(descriptor: int, message: str) -> None:
    """Hold an open file for this process alone until it is closed or the process dies.

    Raises UserError(message) when another process holds it. Where there are no locks (some network file systems,
    Windows) nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise UserError(message) from None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the block is done, and so does SIGTERM where it is handled here (unhandled, it ends the process as
    ever). For native writers, which an exception in mid-write can abort."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    waiting = [number for number, handler in before.items() if callable(handler) or number == signal.SIGINT]
    try:
        for number in waiting:
            signal.signal(number, lambda number, _: received.append(number))
        yield
    finally:
        for number in waiting:
            handler = before[number]
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if received:
            signal.raise_signal(received[0])
