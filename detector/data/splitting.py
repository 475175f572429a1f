"""A data set divided into splits, as lists beside it: stratified by class, with what belongs together kept together."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data import formats
from detector.data.grouping import frames_of_sources, group, source_rule
from detector.data.image_facts import examine
from detector.data.label_space.document import is_document
from detector.data.raw_split import RawSplit
from detector.data.split_lists import FOLDER, home_of, listed_name, read_lists
from detector.data.split_names import SPLITS, UNSPLIT
from search_spaces.errors import UserError
from search_spaces.files import check_folder

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What was written: the folder, and by split the pictures and boxes per class; notes to print, a line each."""

    folder: Path
    class_names: tuple[str, ...]
    pictures: dict[str, int]
    boxes: dict[str, list[int]]
    groups: int
    notes: tuple[str, ...]


def split_data(
    data: Path, val: float, test: float = 0.0, *, group_by: str | None = None, seed: int = 0, workers: int = 1,
    overwrite: bool = False,
) -> Division:  # fmt: skip
    """Write tinynas-splits/train.txt, val.txt (and test.txt) into the data set's folder; readers follow these lists.

    val, test: shares of the pictures. group_by: see `source_rule`. Raises UserError for shares that leave nothing, a data
    set that has a val split already, pictures that cannot be read, and too few groups.
    """
    if not 0 < val < 1 or not 0 <= test < 1 or val + test >= 1:
        raise UserError(f"--val {val:g} --test {test:g}: expected shares above 0 that leave some pictures to train on")
    source = _source(data, overwrite)
    rule = None if group_by is None else source_rule(group_by)
    home = home_of(data)
    check_folder(home, "copy the data set to where it can be written")
    whole = formats.get(formats.detect(data)).read(data, source)
    facts = examine(whole.image_paths, decode=True, workers=workers)
    bad = [f"{path}: {fact.reason}" for path, fact in zip(whole.image_paths, facts) if fact.reason]
    if bad:
        raise UserError(bad[0] + (f" (and {len(bad) - 1} more bad image files)" if len(bad) > 1 else ""))
    _refuse_unlistable(whole.image_paths)
    groups, note = group(whole.image_paths, facts, rule)
    shares = [1 - val - test, val, *([test] if test else [])]
    names = SPLITS[: len(shares)]
    if int(groups.max(initial=-1)) + 1 < len(shares):
        raise UserError(
            f"{data}: {int(groups.max(initial=-1)) + 1} group(s) of pictures; expected one for each of {names}"
        )
    counts = _class_counts(whole)
    chosen = assign(groups, counts, shares, seed)
    _write(home / FOLDER, {name: [listed_name(whole.image_paths[i], home) for i in np.flatnonzero(chosen == k).tolist()]
                           for k, name in enumerate(names)})  # fmt: skip
    sources = frames_of_sources(whole.image_paths) if group_by is None else 0
    notes = [note] if note else []
    if sources:
        notes.append(f"the names look like frames of {sources} videos; keep each in one split with --group-by name")
    return Division(
        folder=home / FOLDER,
        class_names=whole.class_names,
        pictures={name: int((chosen == k).sum()) for k, name in enumerate(names)},
        boxes={name: counts[chosen == k].sum(axis=0).tolist() for k, name in enumerate(names)},
        groups=int(groups.max()) + 1,
        notes=tuple(notes),
    )


def assign(groups: Ints, counts: Ints, shares: Sequence[float], seed: int) -> Ints:
    """The split (0, 1, ...) of each picture (N,): groups whole, every class near `shares` of its boxes, every split with
    at least one group.

    groups (N,): numbers from 0; counts (N, C): boxes by class. Iterative stratification (Sechidis et al., 2011) on groups:
    the rarest class first, each group to the split that lacks most of it.
    """
    number = int(groups.max()) + 1
    table = np.zeros((number, counts.shape[1]), dtype=np.float64)
    np.add.at(table, groups, counts)
    sizes = np.bincount(groups, minlength=number).astype(np.float64)
    wanted = np.outer(shares, table.sum(axis=0))
    room = np.asarray(shares) * sizes.sum()
    of_group = np.full(number, -1, dtype=np.int64)
    rng = np.random.default_rng(seed)
    order = rng.permutation(number)

    def place(member: int, split: int) -> None:
        of_group[member] = split
        wanted[split] -= table[member]
        room[split] -= sizes[member]

    left = table.copy()
    while (remaining := left.sum(axis=0)).any():
        label = int(np.argmin(np.where(remaining > 0, remaining, np.inf)))
        members = [member for member in order.tolist() if of_group[member] < 0 and table[member, label] > 0]
        # large groups first: the small ones then even out
        for member in sorted(members, key=lambda member: -table[member, label]):
            need = wanted[:, label]
            best = np.flatnonzero(need >= need.max() - 1e-9)
            place(member, int(best[np.argmax(room[best])]))
            left[member] = 0
        left[:, label] = 0
    for member in sorted(order[of_group[order] < 0].tolist(), key=lambda member: -sizes[member]):
        place(member, int(np.argmax(room)))
    _fill(of_group, sizes, len(shares))
    return of_group[groups]


def _fill(of_group: Ints, sizes: npt.NDArray[np.float64], splits: int) -> None:
    """Give every split that has nothing the smallest group of the split with the most groups."""
    for split in range(splits):
        if (of_group == split).any():
            continue
        donor = int(np.argmax(np.bincount(of_group, minlength=splits)))
        members = np.flatnonzero(of_group == donor)
        of_group[members[np.argmin(sizes[members])]] = split


def _source(data: Path, overwrite: bool) -> str:
    """The split of the data set's own that is to be divided."""
    if is_document(data):
        raise UserError(f"{data}: a list of data sets; split those that need it, one by one (tinynas data split SET)")
    native = formats.get(formats.detect(data)).splits(data)
    if read_lists(data) is not None and not overwrite:
        raise UserError(f"{home_of(data) / FOLDER}: exists already; say --overwrite to split anew, or delete it")
    if UNSPLIT in native:
        return UNSPLIT
    if "val" in native or "train" not in native:
        raise UserError(
            f"{data}: has the splits {', '.join(native) or 'none'} already; expected none, or train without val"
        )
    return "train"


def _refuse_unlistable(paths: Sequence[Path]) -> None:
    """Raises UserError for a name that a line of text cannot hold."""
    for path in paths:
        name = str(path)
        if "\n" in name or name != name.encode("utf-8", "replace").decode("utf-8"):
            raise UserError(
                f"{name!r}: a list cannot hold this name (a line end, or bytes that are no UTF-8); rename it"
            )


def _class_counts(whole: RawSplit) -> Ints:
    """Boxes by picture and class (N, C), ignored ones left out."""
    counts = np.zeros((len(whole.image_paths), len(whole.class_names)), dtype=np.int64)
    kept = ~whole.boxes.ignore
    np.add.at(counts, (whole.boxes.image[kept], whole.boxes.labels[kept]), 1)
    return counts


def _write(folder: Path, lists: dict[str, list[str]]) -> None:
    """All lists at once: the folder is renamed into its place."""
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    try:
        staging.mkdir()
        for name, paths in lists.items():
            (staging / f"{name}.txt").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        staging.rename(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); free some space or copy the data set"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
