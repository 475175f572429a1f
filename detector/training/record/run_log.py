"""metrics.csv, metrics.jsonl and per_class.csv of a run, rewritten whole so that they are never half a row; scalars for
TensorBoard where asked for."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detector.evaluation import Metrics
from search_spaces.errors import UserError
from search_spaces.files import csv_text, write_text

TENSORBOARD_FOLDER = "tensorboard"
_RUN_COLUMNS = (
    "epoch", "step", "learning_rate", "num_positives", "skipped", "seconds", "train_seconds", "images_per_second",
)  # fmt: skip
_CLASS_COLUMNS = ("epoch", "class", "ap", "ap50")


class RunLog:
    """Rows of a run in `folder`; with `keep_epochs`, those of the first epochs of an earlier start stay.

    tensorboard: also write every number of every epoch as a scalar. Raises UserError when it is not installed.
    """

    def __init__(self, folder: Path, keep_epochs: int = 0, *, tensorboard: bool = False) -> None:
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError(
                "training setting tensorboard: TensorBoard is not installed; pip install tensorboard, or leave it out"
            )
        self._folder = folder
        self._keep_epochs = keep_epochs
        self._tensorboard = tensorboard
        self._writer: Any = None
        self.rows: list[dict[str, float | None]] = []
        self._class_rows: list[list[object]] = []
        if keep_epochs:
            lines = _text(folder / "metrics.jsonl").splitlines()
            self.rows = [row for line in lines if (row := json.loads(line)).get("epoch", 0) <= keep_epochs]
            classes = list(csv.reader(io.StringIO(_text(folder / "per_class.csv"))))[1:]
            self._class_rows = [[*cells] for cells in classes if int(cells[0]) <= keep_epochs]

    def add(self, row: Mapping[str, float], metrics: Metrics | None = None) -> None:
        """Append an epoch's row, and AP per class where there was an evaluation, and write the files.

        Values that are not finite are written as empty / null.
        """
        self.rows.append({key: value if math.isfinite(value) else None for key, value in row.items()})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        cells = [[row.get(column) for column in columns] for row in self.rows]
        write_text(self._folder / "metrics.csv", csv_text([columns, *cells]))
        write_text(self._folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
        if metrics is not None:
            epoch, ap50 = int(row["epoch"]), metrics.class_ap50
            self._class_rows += [[epoch, name, ap, ap50[name]] for name, ap in metrics.class_ap.items()]
            write_text(self._folder / "per_class.csv", csv_text([_CLASS_COLUMNS, *self._class_rows]))
        if self._tensorboard:
            self._add_scalars(row, metrics)

    def close(self) -> None:
        """Finish TensorBoard's file, if there is one."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # of a full disk: every epoch was written, or refused, when it ended
                self._writer.close()
            self._writer = None

    def _add_scalars(self, row: Mapping[str, float], metrics: Metrics | None) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # epochs that a resumed run does again are hidden
            folder = str(self._folder / TENSORBOARD_FOLDER)
            self._writer = SummaryWriter(folder, purge_step=self._keep_epochs + 1)
        epoch = int(row["epoch"])
        scalars = {f"{_group(key)}/{key}": value for key, value in row.items() if key != "epoch"}
        if metrics is not None:
            scalars |= {f"class_ap/{name}": value for name, value in metrics.class_ap.items()}
        for name, value in scalars.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()


def _group(key: str) -> str:
    """TensorBoard shows the numbers of a group together."""
    if key.startswith(("ap", "ar_")):
        return "val"
    return "run" if key in _RUN_COLUMNS else "loss"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
