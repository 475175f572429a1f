"""YOLO: one text file per picture, lines `class cx cy w h` normalised to 0..1, found through a data.yaml.

data.yaml holds `path`, `train`, `val`, `test` (a folder, a .txt list of pictures, or a list of these) and `names` (a
list or a dict; without it `nc`, and the classes are class_0, class_1, ...). Without a data.yaml, Darknet's obj.data or
folders with a list of classes do. A line with more than five numbers is a polygon: its bounding box counts (with
`kpt_shape` they are keypoints, passed over). Label files lie where `images` in the picture's path is replaced by
`labels`, or beside the picture.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from detector.data.annotations import Annotations
from detector.data.file_tree import Finder, files_below, one_form
from detector.data.formats._entries import Sides
from detector.data.formats._yolo_layout import CLASS_LISTS, Layout, class_names, find_layout
from detector.data.image import IMAGE_SUFFIXES, OTHER_PICTURES, READABLE
from detector.data.image_facts import examine
from detector.data.raw_split import BoxColumns, RawSplit, Tell, refuse
from detector.data.split_names import in_order
from search_spaces.errors import UserError
from search_spaces.files import read_text

_PICTURES = ("images", "image", "imgs", "img")
_LABELS = ("labels", "Labels", "LABELS", "label", "Label")


def matches(root: Path) -> bool:
    """Whether `root` is a YAML file, holds a data.yaml or obj.data, or has pictures with label files."""
    if root.is_file():
        return root.suffix.lower() in (".yaml", ".yml")
    try:
        return find_layout(root) is not None
    except UserError:
        # its own message says more when it is read
        return True


def splits(root: Path) -> list[str]:
    """The splits that data.yaml names, or that have a folder. A test split that is named but not there is left out."""
    layout = _layout(root)
    return in_order(split for split in layout.sources if split != "test" or layout.is_there(split))


def left_out(root: Path) -> list[str]:
    """Lines about splits that are named but not there."""
    layout = _layout(root)
    missing = [split for split in layout.sources if split == "test" and not layout.is_there(split)]
    return [f"{layout.paths(split)[0]}: named as the {split!r} split, but not there; left out" for split in missing]


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for a data.yaml without classes or pictures; bad lines (file, line) are told."""
    layout = _layout(root)
    names = class_names(layout)
    sources = layout.paths(split)
    paths = [path for source in sources for path in _pictures(source, layout.folder, tell)]
    if not paths:
        raise UserError(f"{sources[0]}: no images for the {split!r} split; expected {READABLE}")
    columns = BoxColumns()
    kept: list[Path] = []
    files: list[Path] = []
    sizes: list[tuple[int, int]] = []
    keypoints = layout.config.get("kpt_shape") is not None
    labels_of = _Labels()
    for path, fact in zip(paths, examine(paths)):
        if fact.reason:
            tell("unreadable-image", str(path), fact.reason)
            continue
        height, width = fact.size_hw
        labels = labels_of(path)
        for number, label, (x0, y0, x1, y1) in _parse(labels, names, keypoints, tell):
            columns.add(len(kept), label, number, _pixels((x0, y0, x1, y1), height, width))
        kept.append(path)
        files.append(labels)
        sizes.append(fact.size_hw)
    raw, records = columns.boxes()
    return RawSplit(
        source=f"{layout.folder.name} {split} (YOLO)",
        class_names=tuple(names),
        declared=True,
        image_paths=tuple(kept),
        sizes_hw=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        files=tuple(files),
        boxes=raw,
        records=records,
        record_text="{file}:{record}",
    )


def image_folder(root: Path, split: str) -> Path:
    """images/SPLIT."""
    return root / "images" / split


def write(root: Path, split: str, annotations: Annotations) -> None:
    """Write labels/SPLIT/*.txt and data.yaml; ignored boxes have no place in this format and are left out."""
    folder = root / "labels" / split
    folder.mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(annotations.image_paths):
        height, width = annotations.sizes_hw[i]
        lines = []
        found = annotations.boxes_of(i)
        for (x0, y0, x1, y1), label, ignore in zip(
            found.boxes_xyxy.astype(np.float64).tolist(), found.labels, found.ignore
        ):
            if not ignore:
                # 16 digits: the pixels read back are the same fp32.
                centre = f"{(x0 + x1) / 2 / width:.16g} {(y0 + y1) / 2 / height:.16g}"
                lines.append(f"{label} {centre} {(x1 - x0) / width:.16g} {(y1 - y0) / height:.16g}\n")
        (folder / f"{path.stem}.txt").write_text("".join(lines), encoding="utf-8")
    listing = root / "data.yaml"
    config = yaml.safe_load(listing.read_text(encoding="utf-8")) if listing.is_file() else {}
    config.update({split: f"images/{split}", "names": dict(enumerate(annotations.class_names))})
    listing.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _layout(root: Path) -> Layout:
    layout = find_layout(root)
    if layout is None:
        raise UserError(f"{root}: no data.yaml and no folders of pictures with label files; expected one of them")
    return layout


def _pictures(source: Path, folder: Path, tell: Tell) -> list[Path]:
    if os.path.isdir(source):
        labels_of = _Labels()
        for other in files_below(source, OTHER_PICTURES):
            if labels_of(other).is_file():
                tell("unreadable-image", str(other), f"labelled, but not of a type that is read; expected {READABLE}")
        return files_below(source, IMAGE_SUFFIXES)
    if not os.path.isfile(source):
        raise UserError(f"{source}: no such folder or list of images; correct the split's entry in data.yaml")
    if source.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{source}: is one image; expected a folder of images or a .txt list of them")
    paths = []
    # Written relative to the list, to the data set's folder, or to where the writer stood.
    finder = Finder(folder, [source.parent, folder, Path()], IMAGE_SUFFIXES)
    for number, line in enumerate(read_text(source, "one image path per line").splitlines(), start=1):
        if not line.strip():
            continue
        path = finder.find(line.strip())
        if path is None:
            where = source.parent / line.strip()
            tell("missing-image", f"{source}:{number}", f"missing image {where}; add it or remove the line")
        else:
            paths.append(path)
    return paths


def _pixels(box: Sides, height: int, width: int) -> Sides:
    """A normalised box in pixels. Rounded to 1e-10: a centre and a size give an edge at 0 back as some 1e-14."""
    x0, y0, x1, y1 = box
    return round(x0 * width, 10), round(y0 * height, 10), round(x1 * width, 10), round(y1 * height, 10)


class _Labels:
    """The label file of a picture; folders are listed once, to compare names in one Unicode form."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, Path]] = {}

    def __call__(self, image: Path) -> Path:
        """The file, or where it should be."""
        choices = [folder / f"{image.stem}.txt" for folder in _label_folders(image)]
        for choice in choices:
            if choice.is_file():
                return choice
        for choice in choices:
            found = self._names(choice.parent).get(one_form(choice.name).casefold())
            if found is not None:
                return found
        return choices[0]

    def _names(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listed:
            try:
                files = [path for path in folder.iterdir() if path.suffix.lower() == ".txt"]
            except OSError:
                files = []
            names = {one_form(path.name).casefold(): path for path in files}
            self._listed[folder] = {name: path for name, path in names.items() if name not in CLASS_LISTS}
        return self._listed[folder]


def _label_folders(image: Path) -> list[Path]:
    """Where its label file may lie: `labels` in place of the last `images`, or another name of both, or the picture's own
    folder."""
    parts = image.parent.parts
    for name in _PICTURES:
        for i in range(len(parts) - 1, -1, -1):
            if parts[i].lower() == name:
                return [*(Path(*parts[:i], word, *parts[i + 1 :]) for word in _LABELS), image.parent]
    return [image.parent]


def _parse(path: Path, names: Sequence[str], keypoints: bool, tell: Tell) -> list[tuple[int, int, Sides]]:
    """(line, label, normalised xyxy) per box; a picture without a label file has none."""
    if not path.is_file():
        return []
    try:
        lines = read_text(path, "lines 'class cx cy w h'").splitlines()
    except UserError as error:
        where, reason = str(error).split(": ", 1)
        tell("bad-record", where, reason)
        return []
    found = []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        label, values, mistake = _numbers(fields, names, keypoints)
        if mistake:
            kind = "unknown-class" if mistake.startswith("class index") else "bad-record"
            tell(kind, f"{path}:{number}", mistake)
        else:
            found.append((number, label, _box(values)))
    return found


def _numbers(fields: list[str], names: Sequence[str], keypoints: bool) -> tuple[int, list[float], str]:
    """Class and coordinates of one line, and what is wrong with it ("" if nothing)."""
    try:
        number_of_class, *values = (float(field) for field in fields)
        label = int(number_of_class)
    except (ValueError, OverflowError):
        values, number_of_class, label = [], 0, 0
    if keypoints:
        values = values[:4]
    shown_line = repr(" ".join(fields)[:40])
    if len(values) > 6 and not (len(values) - 4) % 3 and 2 in values[6::3] and {0, 1, 2}.issuperset(values[6::3]):
        shape = f"kpt_shape: [{(len(values) - 4) // 3}, 3]"
        return 0, [], f"{shown_line}: a box and its keypoints; say {shape} in data.yaml, and they are passed over"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        more = "; take the score, or the number of the track, away" if len(values) == 5 else ""
        return 0, [], f"{shown_line}; expected 'class cx cy w h' or 'class x y x y x y ...'{more}"
    if label != number_of_class or not 0 <= label < len(names):
        return 0, [], f"class index {fields[0][:40]}; expected 0..{len(names) - 1} ({len(names)} names)"
    if not max(map(abs, values)) <= 2:
        return 0, [], f"{max(values, key=abs):g} is not normalised; expected values from 0 to 1"
    return label, values, ""


def _box(values: list[float]) -> Sides:
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
