"""What `tinynas profile --kit` and `--collect` do and tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import UserError

if TYPE_CHECKING:
    from tinynas.commands._reach import Reach


def make(
    path: Path, name: str | None, reach: Reach, runtime: str, precision: str, threads: int, minutes: float | None, *,
    members: int,
) -> None:  # fmt: skip
    """Write a kit and say how it is run."""
    if name is not None:
        raise UserError("--kit needs no name yet: --name goes with --collect, once the device has been measured")
    from tinynas.kit import MINUTES, KitRequest, make_kit

    request = KitRequest(
        runtime=runtime, spaces=reach.spaces, image_sizes=reach.image_sizes, num_classes=reach.classes,
        precision=precision, threads=threads, minutes=minutes or MINUTES, members=members,
    )  # fmt: skip
    made = make_kit(path, request)
    program = {"openvino": "benchmark_app", "tensorrt": "trtexec"}.get(request.runtime)
    print(f"wrote {made.path}: {made.kernels} kernels in {made.models} models, {made.size / 1e6:.1f} MB")
    print(f"on the device (Python 3.8, numpy and {request.runtime}), at most {request.minutes:g} minutes:")
    print(f"  python3 -m zipfile -e {made.path.name} . && python3 tinynas_kit_{request.runtime}/measure.py")
    if program:
        print(f"  or, where only {program} is: sh tinynas_kit_{request.runtime}/commands.sh")
    print("here: tinynas profile --name CHIP --collect results.json")


def collect_results(
    results: Path, name: str | None, out: Path | None, short_names: list[str], adapt: str | None, across_runtimes: bool
) -> None:
    """Write the table and say how good it is."""
    if name is None:
        raise UserError("--collect makes the table of a device; say --name CHIP, as the table's id shall start")
    from latency_tables.registry import user_folder
    from tinynas.kit import collect

    table, told = collect(
        results, name, out or user_folder(), short_names=short_names, adapt=adapt, across_runtimes=across_runtimes
    )
    counts, metadata = table.counts(), table.metadata
    others = ", ".join(f"{counts[kind]} {kind}" for kind in ("fitted", "adapted", "derived") if counts.get(kind))
    if metadata.adapted is not None:
        others += f" from {metadata.adapted.source}"
    print(f"wrote {table.source}: {counts['measured']} kernels measured, {others}")
    for line in told:
        print(f"note: {line}")
    error = metadata.error
    if error:
        print(
            f"{error['detectors']} whole detectors of the kit: median error {error['median']} %, largest "
            f"{error['largest']} %, Kendall tau {error['kendall_tau']}, overhead {metadata.overhead_ms:g} ms"
        )
    else:
        print("note: no whole detector was measured, so nothing says how good the table is")
