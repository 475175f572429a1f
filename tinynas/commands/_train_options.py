"""The options of `tinynas train`: name, type and help of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ACCEPTED_DATA = "a folder or YAML with VOC, COCO or YOLO annotations, a labelling tool's export, or a list of data sets"

StructureName = Annotated[
    str | None, typer.Argument(help="Structure file, or the name of a shipped one (T S M L Ns Nm Nl).")
]
Data = Annotated[Path | None, typer.Option(help=f"Data: {ACCEPTED_DATA}. Default: ./data.yaml or ./data.")]
Out = Annotated[Path | None, typer.Option(help="Run folder. Default: runs/NAME.")]
Split = Annotated[
    float | None,
    typer.Option(min=0.01, max=0.9, help="Share of an unsplit data set to validate on; as tinynas data split does."),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training split.")]
Time = Annotated[
    str | None,
    typer.Option(
        "--time", metavar="30m", help="Instead of --epochs: as many as fit into 30m, 1h30m ... of wall-clock time."
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size", "--batch", metavar="N|auto", help="Images per step, over all processes; auto: by free memory."
    ),
]
ImageSize = Annotated[str | None, typer.Option(metavar="H[xW]", help="Default: the structure's.")]
Preset = Annotated[
    str | None,
    typer.Option(
        help="Recipe: auto (adjusted to the data), small or published. Default: auto below 5000 images, else published."
    ),
]
Config = Annotated[Path | None, typer.Option(help="YAML of settings that override the preset's.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. augment.mosaic=0.5.")
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Checkpoint to start from, of any structure with the same blocks; or a folder: the nearest one."),
]
Teacher = Annotated[
    Path | None,
    typer.Option(help="Teacher for distillation: a checkpoint (best.pt) or a raw export (.onnx, .xml)."),
]
Unlabelled = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR", help="Folder of images without annotations that the teacher labels; may be given several times."
    ),
]
TeacherClasses = Annotated[
    str | None,
    typer.Option(
        metavar="same|shared", help="shared: the teacher needs to share only one class with the data. Default: same."
    ),
]
Freeze = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help="Parts to freeze: backbone, stem, stem..stage2, neck, ... or none."),
]
Resume = Annotated[Path | None, typer.Option(help="Run folder to continue.")]
Overwrite = Annotated[bool, typer.Option(help="Replace an earlier run in the run folder.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of weights and augmentation. Default: 0.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. Default: auto.")]
