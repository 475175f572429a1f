"""What a picture file says of itself: kind, size, EXIF orientation, bits per sample, and whether it is all there.

A JPEG is walked segment by segment to the end of its own scan, so what lies before EXIF or behind the picture (a video,
a second picture, a maker's data) changes nothing. Standards: ITU-T T.81 annex B, PNG, RIFF/WebP, TIFF 6.0, EXIF 2.3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Size: TypeAlias = tuple[int, int]
_ORIENTATION, _WIDTH, _HEIGHT, _BITS = 0x0112, 0x0100, 0x0101, 0x0102
_TAG_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """kind: jpeg, png, webp, tiff, bmp, or "" for none of them; stored_hw: pixels as stored, None if not found out.

    orientation: EXIF's, 1 to 8 (1: as stored); bits: per sample; whole: nothing is missing at the end, as far as the
    file's own structure tells
    """

    kind: str = ""
    stored_hw: Size | None = None
    orientation: int = 1
    bits: int = 8
    whole: bool = True

    @property
    def shown_hw(self) -> Size | None:
        """The size after the EXIF rotation."""
        if self.stored_hw is None or self.orientation < 5:
            return self.stored_hw
        return self.stored_hw[1], self.stored_hw[0]


def read_header(raw: bytes) -> Header:
    """The header of a picture file's bytes. Never raises: what is not found keeps its default."""
    try:
        if raw[:2] == b"\xff\xd8":
            return _jpeg(raw)
        if raw[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(raw)
        if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
            return _webp(raw)
        if raw[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(raw)
        if raw[:2] == b"BM" and len(raw) >= 26:
            width, height = struct.unpack_from("<ii", raw, 18)
            return Header(kind="bmp", stored_hw=(abs(height), abs(width)))
    except (struct.error, IndexError):
        # too short for its own structure; the decoder has the last word
        pass
    return Header()


def _jpeg(raw: bytes) -> Header:
    """Segments up to the end of the image. Within a scan, the next marker is one that is neither stuffing nor restart."""
    markers = _scan_markers(raw)
    size, orientation, whole, bits, at = None, 1, False, 8, 2
    while at + 4 <= len(raw) or raw[at : at + 2] == b"\xff\xd9":
        if raw[at] != 0xFF:
            # stray bytes between segments, which decoders pass over
            at = raw.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            whole = True
            break
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            at += 2
            continue
        body, at = at + 4, at + 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and size is None:
            bits, height, width = struct.unpack_from(">BHH", raw, body)
            size = (height, width)
        elif marker == 0xE1 and orientation == 1 and raw[body : body + 6] == b"Exif\0\0":
            orientation = _orientation(raw[body + 6 : at])
        elif marker == 0xDA:
            place = int(np.searchsorted(markers, at))
            if place == len(markers):
                break
            at = int(markers[place])
    return Header(kind="jpeg", stored_hw=size, orientation=orientation, bits=bits, whole=whole)


def _scan_markers(raw: bytes) -> npt.NDArray[np.int64]:
    """Where markers stand that may end a scan, ascending."""
    data = np.frombuffer(raw, dtype=np.uint8)
    places = np.flatnonzero(data[:-1] == 0xFF)
    following = data[places + 1]
    # reserved ones (below C0) in a scan are damage, which the decoder tells of
    ends = (following >= 0xC0) & (following != 0xFF) & ((following & 0xF8) != 0xD0)
    return np.asarray(places[ends], dtype=np.int64)


def _png(raw: bytes) -> Header:
    width, height, bits = struct.unpack_from(">IIB", raw, 16)
    orientation, whole, at = 1, False, 8
    while at + 12 <= len(raw):
        length = int.from_bytes(raw[at : at + 4], "big")
        kind = raw[at + 4 : at + 8]
        if kind == b"eXIf":
            orientation = _orientation(raw[at + 8 : at + 8 + length])
        elif kind == b"IEND":
            whole = True
            break
        at += 12 + length
    return Header(kind="png", stored_hw=(height, width), orientation=orientation, bits=bits, whole=whole)


def _webp(raw: bytes) -> Header:
    size, orientation, at = None, 1, 12
    end = 8 + int.from_bytes(raw[4:8], "little")
    while at + 8 <= min(end, len(raw)):
        kind, length, body = raw[at : at + 4], int.from_bytes(raw[at + 4 : at + 8], "little"), at + 8
        if kind == b"VP8X":
            size = (1 + int.from_bytes(raw[body + 7 : body + 10], "little"),
                    1 + int.from_bytes(raw[body + 4 : body + 7], "little"))  # fmt: skip
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", raw, body + 6)
            size = (height & 0x3FFF, width & 0x3FFF)
        elif kind == b"VP8L" and size is None:
            packed = int.from_bytes(raw[body + 1 : body + 5], "little")
            size = ((packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1)
        elif kind == b"EXIF":
            orientation = _orientation(raw[body : body + length].removeprefix(b"Exif\0\0"))
        at = body + length + length % 2
    return Header(kind="webp", stored_hw=size, orientation=orientation, whole=end <= len(raw) + 1)


def _tiff(raw: bytes) -> Header:
    tags = _tags(raw)
    size = (tags[_HEIGHT], tags[_WIDTH]) if _HEIGHT in tags and _WIDTH in tags else None
    return Header(kind="tiff", stored_hw=size, orientation=_valid(tags.get(_ORIENTATION, 1)), bits=tags.get(_BITS, 1))


def _orientation(exif: bytes) -> int:
    try:
        return _valid(_tags(exif).get(_ORIENTATION, 1))
    except (struct.error, IndexError):
        return 1


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1


def _tags(raw: bytes) -> dict[int, int]:
    """First value of every whole-number tag in the first directory of a TIFF or BigTIFF (EXIF is one)."""
    order = {b"II": "<", b"MM": ">"}.get(raw[:2])
    if order is None:
        return {}
    big = struct.unpack_from(order + "H", raw, 2)[0] == 43
    number, head, step = ("Q", "HHQ", 20) if big else ("I", "HHI", 12)
    start = struct.unpack_from(order + number, raw, 8 if big else 4)[0]
    count_kind = "Q" if big else "H"
    count = struct.unpack_from(order + count_kind, raw, start)[0]
    start += struct.calcsize(count_kind)
    inline = 8 if big else 4
    found: dict[int, int] = {}
    for entry in range(start, min(start + count * step, len(raw) - step + 1), step):
        tag, kind, values = struct.unpack_from(order + head, raw, entry)
        code = _TAG_TYPES.get(kind)
        if code is None or not values:
            continue
        place = entry + step - inline
        if struct.calcsize(code) * values > inline:
            place = struct.unpack_from(order + number, raw, place)[0]
        if place + struct.calcsize(code) <= len(raw):
            found[tag] = struct.unpack_from(order + code, raw, place)[0]
    return found
