"""Pascal VOC: XML files, one per picture, in Annotations/ with lists in ImageSets/Main/SPLIT.txt, or beside the pictures.

`xmin ymin xmax ymax` are taken as pixel edges, 0-based, as they stand: today's labelling tools write edges, and the
original VOC's 1-based inclusive pixels then lie at most one pixel off. `difficult` objects are ignored boxes.
Class names: `classes.txt` or `labels.txt` beside the folders, else the names in the train split, sorted. Without lists a
file belongs to the split that a folder on its way is called after, else to the unsplit whole.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from xml.sax.saxutils import escape

from detector.data.annotations import Annotations, shortest
from detector.data.file_tree import Finder, files_below, is_file
from detector.data.formats._entries import ROTATED, Entry, Notes, Object, collect, from_corners, turned
from detector.data.formats._xml import BadXml, parse_xml, root_name
from detector.data.image import IMAGE_SUFFIXES
from detector.data.raw_split import RawSplit, Tell, refuse
from detector.data.scalars import clean_name, flag, number, shown, side
from detector.data.split_names import UNSPLIT, files_in, folder_called, folders_in, in_order, split_folders, split_of
from search_spaces.errors import UserError
from search_spaces.files import read_text

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_ANNOTATIONS = ("annotations", "annotation", "xml", "labels")


def matches(root: Path) -> bool:
    """Whether `root` holds ImageSets/ with Annotations/, or VOC's XML files: in it, in folders called after a split or after
    annotations, or beside the pictures in a folder of any name."""
    if not root.is_dir():
        return False
    if _annotations(root) is not None and folder_called(root, "imagesets") is not None:
        return True
    folders = folders_in(root)[:200]
    named = [folder for folder in folders if split_of(folder.name) or folder.name.lower() in _ANNOTATIONS]
    inner = [below for folder in named for below in folders_in(folder) if split_of(below.name)]
    inner += [below for folder in named if split_of(folder.name) and (below := _annotations(folder))]
    return any(_is_voc(folder) for folder in (root, *named, *inner)) or any(
        _is_voc(folder) for folder in folders if any(files_in(folder, suffix) for suffix in (".jpg", ".png", ".jpeg"))
    )


def splits(root: Path) -> list[str]:
    """The splits that have a list in ImageSets/Main (or ImageSets), or XML files in a folder of their name."""
    return in_order(_lists(root) or _groups(root))


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for an empty list; a bad XML file (file and line) is told."""
    notes = Notes()
    entries = (entry for stem, xml in _files(root, split) if (entry := _entry(xml, stem, tell, notes)) is not None)

    def names_in_train() -> set[str]:
        if split == "train" or "train" not in splits(root):
            return set()
        ignored = Notes()
        found = (_entry(xml, stem, _pass_over, ignored) for stem, xml in _files(root, "train"))
        return {item.label for entry in found if entry is not None for item in entry.objects}

    return collect(
        f"{root.name} {split} (VOC)", entries, _pictures(root, split), tell,
        declared=_declared(root), first_classes=names_in_train, notes=notes,
    )  # fmt: skip


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


def _annotations(root: Path) -> Path | None:
    return folder_called(root, *_ANNOTATIONS)


def _is_voc(folder: Path) -> bool:
    """Whether the first XML file there is VOC's: one that is broken counts, for its own message."""
    depth = 2 if folder.name.lower() in _ANNOTATIONS else 0
    first = next(iter(files_below(folder, {".xml"}, depth)), None)
    if first is None:
        return False
    try:
        return root_name(first) == "annotation"
    except (BadXml, OSError):
        return True


def _lists(root: Path) -> dict[str, Path]:
    """ImageSets' lists by split."""
    sets = folder_called(root, "imagesets")
    if sets is None:
        return {}
    main = folder_called(sets, "main")
    found: dict[str, Path] = {}
    for path in [*(files_in(main, ".txt") if main else ()), *files_in(sets, ".txt")]:
        split = split_of(path.stem)
        if split is not None:
            found.setdefault(split, path)
    return found


def _groups(root: Path) -> dict[str, list[Path]]:
    """XML files by the split that a folder on their way is called after."""
    groups: dict[str, list[Path]] = {}
    for path in files_below(root, {".xml"}, depth=4):
        named = [split for part in path.relative_to(root).parts[:-1] if (split := split_of(part)) is not None]
        groups.setdefault(named[-1] if named else UNSPLIT, []).append(path)
    return groups


def _files(root: Path, split: str) -> list[tuple[str, Path]]:
    """(stem, XML file) of each picture of a split."""
    listing = _lists(root).get(split)
    if listing is None:
        return [(xml.stem, xml) for xml in _groups(root).get(split, [])]
    lines = [line.strip() for line in read_text(listing, "one image name per line").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{listing}: no images; expected one image name per line")
    annotations = _annotations(root) or root / "Annotations"
    finder = Finder(annotations, [annotations], {".xml"})
    return [
        (stem, finder.find(f"{stem}.xml") or annotations / f"{stem}.xml") for stem in _stems(lines, annotations, finder)
    ]


def _stems(lines: list[str], annotations: Path, finder: Finder) -> list[str]:
    """The names in a list: they may hold spaces or an image's suffix; per-class lists have a second column."""
    stems = []
    for line in lines:
        named = Path(line.replace("\\", "/"))
        without = str(named.with_suffix("")) if named.suffix.lower() in IMAGE_SUFFIXES else line
        choices = [without, line, line.split()[0]]
        direct = next((stem for stem in choices if is_file(annotations / f"{stem}.xml")), None)
        stems.append(direct or next((stem for stem in choices if finder.find(f"{stem}.xml")), line.split()[0]))
    return stems


def _pictures(root: Path, split: str) -> Finder:
    """Looks in the split's folders first, then in those that are called after pictures, then anywhere."""
    homes = [
        folder for name in ("jpegimages", "images", "image", "imgs", "img") if (folder := folder_called(root, name))
    ]
    inner = [folder for home in (*homes, root) if (folder := split_folders(home).get(split))]
    return Finder(root, [*inner, *homes, root], IMAGE_SUFFIXES)


def _declared(root: Path) -> tuple[str, ...] | None:
    """The classes of classes.txt or labels.txt."""
    for name in ("classes.txt", "labels.txt"):
        if (root / name).is_file():
            lines = read_text(root / name, "one class name per line").splitlines()
            return tuple(name for line in lines if (name := clean_name(line)))
    return None


def _pass_over(kind: str, where: str, reason: str) -> None:
    """The training split's own mistakes are told when it is read."""


def _entry(xml: Path, stem: str, tell: Tell, notes: Notes) -> Entry | None:
    """What one file says; None, and told, when it cannot be read."""
    try:
        node = parse_xml(xml)
    except OSError:
        tell("missing-annotation", str(xml), "no annotation file for an image of the split; add it or drop the image")
        return None
    except BadXml as error:
        tell("bad-record", f"{xml}:{error.line}", f"{error.reason}; restore the file")
        return None
    if node.tag == "annotations":
        return None
    try:
        size = side(node.findtext("size/height")), side(node.findtext("size/width"))
    except ValueError as error:
        tell("bad-record", str(xml), f"<size>: {error}; expected a number of pixels")
        return None
    objects = []
    for place, item in enumerate(node.iter("object"), start=1):
        name = clean_name(item.findtext("name"))
        try:
            if not name:
                raise ValueError("an object has no name; expected a class name")
            objects.append(Object(number=place, label=name, box=_box(item, notes), ignore=_is_difficult(item)))
        except ValueError as error:
            tell("bad-record", f"{xml}: object {place}", str(error))
    return Entry(
        file=xml, name=(node.findtext("filename") or "").strip(), objects=objects, stem=Path(stem).name, size_hw=size
    )


def _box(item: ElementTree.Element, notes: Notes) -> tuple[float, float, float, float]:
    """xyxy of bndbox, or the box around a robndbox. Raises ValueError saying what was found."""
    rotated = item.find("robndbox")
    if item.find("bndbox") is None and rotated is not None:
        x, y, width, height, angle = (_number(rotated, tag) for tag in ("cx", "cy", "w", "h", "angle"))
        notes.add(ROTATED)
        straight = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return turned(straight, math.degrees(angle), (x, y))
    x0, y0, x1, y1 = (_number(item, f"bndbox/{tag}") for tag in _SIDES)
    return from_corners(x0, y0, x1, y1, notes)


def _is_difficult(item: ElementTree.Element) -> bool:
    """Raises ValueError for what is neither yes nor no."""
    text = item.findtext("difficult") or "0"
    try:
        return flag(text)
    except ValueError:
        raise ValueError(f"<difficult> is {shown(text.strip())}; expected 0 or 1") from None


def _number(node: ElementTree.Element, tag: str) -> float:
    """Raises ValueError saying what was found."""
    text = node.findtext(tag)
    try:
        return number(text)
    except ValueError:
        found = "missing" if text is None else shown(text)
        raise ValueError(f"<{tag}> is {found}; expected a number of pixels") from None


def _xml(annotations: Annotations, index: int) -> str:
    height, width = (int(side) for side in annotations.sizes_hw[index])
    lines = [
        "<annotation>",
        f"  <filename>{escape(annotations.image_paths[index].name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes, labels, ignore = annotations.boxes_of(index)
    for box, label, crowd in zip(shortest(boxes), labels, ignore):
        sides = "".join(f"<{s}>{int(v) if v == int(v) else v!r}</{s}>" for s, v in zip(_SIDES, box))
        name = escape(annotations.class_names[label])
        lines.append(
            f"  <object><name>{name}</name><difficult>{int(crowd)}</difficult><bndbox>{sides}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])
