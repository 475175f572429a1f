"""Writing a kit: models, shared weights, the script and what to do with it, in one zip."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from latency_tables.kernels import Kernel
from latency_tables.kit.commands import PROGRAMS, command_script
from latency_tables.kit.plan import Estimate, ordered, planned
from latency_tables.kit.script import kit_script
from latency_tables.kit.weights import KitWriter, SharedWeights
from latency_tables.on_device.kit import KIT_FORMAT
from latency_tables.reach import Cells
from latency_tables.runtimes._models import batches, write_batch, write_network
from latency_tables.runtimes._requirements import REFERENCE
from search_spaces.errors import UserError
from search_spaces.files import check_folder, replacing
from search_spaces.graph import Graph

TOGETHER = {"onnxruntime": 4, "openvino": 4, "tensorrt": 1}
"""Models whose runs are interleaved, and that are begun again when a device goes off. TensorRT takes long to build one."""
DETECTORS_AFTER = 4
"""Whole detectors are measured after one in so many groups of the first round: a device that is cut off early has some."""
STAMP = (2000, 1, 1, 0, 0, 0)
"""The date of every file in the archive: the same kit is the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KitContent:
    """What a kit is for. `origin`: how to draw the networks again whose kernels it holds; it comes back with the results.
    `detectors`: name -> (graph, structure text)."""

    runtime: str
    precision: str
    threads: int
    minutes: float
    origin: Mapping[str, Any]
    detectors: Mapping[str, tuple[Graph, str]]


@dataclass(frozen=True, slots=True)
class Kit:
    """What was written: bytes of the archive, and numbers of kernels and models."""

    path: Path
    size: int
    kernels: int
    models: int


def write_kit(path: Path, content: KitContent, grids: Sequence[Cells], estimate: Estimate) -> Kit:
    """Write the archive for `grids`' kernels, chosen and ordered by another device's `estimate`.

    Raises UserError when the file is there already or cannot be written.
    """
    check_kit_path(path)
    groups, models, first = _models(content.runtime, grids, estimate)
    described: dict[str, Any] = {
        "format": KIT_FORMAT, "kernels": sum(map(len, models)), "groups": groups,
        "groups_before_detectors": max(1, first // DETECTORS_AFTER), "reference": "reference.onnx",
        "models": [{"file": f"k{i:04d}.onnx", "kernels": [astuple(k) for k in model]} for i, model in enumerate(models)],
        "detectors": [{"file": f"d{index}.onnx", "name": name} for index, name in enumerate(content.detectors)],
    }  # fmt: skip
    files, weights = _model_files(content, described, models)
    described["weights"] = sorted(weights)
    described["header"] = _header(content, described)
    texts = {"kit.json": json.dumps(described).encode(), "measure.py": kit_script(content.runtime).encode()}
    if content.runtime in PROGRAMS:
        texts["commands.sh"] = command_script(content.runtime, content.precision, described).encode()
    texts.update({f"models/{name}": data for name, data in [*files.items(), *weights.items()]})
    _write_zip(path, f"tinynas_kit_{content.runtime}", texts)
    return Kit(path, path.stat().st_size, sum(map(len, models)), len(models))


def _model_files(
    content: KitContent, described: Mapping[str, Any], models: Sequence[list[Kernel]]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The ONNX files by name, and the files of their weights."""
    shared = SharedWeights()

    def writer() -> KitWriter:
        return KitWriter(shared, bias_apart=content.runtime == "openvino")

    files = {described["reference"]: write_batch([REFERENCE], writer()).SerializeToString()}
    for entry, model in zip(described["models"], models):
        files[entry["file"]] = write_batch(model, writer()).SerializeToString()
    for entry, (graph, _) in zip(described["detectors"], content.detectors.values()):
        files[entry["file"]] = write_network(graph, writer()).SerializeToString()
    return files, shared.files()


def check_kit_path(path: Path) -> None:
    """Raise UserError when a kit cannot be written there, before anything is computed."""
    if path.suffix != ".zip":
        raise UserError(f"--kit {path}: a name that ends in .zip expected")
    if path.exists():
        raise UserError(f"{path}: exists already; give another name or remove it")
    check_folder(path.parent, "choose another folder for the kit")


def _models(
    runtime: str, grids: Sequence[Cells], estimate: Estimate
) -> tuple[list[list[int]], list[list[Kernel]], int]:
    """Groups of models (by index), the models' kernels, and how many groups the first round has."""
    groups: list[list[int]] = []
    models: list[list[Kernel]] = []
    first = 0
    for kernels in planned(grids, estimate):
        chosen = ordered(batches(kernels), grids, estimate)
        places = list(range(len(models), len(models) + len(chosen)))
        models += chosen
        step = TOGETHER[runtime]
        groups += [places[start : start + step] for start in range(0, len(places), step)]
        first = first or len(groups)
    return groups, models, first


def _header(content: KitContent, described: Mapping[str, Any]) -> dict[str, Any]:
    """What results carry of their kit. `id` stands for all of it, so that results know their kit."""
    header: dict[str, Any] = {
        "runtime": content.runtime, "precision": content.precision, "threads": content.threads,
        "minutes": content.minutes, "kernels": described["kernels"], **content.origin,
        "detectors": {name: text for name, (_, text) in content.detectors.items()},
    }  # fmt: skip
    told = json.dumps([header, described], sort_keys=True, default=list)
    return {"id": hashlib.sha256(told.encode()).hexdigest()[:16], **header}


def _write_zip(path: Path, folder: str, files: Mapping[str, bytes]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                info = zipfile.ZipInfo(f"{folder}/{name}", STAMP)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (0o755 if name.endswith((".py", ".sh")) else 0o644) << 16
                archive.writestr(info, data)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another folder"
        ) from None
