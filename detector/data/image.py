"""Reading pictures (8-bit RGB, complete) and stretching them to the network's input size."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from search_spaces.errors import UserError

Image: TypeAlias = npt.NDArray[np.uint8]
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"})
READABLE = ", ".join(sorted(IMAGE_SUFFIXES))
OTHER_PICTURES = frozenset({".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".tga"})
"""Known, but not read for sure: such files are named where they are met, not passed over."""


def read_image(path: Path, *, expected_hw: tuple[int, int] | None = None, allow_truncated: bool = False) -> Image:
    """Decode one picture: (H, W, 3) uint8 RGB, EXIF orientation applied.

    expected_hw: the size that the annotations were drawn on; a picture annotated before its EXIF rotation is read so.
    Raises UserError naming the file when it is missing, unreadable, cut short, or of another size.
    """
    data = _bytes_of(path)
    if _is_truncated(data):
        if not allow_truncated:
            raise UserError(f"{path}: the image file is cut short; copy it again, or remove it from the split")
        data = np.append(data, np.array([0xFF, 0xD9], dtype=np.uint8))
    image = _decode(data, cv2.IMREAD_COLOR, path)
    if expected_hw is not None and image.shape[:2] != tuple(expected_hw):
        if image.shape[1::-1] == tuple(expected_hw):
            image = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, path)
        if image.shape[:2] != tuple(expected_hw):
            raise UserError(f"{path}: {wrong_size((image.shape[0], image.shape[1]), expected_hw)}")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), dtype=np.uint8)


def look_at(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) as shown and as stored (before the EXIF rotation), from the header where that is possible.

    Raises UserError naming the file when it is missing, unreadable or cut short.
    """
    data = _bytes_of(path)
    if _is_truncated(data):
        raise UserError(f"{path}: the image file is cut short; copy it again, or remove it from the split")
    shown = _size_of(data, path)
    raw = data.tobytes()
    if raw[:2] == b"\xff\xd8":
        return shown, _jpeg_size(raw) or shown
    if raw[:4] == b"\x89PNG":
        return shown, (int.from_bytes(raw[20:24], "big"), int.from_bytes(raw[16:20], "big"))
    stored = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, path)
    return shown, (stored.shape[0], stored.shape[1])


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels as `read_image` would return, from the header where that is possible.

    Raises UserError naming the file when it is missing or unreadable.
    """
    return _size_of(_bytes_of(path), path)


def resize_stretch(
    image: Image, boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, int]
) -> tuple[Image, npt.NDArray[np.float32]]:
    """Stretch (no letterbox) an image (H, W, 3) and its boxes (n, 4) px to `size_hw`; each axis has its own scale."""
    height, width = image.shape[:2]
    if (height, width) != tuple(size_hw):
        image = np.asarray(cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    scale = np.array([size_hw[1] / width, size_hw[0] / height] * 2, dtype=np.float32)
    return image, boxes_xyxy * scale


def wrong_size(found_hw: tuple[int, int], expected_hw: tuple[int, int]) -> str:
    """What to say of a picture whose annotations were drawn on another size."""
    return (
        f"the image is {found_hw[1]}x{found_hw[0]} but its annotations say "
        f"{expected_hw[1]}x{expected_hw[0]} (width x height); fix the size in the annotations"
    )


def damage_of(path: Path) -> str:
    """What the decoder says of damaged data in a JPEG that it reads all the same ("" if nothing).

    Only for a process whose other threads print nothing meanwhile. Raises UserError as `read_image` does.
    """
    with _standard_error() as lines:
        read_image(path)
    # Extraneous bytes between segments are common, and no pixel suffers.
    return next((line for line in lines if line.startswith("Corrupt JPEG data") and "extraneous" not in line), "")


@contextlib.contextmanager
def _standard_error() -> Iterator[list[str]]:
    """The lines that native code writes to standard error meanwhile: libjpeg tells of damage in no other way."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _bytes_of(path: Path) -> Image:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot read the image ({error.strerror}); restore the file or drop it") from error
    if data.size == 0:
        raise UserError(f"{path}: the image file is empty; copy it again, or remove it from the split")
    return data


def _size_of(data: Image, path: Path) -> tuple[int, int]:
    raw = data.tobytes()
    if raw[:8] == b"\x89PNG\r\n\x1a\n" and len(raw) >= 24 and b"eXIf" not in raw:
        return int.from_bytes(raw[20:24], "big"), int.from_bytes(raw[16:20], "big")
    if raw[:2] == b"\xff\xd8":
        size = _jpeg_size(raw)
        if size is not None and b"Exif\0" not in raw[:4096]:
            return size
        if size is not None:
            # Decoding an eighth of the picture is the cheap way to learn whether EXIF turns it.
            small = _decode(data, cv2.IMREAD_REDUCED_COLOR_8, path)
            turned = (small.shape[0] > small.shape[1]) != (size[0] > size[1])
            return (size[1], size[0]) if turned else size
    image = _decode(data, cv2.IMREAD_COLOR, path)
    return image.shape[0], image.shape[1]


def _decode(data: Image, flags: int, path: Path) -> Image:
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(f"{path}: not a readable image; expected JPEG, PNG, BMP, WebP or TIFF")
    return np.asarray(image, dtype=np.uint8)


def _is_truncated(data: Image) -> bool:
    """Whether a JPEG or PNG lacks its end marker (decoders fill such pictures with grey without a word).

    A JPEG's last start of scan must be followed by an end of image; an embedded thumbnail has its own, earlier, pair.
    """
    raw = data.tobytes()
    if raw[:2] == b"\xff\xd8":
        return raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")
    if raw[:4] == b"\x89PNG":
        return raw.rfind(b"IEND") < 0
    return False


def _jpeg_size(raw: bytes) -> tuple[int, int] | None:
    """(height, width) from a JPEG's frame header, None when there is none."""
    position = 2
    while position + 9 < len(raw) and raw[position] == 0xFF:
        marker = raw[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return (
                int.from_bytes(raw[position + 5 : position + 7], "big"),
                int.from_bytes(raw[position + 7 : position + 9], "big"),
            )
        length = 0 if marker == 0xFF else int.from_bytes(raw[position + 2 : position + 4], "big") + 1
        position += length + 1
    return None
