"""sampling.csv: of data sets and classes, what there is, what an epoch is to show of it, and what the first epoch shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detector.data.dataset import DetectionDataset
from search_spaces.files import csv_text, write_text

FILE_NAME = "sampling.csv"
COLUMNS = ("kind", "name", "there", "expected", "first_epoch")


def write_sampling(dataset: DetectionDataset, path: Path) -> None:
    """Write a line per data set (images) and class (boxes). Nothing where every image is shown once an epoch.

    Raises UserError when the file cannot be written.
    """
    expected, annotations = dataset.expected_draws, dataset.annotations
    if expected is None:
        return
    dataset.set_epoch(0)
    drawn = np.bincount(dataset.order() % len(dataset), minlength=len(dataset)).astype(np.float64)
    weights = (np.ones(len(dataset)), expected, drawn)
    rows: list[list[object]] = [list(COLUMNS)]
    if annotations.origins is not None:
        numbers, names = annotations.origins.of_image, [source.name for source in annotations.origins.sources]
        rows += _rows("images", names, [np.bincount(numbers, one, len(names)) for one in weights])
    kept = ~annotations.ignore
    image, label = annotations.image_index()[kept], annotations.labels[kept]
    rows += _rows(
        "boxes", annotations.class_names, [np.bincount(label, one[image], annotations.num_classes) for one in weights]
    )
    write_text(path, csv_text(rows))


def _rows(kind: str, names: Sequence[str], columns: Sequence[npt.ArrayLike]) -> list[list[object]]:
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1).round(2)
    return [[kind, name, *values] for name, values in zip(names, table.tolist())]
