"""`tinynas profile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError

MEMBERS = 256
"""Candidates drawn per space and image size to find the kernels in reach."""
CLASSES = "1,80"
"""Any number of classes between lies between measured kernels."""


def run(
    name: Annotated[str | None, typer.Option(help="The chip, as the table's id starts: i7_1260p.")] = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Adapt another device's table to this CPU, with --collect to the kit's device; auto: the nearest one.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="With --adapt: how long to measure kernels.")] = 60,
    across_runtimes: Annotated[
        bool, typer.Option("--across-runtimes", help="With --adapt: from a table of another runtime than --runtime.")
    ] = False,
    runtime: Annotated[
        str | None, typer.Option(help="What runs the network: openvino unless said (or --adapt's table's).")
    ] = None,
    spaces: Annotated[str, typer.Option(help="Spaces (names or files) whose kernels to measure.")] = "mob,res",
    image_sizes: Annotated[str, typer.Option(help="256..640, or sizes with commas between.")] = "256..640",
    num_classes: Annotated[
        str, typer.Option(help="Numbers of classes, with commas between; --verify takes the last.")
    ] = CLASSES,
    precision: Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8, as the runtime has it.")] = "fp32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0.05, help="Stop measuring then; the rest is fitted.")] = None,
    target_error: Annotated[
        float, typer.Option(min=0, max=1, help="Stop when the fit expects this mean error of a kernel.")
    ] = 0.01,
    short_name: Annotated[list[str] | None, typer.Option(help="Another name that the table answers to.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a profile that was cut short.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Equal devices of a cluster; one host measures one by one.")] = 1,
    backend: Annotated[str, typer.Option(help="joblib's backend for workers: loky, threading, dask or ray.")] = "loky",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table; your own tables' folder if not given.")
    ] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Do not profile: compare a table with whole detectors.")
    ] = None,
    number: Annotated[int, typer.Option(min=2, help="With --verify: how many random detectors.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="With --verify: which ones.")] = 0,
    fit_overhead: Annotated[
        bool, typer.Option("--fit-overhead", help="With --verify: fit scale and fixed part, on other detectors.")
    ] = False,
    fit_number: Annotated[int, typer.Option(min=2, help="With --fit-overhead: how many other detectors.")] = 30,
    store: Annotated[bool, typer.Option("--store", help="With --verify: write the figures into the table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="With --verify: PNG of predicted over measured.")] = None,
    json: Annotated[bool, typer.Option("--json", help="With --verify: print JSON.")] = False,
    kit: Annotated[
        Path | None, typer.Option(metavar="ZIP", help="Do not profile: write a kit for a device without tinynas.")
    ] = None,
    collect: Annotated[
        Path | None,
        typer.Option(
            metavar="RESULTS", help="Do not profile: make the table of a kit's results.json, or of its folder."
        ),
    ] = None,
) -> None:
    """Measure a latency table on this machine, adapt another's (--adapt), measure a device without tinynas by a kit (--kit,
    --collect), or check a table on whole detectors (--verify)."""
    if sum(choice is not None for choice in (verify, kit, collect or adapt)) > 1:
        raise UserError(
            "--verify, --kit, --collect and --adapt are jobs of their own; say one of them (--adapt goes with --collect too)"
        )
    if collect is not None:
        from tinynas.commands._kit import collect_results

        collect_results(collect, name, out, short_name or [], adapt, across_runtimes)
        return
    from tinynas.sampling import parse_image_sizes, parse_spaces

    chosen, sizes, classes = parse_spaces(spaces), parse_image_sizes(image_sizes), _counts(num_classes)
    if verify is not None:
        if name is not None:
            raise UserError("--name CHIP profiles this machine, --verify TABLE checks a table; say one of them")
        from tinynas.verification import Verification

        job = Verification(
            device=verify,
            spaces=chosen,
            sizes=sizes,
            num_classes=classes[-1],
            number=number,
            seed=seed,
            fit_number=fit_number if fit_overhead else 0,
        )
        _verify(job, store, plot, json)
        return
    if adapt is not None:
        from tinynas.adapted_tables import chosen_sources
        from tinynas.devices import adapt_here

        sources = chosen_sources(adapt, runtime, precision, threads, across_runtimes=across_runtimes)
        adapt_here(
            sources, runtime or sources[0].metadata.runtime, precision, threads, chosen, sizes, classes, seconds=seconds,
            name=name, folder=out, resume=resume, short_names=short_name or [],
        )  # fmt: skip
        return
    if kit is not None:
        from tinynas.commands._kit import make
        from tinynas.kit import MINUTES, KitRequest

        make(kit, name, KitRequest(
            runtime=runtime or "openvino", spaces=chosen, image_sizes=image_sizes, num_classes=classes, precision=precision,
            threads=threads, minutes=minutes or MINUTES, members=MEMBERS,
        ))  # fmt: skip
        return
    if name is None:
        raise UserError("say --name CHIP to profile this machine, or --verify TABLE to check a table")
    if fit_overhead or store or plot is not None or json:
        raise UserError("--fit-overhead, --store, --plot and --json go with --verify TABLE; leave them out, or say it")
    runtime = runtime or "openvino"
    from latency_tables.measuring import ProfileSettings
    from latency_tables.profiler import profile
    from latency_tables.registry import user_folder
    from tinynas.sampling import populations

    settings = ProfileSettings(precision, threads, target_error, None if minutes is None else 60 * minutes, workers,
                               backend)  # fmt: skip
    note = f"spaces {spaces}, {image_sizes} px, {num_classes} classes"
    graphs = populations(chosen, sizes, classes, members=MEMBERS, seed=0)
    try:
        with _Bar(minutes) as bar:
            path = profile(name, runtime, out or user_folder(), graphs, settings, short_names=short_name or [],
                           reach_note=note, resume=resume, progress=bar.show)  # fmt: skip
    except KeyboardInterrupt:
        print("what was measured is kept; go on with the same command and --resume", file=sys.stderr)
        raise
    _tell(path, ["--spaces", spaces, "--image-sizes", image_sizes, "--num-classes", num_classes])


def _tell(path: Path, drawn_from: list[str]) -> None:
    """What was written, and the command that checks it on the networks it was measured for."""
    from shlex import join

    from latency_tables import read_table

    table = read_table(path)
    counts, measured = table.counts(), table.metadata.measured
    error = (
        f", expected error of a kernel {measured.expected_error:.1%}" if measured and measured.expected_error else ""
    )
    print(f"wrote {path}: {counts['measured']} kernels measured, {counts['fitted']} fitted{error}")
    check = ["tinynas", "profile", "--verify", str(path), *drawn_from, "--fit-overhead", "--store"]
    print(f"check it with: {join(check)}")


def _counts(text: str) -> list[int]:
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise UserError(f"--num-classes {text!r}: whole numbers from 1 expected, with commas between: 1,80")
    return counts


class _Bar:
    """Kernels measured, and the error that is expected of a kernel so far; there is none before the first report."""

    def __init__(self, minutes: float | None) -> None:
        self._limit = f" (at most {minutes:g} min)" if minutes else ""
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        return self

    def show(self, progress: Any) -> None:
        from tqdm import tqdm

        if self._bar is None:
            # what an earlier run measured must not make this one look fast
            self._bar = tqdm(
                desc=f"profile{self._limit}", unit="kernel", dynamic_ncols=True, total=progress.reachable,
                initial=progress.done,
            )  # fmt: skip
        if progress.expected_error is not None:
            self._bar.set_postfix_str(f"expected error {progress.expected_error:.1%}", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _verify(job: Any, store: bool, plot: Path | None, json: bool) -> None:
    from tqdm import tqdm

    from search_spaces.files import check_folder

    if plot is not None:
        check_folder(plot.parent, "choose another --plot")
        if plot.is_dir():
            raise UserError(f"{plot}: it is a folder, expected a PNG's name; choose another --plot")
    # the delay: a table that is refused shows no bar
    with tqdm(total=job.measurements, desc="whole detectors", unit="detector", dynamic_ncols=True, delay=1) as bar:
        outcome = job.run(bar.update, to_store=store)
    if store:
        outcome.store()
    if json:
        from json import dumps

        print(dumps(outcome.as_dict(), indent=1))
    else:
        for key, value in outcome.error.items():
            print(f"{key}: {value}")
        scale = ", ".join(f"{kind} {outcome.table.metadata.scale.get(kind, 1.0):.4f}" for kind in ("conv", "depthwise"))
        told = f"scale: {scale}, overhead_ms: {outcome.overhead_ms:.4f}"
        print(f"{told}{'; stored in the table' if store else ''}")
    if plot is not None:
        outcome.plot(plot)
