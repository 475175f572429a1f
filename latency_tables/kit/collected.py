"""What a device sent back: its measured kernels and whole detectors, checked before anything is made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_tables.kernels import KINDS, Kernel
from latency_tables.kit.programs import read_outputs
from latency_tables.on_device.results import KitError, read_results, told_jumps
from latency_tables.partial import Key
from latency_tables.shards import SHORTEST_MS
from latency_tables.tables import Row, row_key
from search_spaces.errors import UserError

HEADER = ("id", "runtime", "precision", "threads", "minutes", "kernels", "detectors")
"""Keys of a kit's header that are read here; the others say how to draw its networks again."""
CONDITIONS = ("host", "processor", "device", "runtime_version", "threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """`header`: the kit's. `conditions`: host, processor, device, runtime_version and threads of the measurements.
    `rows`: by row_key, of several looks at a kernel the fastest. `detectors`: name -> measured ms. `minutes` that it took.
    `clock`: what the device told of it. `extensions`: its vector extensions (older kits and benchmark programs tell none).
    `program`: the benchmark program that measured, if one did. `warnings`: what
    to tell, a line each."""

    header: Mapping[str, Any]
    conditions: Mapping[str, Any]
    rows: Mapping[Key, Row]
    detectors: Mapping[str, float]
    minutes: float
    clock: str
    extensions: tuple[str, ...]
    program: str
    warnings: tuple[str, ...]


def collected(path: Path) -> Collected:
    """The results in a file that a kit's measure.py wrote, or in a kit's folder after its commands.sh.

    Raises UserError, in one line, for what is neither, damaged, empty, of another version, or of several devices mixed.
    """
    try:
        content = read_outputs(path) if path.is_dir() else read_results(str(path))
    except KitError as error:
        raise UserError(str(error)) from None
    try:
        return _checked(path, content)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path}: results of another version of tinynas, or damaged ({type(error).__name__}: {error}); make the kit anew"
        ) from None


def _checked(path: Path, content: Mapping[str, Any]) -> Collected:
    header, conditions = content["kit"], content["conditions"]
    missing = [key for key in HEADER if key not in header] + [key for key in CONDITIONS if key not in conditions]
    if missing:
        raise UserError(f"{path}: results of another version of tinynas ({missing[0]!r} is missing); make the kit anew")
    machines = [session["machine"] for session in content["sessions"]]
    for key in ("host", "processor"):
        seen = {str(conditions[key]), *(str(machine[key]) for machine in machines)}
        if len(seen) > 1:
            raise UserError(
                f"{path}: results of several devices are mixed ({key} {' and '.join(sorted(seen))}); measure each by a kit "
                "of its own"
            )
    rows = _rows(path, content["kernels"])
    if not rows:
        raise UserError(f"{path}: no kernel was measured; run the kit on the device first")
    unknown = [row[0] for row in content["detectors"] if row[0] not in header["detectors"]]
    if unknown:
        raise UserError(f"{path}: the detector {unknown[0]!r} is not of this kit; results of two kits are mixed")
    warnings = [told_jumps(dict(content))] if content["groups"] else []
    if len(rows) < header["kernels"]:
        warnings.append(
            f"{len(rows)} of the kit's {header['kernels']} kernels were measured, those that matter most; the others are "
            "fitted (run the kit once more on the device to measure them too)"
        )
    failed = content["failed"]
    if failed:
        warnings.append(f"{len(failed)} models failed on the device: {failed[0][0]}: {failed[0][1]}")
    return Collected(
        header=header, conditions=conditions, rows=rows,
        detectors={row[0]: float(row[1]) for row in content["detectors"]},
        minutes=sum(session["seconds"] for session in content["sessions"]) / 60,
        clock=str(machines[-1]["clock"]) if machines else "",
        extensions=tuple(map(str, machines[-1].get("extensions", ()))) if machines else (),
        program=content.get("program", ""),
        warnings=tuple(line for line in warnings if line),
    )  # fmt: skip


def _rows(path: Path, entries: list[Any]) -> dict[Key, Row]:
    """Of several looks at a kernel the fastest: disturbances only ever slow."""
    rows: dict[Key, Row] = {}
    for entry in entries:
        kernel, latency, spread = Kernel.of_values(entry[:9]), float(entry[-2]), float(entry[-1])
        if kernel.kind not in KINDS or not math.isfinite(latency) or latency <= 0 or not math.isfinite(spread):
            raise UserError(
                f"{path}: {entry[0]} with {entry[-2]} ms is no measurement of a kernel; the file is damaged"
            )
        row, key = Row(kernel, max(latency, SHORTEST_MS), spread), row_key(kernel)
        if key not in rows or row.latency_ms < rows[key].latency_ms:
            rows[key] = row
    return rows
