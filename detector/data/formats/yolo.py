"""YOLO: one text file per picture, lines `class cx cy w h` normalised to 0..1, found through a data.yaml.

data.yaml holds `path`, `train`, `val`, `test` (a folder, a .txt list of pictures, or a list of these) and `names` (a
list or a dict). Without one, images/SPLIT, labels/SPLIT and classes.txt do. A line with more than five numbers is a
polygon: its bounding box counts. Label files lie where `images` in the picture's path is replaced by `labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detector.data.annotations import Annotations, DataReport, RawBoxes, map_labels, pack
from detector.data.image import IMAGE_SUFFIXES, image_size
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


def load(root: Path, split: str, class_names: Sequence[str] | None = None) -> tuple[Annotations, DataReport]:
    """Read one split. Raises UserError for a bad line (file and line), an unknown class index, a missing picture."""
    config, folder = _config(root)
    names = _names(config, root, folder)
    wanted = tuple(names) if class_names is None else tuple(class_names)
    sources = _sources(config, folder, split)
    paths = [path for source in sources for path in _pictures(source)]
    if not paths:
        raise UserError(f"{sources[0]}: no images for the {split!r} split; expected jpg, png, bmp, webp or tif files")
    sizes = np.array([image_size(path) for path in paths], dtype=np.int32)
    images: list[int] = []
    labels: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    for i, path in enumerate(paths):
        for label, box in _parse(_label_file(path), names):
            images.append(i)
            labels.append(label)
            boxes.append(box)
    image = np.array(images, dtype=np.int64)
    scale = sizes[image][:, [1, 0, 1, 0]].astype(np.float64)
    raw = RawBoxes(
        image=image,
        boxes_xyxy=np.array(boxes, dtype=np.float64).reshape(-1, 4) * scale,
        labels=map_labels(np.array(labels, dtype=np.int64), names, wanted, f"{root} ({split})"),
        ignore=np.zeros(len(image), dtype=np.bool_),
    )
    return pack(f"{folder.name} {split} (YOLO)", wanted, paths, sizes, raw)


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
        for (x0, y0, x1, y1), label, ignore in zip(*annotations.boxes_of(i)):
            if not ignore:
                centre = f"{(x0 + x1) / 2 / width:.8f} {(y0 + y1) / 2 / height:.8f}"
                lines.append(f"{label} {centre} {(x1 - x0) / width:.8f} {(y1 - y0) / height:.8f}\n")
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
    base = path.parent / str(config.get("path") or "")
    return config, base if base.is_dir() else path.parent


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
    if names is None:
        listing = folder / "classes.txt"
        if not listing.is_file():
            raise UserError(
                f"{root}: no class names; expected 'names' in data.yaml, or a classes.txt with one per line"
            )
        names = [line.strip() for line in read_text(listing, "one class name per line").splitlines() if line.strip()]
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise UserError(f"{root}: 'names' has the keys {sorted(map(str, names))}; expected 0..{len(names) - 1}")
        names = [names[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{root}: 'names' is {names!r}; expected a list of class names, or a dict from index to name")
    if config.get("nc") not in (None, len(names)):
        raise UserError(f"{root}: nc is {config['nc']} but 'names' lists {len(names)} classes; make them agree")
    return [str(name) for name in names]


def _pictures(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not source.is_file():
        raise UserError(f"{source}: no such folder or list of images; correct the split's entry in data.yaml")
    lines = [line.strip() for line in read_text(source, "one image path per line").splitlines()]
    paths = [source.parent / line for line in lines if line]
    for number, path in enumerate(paths, start=1):
        if not path.is_file():
            raise UserError(f"{source}:{number}: missing image {path}; add it or remove the line")
    return paths


def _label_file(image: Path) -> Path:
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _parse(path: Path, names: Sequence[str]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """(label, normalised xyxy) per line; a picture without a label file has no boxes."""
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(read_text(path, "lines 'class cx cy w h'").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            number_of_class, *values = (float(field) for field in fields)
            label = int(number_of_class)
        except (ValueError, OverflowError):
            values, number_of_class, label = [], 0, 0
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise UserError(
                f"{path}:{number}: {line.strip()[:40]!r}; expected 'class cx cy w h' or 'class x y x y x y ...'"
            )
        if label != number_of_class or not 0 <= label < len(names):
            raise UserError(
                f"{path}:{number}: class index {fields[0]}; expected 0..{len(names) - 1} ({len(names)} names)"
            )
        if max(map(abs, values)) > 2:
            raise UserError(f"{path}:{number}: {max(values):g} is not normalised; expected values from 0 to 1")
        found.append((label, _box(values)))
    return found


def _box(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        x, y, width, height = values
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])
