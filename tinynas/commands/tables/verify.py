"""`tinynas tables verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tinynas.commands._reach import CLASSES, IMAGE_SIZES, SPACES, ImageSizes, Spaces, parse_reach


def run(
    table: Annotated[str, typer.Argument(help="A table that this machine can measure: id, short name or path.")],
    spaces: Spaces = SPACES,
    image_sizes: ImageSizes = IMAGE_SIZES,
    num_classes: Annotated[
        str, typer.Option(help="Number of classes of the detectors; of several, the last.")
    ] = CLASSES,
    number: Annotated[int, typer.Option(min=2, help="Number of random detectors.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random detectors.")] = 0,
    fit_overhead: Annotated[
        bool, typer.Option("--fit-overhead", help="First fit scale and fixed overhead on other random detectors.")
    ] = False,
    fit_number: Annotated[int, typer.Option(min=2, help="With --fit-overhead: number of detectors for the fit.")] = 30,
    store: Annotated[bool, typer.Option("--store", help="Write scale, overhead and errors into the table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="PNG file for a plot of predicted over measured latency.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a table on whole random detectors, measured on this machine."""
    from tqdm import tqdm

    from search_spaces.files import check_new_file
    from tinynas.verification import Verification

    reach = parse_reach(spaces, image_sizes, num_classes)
    if plot is not None:
        check_new_file(plot, overwrite=True, option="--plot")
    job = Verification(
        device=table, spaces=reach.spaces, sizes=reach.sizes, num_classes=reach.classes[-1], number=number, seed=seed,
        fit_number=fit_number if fit_overhead else 0,
    )  # fmt: skip
    # the delay: a table that is refused shows no bar
    with tqdm(total=job.measurements, desc="whole detectors", unit="detector", dynamic_ncols=True, delay=1) as bar:
        verified = job.run(bar.update, to_store=store)
    if store:
        verified.store()
    _tell(verified, stored=store, json=json)
    if plot is not None:
        verified.plot(plot)


def _tell(verified: Any, *, stored: bool, json: bool) -> None:
    if json:
        from json import dumps

        print(dumps(verified.as_dict(), indent=1))
        return
    for key, value in verified.error.items():
        print(f"{key}: {value}")
    scale = ", ".join(f"{kind} {verified.table.metadata.scale.get(kind, 1.0):.4f}" for kind in ("conv", "depthwise"))
    print(f"scale: {scale}, overhead_ms: {verified.overhead_ms:.4f}{'; stored in the table' if stored else ''}")
