"""Does it learn on the card, and as on a CPU: three epochs beside each other, and a training within a time.

`agreement`: the same few pictures, seed and settings on the CPU in fp32 and on the card in fp32 (convs in TF32) and bf16;
the epochs' mean losses, and their largest relative difference from the CPU's. `run`: signs at 416 px by `tinynas train`
with its defaults for such data.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from _call import Call, parse, tinynas
from _sets_here import data_set

sys.path.append(str(Path(__file__).resolve().parents[1]))

from _sets import parse_set, prepared

from detector.training.record.logged import logged_epochs

STRUCTURE = "S"
IMAGES, EPOCHS, BATCH = 96, 3, 8
TOLERANCE = {"off": 0.02, "bf16": 0.05}
"""Largest relative difference of an epoch's mean loss from the CPU's: rounding, grown over 36 steps of training."""
LOSSES = ("total", "cls", "dfl", "giou")


def arms(call: Call) -> dict[str, tuple[str, str]]:
    """Name of each short run -> device and `amp`."""
    chosen = {"cpu off": ("cpu", "off")}
    if call.device == "cuda":
        return {**chosen, "cuda off": ("cuda", "off"), "cuda bf16": ("cuda", "bf16")}
    return {**chosen, "cpu bf16": ("cpu", "bf16")}


def short_run(structure: str, data: Path, side: int, folder: Path, device: str, amp: str, *, quick: bool) -> list[str]:
    """The words of a short run's command."""
    words = ["train", structure, "--data", data, "--out", folder, "--epochs", EPOCHS]
    words += ["--batch-size", 2 if quick else BATCH]
    words += ["--image-size", side, "--device", device, "--seed", 0, "--preset", "small", "--set", f"amp={amp}"]
    words += ["--set", f"eval.every_epochs={EPOCHS}", "--set", "checkpoint_minutes=null"]
    return [str(word) for word in words]


def agreement(call: Call, structure: str, data: Path, side: int) -> dict[str, Any]:
    """The short runs: the CPU's beside the card's, on half the cores."""
    cores = str(max(1, (os.cpu_count() or 2) // 2))
    runs = {}
    folders = {name: call.work / name.replace(" ", "-") for name in arms(call)}
    for name, (device, amp) in arms(call).items():
        words = short_run(structure, data, side, folders[name], device, amp, quick=call.quick)
        threads = {"OMP_NUM_THREADS": cores} if device == "cpu" and not call.quick else {}
        command = [sys.executable, "-m", "tinynas", *words]
        runs[name] = subprocess.Popen(command, env={**os.environ, **threads})
        if device != "cpu" or call.quick:
            runs[name].wait()
    codes = {name: run.wait() for name, run in runs.items()}
    found: dict[str, Any] = {
        name: {loss: [round(row[loss], 5) for row in logged_epochs(folder)] for loss in LOSSES}
        for name, folder in folders.items()
    }
    first, *others = found
    for name in others:
        pairs = [(a, b) for loss in LOSSES for a, b in zip(found[first][loss], found[name][loss])]
        found[name]["largest_difference"] = round(max((abs(b - a) / abs(a) for a, b in pairs if a), default=1.0), 4)
        found[name]["agrees"] = found[name]["largest_difference"] <= TOLERANCE[arms(call)[name][1]]
    return {**found, "exit_codes": codes}


def trained(call: Call, structure: str, data: Path, side: int) -> dict[str, Any]:
    """A training within the time that is left; its metrics, and its page and pictures beside the check's results."""
    folder = call.work / "run"
    length = ("--epochs", 2) if call.quick else ("--time", f"{max(call.left_s - 12, 20):.0f}s")
    tinynas(
        "train", structure, "--data", data, "--out", folder, "--image-size", side, "--device", call.device, "--seed", 0,
        *length,
    )  # fmt: skip
    history = logged_epochs(folder)
    evaluated = [row for row in history if "ap" in row]
    best = max(evaluated, key=lambda row: row["ap"])
    for name in ("report.html", "augmented.jpg"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, call.out / f"learning-{name}")
    return {
        "epochs": len(history), "steps": history[-1]["step"], "seconds": round(history[-1]["seconds"], 1),
        "images_per_second": round(history[-1]["images_per_second"], 1), "skipped": history[-1]["skipped"],
        "first_loss": round(history[0]["total"], 4), "last_loss": round(history[-1]["total"], 4),
        "best_ap": round(best["ap"], 4), "best_ap50": round(best["ap50"], 4),
    }  # fmt: skip


def main(call: Call) -> int:
    data, told = data_set(call, "signs")
    structure, side = ("Ns", 64) if call.quick else (STRUCTURE, 416)
    found: dict[str, Any] = {"data": told, "structure": structure, "image_size": side}
    few = prepared(parse_set(f"{data.name}:{4 if call.quick else IMAGES}"), data.parent, call.work / "few")
    found["agreement"] = agreement(call, structure, few, side)
    call.keep(found)
    found["run"] = trained(call, structure, data, side)
    call.keep(found)
    checked = [arm for arm in found["agreement"].values() if "agrees" in arm]
    # A rehearsal's few steps on few pictures say nothing about agreement.
    agrees = call.quick or all(arm["agrees"] for arm in checked)
    return 0 if agrees and not any(found["agreement"]["exit_codes"].values()) else 1


if __name__ == "__main__":
    sys.exit(main(parse(__doc__.splitlines()[0])))
