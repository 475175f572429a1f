"""Reading pictures (8-bit RGB, complete) and stretching them to the network's input size."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from detector.data.picture_header import Header, read_header
from search_spaces.errors import UserError

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""A picture: (height, width, 3) RGB, where nothing else is said."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"})
READABLE = ", ".join(sorted(IMAGE_SUFFIXES))
OTHER_PICTURES = frozenset({".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".tga"})
"""Known, but not read for sure: such files are named where they are met, not passed over."""
# A block of 64 px takes at least one bit; deflate packs 1032 bytes of eight 1-bit pixels into one. Twice that for safety.
_JPEG_PIXELS_PER_BYTE = 2 * 8 * 64
_PNG_PIXELS_PER_BYTE = 2 * 8 * 1032
_INVERSE = {6: 8, 8: 6}
_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)  # OpenCV 4.11 and newer decode to RGB themselves


def read_image(path: Path, *, expected_hw: tuple[int, int] | None = None, allow_truncated: bool = False) -> Pixels:
    """Decode one picture: (H, W, 3) uint8 RGB, EXIF orientation applied.

    expected_hw: the size that the annotations were drawn on; a picture annotated before its EXIF rotation is read so.
    Raises UserError naming the file when it is missing, unreadable, cut short, of another size, or too large.
    """
    data = _bytes_of(path)
    header = read_header(data.tobytes())
    reason = _unusable(header, data.size, allow_truncated)
    if reason:
        raise UserError(f"{path}: {reason}")
    if not header.whole and header.kind == "jpeg":
        data = np.append(data, np.array([0xFF, 0xD9], dtype=np.uint8))
    stored = _decode(data, path, header)
    image = _turned(stored, header.orientation)
    if expected_hw is not None and image.shape[:2] != tuple(expected_hw):
        if stored.shape[:2] != tuple(expected_hw):
            raise UserError(f"{path}: {wrong_size((image.shape[0], image.shape[1]), expected_hw)}")
        image = stored
    return np.ascontiguousarray(image)


def look_at(path: Path) -> tuple[tuple[int, int], tuple[int, int], int]:
    """(height, width) as shown and as stored (before the EXIF rotation), and bits per sample, from the header where that
    is possible.

    Raises UserError naming the file when it is missing, unreadable, cut short or too large.
    """
    data = _bytes_of(path)
    header = read_header(data.tobytes())
    reason = _unusable(header, data.size)
    if reason:
        raise UserError(f"{path}: {reason}")
    if header.stored_hw is None or header.shown_hw is None or min(header.stored_hw) < 1:
        stored = _decode(data, path, header)
        header = replace(header, stored_hw=(stored.shape[0], stored.shape[1]))
    return header.shown_hw or (0, 0), header.stored_hw or (0, 0), header.bits


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels as `read_image` would return, from the header where that is possible.

    Raises UserError naming the file when it is missing or unreadable.
    """
    return look_at(path)[0]


def fills_the_range(path: Path) -> bool:
    """Whether a picture's samples use the upper fifteen sixteenths of their range at all: 12 bits in 16 do not."""
    samples = cv2.imdecode(_bytes_of(path), cv2.IMREAD_UNCHANGED)
    return samples is None or samples.dtype != np.uint16 or int(samples.max()) >= 1 << 12


def resize_stretch(
    image: Pixels, boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, int]
) -> tuple[Pixels, npt.NDArray[np.float32]]:
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


def read_with_damage(path: Path) -> tuple[Pixels, str]:
    """The picture as `read_image` gives it, and what the decoder says of damaged data in a JPEG ("" if nothing).

    Only for a process whose other threads print nothing meanwhile. Raises UserError as `read_image` does.
    """
    with _standard_error() as lines:
        image = read_image(path)
    # Extraneous bytes between segments are common, and no pixel suffers.
    told = (line for line in lines if line.startswith("Corrupt JPEG data") and "extraneous" not in line)
    return image, next(told, "")


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


def _bytes_of(path: Path) -> npt.NDArray[np.uint8]:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot read the image ({error.strerror}); restore the file or drop it") from error
    if data.size == 0:
        raise UserError(f"{path}: the image file is empty; copy it again, or remove it")
    return data


def _unusable(header: Header, num_bytes: int, allow_truncated: bool = False) -> str:
    """Why a picture with that header cannot be decoded, "" if nothing speaks against it."""
    if not header.whole and not allow_truncated:
        return "the image file is cut short; copy it again, or remove it"
    if header.kind == "tiff" and header.bits >= 32:
        return f"has {header.bits}-bit samples; expected 8 or 16 bits, convert it"
    if header.stored_hw is None:
        return ""
    height, width = header.stored_hw
    pixels, most = height * width, _limit("PIXELS", 1 << 30)
    if pixels > most or height > _limit("HEIGHT", 1 << 20) or width > _limit("WIDTH", 1 << 20):
        return (
            f"is {width}x{height}, {pixels / 1e9:.2g} gigapixels, above OpenCV's limit ({most} pixels, 2^20 a side); cut "
            "it into tiles, or set OPENCV_IO_MAX_IMAGE_PIXELS, _WIDTH and _HEIGHT before starting"
        )
    densest = {"jpeg": _JPEG_PIXELS_PER_BYTE, "png": _PNG_PIXELS_PER_BYTE}.get(header.kind)
    if densest is not None and pixels > densest * num_bytes:
        return f"is damaged: its {num_bytes} bytes cannot hold the {width}x{height} pixels that it names; restore it"
    return ""


def _limit(name: str, default: int) -> int:
    value = os.environ.get(f"OPENCV_IO_MAX_IMAGE_{name}", "")
    return int(value) if value.isdecimal() else default


def _decode(data: npt.NDArray[np.uint8], path: Path, header: Header) -> Pixels:
    """Pixels as stored, RGB, without OpenCV's own remarks on the screen."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        decoded = cv2.imdecode(data, (_RGB or cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        decoded = None
    finally:
        cv2.utils.logging.setLogLevel(before)
    if decoded is None:
        raise UserError(f"{path}: not a readable image{_other_kind(data)}; expected JPEG, PNG, BMP, WebP or TIFF")
    image: Pixels = np.asarray(
        decoded if _RGB else cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded), dtype=np.uint8
    )
    if header.kind == "tiff":
        # OpenCV turns TIFF files whatever it is told.
        image = _turned(image, _INVERSE.get(header.orientation, header.orientation))
    return image


def _other_kind(data: npt.NDArray[np.uint8]) -> str:
    """What the file is, where its first bytes tell: often a picture under another's suffix."""
    start = data[:16].tobytes()
    if start[4:8] == b"ftyp":
        return f" ({'AVIF' if start[8:12] in (b'avif', b'avis') else 'HEIC, or a video'})"
    for mark, kind in ((b"GIF8", "GIF"), (b"%PDF", "PDF"), (b"\0\5\x16\7", "a Mac's resource file"), (b"<", "HTML or XML"),
                       (b"PK", "an archive"), (b"version https://git-lfs", "a Git LFS pointer")):  # fmt: skip
        if start.startswith(mark[:16]):
            return f" ({kind})"
    return ""


def _turned(image: Pixels, orientation: int) -> Pixels:
    """Stored pixels as EXIF orientation 1 to 8 has them shown."""
    if orientation >= 5:
        image = np.ascontiguousarray(image.transpose(1, 0, 2))
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    if orientation in flips:
        image = np.asarray(cv2.flip(image, flips[orientation]), dtype=np.uint8)
    return image
