"""Reading a large JSON object without holding it: its long lists go to a function, element by element."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from search_spaces.errors import UserError
from search_spaces.files import read_text, text_encoding

_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")


def read_object(path: Path, expected: str, lists: Mapping[str, Callable[[Any], None]]) -> dict[str, Any]:
    """The members of the JSON object in `path`.

    A member that `lists` names and that is a list is given to its function element by element; the result then holds
    the number of elements. Memory: about 1 MB of text at a time. Raises UserError, with the line, for what is no JSON
    object in UTF-8 (or UTF-16 with a byte order mark); `expected` ends the message.
    """
    try:
        with path.open("rb") as start:
            encoding = text_encoding(start.read(4))
        with path.open(encoding=encoding) as file:
            return _Reader(file).read(lists)
    except UnicodeDecodeError:
        read_text(path, expected)
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except _Broken as error:
        raise UserError(f"{path}:{error.line}: the JSON does not parse ({error.reason}); restore the file") from None
    except _NoObject:
        raise UserError(f"{path}: expected {expected}") from None


class _Broken(Exception):
    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason


class _NoObject(Exception):
    pass


class _Reader:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._lines = 1  # the line that the text starts on

    def read(self, lists: Mapping[str, Callable[[Any], None]]) -> dict[str, Any]:
        if self._peek() != "{":
            self._value()
            raise _NoObject
        self._at += 1
        members: dict[str, Any] = {}
        if self._peek() == "}":
            return members
        while True:
            if self._peek() != '"':
                raise self._broken("expected a name in double quotes")
            name = self._value()
            self._take(":")
            members[name] = self._list(lists[name]) if name in lists and self._peek() == "[" else self._value()
            if self._take(",}") == "}":
                return members

    def _list(self, each: Callable[[Any], None]) -> int:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return 0
        count = 0
        while True:
            each(self._value())
            count += 1
            if self._take(",]") == "]":
                return count

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._more():
                    continue
                self._at = min(error.pos, len(self._text))
                raise self._broken(error.msg) from None
            except ValueError:
                raise self._broken("a number of thousands of digits") from None
            except RecursionError:
                raise self._broken("nested too deeply") from None
            # A number near the end of the text may go on: "1" of "1.5" or of "1e+5".
            if len(self._text) - end > 2 or not self._more():
                self._at = end
                return value

    def _take(self, allowed: str) -> str:
        found = self._peek()
        if not found or found not in allowed:
            raise self._broken(f"expected {' or '.join(allowed)}")
        self._at += 1
        return found

    def _peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, forgetting what is done; twice as much as is left, so that long values cost no more than short."""
        left = len(self._text) - self._at
        chunk = self._file.read(max(_CHUNK, left))
        if not chunk:
            return False
        self._lines += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return True

    def _broken(self, reason: str) -> _Broken:
        return _Broken(self._lines + self._text.count("\n", 0, self._at), reason)


def read_json(path: Path, expected: str) -> Any:
    """The whole value in `path`, as `read_object` reads one. For files that belong to one picture, or to some."""
    text = read_text(path, f"{expected}, as JSON")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: the JSON does not parse ({error.msg}); restore the file") from None
    except (ValueError, RecursionError):
        raise UserError(
            f"{path}:1: the JSON does not parse (nested too deeply, or a number of thousands of digits); restore the file"
        ) from None
