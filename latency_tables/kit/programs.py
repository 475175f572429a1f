"""What benchmark programs tell of a kit's models, read into the form of the kit's own results.

benchmark_app (OpenVINO) writes a CSV of average counters per node, trtexec (TensorRT) a JSON of average times per layer;
both print the latency of whole networks.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_tables.kit.commands import PROGRAMS
from latency_tables.on_device.kit import read_kit
from latency_tables.on_device.openvino import RESOLUTION_MS, openvino_target
from latency_tables.on_device.results import KitError, new_content
from latency_tables.on_device.tensorrt import tensorrt_target
from search_spaces.errors import UserError
from search_spaces.files import read_text

OUT = "out"
_Node = tuple[str, str, float]
"""Name, type and ms of a node."""
_MEDIAN = re.compile(r"^.*Median:\s+([0-9.]+) ms", re.MULTILINE)
_COMPUTE = re.compile(r"GPU Compute Time:.*?median = ([0-9.]+) ms")
_BUILD = re.compile(r"Build[ .]+([0-9]+(?:\.[0-9]+)+)")
_TENSORRT = re.compile(r"TensorRT version: ([0-9.]+)|\[TensorRT v(\d+)\]|TensorRT\.trtexec \[TensorRT v(\d+)\]")
_GPU = re.compile(r"Selected Device: (.+)")


def read_outputs(folder: Path) -> dict[str, Any]:
    """The results (as latency_tables.on_device.results has them) of a kit whose commands.sh was run in `folder`.

    Raises UserError when the folder is no such kit's, or an output is not what the program writes.
    """
    try:
        kit = read_kit(str(folder))
    except KitError as error:
        raise UserError(
            f"{error}; --collect takes a results.json, or a whole kit folder after its commands.sh"
        ) from None
    runtime = kit["header"]["runtime"]
    facts = _facts(folder / OUT / "device.txt", runtime)
    conditions = {**facts, "device": facts["board"] or facts["processor"], "runtime_version": ""}
    content = new_content(kit["header"], conditions)
    content["program"] = PROGRAMS[runtime]
    for group, indices in enumerate(kit["groups"]):
        for index in indices:
            model = kit["models"][index]
            for kernel, ms in _kernels(folder / OUT, model, runtime):
                content["kernels"].append([*kernel, group, ms, 0.0])
    for item in kit["detectors"]:
        log = folder / OUT / f"{Path(item['file']).stem}.txt"
        if log.exists():
            content["detectors"].append([item["name"], _network_ms(log, runtime), 0.0])
    logs = sorted((folder / OUT).glob("*.txt"))
    _note_versions(conditions, [log for log in logs if log.stem != "device"], runtime)
    return content


def _facts(path: Path, runtime: str) -> dict[str, Any]:
    text = read_text(path, f"what the kit's commands.sh notes of the device ({PROGRAMS.get(runtime, 'no program')})")
    facts: dict[str, Any] = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if not {"host", "processor", "board", "threads"} <= set(facts) or not facts["threads"].isdecimal():
        raise UserError(f"{path}: damaged; expected host, processor, board and threads as commands.sh writes them")
    return {**facts, "threads": int(facts["threads"])}


def _kernels(out: Path, model: Mapping[str, Any], runtime: str) -> list[tuple[list[Any], float]]:
    """Kernels of a model with their ms; none where it was not measured."""
    path = out / f"{Path(model['file']).stem}.{'csv' if runtime == 'openvino' else 'json'}"
    if not path.exists():
        return []
    nodes, target = _READERS[runtime]
    found = [0.0] * len(model["kernels"])
    for name, node_type, ms in nodes(path):
        place = target(name, node_type, model["kernels"][0][0])
        if place is not None and place < len(found):
            found[place] += ms
    if runtime == "tensorrt" and not all(found):
        raise UserError(f"{path}: no layer of {found.count(0.0)} of its kernels; was another model measured?")
    return [(kernel, max(ms, RESOLUTION_MS / 2)) for kernel, ms in zip(model["kernels"], found)]


def _counters(path: Path) -> list[_Node]:
    """Nodes of benchmark_app's average counters."""
    rows = list(csv.reader(read_text(path, "benchmark_app's average counters").splitlines(), delimiter=";"))
    try:
        columns = [rows[0].index(name) for name in ("layerName", "layerType", "realTime (ms)")]
        nodes = [
            (row[columns[0]], row[columns[1]], float(row[columns[2]])) for row in rows[1:] if len(row) > max(columns)
        ]
    except (IndexError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); expected benchmark_app's average counters") from None
    return [node for node in nodes if node[0] not in ("Total", "")]


def _layers(path: Path) -> list[_Node]:
    """Layers of trtexec's exported profile."""
    try:
        entries = json.loads(read_text(path, "trtexec's exported profile"))
        return [(str(item["name"]), "", float(item["averageMs"])) for item in entries if "name" in item]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged ({error}); expected trtexec's exported profile") from None


_READERS: dict[str, tuple[Callable[[Path], list[_Node]], Callable[[str, str, str], int | None]]] = {
    "openvino": (_counters, openvino_target),
    "tensorrt": (_layers, lambda name, _, first_kind: tensorrt_target(name, first_kind)),
}


def _network_ms(log: Path, runtime: str) -> float:
    """The median latency that a program printed."""
    text = read_text(log, f"what {PROGRAMS[runtime]} printed")
    found = (_MEDIAN if runtime == "openvino" else _COMPUTE).search(text)
    if found is None:
        raise UserError(f"{log}: no median latency in it; expected what {PROGRAMS[runtime]} prints")
    return float(found.group(1))


def _note_versions(conditions: dict[str, Any], logs: Sequence[Path], runtime: str) -> None:
    """The runtime's version, and the GPU's name, from what the program printed. Raises UserError when logs differ."""
    versions = set()
    for log in logs:
        text = read_text(log, f"what {PROGRAMS[runtime]} printed")
        found = (_BUILD if runtime == "openvino" else _TENSORRT).search(text)
        versions.add(next((word for word in found.groups() if word), "unknown") if found else "unknown")
        gpu = _GPU.search(text)
        if runtime == "tensorrt" and gpu is not None:
            conditions["device"] = gpu.group(1).strip()
    if len(versions) > 1:
        raise UserError(
            f"{logs[0].parent}: outputs of several versions ({', '.join(sorted(versions))}) are mixed; measure "
            "them in a new folder"
        )
    conditions["runtime_version"] = next(iter(versions), "unknown")
