"""How long a large COCO file takes to load and what it holds in memory. Prints JSON.

    python benchmarks/annotation_load.py [--boxes 1000000] [--images 100000] [--polygons]

A COCO instances file is generated in a temporary folder (its pictures are empty files: loading annotations looks only
at their names) and loaded in a fresh process, which reports its time, the bytes of the packed arrays, and how much its
resident memory grew: to the end, and at most while loading (Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from detector.data.annotations import Annotations
from detector.data.formats import load_split


def generate(root: Path, boxes: int, images: int, polygons: bool, seed: int) -> Path:
    """annotations/instances_train.json with 80 classes of sparse ids; `polygons`: a 20-point outline per box too."""
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    for i in range(images):
        (root / "train" / f"{i:012d}.jpg").touch()
    path = root / "annotations" / "instances_train.json"
    columns = zip(
        rng.integers(0, images, boxes).tolist(), rng.integers(0, 80, boxes).tolist(),
        rng.uniform(0, 400, (boxes, 2)).round(2).tolist(), rng.uniform(2, 80, (boxes, 2)).round(2).tolist(),
    )  # fmt: skip
    with path.open("w") as file:
        file.write('{"images": [')
        file.writelines(
            f'{", " if i else ""}{{"id": {i}, "file_name": "{i:012d}.jpg", "height": 480, "width": 640}}'
            for i in range(images)
        )
        file.write('], "annotations": [')
        outline = ', "segmentation": [[' + ", ".join(["123.45, 234.56"] * 20) + "]]" if polygons else ""
        for i, (image, label, (x, y), (w, h)) in enumerate(columns):
            file.write(
                f'{", " if i else ""}{{"id": {i}, "image_id": {image}, "category_id": {label * 3 + 1}, '
                f'"bbox": [{x}, {y}, {w}, {h}], "area": {w * h:.3f}, "iscrowd": 0{outline}}}'
            )
        categories = ", ".join(f'{{"id": {i * 3 + 1}, "name": "class {i}"}}' for i in range(80))
        file.write(f'], "categories": [{categories}]}}')
    return path


def measure(root: Path) -> dict[str, float]:
    """Load the split in this process."""
    before = resident_bytes("VmRSS")
    start, cpu_start = time.perf_counter(), time.process_time()
    annotations, report = load_split(root, "train")
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "boxes": report.boxes,
        "images": report.images,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "array_mb": round(array_bytes(annotations) / 1e6, 1),
        "resident_growth_mb": round((resident_bytes("VmRSS") - before) / 1e6, 1),
        "peak_growth_mb": round((resident_bytes("VmHWM") - before) / 1e6, 1),
    }


def resident_bytes(field: str) -> int:
    """This process's resident memory now (VmRSS) or at most so far (VmHWM), as Linux counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def array_bytes(annotations: Annotations) -> int:
    """Bytes of all numpy arrays."""
    columns = [getattr(annotations, field.name) for field in fields(annotations)]
    return sum(column.nbytes for column in columns if isinstance(column, np.ndarray))


def main() -> None:
    """Generate, load in a fresh process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--polygons", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load is not None:
        print(json.dumps(measure(options.load)))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        path = generate(root, options.boxes, options.images, options.polygons, options.seed)
        command = [sys.executable, __file__, "--load", str(root)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(json.dumps({"file_mb": round(path.stat().st_size / 1e6, 1), **json.loads(printed)}, indent=2))


if __name__ == "__main__":
    main()
