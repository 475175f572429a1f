"""Several data sets as one: classes matched by name, splits by theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detector.data import formats
from detector.data.annotations import DataReport, joined
from detector.data.convert import Converted, check_pictures, copied, merged_classes, read_all, renamed_line
from detector.data.raw_split import packed
from detector.data.split_names import SPLITS, UNSPLIT
from detector.data.writing import Content, claim, write_data_set
from search_spaces.errors import UserError


def merge(sources: Sequence[Path], out: Path, to: str, *, link: bool = False) -> Converted:
    """Write the data sets `sources`, of any formats, as one in the format `to`; as `convert` does, and with its errors.

    The classes are those of all sets, the first set's first. Image and category ids are given anew. Raises UserError
    when some sets are split and others are not.
    """
    target = formats.writable(to)
    claim(out)
    read = [read_all(source) for source in sources]
    heaps = [source for source, (raw, _) in zip(sources, read) if UNSPLIT in raw]
    if heaps and len(heaps) < len(sources):
        raise UserError(
            f"{heaps[0]}: has no splits, the others have; split it first: tinynas data split {heaps[0]} --val 0.2"
        )
    lost = [f"{source}: {line}" for source, (_, lines) in zip(sources, read) for line in lines]
    names, _ = merged_classes([split for raw, _ in read for split in raw.values()])
    contents: dict[str, Content] = {}
    reports: list[DataReport] = []
    for name in (*SPLITS, UNSPLIT):
        parts = []
        for raw, _ in read:
            if name in raw:
                annotations, report = packed(replace(raw[name], declared=False, category_ids=None), names)
                check_pictures(annotations, copied_to=to)
                parts.append(annotations)
                reports.append(report)
        if parts:
            whole = joined(parts)
            contents[name] = Content(whole, copied(whole, link))
    renamed = write_data_set(target, contents, out)
    lost.append("image and category ids: given anew, in the order of the data sets")
    return Converted("merged", tuple(reports), (*lost, *renamed_line(renamed)))
