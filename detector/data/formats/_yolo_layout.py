"""Where a YOLO data set's pictures, splits and class names are: data.yaml, Darknet's obj.data, or folders alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from detector.data.file_tree import parts_of
from detector.data.formats._json_stream import read_json
from detector.data.image import IMAGE_SUFFIXES
from detector.data.scalars import clean_name, shown, whole
from detector.data.split_names import UNSPLIT, files_in, folder_called, in_order, split_folders, split_of
from search_spaces.errors import UserError
from search_spaces.files import read_text

CLASS_LISTS = ("classes.txt", "_darknet.labels", "obj.names", "labels.txt", "predefined_classes.txt")
_NOTHING = frozenset({"", "~", "null", "Null", "NULL", "None"})
_PICTURES, _LABELS = ("images", "image", "jpegimages", "imgs"), ("labels", "label")


@dataclass(frozen=True, slots=True)
class Layout:
    """folder: what paths start from; sources: by split, the entries of a YAML as they stand, or folders and lists.

    config: data.yaml's content, {} without one
    """

    root: Path
    folder: Path
    sources: dict[str, tuple[str | Path, ...]]
    config: dict[str, Any]

    def paths(self, split: str) -> list[Path]:
        """The folders and lists of a split, whether they are there or not."""
        return [entry if isinstance(entry, Path) else resolve(self.folder, entry) for entry in self.sources[split]]

    def is_there(self, split: str) -> bool:
        """Whether any of them is there."""
        return any(os.path.exists(path) for path in self.paths(split))


def find_layout(root: Path) -> Layout | None:
    """The layout of a folder or YAML file; None if it is none. Raises UserError for a YAML that cannot be read."""
    path = root if root.is_file() else yaml_in(root)
    if path is not None:
        return _from_yaml(root, path)
    darknet = next(iter(files_in(root, ".data")), None)
    if darknet is not None:
        return _from_darknet(root, darknet)
    sources = _from_folders(root)
    return Layout(root, root, sources, {}) if sources else None


def yaml_in(root: Path) -> Path | None:
    """data.yaml or dataset.yaml, else the only YAML file with names and a split."""
    named = next((root / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (root / name).is_file()), None)
    if named is not None:
        return named
    others = [path for suffix in (".yaml", ".yml") for path in files_in(root, suffix)]
    return next((path for path in others if len(others) == 1 and _describes_data(path)), None)


def class_names(layout: Layout) -> list[str]:
    """The names by index. Raises UserError where there are none, or not one for every index."""
    root, names = layout.root, layout.config.get("names")
    number = _count(layout)
    if names is None or isinstance(names, str):
        if names is None and number:
            return [f"class_{i}" for i in range(number)]
        names = _listed_names(layout)
    if isinstance(names, dict):
        by_index = {_index(key): name for key, name in names.items()}
        if set(by_index) != set(range(len(names))):
            raise UserError(
                f"{root}: 'names' has the keys {shown(sorted(map(str, names)))}; expected 0..{len(names) - 1}"
            )
        names = [by_index[i] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise UserError(
            f"{root}: 'names' is {shown(names)}; expected a list of class names, or a dict from index to name"
        )
    cleaned = [clean_name(name) for name in names]
    if "" in cleaned:
        place = cleaned.index("")
        raise UserError(f"{root}: the name of class {place} is {shown(names[place])}; expected a class name")
    if number not in (None, len(names)):
        raise UserError(f"{root}: nc is {number} but 'names' lists {len(names)} classes; make them agree")
    return cleaned


def resolve(folder: Path, entry: str) -> Path:
    """The folder or list that an entry means: as it stands, without a leading ../, with slashes, without first parts, in
    any case. A part that names a split is not left out, unless another one is left: `train/images` is not `images`."""
    # Exported data sets often say ../train/images though train/ lies beside the YAML.
    tried = [folder / entry.removeprefix("../"), folder / entry]
    parts = parts_of(entry)
    last = max((i for i, part in enumerate(parts) if split_of(Path(part).stem)), default=len(parts) - 1)
    tails = [parts[start:] for start in range(last + 1)]
    tried += [folder.joinpath(*tail) for tail in tails]
    found = next((path for path in tried if os.path.exists(path)), None)
    return found or next((path for tail in tails if (path := _in_any_case(folder, tail))), folder / entry)


def _in_any_case(folder: Path, parts: Sequence[str]) -> Path | None:
    """The folder or file of these names below `folder`, whatever their case; None if there is none."""
    for part in parts:
        try:
            folder = next(path for path in folder.iterdir() if path.name.casefold() == part.casefold())
        except (OSError, StopIteration):
            return None
    return folder


def _describes_data(path: Path) -> bool:
    try:
        config = _parsed(path)
    except UserError:
        return False
    return isinstance(config, dict) and "names" in config and any(split_of(str(key)) for key in config)


def _parsed(path: Path) -> Any:
    """Every scalar stays a text: `no`, `12:30` and `5` are names too. Raises UserError."""
    text = read_text(path, "a data.yaml")
    try:
        return yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0)
        lines = text.splitlines()
        escape = line < len(lines) and "\\" in lines[line] and '"' in lines[line]
        hint = "backslashes in double quotes are escapes, write / or single quotes" if escape else ""
        raise UserError(
            f"{path}:{line + 1}: the YAML does not parse; {hint or 'expected keys train, val and names'}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: the YAML does not parse ({type(error).__name__}); restore the file") from None


def _from_yaml(root: Path, path: Path) -> Layout:
    config = _parsed(path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected keys train, val and names; found {type(config).__name__}")
    config = {str(key): value for key, value in config.items() if not _is_nothing(value)}
    stated = config.get("path")
    folder = _base(path, stated if isinstance(stated, str) else "")
    sources: dict[str, tuple[str | Path, ...]] = {}
    for key, value in config.items():
        split = split_of(key)
        if split is None or split in sources:
            continue
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            if not isinstance(entry, str):
                raise UserError(f"{path}: {key} is {shown(entry)}; expected a folder, a .txt list, or a list of these")
            if any(ord(character) < 32 for character in entry):
                raise UserError(
                    f"{path}: {key} is {shown(entry)}: backslashes in double quotes are escapes in YAML; "
                    "write / or single quotes"
                )
        sources[split] = tuple(entries)
    if not sources:
        sources = _from_folders(folder)
    return Layout(root, folder, sources, config)


def _is_nothing(value: Any) -> bool:
    return value == [] or (isinstance(value, str) and value in _NOTHING)


def _base(path: Path, stated: str) -> Path:
    """The folder that `path` in data.yaml means: from the file's folder, from here or from a `datasets` folder here;
    the file's own folder when none of these is there (the data set was moved)."""
    choices = [path.parent / stated, Path(stated), Path("datasets") / stated]
    return next((choice for choice in choices if os.path.isdir(choice)), path.parent) if stated else path.parent


def _from_darknet(root: Path, path: Path) -> Layout:
    """obj.data: lines `key = value` with train, valid and names."""
    lines = (line.partition("=") for line in read_text(path, "lines 'key = value'").splitlines())
    values = {key.strip(): value.strip() for key, equals, value in lines if equals and value.strip()}
    entries = {split: value for key, value in values.items() if (split := split_of(key)) is not None}
    sources = {split: (value,) for split, value in entries.items() if os.path.exists(resolve(root, value))}
    config = {"names": values["names"]} if "names" in values else {}
    return Layout(root, root, sources or _from_folders(root), config)  # type: ignore[arg-type]


def _from_folders(root: Path) -> dict[str, tuple[str | Path, ...]]:
    """images/SPLIT with labels/SPLIT, SPLIT/images with SPLIT/labels, SPLIT/ or the folder itself with labels beside."""
    pictures, labels = folder_called(root, *_PICTURES), folder_called(root, *_LABELS)
    found: dict[str, tuple[str | Path, ...]] = {}
    if pictures is not None and labels is not None:
        inner = split_folders(pictures)
        labelled = split_folders(labels)
        found = {split: (inner[split],) for split in in_order(inner) if split in labelled}
        if not found and not labelled and _has(labels, _is_label):
            return {UNSPLIT: (pictures,)}
    for split, folder in split_folders(root).items():
        inside, marked = folder_called(folder, *_PICTURES), folder_called(folder, *_LABELS)
        if inside is not None and marked is not None:
            found.setdefault(split, (inside,))
        elif _has_labels_beside(folder):
            found.setdefault(split, (folder,))
    if not found and _has_labels_beside(root):
        return {UNSPLIT: (root,)}
    return {split: found[split] for split in in_order(found)}


def _has_labels_beside(folder: Path) -> bool:
    """Whether a picture in it has a label file beside it."""
    labels = {path.stem for path in files_in(folder, ".txt") if _is_label(path)}
    return (
        any(path.stem in labels for suffix in IMAGE_SUFFIXES for path in files_in(folder, suffix)) if labels else False
    )


def _has(folder: Path, test: Callable[[Path], bool]) -> bool:
    return any(test(path) for path in files_in(folder, ".txt"))


def _is_label(path: Path) -> bool:
    return path.name.lower() not in CLASS_LISTS


def _count(layout: Layout) -> int | None:
    """nc, None where it is not given."""
    given = layout.config.get("nc")
    if given is None:
        return None
    try:
        count = whole(given)
    except ValueError:
        count = 0
    if not 0 < count <= 1_000_000:
        raise UserError(f"{layout.root}: nc is {shown(given)}; expected the number of classes")
    return count


def _index(key: Any) -> Any:
    return int(key) if str(key).isdecimal() and len(str(key)) < 9 else key


def _listed_names(layout: Layout) -> list[str]:
    """The lines of a list of classes in the data set's folder or in a split's, or the categories of notes.json."""
    homes = [
        layout.folder,
        *(path.parent if path.is_file() else path for split in layout.sources for path in layout.paths(split)),
    ]
    homes += [labels for home in homes[:1] if (labels := folder_called(home, *_LABELS))]
    given = layout.config.get("names")
    choices = [resolve(layout.folder, given)] if isinstance(given, str) else []
    choices += [folder / name for folder in dict.fromkeys(homes) for name in CLASS_LISTS]
    choices += files_in(layout.folder, ".names")
    for path in choices:
        if os.path.isfile(path):
            names = [clean_name(line) for line in read_text(path, "one class name per line").splitlines()]
            return [name for name in names if name]
    notes = layout.folder / "notes.json"
    if notes.is_file():
        return _names_of_notes(notes)
    raise UserError(f"{layout.root}: no class names; expected 'names' in data.yaml, or a classes.txt with one per line")


def _names_of_notes(path: Path) -> list[str]:
    content = read_json(path, "the categories of an export")
    entries = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: no 'categories'; expected a list with id and name, or add a classes.txt")
    names: Sequence[Any] = [
        entry.get("name") for entry in sorted(entries, key=lambda entry: str(entry.get("id")).zfill(9))
    ]
    return [str(name) for name in names]
