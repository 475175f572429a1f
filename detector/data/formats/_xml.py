"""XML in any encoding that its header can name, its names without their namespaces."""

from __future__ import annotations

import codecs
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from search_spaces.files import text_encoding

_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._:-]*)["'][^>]*\?>""")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
# The wider code page that writers of these names really use.
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "cp950", "shift_jis": "cp932", "euc_kr": "cp949"}
_EBCDIC = "<?xml".encode("cp037")  # these characters are the same in all of its code pages
_START = 1 << 16
_NO_TEXT = frozenset({"unicode_escape", "raw_unicode_escape", "idna", "punycode", "undefined", "utf-7"})


class BadXml(Exception):
    """XML that cannot be read: `line` and `reason`."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


def parse_xml(path: Path) -> ElementTree.Element:
    """The root element. Raises OSError when the file cannot be opened, BadXml when it is no XML or declares entities: no
    annotation tool does, and a few lines of them can stand for gigabytes."""
    data = path.read_bytes()
    encoding = _encoding(data)
    try:
        parser = ElementTree.XMLParser(encoding=None if encoding is None else "utf-8")
        return _plain(ElementTree.fromstring(_parsable(data, encoding, whole=True), parser))
    except ElementTree.ParseError as error:
        raise BadXml(error.position[0], f"the XML does not parse ({error})") from None
    except UnicodeError as error:
        line = data[: getattr(error, "start", 0)].count(b"\n") + 1
        raise BadXml(line, f"the XML does not parse (its bytes are not the {encoding} that it names)") from None
    except (ValueError, LookupError, RecursionError) as error:
        raise BadXml(1, f"the XML does not parse ({error})") from None


def root_name(path: Path) -> str:
    """The root element's name, from no more of the file than its start. Raises as `parse_xml` does, for a start that is none
    of XML's."""
    with path.open("rb") as file:
        start = file.read(_START)
    encoding = _encoding(start)
    parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(("start",))
    try:
        parser.feed(_parsable(start, encoding, whole=False))
        first: Any = next(iter(parser.read_events()), None)
        if first is not None:
            return str(first[1].tag).rpartition("}")[2]
    except ElementTree.ParseError as error:
        raise BadXml(error.position[0], f"the XML does not parse ({error})") from None
    except (ValueError, LookupError) as error:
        raise BadXml(1, f"the XML does not parse ({error})") from None
    raise BadXml(1, f"the XML has no element in its first {_START} bytes")


def _parsable(data: bytes, encoding: str | None, *, whole: bool) -> bytes:
    """The bytes for the parser: in UTF-8 and without their declaration where it does not know the `encoding`. `whole`: False
    where the last character may be cut. Raises BadXml for entities, UnicodeError for bytes that are not so encoded."""
    if encoding is not None:
        text = codecs.getincrementaldecoder(encoding)().decode(data, whole)
        data = _DECLARATION.sub("", text, count=1).encode("utf-8", "replace")
    place = data.find(b"<!ENTITY")
    if place >= 0 and b"<!DOCTYPE" in data[:place]:
        raise BadXml(data[:place].count(b"\n") + 1, "it declares entities (<!ENTITY ...>); remove its <!DOCTYPE ...>")
    return data


def _plain(root: ElementTree.Element) -> ElementTree.Element:
    """The same tree; a tag in a namespace (`{http://...}object`) has its own name alone."""
    for node in root.iter():
        if isinstance(node.tag, str):
            node.tag = node.tag.rpartition("}")[2]
    return root


def _encoding(data: bytes) -> str | None:
    """A Python codec for what the parser itself does not read; None where it does."""
    marked = text_encoding(data[:4])
    if marked != "utf-8-sig" or data.startswith(codecs.BOM_UTF8):
        return marked
    ebcdic = data.startswith(_EBCDIC)
    found = _DECLARED.match(data[:400].decode("cp037").encode("latin-1") if ebcdic else data[:400])
    if found is None:
        return None
    name = found.group(1).decode("ascii").lower()
    if name in ("unicode", "utf-16", "utf16", "ucs-2"):
        # The header was written for text in memory; the bytes are single ones, or the header could not be read.
        return "utf-8"
    try:
        codec = codecs.lookup(name)
    except LookupError:
        raise BadXml(1, f"the encoding {name!r} is not known; save the file as UTF-8") from None
    if codec.name in ("utf-8", "ascii", "iso8859-1"):
        return None
    if codec.name in _NO_TEXT or not getattr(codec, "_is_text_encoding", True):
        raise BadXml(1, f"{name!r} is no text encoding; save the file as UTF-8")
    return _WIDER.get(codec.name, codec.name)
