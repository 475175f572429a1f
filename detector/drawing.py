"""Detections drawn into a picture to look at."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from detector.data.image import Pixels
from detector.lettering import Font, font, lettering
from search_spaces.errors import UserError
from search_spaces.files import replacing

Rectangle: TypeAlias = tuple[int, int, int, int]
Colour: TypeAlias = tuple[int, int, int]

# Strong hues far apart, neighbours in the list farthest, none close to black, white or skin.
PALETTE = (
    (230, 57, 70), (29, 126, 214), (42, 157, 72), (244, 140, 6), (139, 75, 201), (0, 168, 168), (214, 51, 132),
    (128, 156, 19), (94, 96, 206), (181, 101, 29), (0, 119, 139), (240, 101, 149), (82, 121, 111), (192, 38, 211),
    (202, 138, 4), (67, 97, 238), (190, 18, 60), (8, 145, 90), (124, 92, 68), (71, 85, 105),
)  # fmt: skip
JPEG_QUALITY = 88
CAPTION_PX = 28
SMALLEST_SHOWN = 384
"""Pictures with a longer side below this are enlarged by a whole factor, so that labels can be read."""


def encoded(picture: Pixels, suffix: str = ".jpg", quality: int = JPEG_QUALITY) -> bytes:
    """RGB pixels (H, W, 3) as the bytes of a picture file; quality: of a JPEG, 0 to 100."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    _, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()


def write_picture(picture: Pixels, path: Path, quality: int = JPEG_QUALITY) -> None:
    """Write RGB pixels (H, W, 3) in the format of the suffix, whole or not at all.

    Raises UserError when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(encoded(picture, path.suffix.lower(), quality))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from None


def with_longer_side(picture: Pixels, longer_side: int) -> Pixels:
    """A picture (H, W, 3) with a longer side of that many pixels."""
    scale = longer_side / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def caption(text: str, width: int) -> Pixels:
    """A white strip (CAPTION_PX, width, 3) with one line, to stand above pictures."""
    strip = Image.new("RGB", (width, CAPTION_PX), (255, 255, 255))
    ImageDraw.Draw(strip).text((6, CAPTION_PX / 2), text, (0, 0, 0), ImageFont.load_default(16), anchor="lm")
    return np.asarray(strip, dtype=np.uint8)


def class_colour(label: int) -> Colour:
    """RGB of a class; every 20th class has the same."""
    return PALETTE[label % len(PALETTE)]


def draw_detections(
    picture: Pixels,
    boxes_xyxy: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    scores: npt.NDArray[np.float32] | None = None,
    colours: Sequence[Colour] | None = None,
    ids: npt.NDArray[np.int64] | None = None,
) -> Pixels:
    """A copy of a picture (H, W, 3) uint8 RGB with boxes (K, 4) px and a label at each: class name and score.

    Line width and text follow the picture's size. In a crowd a label moves to a free place along its box, is then
    shortened to the score, and at last left out (the colour still tells the class): labels never hide one another.
    Small pictures come back enlarged by a whole factor. colours: RGB of each box; None: its class's, or its track's.
    ids (K,): numbers of tracks, shown before the names; negative: none.
    """
    height, width = picture.shape[:2]
    factor = max(1, -(-SMALLEST_SHOWN // max(height, width, 1)))
    size = width * factor, height * factor
    canvas = _Canvas.of(_enlarged(picture, size), len(labels))
    if colours is None:
        keys = labels if ids is None else np.where(ids < 0, labels, ids)
        colours = [class_colour(int(key)) for key in keys]
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    large_first = np.argsort(-sides[:, 0] * sides[:, 1], kind="stable")
    rectangles = {i: _rectangle(boxes_xyxy[i] * factor, size) for i in large_first.tolist()}
    for i, rectangle in rectangles.items():
        canvas.outline(rectangle, colours[i])
    best_first = range(len(labels)) if scores is None else np.argsort(-scores, kind="stable").tolist()
    names = lettering(tuple(class_names)).texts
    for i in best_first:
        number = "" if ids is None or ids[i] < 0 else f"#{ids[i]}"
        score = "" if scores is None else f"{scores[i]:.2f}"
        words = [word for word in (number, names[int(labels[i])], score) if word]
        canvas.label(rectangles[i], [" ".join(words), *([number or score] if number or score else [])], colours[i])
    return canvas.pixels


def _enlarged(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """A copy in that width and height."""
    if size == picture.shape[1::-1]:
        return np.array(picture, dtype=np.uint8, order="C")
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC), dtype=np.uint8)


@dataclass(kw_only=True)
class _Canvas:
    pixels: Pixels
    line: int
    size: int
    padding: int
    taken: list[Rectangle] = field(default_factory=list)

    @classmethod
    def of(cls, pixels: Pixels, boxes: int) -> _Canvas:
        """Lines and text for a picture of that size; text shrinks (to 3/4 at most) with the number of boxes."""
        scale = (pixels.shape[0] * pixels.shape[1]) ** 0.5
        crowding = min(1.0, max(0.75, (25 / max(boxes, 1)) ** 0.25))
        size = max(10, round(scale / 42 * crowding))
        line, padding = max(2, round(scale / 270)), max(2, round(size / 5))
        return cls(pixels=pixels, line=line, size=size, padding=padding)

    def outline(self, box: Rectangle, colour: Colour) -> None:
        """A box's frame with a thin dark rim, visible on any ground."""
        x1, y1, x2, y2 = box
        rim = max(1, self.line // 3)
        red, green, blue = (channel // 3 for channel in colour)
        _frame(self.pixels, (x1 - rim, y1 - rim, x2 + rim, y2 + rim), rim, (red, green, blue))
        _frame(self.pixels, box, self.line, colour)

    def label(self, box: Rectangle, texts: Sequence[str], colour: Colour) -> None:
        """The first text that finds a free place at the box."""
        height, width = self.pixels.shape[:2]
        for text in texts:
            sign = _sign(text, self.size, self.padding, colour)
            for place in _places(box, (sign.shape[1], sign.shape[0]), (width, height)):
                if not any(_overlap(place, other) for other in self.taken):
                    self.taken.append(place)
                    x1, y1, x2, y2 = place
                    self.pixels[y1:y2, x1:x2] = sign[: height - y1, : width - x1]
                    return


def _frame(pixels: Pixels, box: Rectangle, line: int, colour: Colour) -> None:
    """A rectangle's border, drawn inwards; box: its first and last pixels, those beyond the picture left out."""
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box
    for left, top, right, bottom in (
        (x1, y1, x2, y1 + line - 1), (x1, y2 - line + 1, x2, y2), (x1, y1, x1 + line - 1, y2), (x2 - line + 1, y1, x2, y2)
    ):  # fmt: skip
        inside = max(left, x1, 0), max(top, y1, 0), min(right, x2, width - 1), min(bottom, y2, height - 1)
        pixels[inside[1] : inside[3] + 1, inside[0] : inside[2] + 1] = colour


@functools.lru_cache(maxsize=4096)
def _sign(text: str, size: int, padding: int, colour: Colour) -> Pixels:
    """A label's pixels (H, W, 3): the text on its colour. The same text comes in frame after frame of a video."""
    letters = font(size, text)
    left, top, right, bottom = letters.getbbox(text)
    # one height for all labels of a font, whatever their letters
    line_height = round(sum(_metrics(letters)))
    shape = round(right - left) + 2 * padding, max(line_height, round(bottom - top)) + padding
    image = Image.new("RGB", shape, colour)
    red, green, blue = colour
    ink = (20, 20, 20) if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else (255, 255, 255)
    ImageDraw.Draw(image).text((padding, shape[1] / 2), text, fill=ink, font=letters, anchor="lm")
    return np.asarray(image, dtype=np.uint8)


def _places(box: Rectangle, size: tuple[int, int], image: tuple[int, int]) -> Iterator[Rectangle]:
    """Where a label of that size may stand: above, below, and in a box with room to spare inside; each flush left,
    flush right, centred."""
    x1, y1, x2, y2 = box
    width, height = size
    roomy = x2 - x1 >= width and y2 - y1 >= 2 * height
    at_edge = y1 < height and y2 + 1 + height > image[1]
    inside = (y1, y2 + 1 - height) if roomy or at_edge else ()
    above, below = y1 - height, y2 + 1
    for top in (above, *inside, below) if roomy else (above, below, *inside):
        if top < 0 or top + height > image[1]:
            continue
        for left in (x1, x2 + 1 - width, (x1 + x2 - width) // 2):
            start = min(max(left, 0), max(image[0] - width, 0))
            yield start, top, start + width, top + height


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _rectangle(box: npt.NDArray[np.float32], size: tuple[int, int]) -> Rectangle:
    """Whole pixels within the picture, at least one wide and high."""
    x1, y1 = (int(min(max(round(float(v)), 0), side - 1)) for v, side in zip(box[:2], size))
    x2, y2 = (int(min(max(round(float(v)) - 1, low), side - 1)) for v, low, side in zip(box[2:], (x1, y1), size))
    return x1, y1, x2, y2


def _metrics(letters: Font) -> tuple[float, float]:
    if isinstance(letters, ImageFont.FreeTypeFont):
        return letters.getmetrics()
    return float(letters.getbbox("Ag")[3]), 0.0
