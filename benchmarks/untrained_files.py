"""OpenVINO files of structures with random weights, in fp32 and int8, to be timed by `tinynas bench`.

    python benchmarks/untrained_files.py Ns Nm Nl T S mob/structure.txt --out FILES
    tinynas bench FILES/*.xml --against yolov8n.xml --seconds 100

Graphs end at boxes and scores, before suppression. The int8 files are NNCF's, as of `tinynas export --precision int8`,
calibrated on noise: what a network has learnt does not move its latency.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from export_formats import spread_checkpoint

from detector.export import ExportSettings, export_checkpoint
from detector.quantisation.openvino import OpenVINOQuantiser
from search_spaces.text import resolve_structure

PICTURES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structures", nargs="+", help="shipped names or structure files (named after their folder)")
    parser.add_argument("--image-size", type=int, help="side in pixels, instead of each structure's")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    for name in asked.structures:
        structure = resolve_structure(name)
        if asked.image_size:
            structure = structure.with_image_size(asked.image_size, asked.image_size)
        path = Path(name)
        called = path.parent.name if path.stem == "structure" else path.stem
        fp32, int8 = (asked.out / f"{called}-{precision}.xml" for precision in ("fp32", "int8"))
        export_checkpoint(spread_checkpoint(structure), fp32, "openvino", ExportSettings(output="raw"), overwrite=True)
        rng = np.random.default_rng(0)
        noise = [rng.uniform(0, 255, (1, 3, *structure.image_size)).astype(np.float32) for _ in range(PICTURES)]
        quantiser = OpenVINOQuantiser(fp32, noise)
        quantiser.save(quantiser.model(()), int8, "{}")
        print(fp32, int8, flush=True)


if __name__ == "__main__":
    main()
