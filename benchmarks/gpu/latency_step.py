"""A latency table of this card: measured, checked on whole random detectors, and on the published ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from _call import Call, parse, tinynas

from latency_tables import find_table
from latency_tables.predictor import predict
from latency_tables.runtimes import torch as runtime
from search_spaces.emit import emit_detector
from search_spaces.text import resolve_structure

PUBLISHED = ("T", "S", "M", "L")
MEASURING_SHARE = 0.77
"""Of the step's time; the rest goes to whole detectors."""


def short_name(device: str) -> str:
    """`NVIDIA H100 80GB HBM3` as the start of a table's id: `h100`."""
    words = re.findall(r"[a-z0-9]+", device.lower())
    words = [word for word in words if word not in ("nvidia", "geforce", "tesla", "amd", "intel", "r", "tm", "cpu")]
    return words[0] if words else "device"


def measured(call: Call, spaces: str, sizes: str, precision: str) -> Path:
    """Profile into the check's folder; the table's CSV."""
    folder = call.out / "table"
    minutes = round(max(0.05, MEASURING_SHARE * call.left_s / 60), 2)
    name = "rehearsal" if call.quick else short_name(runtime.device_name())
    # A rehearsal stops after the first round, whatever the error that is expected then.
    tinynas(
        "profile", "--name", name, "--runtime", "torch", "--precision", precision, "--spaces", spaces, "--image-sizes",
        sizes, "--num-classes", 80, "--minutes", minutes, "--target-error", 1.0 if call.quick else 0.01, "--out", folder,
    )  # fmt: skip
    (table,) = (path for path in folder.glob("*.csv") if ".partial" not in path.name)
    return table


def published_ms(table_path: Path, names: tuple[str, ...], side: int, precision: str, *, quick: bool) -> dict[str, Any]:
    """Measured and predicted milliseconds of shipped detectors at one image size."""
    table = find_table(str(table_path))
    graphs = [emit_detector(resolve_structure(name).with_image_size(side, side)) for name in names]
    found = runtime.network_ms(
        graphs, threads=table.metadata.threads or 1, precision=precision, rounds=2 if quick else 6
    )
    return {
        name: {"measured_ms": round(ms, 4), "predicted_ms": round(predict(graph, table, max_extrapolated=1.0).total_ms, 4)}
        for name, graph, ms in zip(names, graphs, found)
    }  # fmt: skip


def main(call: Call) -> None:
    spaces, sizes, side, precision = ("res", "64", 64, "fp32") if call.quick else ("res,csp", "320..640", 640, "fp16")
    number, others = (2, 2) if call.quick else (30, 12)
    table = measured(call, spaces, sizes, precision)
    counts = find_table(str(table)).counts()
    found: dict[str, Any] = {"table": str(table.relative_to(call.out)), "kernels": counts}
    call.keep(found)
    told = tinynas(
        "profile", "--verify", table, "--spaces", spaces, "--image-sizes", sizes, "--num-classes", 80, "--number", number,
        "--fit-overhead", "--fit-number", others, "--store", "--json", "--plot", call.out / "verification.png", capture=True,
    )  # fmt: skip
    found["whole_detectors"] = json.loads(told)
    call.keep(found)
    names = PUBLISHED[:1] if call.quick else PUBLISHED
    found["published"] = {"image_size": side, **published_ms(table, names, side, precision, quick=call.quick)}
    call.keep(found)


if __name__ == "__main__":
    main(parse(__doc__))
