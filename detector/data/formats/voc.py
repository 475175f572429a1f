"""Pascal VOC: Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt.

`xmin ymin xmax ymax` are taken as pixel edges, 0-based, as they stand: today's labelling tools write edges, and the
original VOC's 1-based inclusive pixels then lie at most one pixel off. `difficult` objects are ignored boxes.
Class names: `classes.txt` or `labels.txt` beside the folders, else the names in the train split, sorted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from detector.data.annotations import Annotations, DataReport, RawBoxes, map_labels, pack
from detector.data.image import IMAGE_SUFFIXES, image_size
from search_spaces.errors import UserError
from search_spaces.files import read_text

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class _Picture:
    file_name: str
    size_hw: tuple[int, int]
    names: list[str]
    boxes: list[list[float]]
    difficult: list[bool]


def matches(root: Path) -> bool:
    """Whether `root` holds Annotations/ and ImageSets/."""
    return (root / "Annotations").is_dir() and (root / "ImageSets").is_dir()


def splits(root: Path) -> list[str]:
    """The splits that have a list in ImageSets/Main (or ImageSets)."""
    return [split for split in _SPLITS if _list_file(root, split).is_file()]


def load(root: Path, split: str, class_names: Sequence[str] | None = None) -> tuple[Annotations, DataReport]:
    """Read one split. Raises UserError for broken XML (file and line), a missing picture, an unknown class."""
    stems = _stems(root, split)
    pictures = [_parse(root / "Annotations" / f"{stem}.xml") for stem in stems]
    found = sorted({name for picture in pictures for name in picture.names})
    wanted = tuple(class_names) if class_names is not None else _class_names(root, split, found)
    paths = _locate(root, stems, pictures)
    sizes = [p.size_hw if min(p.size_hw) > 0 else image_size(path) for p, path in zip(pictures, paths)]
    index = {name: i for i, name in enumerate(found)}
    labels = np.array([index[name] for p in pictures for name in p.names], dtype=np.int64)
    raw = RawBoxes(
        image=np.repeat(np.arange(len(pictures)), [len(p.names) for p in pictures]).astype(np.int64),
        boxes_xyxy=np.array([box for p in pictures for box in p.boxes], dtype=np.float64).reshape(-1, 4),
        labels=map_labels(labels, found, wanted, str(_list_file(root, split))),
        ignore=np.array([flag for p in pictures for flag in p.difficult], dtype=np.bool_),
    )
    return pack(f"{root.name} {split} (VOC)", wanted, paths, np.array(sizes, dtype=np.int32), raw)


def image_folder(root: Path, split: str) -> Path:
    """JPEGImages, for every split."""
    return root / "JPEGImages"


def write(root: Path, split: str, annotations: Annotations) -> None:
    """Write the XML files, the split's list and classes.txt; boxes keep two decimals."""
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


def _stems(root: Path, split: str) -> list[str]:
    listing = _list_file(root, split)
    stems = [line.split()[0] for line in read_text(listing, "one image name per line").splitlines() if line.strip()]
    if not stems:
        raise UserError(f"{listing}: no images; expected one image name per line")
    return stems


def _class_names(root: Path, split: str, found: list[str]) -> tuple[str, ...]:
    for name in ("classes.txt", "labels.txt"):
        listing = root / name
        if listing.is_file():
            lines = read_text(listing, "one class name per line").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
    if split == "train" or not _list_file(root, "train").is_file():
        return tuple(found)
    train = (_parse(root / "Annotations" / f"{stem}.xml") for stem in _stems(root, "train"))
    return tuple(sorted({name for picture in train for name in picture.names}))


def _parse(path: Path) -> _Picture:
    try:
        node = ElementTree.parse(path).getroot()
    except OSError as error:
        raise UserError(f"{path}: no annotation file for an image of the split; add it or drop the image") from error
    except ElementTree.ParseError as error:
        raise UserError(f"{path}:{error.position[0]}: the XML does not parse ({error}); restore the file") from error
    picture = _Picture(
        file_name=(node.findtext("filename") or "").strip(),
        size_hw=(int(_number(node, "size/height", path, "0")), int(_number(node, "size/width", path, "0"))),
        names=[],
        boxes=[],
        difficult=[],
    )
    for item in node.iter("object"):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{path}: an object has no <name>; expected a class name")
        picture.names.append(name)
        picture.boxes.append([_number(item, f"bndbox/{side}", path) for side in ("xmin", "ymin", "xmax", "ymax")])
        picture.difficult.append(_number(item, "difficult", path, "0") != 0)
    return picture


def _number(node: ElementTree.Element, tag: str, path: Path, default: str | None = None) -> float:
    text = node.findtext(tag) or default
    try:
        return float(text or "")
    except ValueError:
        found = "missing" if text is None else repr(text)
        raise UserError(f"{path}: <{tag}> is {found}; expected a number of pixels") from None


def _locate(root: Path, stems: list[str], pictures: list[_Picture]) -> list[Path]:
    folder = next((root / name for name in ("JPEGImages", "images") if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{root}: no JPEGImages folder; expected the images of the split in it")
    by_stem = {file.stem: file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES}
    paths = []
    for stem, picture in zip(stems, pictures):
        path = by_stem.get(stem) or by_stem.get(Path(picture.file_name).stem)
        if path is None:
            raise UserError(f"{folder / stem}.jpg: missing image; add it, or remove {stem} from the split's list")
        paths.append(path)
    return paths


def _xml(annotations: Annotations, index: int) -> str:
    height, width = (int(side) for side in annotations.sizes_hw[index])
    lines = [
        "<annotation>",
        f"  <filename>{escape(annotations.image_paths[index].name)}</filename>",
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>",
    ]
    boxes, labels, ignore = annotations.boxes_of(index)
    for box, label, flag in zip(boxes, labels, ignore):
        sides = "".join(f"<{s}>{v:.2f}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
        name = escape(annotations.class_names[label])
        lines.append(
            f"  <object><name>{name}</name><difficult>{int(flag)}</difficult><bndbox>{sides}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])
