"""Pascal VOC: Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt; or SPLIT/ with XML files beside the pictures.

`xmin ymin xmax ymax` are taken as pixel edges, 0-based, as they stand: today's labelling tools write edges, and the
original VOC's 1-based inclusive pixels then lie at most one pixel off. `difficult` objects are ignored boxes.
Class names: `classes.txt` or `labels.txt` beside the folders, else the names in the train split, sorted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from detector.data.annotations import Annotations, shortest
from detector.data.image import IMAGE_SUFFIXES, image_size
from detector.data.raw_split import BoxColumns, RawSplit, Tell, refuse
from search_spaces.errors import UserError, nearest
from search_spaces.files import read_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_YES, _NO = ("1", "true"), ("", "0", "false", "unspecified")
_ALIASES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A picture of the split: its name in the list, its annotation file, and the folders to look for it in."""

    stem: str
    xml: Path
    folder: Path


def matches(root: Path) -> bool:
    """Whether `root` holds Annotations/ and ImageSets/, or SPLIT/*.xml beside the pictures."""
    return root.is_dir() and bool(
        ((root / "Annotations").is_dir() and (root / "ImageSets").is_dir())
        or any(_beside(root, split) for split in _ALIASES)
    )


def splits(root: Path) -> list[str]:
    """The splits that have a list in ImageSets/Main (or ImageSets), or XML files in a folder of their name."""
    return [split for split in _ALIASES if _list_file(root, split).is_file() or _beside(root, split)]


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for a missing list or folder; a bad XML file (file and line) is told."""
    entries = _entries(root, split)
    declared = _declared(root)
    names = list(declared or ())
    columns = BoxColumns()
    kept: list[Path] = []
    paths: list[Path] = []
    sizes: list[tuple[int, int]] = []
    pictures: dict[Path, dict[str, Path]] = {}
    for entry in entries:
        node = _parse(entry.xml, tell)
        path = None if node is None else _picture(entry, node, pictures, tell)
        size = None if node is None or path is None else _size(node, entry.xml, path, tell)
        if node is None or path is None or size is None:
            continue
        _add_objects(node, entry.xml, len(kept), (names, declared is not None), columns, tell)
        kept.append(entry.xml)
        paths.append(path)
        sizes.append(size)
    raw, records = columns.boxes()
    class_names = declared or _ordered(root, split, names)
    place = np.array([class_names.index(name) for name in names] or [-1], dtype=np.int64)
    return RawSplit(
        source=f"{root.name} {split} (VOC)",
        class_names=class_names,
        declared=declared is not None,
        image_paths=tuple(paths),
        sizes_hw=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        files=tuple(kept),
        boxes=replace(raw, labels=place[raw.labels]),
        records=records,
        record_text="{file}: object {record}",
    )


def image_folder(root: Path, split: str) -> Path:
    """JPEGImages, for every split."""
    return root / "JPEGImages"


def write(root: Path, split: str, annotations: Annotations) -> None:
    """Write the XML files, the split's list and classes.txt."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, path in enumerate(annotations.image_paths):
        (root / "Annotations" / f"{path.stem}.xml").write_text(_xml(annotations, i), encoding="utf-8")
    stems = "".join(f"{path.stem}\n" for path in annotations.image_paths)
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text(stems, encoding="utf-8")
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in annotations.class_names), encoding="utf-8")


def _list_file(root: Path, split: str) -> Path:
    main = root / "ImageSets" / "Main" / f"{split}.txt"
    return main if main.is_file() else root / "ImageSets" / f"{split}.txt"


def _beside(root: Path, split: str) -> Path | None:
    """The folder SPLIT with XML files in it."""
    folders = (root / alias for alias in _ALIASES[split])
    return next((folder for folder in folders if folder.is_dir() and any(folder.glob("*.xml"))), None)


def _entries(root: Path, split: str) -> list[_Entry]:
    listing = _list_file(root, split)
    beside = _beside(root, split)
    if not listing.is_file() and beside is not None:
        return [_Entry(xml.stem, xml, beside) for xml in sorted(beside.glob("*.xml"))]
    lines = [line.strip() for line in read_text(listing, "one image name per line").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{listing}: no images; expected one image name per line")
    folder = next((root / name for name in ("JPEGImages", "images") if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{root}: no JPEGImages folder; expected the images of the split in it")
    annotations = root / "Annotations"
    stems = [_stem(line, annotations) for line in lines]
    return [_Entry(stem, annotations / f"{stem}.xml", folder) for stem in stems]


def _stem(line: str, annotations: Path) -> str:
    """The name in a line of a list: it may hold spaces or an image's suffix; per-class lists have a second column."""
    named = Path(line)
    choices = [line, str(named.with_suffix("")) if named.suffix.lower() in IMAGE_SUFFIXES else line]
    return next((stem for stem in choices if (annotations / f"{stem}.xml").is_file()), line.split()[0])


def _declared(root: Path) -> tuple[str, ...] | None:
    """The classes of classes.txt or labels.txt."""
    for name in ("classes.txt", "labels.txt"):
        if (root / name).is_file():
            lines = read_text(root / name, "one class name per line").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    return None


def _ordered(root: Path, split: str, found: list[str]) -> tuple[str, ...]:
    """The training split's classes, sorted, then what else occurs."""
    if split == "train" or "train" not in splits(root):
        return tuple(sorted(found))
    nodes = (_parse(entry.xml, _pass_over) for entry in _entries(root, "train"))
    train = sorted({_name(item) for node in nodes if node is not None for item in node.iter("object")} - {""})
    return tuple(train) + tuple(sorted(set(found) - set(train)))


def _pass_over(kind: str, where: str, reason: str) -> None:
    """The training split's own mistakes are told when it is read."""


def _parse(path: Path, tell: Tell) -> ElementTree.Element | None:
    try:
        return ElementTree.parse(path).getroot()
    except OSError:
        tell("missing-annotation", str(path), "no annotation file for an image of the split; add it or drop the image")
    except ElementTree.ParseError as error:
        reason = f"the XML does not parse ({error}); restore the file"
        tell("bad-record", f"{path}:{error.position[0]}", reason)
    return None


def _picture(
    entry: _Entry, node: ElementTree.Element, pictures: dict[Path, dict[str, Path]], tell: Tell
) -> Path | None:
    """The picture named like the annotation file, else the one that the file names; folders are listed once."""
    if entry.folder not in pictures:
        found = (file for file in entry.folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        pictures[entry.folder] = {file.stem: file for file in found}
    by_stem = pictures[entry.folder]
    named = Path((node.findtext("filename") or "").strip()).stem
    path = by_stem.get(entry.stem) or by_stem.get(named)
    if path is None:
        reason = f"missing image; add it, or remove {entry.stem} from the split's list"
        tell("missing-image", f"{entry.folder / entry.stem}.jpg", reason)
    return path


def _size(node: ElementTree.Element, xml: Path, path: Path, tell: Tell) -> tuple[int, int] | None:
    """(height, width) as annotated, else as the picture has it."""
    try:
        height, width = (int(_number(node, f"size/{side}", "0")) for side in ("height", "width"))
    except ValueError as error:
        tell("bad-record", str(xml), str(error))
        return None
    if min(height, width) > 0:
        return height, width
    try:
        return image_size(path)
    except UserError as error:
        tell("unreadable-image", str(path), str(error).removeprefix(f"{path}: "))
        return None


def _add_objects(
    node: ElementTree.Element, xml: Path, image: int, classes: tuple[list[str], bool], columns: BoxColumns, tell: Tell
) -> None:
    """The objects of one file; `classes`: the names so far, and whether no other may come."""
    names, closed = classes
    for number, item in enumerate(node.iter("object"), start=1):
        name = _name(item)
        if not name:
            tell("bad-record", str(xml), f"object {number}: an object has no <name>; expected a class name")
            continue
        if name not in names:
            if closed:
                reason = f"class {name!r} is not in the list of classes; {nearest(name, names)}"
                tell("unknown-class", f"{xml}: object {number}", reason)
                continue
            names.append(name)
        try:
            x0, y0, x1, y1 = (_number(item, f"bndbox/{side}") for side in _SIDES)
            difficult = _is_difficult(item)
        except ValueError as error:
            tell("bad-record", f"{xml}: object {number}", str(error))
            continue
        columns.add(image, names.index(name), number, (x0, y0, x1, y1), ignore=difficult)


def _name(item: ElementTree.Element) -> str:
    return (item.findtext("name") or "").strip()


def _is_difficult(item: ElementTree.Element) -> bool:
    """Raises ValueError for what is neither yes nor no."""
    text = (item.findtext("difficult") or "0").strip().lower()
    if text not in (*_YES, *_NO):
        raise ValueError(f"<difficult> is {text!r}; expected 0 or 1")
    return text in _YES


def _number(node: ElementTree.Element, tag: str, default: str | None = None) -> float:
    """Raises ValueError saying what was found."""
    text = node.findtext(tag) or default
    try:
        return float(text or "")
    except ValueError:
        found = "missing" if text is None else repr(text)
        raise ValueError(f"<{tag}> is {found}; expected a number of pixels") from None


def _xml(annotations: Annotations, index: int) -> str:
    height, width = (int(side) for side in annotations.sizes_hw[index])
    lines = [
        "<annotation>",
        f"  <filename>{escape(annotations.image_paths[index].name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes, labels, ignore = annotations.boxes_of(index)
    for box, label, flag in zip(shortest(boxes), labels, ignore):
        sides = "".join(f"<{s}>{int(v) if v == int(v) else v!r}</{s}>" for s, v in zip(_SIDES, box))
        name = escape(annotations.class_names[label])
        lines.append(
            f"  <object><name>{name}</name><difficult>{int(flag)}</difficult><bndbox>{sides}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])
