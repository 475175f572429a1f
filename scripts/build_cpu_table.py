"""Measure this machine's CPU table: python scripts/build_cpu_table.py NAME [FOLDER] [--minutes M] [--resume]"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from latency_tables.profiler import profile
from latency_tables.registry import SHIPPED
from latency_tables.tables import read_table
from latency_tables.verify import check, random_detectors, released_detectors, store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the chip, as the table's id starts: epyc-zen5")
    parser.add_argument("folder", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--short-name", action="append", default=[])
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    with tqdm(unit="kernel") as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = profile(
            arguments.name, "openvino", arguments.folder, threads=arguments.threads, short_names=arguments.short_name,
            time_limit_s=None if arguments.minutes is None else 60 * arguments.minutes, resume=arguments.resume,
            progress=show,
        )  # fmt: skip
    cases = [(name, side) for name in ("Ns", "Nm", "Nl") for side in (320, 416)]
    cases += [(name, side) for name in ("T", "S") for side in (320, 640)]
    detectors = [
        *released_detectors(cases), *random_detectors(np.random.default_rng(0), 10, (256, 320, 416, 512, 640))
    ]  # fmt: skip
    table = store(read_table(path), check(read_table(path), detectors))
    print(path)
    print(f"overhead {table.metadata.overhead_ms} ms; {table.metadata.error}")


if __name__ == "__main__":
    main()
