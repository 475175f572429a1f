"""The one file that a kit writes: what was measured, on what, and a checksum that tells a damaged copy."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np

RESULTS_FORMAT = 1
JUMP, UNSTEADY_SPREAD = 0.15, 0.15
"""Figures jump when, in a tenth of the groups, the reference conv ran slower than at its best by this much, or when the
middle kernel's runs spread by this much."""


class KitError(Exception):
    """What a user can mend, in one line."""


def new_content(kit: dict[str, Any], conditions: dict[str, Any]) -> dict[str, Any]:
    """Results without a measurement. `kit`: the kit's header; `conditions`: what must not change between runs."""
    return {
        "kit": kit, "conditions": conditions, "sessions": [], "groups": [], "kernels": [], "detectors": [], "failed": [],
    }  # fmt: skip


def write_results(path: str, content: dict[str, Any]) -> None:
    """Write to a temporary name, then rename: the file is whole at every moment, whatever kills the process."""
    body = json.dumps(content)
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8") as file:
        head = f'"format": {RESULTS_FORMAT}, "checksum": "{_checksum(content)}"'
        file.write("{" + head + ', "content": ' + body + "}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_results(path: str) -> dict[str, Any]:
    """The content of a results file. Raises KitError for what is none, of another format, or damaged."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: cannot be read ({error}); expected the results.json of a kit") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "its start"
        raise KitError(f"{path}: not whole JSON (up to {place}); copy it from the device once more") from None
    if not isinstance(data, dict) or not {"format", "checksum", "content"} <= set(data):
        raise KitError(f"{path}: this is not a kit's results; expected the results.json that its measure.py writes")
    if data["format"] != RESULTS_FORMAT:
        raise KitError(
            f"{path}: results of format {data['format']}, this version reads format {RESULTS_FORMAT}; collect them with the "
            "version of tinynas that made the kit, or make the kit anew"
        )
    if _checksum(data["content"]) != data["checksum"]:
        raise KitError(f"{path}: damaged or edited (its checksum does not fit); copy it from the device once more")
    content: dict[str, Any] = data["content"]
    return content


def refuse_other_conditions(path: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise KitError when measurements of another device, runtime or number of threads would be mixed in."""
    changed = [f"{key} {before.get(key)} then, {now[key]} now" for key in now if before.get(key) != now[key]]
    if changed:
        raise KitError(
            f"{path}: measured under other conditions ({'; '.join(changed)}); unpack the kit into a folder of its own for "
            "each device, or remove the file to measure anew"
        )


def jumps(content: dict[str, Any]) -> dict[str, float]:
    """How steady the device was: by how much the reference conv was above its best in a tenth of the groups, and the
    middle of the kernels' relative spreads."""
    middles = [group["reference_ms"][1] for group in content["groups"]]
    bests = [group["reference_ms"][0] for group in content["groups"]]
    spreads = [row[-1] for row in content["kernels"]]
    return {
        "reference": float(np.quantile(middles, 0.9) / min(bests) - 1) if middles else 0.0,
        "spread": float(np.median(spreads)) if spreads else 0.0,
    }


def told_jumps(content: dict[str, Any]) -> str:
    """A warning where figures jump, with by how much; empty where they do not."""
    found = jumps(content)
    if found["reference"] < JUMP and found["spread"] < UNSTEADY_SPREAD:
        return ""
    return (
        "figures jump: in a tenth of the groups the reference conv took {:.0%} or more above its best, and half of the "
        "kernels spread by {:.0%} or more from run to run; let the device cool, fix its clock, stop what else runs, and "
        "measure anew".format(found["reference"], found["spread"])
    )


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
