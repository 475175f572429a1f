"""Ways to spoil a file: by bytes, by lines, by the structure of JSON, XML and YAML, and bombs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -(2**70), 1e308, -1e308, float("nan"), float("inf"), 0.5,
    "", "0", "1", "x",
    "nan", "1e5", "true", "../../../etc/passwd", "C:\\a\\b.png", "\\\\server\\a.png", "a" * 10_000, "\0", "\n", "\ud83d",
    "猫", "[red]", "{file}", "{}", "%s", [], {}, [[]], [None], {"a": {}}, [1, 2, 3, 4, 5], "0x10", "１２",
    "-0", "12:30", "no",
)  # fmt: skip
ODD_TEXTS = tuple(str(value) for value in ODD_VALUES if not isinstance(value, (list, dict)))


def mutate(content: bytes, suffix: str, rng: Rng) -> bytes:
    """One to three mutations of those that fit the file."""
    choices = [*BYTES, *BY_SUFFIX.get(suffix, ())]
    for _ in range(int(rng.integers(1, 4))):
        content = choices[int(rng.integers(len(choices)))](content, rng)
    return content


def flip(content: bytes, rng: Rng) -> bytes:
    """A few bytes become others."""
    if not content:
        return content
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return bytes(data)


def flip_head(content: bytes, rng: Rng) -> bytes:
    """A byte of the first 64 becomes another: headers, sizes, marks."""
    if not content:
        return content
    data = bytearray(content)
    data[int(rng.integers(min(64, len(data))))] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
    return bytes(data)


def cut(content: bytes, rng: Rng) -> bytes:
    """The end is gone."""
    return content[: int(rng.integers(len(content) + 1))]


def remove(content: bytes, rng: Rng) -> bytes:
    """A part in the middle is gone."""
    start, end = sorted(rng.integers(len(content) + 1, size=2).tolist())
    return content[:start] + content[end:]


def repeat(content: bytes, rng: Rng) -> bytes:
    """A part stands there twice or many times."""
    start, end = sorted(rng.integers(len(content) + 1, size=2).tolist())
    part = content[start : min(end, start + 4000)]
    return content[:start] + part * int(rng.choice([2, 3, 50])) + content[start:]


def insert(content: bytes, rng: Rng) -> bytes:
    """Something foreign in the middle."""
    place = int(rng.integers(len(content) + 1))
    foreign = [
        bytes(8),
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r\n\r\n",
        rng.bytes(16),
        b"9" * 5000,
        b"\xff\xd8\xff\xda",
        b"{[<!--",
    ]
    return content[:place] + foreign[int(rng.integers(len(foreign)))] + content[place:]


def empty(content: bytes, rng: Rng) -> bytes:
    """Nothing, or next to nothing."""
    return [b"", b"\n", b"\0", b"{}", b"[]", b"<a/>", b"null", b"0"][int(rng.integers(8))]


def recode(content: bytes, rng: Rng) -> bytes:
    """The same text in another encoding, with or without its mark."""
    text = content.decode("utf-8", "replace")
    encoding = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "gb18030", "shift_jis", "utf-7"]
    return text.encode(encoding[int(rng.integers(len(encoding)))], "replace")


def number(content: bytes, rng: Rng) -> bytes:
    """A number in the text becomes an odd one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not found:
        return content
    match = found[int(rng.integers(len(found)))]
    return content[: match.start()] + _text(rng).encode("utf-8", "replace") + content[match.end() :]


def line(content: bytes, rng: Rng) -> bytes:
    """A line is gone, doubled, or two are swapped."""
    lines = content.split(b"\n")
    first, second = rng.integers(len(lines), size=2).tolist()
    kind = int(rng.integers(3))
    if kind == 0:
        del lines[first]
    elif kind == 1:
        lines.insert(first, lines[second])
    else:
        lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def json_field(content: bytes, rng: Rng) -> bytes:
    """A value anywhere in the JSON is removed, retyped or wrapped."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = _places(document)
    if not places:
        return content
    holder, key = places[int(rng.integers(len(places)))]
    kind = int(rng.integers(4))
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]]
    else:
        holder[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return json.dumps(document).encode("utf-8", "surrogatepass")


def json_bomb(content: bytes, rng: Rng) -> bytes:
    """Nested beyond any depth, or endless digits."""
    bombs = [b"[" * 200_000, b'{"images":' * 50_000, b'{"images": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
             b"1" * 100_000,
             b'{"annotations": [{"id": ' + b"9" * 20_000 + b"}]}", b'"' + b"\\u0000" * 10_000]  # fmt: skip
    return bombs[int(rng.integers(len(bombs)))]


def xml_field(content: bytes, rng: Rng) -> bytes:
    """A tag's text or an attribute becomes odd, or a tag is renamed."""
    found = list(re.finditer(rb">[^<>]+<|=\"[^\"]*\"|<\w+", content))
    if not found:
        return content
    match = found[int(rng.integers(len(found)))]
    old = match.group()
    new = _text(rng).encode("utf-8", "replace").replace(b"<", b"&lt;")
    new = (
        b">" + new + b"<" if old[:1] == b">" else b'="' + new.replace(b'"', b"") + b'"' if old[:1] == b"=" else b"<odd"
    )
    return content[: match.start()] + new + content[match.end() :]


def xml_header(content: bytes, rng: Rng) -> bytes:
    """Another encoding is declared, known or not."""
    names = [
        "gb2312",
        "shift_jis",
        "utf-16",
        "unicode",
        "zip",
        "rot13",
        "idna",
        "undefined",
        "ebcdic-cp-us",
        "x-none",
        "utf-7",
        "cp037",
    ]
    body = re.sub(rb"^<\?xml[^>]*\?>", b"", content)
    return f'<?xml version="1.0" encoding="{names[int(rng.integers(len(names)))]}"?>'.encode() + body


def xml_bomb(content: bytes, rng: Rng) -> bytes:
    """Entities that multiply, or that want a file; tags without end."""
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bombs = [
        f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><annotation><filename>&l9;</filename></annotation>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
        "<annotation>" + "<object>" * 100_000,
        "<annotation>" + "<object/>" * 20_000 + "</annotation>",
        f'<!DOCTYPE a [<!ENTITY b "{"b" * 50_000}">]><annotation><filename>{"&b;" * 20_000}</filename></annotation>',
    ]
    return bombs[int(rng.integers(len(bombs)))].encode()


def yaml_field(content: bytes, rng: Rng) -> bytes:
    """A value becomes odd, or a key another."""
    found = list(re.finditer(rb"(?m)(?<=: )[^\n]+$|^\w+(?=:)", content))
    if not found:
        return content
    match = found[int(rng.integers(len(found)))]
    odd = [
        *ODD_TEXTS,
        "[",
        "{a: b}",
        "&a [*a]",
        "!!python/object:os.system x",
        "*none",
        "? x",
        "'",
        '"\\q"',
        "[[[[",
        "|",
        "- - -",
    ]
    new = odd[int(rng.integers(len(odd)))].encode("utf-8", "replace")
    return content[: match.start()] + new + content[match.end() :]


def yaml_bomb(content: bytes, rng: Rng) -> bytes:
    """Anchors that multiply, or nesting beyond any depth."""
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]
    bombs = [
        "\n".join([*lines, "train: *a11", "names: *a11"]),
        "names: " + "[" * 20_000,
        "train: " + "{a: " * 5_000,
        "? " * 20_000,
    ]
    return bombs[int(rng.integers(len(bombs)))].encode()


def _text(rng: Rng) -> str:
    return ODD_TEXTS[int(rng.integers(len(ODD_TEXTS)))]


def _places(document: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of every value in a JSON document."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for key, value in items:
            places.append((holder, key))
            waiting.append(value)
    return places


BYTES: tuple[Mutation, ...] = (flip, flip_head, cut, remove, repeat, insert, empty)
_TEXT: tuple[Mutation, ...] = (recode, number, number, line)
BY_SUFFIX: dict[str, tuple[Mutation, ...]] = {
    ".json": (*_TEXT, *(json_field,) * 8, json_bomb),
    ".xml": (*_TEXT, *(xml_field,) * 6, xml_header, xml_bomb),
    ".yaml": (*_TEXT, *(yaml_field,) * 6, yaml_bomb),
    ".txt": _TEXT,
    ".csv": _TEXT,
    ".names": _TEXT,
    ".data": _TEXT,
}
