"""T, S and the network that a search finds for T's latency on this card's table, trained alike on signs and pcb, 3 seeds."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from _call import Call, parse, tinynas
from _sets_here import SIDES, data_set

from detector.training.record.logged import logged_epochs

SEEDS = (0, 1, 2)
PUBLISHED = ("T", "S")


def searched(call: Call, table: Path, latency_ms: float) -> tuple[Path, dict[str, Any]]:
    """A structure within a latency of the table, and what the search says of it."""
    folder = call.work / "search"
    told = tinynas(
        "search", "--budget", f"{latency_ms:.4f}ms", "--device", table, "--space", "res", "--no-measure", "--json", "--out",
        folder, "--evaluations", 2000 if call.quick else 500_000, *(("--image-size", 64) if call.quick else ()), capture=True,
    )  # fmt: skip
    target = json.loads(told)["targets"][0]
    return folder / "structure.txt", {key: value for key, value in target.items() if key != "history"}


def trained(call: Call, structure: str | Path, name: str, seed: int, seconds: float) -> dict[str, float]:
    """Best AP on val of one training within so many seconds."""
    data, _ = data_set(call, name)
    folder = call.work / f"{Path(structure).stem}-{name}-{seed}"
    length = ("--epochs", 1) if call.quick else ("--time", f"{seconds:.0f}s")
    tinynas(
        "train", structure, "--data", data, "--out", folder, "--image-size", 64 if call.quick else SIDES[name], "--device",
        call.device, "--seed", seed, *length,
    )  # fmt: skip
    history = logged_epochs(folder)
    best = max((row for row in history if "ap" in row), key=lambda row: row["ap"])
    for path in folder.glob("*.pt"):
        path.unlink()
    return {"ap": round(best["ap"], 4), "ap50": round(best["ap50"], 4), "epochs": len(history)}


def main(call: Call) -> None:
    latency = json.loads((call.out / "work" / "latency" / "result.json").read_text())
    published = latency["published"]
    structure, about = searched(call, call.out / latency["table"], published["T"]["predicted_ms"])
    found: dict[str, Any] = {"searched": about, "published": published, "trainings": {}}
    call.keep(found)
    names: list[str | Path] = [PUBLISHED[0]] if call.quick else list(PUBLISHED)
    sets, seeds = (("signs",), SEEDS[:1]) if call.quick else (("signs", "pcb"), SEEDS)
    jobs = [(name, data, seed) for seed in seeds for data in sets for name in [*names, structure]]
    for number, (name, data, seed) in enumerate(jobs):
        each = call.left_s / (len(jobs) - number)
        key = f"{'searched' if name == structure else name} {data}"
        result = trained(call, name, data, seed, max(each - 8.0, 10.0))
        found["trainings"].setdefault(key, []).append({"seed": seed, **result})
        found["mean_ap"] = {key: round(mean(run["ap"] for run in runs), 4) for key, runs in found["trainings"].items()}
        call.keep(found)


if __name__ == "__main__":
    main(parse(__doc__))
