"""YOLO: one text file per picture, lines `class cx cy w h` normalised to 0..1, found through a data.yaml.

data.yaml holds `path`, `train`, `val`, `test` (a folder, a .txt list of pictures, or a list of these) and `names` (a
list or a dict; without it `nc`, and the classes are class_0, class_1, ...). Without a data.yaml, images/SPLIT,
labels/SPLIT and classes.txt do. A line with more than five numbers is a polygon: its bounding box counts (with
`kpt_shape` they are keypoints, passed over). Label files lie where `images` in the picture's path is replaced by
`labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detector.data.annotations import Annotations
from detector.data.image import IMAGE_SUFFIXES, OTHER_PICTURES, READABLE
from detector.data.image_facts import examine
from detector.data.raw_split import BoxColumns, RawSplit, Tell, refuse
from search_spaces.errors import UserError
from search_spaces.files import read_text

_ALIASES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def matches(root: Path) -> bool:
    """Whether `root` is a YAML file, holds a data.yaml, or has labels/SPLIT folders."""
    if root.is_file():
        return root.suffix.lower() in (".yaml", ".yml")
    return _yaml_in(root) is not None or any(
        (root / "labels" / alias).is_dir() for aliases in _ALIASES.values() for alias in aliases
    )


def splits(root: Path) -> list[str]:
    """The splits that data.yaml names, or that have a folder."""
    config, folder = _config(root)
    return [split for split in _ALIASES if _sources(config, folder, split)]


def read(root: Path, split: str, tell: Tell = refuse) -> RawSplit:
    """Read one split. Raises UserError for a data.yaml without classes or pictures; bad lines (file, line) are told."""
    config, folder = _config(root)
    names = _names(config, root, folder)
    sources = _sources(config, folder, split)
    paths = [path for source in sources for path in _pictures(source, folder, tell)]
    if not paths:
        raise UserError(f"{sources[0]}: no images for the {split!r} split; expected {READABLE}")
    columns = BoxColumns()
    kept: list[Path] = []
    files: list[Path] = []
    sizes: list[tuple[int, int]] = []
    keypoints = config.get("kpt_shape") is not None
    for path, fact in zip(paths, examine(paths)):
        if fact.reason:
            tell("unreadable-image", str(path), fact.reason)
            continue
        height, width = fact.size_hw
        labels = _label_file(path)
        for number, label, (x0, y0, x1, y1) in _parse(labels, names, keypoints, tell):
            columns.add(len(kept), label, number, _pixels((x0, y0, x1, y1), height, width))
        kept.append(path)
        files.append(labels)
        sizes.append(fact.size_hw)
    raw, records = columns.boxes()
    return RawSplit(
        source=f"{folder.name} {split} (YOLO)",
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


def _yaml_in(root: Path) -> Path | None:
    return next((root / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (root / name).is_file()), None)


def _config(root: Path) -> tuple[dict[str, Any], Path]:
    """data.yaml's content ({} without one) and the folder that its paths start from."""
    path = root if root.is_file() else _yaml_in(root)
    if path is None:
        return {}, root
    try:
        config = yaml.safe_load(read_text(path, "a data.yaml"))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise UserError(f"{path}:{line}: the YAML does not parse; expected keys train, val and names") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected keys train, val and names; found {type(config).__name__}")
    return config, _base(path, str(config.get("path") or ""))


def _base(path: Path, stated: str) -> Path:
    """The folder that `path` in data.yaml means: from the file's folder, from here or from a `datasets` folder here;
    the file's own folder when none of these is there (the data set was moved)."""
    choices = [path.parent / stated, Path(stated), Path("datasets") / stated]
    return next((choice for choice in choices if choice.is_dir()), path.parent) if stated else path.parent


def _sources(config: dict[str, Any], folder: Path, split: str) -> list[Path]:
    """The folders and list files of a split; [] when it has none."""
    entries = next((config[alias] for alias in _ALIASES[split] if config.get(alias)), None)
    if entries is None:
        if config:
            return []
        found = [folder / "images" / alias for alias in _ALIASES[split] if (folder / "images" / alias).is_dir()]
        return found[:1]
    return [_resolve(folder, str(entry)) for entry in (entries if isinstance(entries, list) else [entries])]


def _resolve(folder: Path, entry: str) -> Path:
    # Exported data sets often say ../train/images though train/ lies beside the YAML.
    inside = folder / entry.removeprefix("../")
    return inside if inside.exists() or not (folder / entry).exists() else folder / entry


def _names(config: dict[str, Any], root: Path, folder: Path) -> list[str]:
    names = config.get("names")
    if names is None and isinstance(config.get("nc"), int) and config["nc"] > 0:
        return [f"class_{i}" for i in range(config["nc"])]
    if names is None:
        listing = folder / "classes.txt"
        if not listing.is_file():
            raise UserError(
                f"{root}: no class names; expected 'names' in data.yaml, or a classes.txt with one per line"
            )
        names = [line.strip() for line in read_text(listing, "one class name per line").splitlines() if line.strip()]
    if isinstance(names, dict):
        # Quoted numbers are read there too.
        by_index = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
        if set(by_index) != set(range(len(names))):
            raise UserError(f"{root}: 'names' has the keys {sorted(map(str, names))}; expected 0..{len(names) - 1}")
        names = [by_index[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{root}: 'names' is {names!r}; expected a list of class names, or a dict from index to name")
    if config.get("nc") not in (None, len(names)):
        raise UserError(f"{root}: nc is {config['nc']} but 'names' lists {len(names)} classes; make them agree")
    if any(isinstance(name, bool) for name in names):
        raise UserError(
            f"{root}: 'names' has a word without quotes that YAML reads as true or false (yes, off); quote it"
        )
    return [str(name) for name in names]


def _pictures(source: Path, folder: Path, tell: Tell) -> list[Path]:
    if source.is_dir():
        found = sorted(source.rglob("*"))
        for other in found:
            if other.suffix.lower() in OTHER_PICTURES and _label_file(other).is_file():
                tell("unreadable-image", str(other), f"labelled, but not of a type that is read; expected {READABLE}")
        return [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    if not source.is_file():
        raise UserError(f"{source}: no such folder or list of images; correct the split's entry in data.yaml")
    if source.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{source}: is one image; expected a folder of images or a .txt list of them")
    paths = []
    for number, line in enumerate(read_text(source, "one image path per line").splitlines(), start=1):
        if not line.strip():
            continue
        # Written relative to the list, to the data set's folder, or to where the writer stood.
        choices = [base / line.strip() for base in (source.parent, folder, Path())]
        path = next((choice for choice in choices if choice.is_file()), None)
        if path is None:
            tell("missing-image", f"{source}:{number}", f"missing image {choices[0]}; add it or remove the line")
        else:
            paths.append(path)
    return paths


def _pixels(box: tuple[float, float, float, float], height: int, width: int) -> tuple[float, float, float, float]:
    """A normalised box in pixels. Rounded to 1e-10: a centre and a size give an edge at 0 back as some 1e-14."""
    x0, y0, x1, y1 = box
    return round(x0 * width, 10), round(y0 * height, 10), round(x1 * width, 10), round(y1 * height, 10)


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _parse(
    path: Path, names: Sequence[str], keypoints: bool, tell: Tell
) -> list[tuple[int, int, tuple[float, float, float, float]]]:
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
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        shown = " ".join(fields)[:40]
        return 0, [], f"{shown!r}; expected 'class cx cy w h' or 'class x y x y x y ...'"
    if label != number_of_class or not 0 <= label < len(names):
        return 0, [], f"class index {fields[0]}; expected 0..{len(names) - 1} ({len(names)} names)"
    if not max(map(abs, values)) <= 2:
        return 0, [], f"{max(values, key=abs):g} is not normalised; expected values from 0 to 1"
    return label, values, ""


def _box(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
