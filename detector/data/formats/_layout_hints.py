"""What to say of a folder in no known layout: the nearest one and what it lacks, or which export to choose instead."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from detector.data.file_tree import files_below
from detector.data.image import IMAGE_SUFFIXES, OTHER_PICTURES

_OTHERS = {
    ".tfrecord": "TFRecord files: export as COCO, VOC or YOLO instead",
    ".record": "TFRecord files: export as COCO, VOC or YOLO instead",
    ".zip": "an archive: unpack it first",
    ".tar": "an archive: unpack it first",
    ".gz": "an archive: unpack it first",
    ".7z": "an archive: unpack it first",
    ".rar": "an archive: unpack it first",
    ".parquet": "a table in parquet: export as COCO, VOC or YOLO instead",
    ".mp4": "a video: take its frames as pictures and label those",
    ".avi": "a video: take its frames as pictures and label those",
    ".mov": "a video: take its frames as pictures and label those",
    ".tsv": "a table without the columns filename, class, xmin, ymin, xmax, ymax: export as COCO, VOC or YOLO instead",
    ".csv": "a table without the columns filename, class, xmin, ymin, xmax, ymax: export as COCO, VOC or YOLO instead",
    ".jsonl": "JSON lines: export as COCO, VOC or YOLO instead",
    ".ndjson": "JSON lines: export as COCO, VOC or YOLO instead",
    ".manifest": "JSON lines: export as COCO, VOC or YOLO instead",
    ".json": "JSON of an unknown kind: export as COCO instead",
    ".xml": "XML of an unknown kind: export as VOC, or from CVAT as 'CVAT for images'",
}
_LABELLED = (
    ".json", ".xml", ".csv", ".tsv", ".jsonl", ".ndjson", ".manifest", ".tfrecord", ".record", ".parquet", ".zip", ".tar",
    ".gz",
)  # fmt: skip
"""What annotations lie in beside pictures, the surest first."""
_MOST = 5000


def nearest_layout(root: Path) -> str:
    """`; it looks like ...`, what is missing or what to do; "" where nothing can be said."""
    if root.is_file():
        return f"; {root.suffix or root.name} files are not data sets: name the folder, or its data.yaml"
    counts = Counter(path.suffix.lower() for path in files_below(root, depth=4)[:_MOST])
    pictures = sum(counts[suffix] for suffix in IMAGE_SUFFIXES)
    if counts[".txt"] and pictures:
        return (
            "; nearest: YOLO, but no label file (.txt) lies beside a picture of its name or in labels/ where the picture "
            "lies in images/, and there is no data.yaml"
        )
    for suffix in _LABELLED:
        if counts[suffix]:
            return f"; found {_OTHERS[suffix]}"
    if pictures:
        return f"; found {pictures} pictures and no annotations: add the files that the labelling tool wrote"
    for suffix, text in _OTHERS.items():
        if counts[suffix]:
            return f"; found {text}"
    if any(counts[suffix] for suffix in OTHER_PICTURES):
        return "; found pictures of types that are not read: convert them to JPEG or PNG"
    return "; found neither pictures nor annotations"
