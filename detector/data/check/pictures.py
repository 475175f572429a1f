"""Pictures of a data check: the sizes of the boxes, and the images most worth a look."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from detector.data.annotations import clip, has_area
from detector.data.check.findings import KINDS, NOTES, Box, Finding
from detector.data.image import read_image
from detector.data.raw_split import RawSplit
from detector.drawing import class_colour
from detector.lettering import drawable, font, font_families, lettering, plotted
from search_spaces.errors import UserError

TILE = 480
_HEIGHT = 380
_CAPTION = 84
_RED = (230, 30, 40)
_OTHERS = (0, 200, 220)


def draw_worst(findings: Sequence[Finding], raw: Mapping[str, RawSplit], limit: int = 12) -> Image.Image | None:
    """A sheet of the pictures most worth a look, every kind of finding in turn; None when there is none to show.

    What is wrong is red, the image's other boxes are cyan; the caption says what and where.
    """
    chosen = _choose([finding for finding in findings if finding.image is not None], limit)
    if not chosen:
        return None
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    height = _HEIGHT + _CAPTION
    sheet = Image.new("RGB", (columns * TILE, rows * height), "white")
    for place, finding in enumerate(chosen):
        sheet.paste(_tile(finding, raw), (place % columns * TILE, place // columns * height))
    return sheet


def draw_sizes(raw: Mapping[str, RawSplit], out: Path) -> None:
    """Histogram of the boxes' sizes by class, and width against height, in pixels of the original images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    sides, names = _sides(raw)
    texts = drawn_names(raw)
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    shown = _frequent(names)
    size = np.sqrt(sides.prod(axis=1)) if len(sides) else np.ones(1)
    bins = np.geomspace(max(size.min(), 1) * 0.95, size.max() * 1.05 + 1, 40)
    groups = [size[: len(names)][names == name] for name in shown]
    rest = ~np.isin(names, shown)
    labels = [f"{plotted(texts[name])} ({len(group)})" for name, group in zip(shown, groups)]
    colours = [tuple(channel / 255 for channel in class_colour(i)) for i in range(len(shown))]
    if rest.any():
        groups, labels, colours = [*groups, size[rest]], [*labels, f"others ({rest.sum()})"], [*colours, (0.6,) * 3]
    if groups:
        left.hist(groups, bins=list(bins), stacked=True, color=colours, label=labels)
    for limit, text in ((32, "small | medium"), (96, "medium | large")):
        left.axvline(limit, color="0.3", linewidth=0.8, linestyle="--")
        left.text(limit, 0.99, text, transform=left.get_xaxis_transform(), ha="center", va="top", fontsize=7)
    left.set_xscale("log", base=2)
    left.xaxis.set_major_formatter(ScalarFormatter())
    left.set(xlabel="square root of the area, px", ylabel="boxes", title="Sizes of the boxes")
    if groups:
        prop = {"size": 8, "family": font_families([texts[name] for name in shown])}
        left.legend(prop=prop, loc="upper left", bbox_to_anchor=(0, 0.95))
    right.scatter(sides[:, 0], sides[:, 1], s=4, alpha=0.25, linewidths=0, color="#1d7ed6")
    ends = [float(sides.min(initial=np.inf)), float(sides.max(initial=1))] if len(sides) else [1, 2]
    right.plot(ends, ends, color="0.5", linewidth=0.8)
    right.set_xscale("log", base=2)
    right.set_yscale("log", base=2)
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.yaxis.set_major_formatter(ScalarFormatter())
    right.set(xlabel="width, px", ylabel="height, px", title=f"{len(sides)} boxes")
    canvas.print_figure(out, dpi=130, format="png")


def drawn_names(raw: Mapping[str, RawSplit]) -> dict[str, str]:
    """How each class name is drawn; `lettering` of `all_names` has the legend."""
    names = all_names(raw)
    return dict(zip(names, lettering(names).texts))


def all_names(raw: Mapping[str, RawSplit]) -> tuple[str, ...]:
    """The classes of all splits, the first one's first."""
    return tuple(dict.fromkeys(name for split in raw.values() for name in split.class_names))


def _choose(findings: Sequence[Finding], limit: int) -> list[Finding]:
    """The worst of each kind, then the second of each, and so on; problems before notes.

    What else of that kind is wrong in the same picture is marked in it too.
    """
    chosen: dict[tuple[str, str], Finding] = {}
    for notes in (False, True):
        kinds = [kind for kind in KINDS if (kind in NOTES) == notes]
        by_kind = [sorted((f for f in findings if f.kind == kind), key=lambda f: -f.badness) for kind in kinds]
        for turn in zip_longest(*by_kind):
            for finding in turn:
                key = ("", "") if finding is None else (finding.kind, str(finding.image))
                if finding is not None and key in chosen:
                    chosen[key] = replace(chosen[key], boxes=chosen[key].boxes + finding.boxes)
                elif finding is not None and len(chosen) < limit:
                    chosen[key] = finding
    return list(chosen.values())


def _tile(finding: Finding, raw: Mapping[str, RawSplit]) -> Image.Image:
    tile = Image.new("RGB", (TILE, _HEIGHT + _CAPTION), "white")
    side = TILE if finding.other is None else TILE // 2
    paths = [path for path in (finding.image, finding.other) if path is not None]
    for number, path in enumerate(paths):
        picture = _marked(path, finding, raw.get(finding.split), (side - 6, _HEIGHT - 6))
        tile.paste(picture, (number * side + (side - picture.width) // 2, (_HEIGHT - picture.height) // 2))
    text = "\n".join(textwrap.wrap(f"{finding.kind} ({finding.split or 'no split'}) {finding}", 78)[:6])
    ImageDraw.Draw(tile).multiline_text((6, _HEIGHT + 2), drawable(text), fill=(20, 20, 20), font=font(10))
    return tile


def _marked(path: Path, finding: Finding, split: RawSplit | None, room: tuple[int, int]) -> Image.Image:
    """The picture, fitted into `room` (width, height) px, with its boxes, and the finding's in red."""
    place = split.image_paths.index(path) if split is not None and path in split.image_paths else None
    picture = _picture(path, None if place is None or split is None else split.sizes_hw[place].tolist())
    if picture is None:
        return _unreadable(room)
    pad = _margin(finding.boxes, picture.size)
    scale = min(room[0] / (picture.width + 2 * pad), room[1] / (picture.height + 2 * pad))
    size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
    border = int(pad * scale)
    canvas = Image.new("RGB", (size[0] + 2 * border, size[1] + 2 * border), (225, 225, 225))
    canvas.paste(picture.resize(size, Image.Resampling.BICUBIC), (border, border))
    draw = ImageDraw.Draw(canvas)
    if split is not None and path == finding.image and place is not None:
        rows = split.boxes.image == place
        for box in split.boxes.boxes_xyxy[rows].tolist():
            _outline(draw, [side * scale + border for side in box], _OTHERS, 1)
    for wrong in finding.boxes:
        _outline(draw, [side * scale + border for side in wrong], _RED, 3)
    return canvas


def _picture(path: Path, annotated_hw: list[int] | None) -> Image.Image | None:
    """As training sees it: turned as its annotations are, where they tell. None if it cannot be read."""
    for size in (annotated_hw, None):
        try:
            expected = None if size is None else (size[0], size[1])
            return Image.fromarray(read_image(path, expected_hw=expected, allow_truncated=True))
        except UserError:
            continue
    return None


def _margin(boxes: Sequence[Box], size: tuple[int, int]) -> float:
    """How much ground to show around a picture (width, height) so that boxes outside can be seen; half a side at most."""
    reach = [0.0]
    for x0, y0, x1, y1 in boxes:
        reach += [-x0, -y0, -x1, -y1, x0 - size[0], x1 - size[0], y0 - size[1], y1 - size[1]]
    farthest = max(side for side in reach if np.isfinite(side))
    return min(farthest * 1.1, max(size) / 2) if farthest > 1 else 0.0


def _outline(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: tuple[int, int, int], line: int) -> None:
    """A frame; a thick one gets a ring when it is too small to be seen."""
    if not np.isfinite(box).all():
        return
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=line)
    if line > 1 and min(x1 - x0, y1 - y0) < 12:
        x, y, radius = (x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0) / 2 + 14
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)


def _unreadable(room: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", room, (225, 225, 225))
    ImageDraw.Draw(picture).text((16, 16), "cannot be read", fill=(120, 20, 20), font=font(26))
    return picture


def _sides(raw: Mapping[str, RawSplit]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """Width and height (M, 2) of all boxes as training sees them, and their classes' names (M,)."""
    sides, names = [np.zeros((0, 2))], [np.zeros(0, dtype=str)]
    for split in raw.values():
        inside, _ = clip(split.boxes.boxes_xyxy, split.sizes_hw[split.boxes.image])
        kept = has_area(inside) & ~split.boxes.ignore
        sides.append((inside[:, 2:] - inside[:, :2])[kept].astype(np.float64))
        names.append(np.array(split.class_names, dtype=str)[split.boxes.labels[kept]])
    return np.concatenate(sides), np.concatenate(names)


def _frequent(names: npt.NDArray[np.str_]) -> list[str]:
    found, counts = np.unique(names, return_counts=True)
    return [str(name) for name in found[np.argsort(-counts, kind="stable")][:8]]
