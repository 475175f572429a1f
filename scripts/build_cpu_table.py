"""Measure this machine's CPU table: python scripts/build_cpu_table.py NAME [FOLDER] [--minutes M] [--resume]"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from latency_tables.profiler import profile
from latency_tables.registry import SHIPPED


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
    print(path)


if __name__ == "__main__":
    main()
