"""`tinynas profile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search_spaces.errors import UserError
from tinynas.commands._options import was_given
from tinynas.commands._reach import CLASSES, IMAGE_SIZES, SPACES, ImageSizes, NumClasses, Reach, Spaces, parse_reach

if TYPE_CHECKING:
    from latency_tables import Table
    from latency_tables.measuring import ProfileSettings

MEMBERS = 256
"""Candidates drawn per space and image size to find the kernels in reach."""

Name = Annotated[str | None, typer.Option(help="Name of the chip, with which the table's id begins: i7_1260p.")]
Adapt = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE",
        help="Adapt another device's table to this CPU, with --collect to the kit's device; auto: the nearest one.",
    ),
]
Seconds = Annotated[float, typer.Option(help="With --adapt: duration of measuring kernels.")]
AcrossRuntimes = Annotated[
    bool, typer.Option("--across-runtimes", help="With --adapt: from a table of another runtime than --runtime.")
]
Runtime = Annotated[
    str | None, typer.Option(help="What runs the network: openvino unless said (or --adapt's table's).")
]
Precision = Annotated[str, typer.Option(help="fp32, fp16, bf16 or int8, as the runtime has it.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Minutes = Annotated[float | None, typer.Option(min=0.05, help="Stop measuring after this time; the rest is fitted.")]
TargetError = Annotated[
    float, typer.Option(min=0, max=1, help="Stop when the fit expects this mean error of a kernel.")
]
ShortNames = Annotated[list[str] | None, typer.Option(help="Another name that the table answers to.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a profile that was stopped.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Number of identical devices of a cluster; use 1 on a single machine.")
]
Backend = Annotated[str, typer.Option(help="joblib's backend for workers: loky, threading, dask or ray.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the table; your own tables' folder if not given.")]
MakeKit = Annotated[
    Path | None, typer.Option(metavar="ZIP", help="Do not profile: write a kit for a device without tinynas.")
]
Collect = Annotated[
    Path | None,
    typer.Option(metavar="RESULTS", help="Do not profile: make the table of a kit's results.json, or of its folder."),
]


def run(
    context: typer.Context,
    name: Name = None,
    adapt: Adapt = None,
    seconds: Seconds = 60,
    across_runtimes: AcrossRuntimes = False,
    runtime: Runtime = None,
    spaces: Spaces = SPACES,
    image_sizes: ImageSizes = IMAGE_SIZES,
    num_classes: NumClasses = CLASSES,
    precision: Precision = "fp32",
    threads: Threads = 1,
    minutes: Minutes = None,
    target_error: TargetError = 0.01,
    short_name: ShortNames = None,
    resume: Resume = False,
    workers: Workers = 1,
    backend: Backend = "loky",
    out: Out = None,
    kit: MakeKit = None,
    collect: Collect = None,
) -> None:
    """Measure a latency table on this machine, adapt another's (--adapt), or measure a device without tinynas by a kit
    (--kit, --collect). `tinynas tables verify` checks the table on whole detectors."""
    _refuse_unused(context, kit=kit, collect=collect, adapt=adapt)
    if kit is not None and (collect or adapt) is not None:
        raise UserError(
            "--kit, --collect and --adapt are jobs of their own; say one of them (--adapt goes with --collect too)"
        )
    if collect is not None:
        from tinynas.commands._kit import collect_results

        collect_results(collect, name, out, short_name or [], adapt, across_runtimes)
        return
    reach = parse_reach(spaces, image_sizes, num_classes)
    if adapt is not None:
        from tinynas.devices import adapt_here

        sources = _sources(adapt, runtime, precision, threads, seconds, across_runtimes=across_runtimes)
        adapt_here(
            sources, runtime or sources[0].metadata.runtime, precision, threads, reach.spaces, reach.sizes,
            reach.classes, seconds=seconds, name=name, folder=out, resume=resume, short_names=short_name or [],
        )  # fmt: skip
    elif kit is not None:
        from tinynas.commands._kit import make

        make(kit, name, reach, runtime or "openvino", precision, threads, minutes, members=MEMBERS)
    elif name is None:
        raise UserError("say --name CHIP to profile this machine; to check a table: tinynas tables verify TABLE")
    else:
        from latency_tables.measuring import ProfileSettings

        limit = None if minutes is None else 60 * minutes
        settings = ProfileSettings(
            precision=precision, threads=threads, target_error=target_error, time_limit_s=limit, workers=workers,
            backend=backend,
        )  # fmt: skip
        _profile(name, runtime or "openvino", out, reach, settings, short_name or [], resume=resume)


def _sources(
    adapt: str, runtime: str | None, precision: str, threads: int, seconds: float, *, across_runtimes: bool
) -> list[Table]:
    """The tables that this host's can be adapted from. Raises UserError."""
    from latency_tables.adaptation.adapt import check_seconds
    from latency_tables.on_device.host import host_processor
    from tinynas.adapted_tables import chosen_sources

    check_seconds(seconds)
    return chosen_sources(
        adapt, runtime, precision, threads, processor=host_processor(), across_runtimes=across_runtimes
    )


_UNUSED = {
    "--kit": "--seconds --across-runtimes --target-error --short-name --resume --workers --backend --out",
    "--collect": "--seconds --runtime --spaces --image-sizes --num-classes --precision --threads --minutes --target-error "
    "--resume --workers --backend",
    "--adapt": "--minutes --target-error --workers --backend",
    "": "--seconds --across-runtimes",
}
"""By job ("": measuring a table from nothing), the options that mean nothing to it."""


def _refuse_unused(context: typer.Context, **jobs: object) -> None:
    """Raise UserError for an option on the command line that the job, the first of `jobs` that is given, would ignore."""
    job = next((f"--{name}" for name, value in jobs.items() if value is not None), "")
    for option in _UNUSED[job].split():
        if not was_given(context, option):
            continue
        uses = [other or "a profile from nothing" for other, words in _UNUSED.items() if option not in words.split()]
        without = f"does nothing with {job}" if job else "does nothing without --adapt"
        raise UserError(f"{option} {without}; it is for {' and '.join(uses)}, leave it out")


def _profile(
    name: str, runtime: str, out: Path | None, reach: Reach, settings: ProfileSettings, short_names: list[str], *,
    resume: bool,
) -> None:  # fmt: skip
    from latency_tables.profiler import profile
    from latency_tables.registry import user_folder
    from tinynas.sampling import populations

    graphs = populations(reach.spaces, reach.sizes, reach.classes, members=MEMBERS, seed=0)
    try:
        with _Bar(settings.time_limit_s) as bar:
            path = profile(name, runtime, out or user_folder(), graphs, settings, short_names=short_names,
                           reach_note=reach.note, resume=resume, progress=bar.show)  # fmt: skip
    except KeyboardInterrupt:
        print("what was measured is kept; go on with the same command and --resume", file=sys.stderr)
        raise
    _tell(path, reach)


def _tell(path: Path, reach: Reach) -> None:
    """What was written, and the command that checks it on the networks it was measured for."""
    from shlex import join

    from latency_tables import read_table

    table = read_table(path)
    counts, measured = table.counts(), table.metadata.measured
    error = (
        f", expected error of a kernel {measured.expected_error:.1%}" if measured and measured.expected_error else ""
    )
    print(f"wrote {path}: {counts['measured']} kernels measured, {counts['fitted']} fitted{error}")
    print(
        f"check it with: {join(['tinynas', 'tables', 'verify', str(path), *reach.options, '--fit-overhead', '--store'])}"
    )


class _Bar:
    """Kernels measured, and the error that is expected of a kernel so far; there is none before the first report."""

    def __init__(self, seconds: float | None) -> None:
        self._limit = f" (at most {seconds / 60:g} min)" if seconds else ""
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
