"""Model files: one plug-in per format, which runs such files and, where it can, writes them.

A format is a file of this folder. It has `SUFFIXES` (of the files that a model consists of, the main one's first),
RUNTIME (the package that runs it) and `load(path, device, threads) -> Model`. One that can be exported to has
`write(source, path)` too (`_source`), FROM_ONNX (whether that is made from an ONNX model), BATCHES (whether several
images go in at once), what it knows of OUTPUTS, INPUTS and PRECISIONS (`model_card`), and REASONS for what it does not;
one that has NMS inside, the forms of it that can be written (NMS); one whose height and width may be free, FREE_SIZE.
Importing a format imports no runtime, torch's own neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from detector.model_card import ModelCard
from search_spaces.errors import UserError, nearest
from search_spaces.files import check_file
from search_spaces.plugins import load_plugin, plugin_names

Floats: TypeAlias = npt.NDArray[np.float32]
Input: TypeAlias = Floats | npt.NDArray[np.uint8]
Outputs: TypeAlias = tuple[npt.NDArray[np.generic], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready to run: `run` maps images (N, 3, H, W) float32, RGB 0..255 (or pictures (N, H, W, 3) uint8, as
    its card says), to the arrays that the card names.

    counted_detections: of an image and class, how many an evaluation of it counts.
    """

    card: ModelCard
    run: Callable[[Input], Outputs]
    counted_detections: int = 100


def run_in_batches(model: Model, images: Input) -> Iterator[Outputs]:
    """The outputs of images (N, ...), any N, in the model's own batches (all at once where it takes any); the last batch is
    filled up with zeros, whose rows are left out of the outputs."""
    size = model.card.batch or max(len(images), 1)
    for start in range(0, len(images), size):
        part = images[start : start + size]
        empty = np.zeros((size - len(part), *part.shape[1:]), dtype=part.dtype)
        yield tuple(output[: len(part)] for output in model.run(np.concatenate([part, empty])))


def format_names() -> list[str]:
    """The formats that can be run."""
    return plugin_names("detector.deploy")


def exportable() -> list[str]:
    """The formats that can be written."""
    return [name for name in format_names() if hasattr(get_format(name), "write")]


def get_format(name: str) -> ModuleType:
    """The plug-in of that name. Raises UserError for an unknown one."""
    return load_plugin("detector.deploy", name, "export")


def writable(name: str) -> ModuleType:
    """The plug-in of a format that can be written. Raises UserError for another one."""
    if name not in exportable():
        raise UserError(
            f"--format {name} is what exports are made from; {nearest(name, exportable())}"
            if name in format_names()
            else f"--format: unknown export {name!r}: {nearest(name, exportable())}"
        )
    return get_format(name)


def format_of(path: Path) -> ModuleType:
    """The plug-in whose files end as `path` does. Raises UserError when there is none."""
    known = {get_format(name).SUFFIXES[0]: name for name in format_names()}
    suffix = next((suffix for suffix in known if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        names = ", ".join(sorted(known))
        raise UserError(f"{path}: cannot run a {path.suffix or 'file without a suffix'}; expected one of {names}")
    return get_format(known[suffix])


def load_model(path: str | Path, *, device: str | None = None, threads: int | None = None) -> Model:
    """A model by its file: a checkpoint (.pt) or an export of one.

    device: as the format's runtime knows it, None: its usual one. threads: of a CPU, None: as many as the runtime takes.
    Raises UserError, one line, for a file that is missing, of another kind or damaged, and for a runtime that is not
    installed.
    """
    path = Path(path)
    check_file(path, "a checkpoint (best.pt) or an export of one")
    plugin = format_of(path)
    model: Model = plugin.load(path, device, threads)
    return model
