"""The table that a device's name means, where `cpu` is this CPU: if no table is of it, one is adapted first."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latency_tables import Table, find_table, read_table
from latency_tables.host import host_facts
from latency_tables.on_device.host import host_processor
from latency_tables.on_device.results import JUMP
from latency_tables.registry import SHIPPED, HostName, host_tables, list_tables, parse_host_name, user_folder
from search_spaces.errors import UserError
from search_spaces.space import Space, load_space
from tinynas.sampling import ImageSize

SPACES = ("mob", "res")
SIZES = tuple((side, side) for side in (256, 320, 416, 512, 640))
CLASSES = 80
"""What a table of the host is adapted for, besides what is asked for."""


SECONDS = 60.0
DOUBTFUL = 8.0
"""Percent: an adapted table that erred by more when it was checked is used with a warning; on a calm machine it is 2 to 3."""
FITTED, CHECKED = 8, 8
"""Whole detectors that set an adapted table's scale, and others that it is checked on."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a table is needed for, so that an adaptation covers it."""

    spaces: Sequence[Space] = ()
    sizes: Sequence[ImageSize] = ()
    classes: Sequence[int] = field(default=())


def find_device(
    device: str, wanted: Wanted, *, measure: bool = True, batch: int | None = None, precision: str | None = None
) -> Table:  # fmt: skip
    """The table of `device`. With `measure`, a name of this host (`cpu`, `cpu-t2`) that no table of this very processor
    answers to has one adapted, which takes a minute and says so; tables that call themselves this host's are probed once
    per boot where the machine is virtual. Raises UserError as `find_table` and `adapt` do.
    """
    host = parse_host_name(device, precision)
    if host is None or not measure or find_spec(host.runtime) is None or batch not in (None, 1):
        return find_table(device, batch=batch, precision=precision)
    if precision not in (None, host.precision):
        raise UserError(f"device {device!r} is for {host.precision}, {precision} was asked for: say cpu-{precision}")
    for path in host_tables(host, list_tables()):
        table = read_table(path)
        if _is_right(table):
            if doubt := told_doubt(table, path):
                warnings.warn(doubt, stacklevel=2)
            return table
    return _adapted(host, wanted)


def told_doubt(table: Table, path: Path) -> str:
    """A warning where the check of a table adapted here found large errors, with the remedy; empty where it did not."""
    median = table.metadata.error.get("median", 0.0)
    if table.metadata.adapted is None or median <= DOUBTFUL:
        return ""
    return (
        f"table {table.id} was off by {median:.1f} % (median) when it was checked on whole detectors, as happens when a "
        f"machine is busy while a table is adapted: delete {path} and its .yaml, and search again while nothing else runs"
    )


def _is_right(table: Table) -> bool:
    """Whether a table that calls itself this host's has this host's speed; a machine that shows its model is believed."""
    if not host_facts().virtual:
        return True
    from latency_tables.probe import same_speed

    right, ratio = same_speed(table)
    if not right:
        warnings.warn(
            f"table {table.id} says it is of this processor, {host_processor()}, but kernels take {ratio:.2f} times as long "
            "here: it is left aside",
            stacklevel=2,
        )
    return right


def _adapted(host: HostName, wanted: Wanted) -> Table:
    """Adapt a table of this host into the user's folder."""
    from tinynas.adapted_tables import possible_sources

    sources = possible_sources(
        host.runtime, host.precision, host.threads, processor=host_processor(), across_runtimes=True
    )
    print(
        f"no latency table of this processor, {host_processor()}: tinynas adapts one, which takes about a minute, once "
        f"(--no-measure takes {sources[0].id} as it is)",
        file=sys.stderr,
    )
    return adapt_here(
        sources, host.runtime, host.precision, host.threads, [*map(load_space, SPACES), *wanted.spaces],
        [*SIZES, *wanted.sizes], [*wanted.classes, CLASSES], seconds=SECONDS, resume=True,
    )  # fmt: skip


def adapt_here(
    sources: Sequence[Table], runtime: str, precision: str, threads: int, spaces: Sequence[Space],
    sizes: Sequence[ImageSize], classes: Sequence[int], *, seconds: float, name: str | None = None,
    folder: Path | None = None, resume: bool = False, short_names: Sequence[str] = (),
) -> Table:  # fmt: skip
    """Adapt one of `sources` to this host, with a progress bar, and say what came of it. Without a `name` the table is named
    after the processor. Raises UserError as `adapt`."""
    from tinynas.adapted_tables import Adaptation

    folder = folder or user_folder()
    name = name or free_name(HostName(runtime, precision, threads), folder)
    job = Adaptation(
        name=name, sources=sources, runtime=runtime, precision=precision, threads=threads, folder=folder,
        spaces=_joined(spaces), sizes=sorted(dict.fromkeys(sizes)), classes=list(dict.fromkeys(classes)),
        seconds=seconds, fitted=FITTED, checked=CHECKED,
        short_names=short_names, note=f"adapted for {', '.join(dict.fromkeys(space.name for space in spaces))}",
    )  # fmt: skip
    try:
        with AdaptationBar(seconds) as bar:
            table = job.run(resume=resume, progress=bar.show, checked=bar.check)
    except KeyboardInterrupt:
        print("what was measured is kept; the same command goes on (profile: with --resume)", file=sys.stderr)
        raise
    print(adaptation_line(table), file=sys.stderr)
    if jumps := told_jumps(table):
        print(jumps, file=sys.stderr)
    return table


def adaptation_line(table: Table) -> str:
    """What an adaptation made, in one line."""
    made, error = table.metadata.adapted, table.metadata.error
    assert made is not None
    return (
        f"table {table.id}: {made.kernels} kernels measured, adapted from {made.source}; "
        f"{error['median']:.1f} % median error on {error['detectors']} whole detectors (largest {error['largest']:.1f} %)"
    )


def told_jumps(table: Table) -> str:
    """A warning where the device's speed jumped while the table was adapted, with by how much; empty where it did not."""
    made = table.metadata.adapted
    if made is None or made.unsteadiness < JUMP:
        return ""
    return (
        f"warning: this device's figures jump: in a tenth of the looks at it a reference conv took {made.unsteadiness:.0%} "
        "or more above its best; let it cool, fix its clock, stop what else runs, and run tinynas profile --adapt anew"
    )


def free_name(host: HostName, folder: Path) -> str:
    """A chip's name for this host, as its processor calls itself; numbered where a table of that name is another
    machine's."""
    words = re.sub(r"\(r\)|\(tm\)|\bcpu\b|\bprocessor\b|@.*$", " ", host_processor().lower())
    base = "_".join(re.findall(r"[a-z0-9]+", words))[:40].strip("_") or "host"
    number = 1
    while True:
        name = base if number == 1 else f"{base}_{number}"
        suffix = f"-{host.runtime}-{host.precision}-b1-t{host.threads}"
        if not (folder / f"{name}{suffix}.csv").exists() and not (SHIPPED / f"{name}{suffix}.csv").exists():
            return name
        number += 1


def _joined(spaces: Sequence[Space]) -> list[Space]:
    """Spaces without repetition, by what they are."""
    found: list[Space] = []
    for space in spaces:
        if all(space.name != other.name or space.stages != other.stages for other in found):
            found.append(space)
    return found


class AdaptationBar:
    """Seconds gone of those that an adaptation measures for, kernels measured, and the error that is expected; then whole
    detectors. There is none before the first report: what is refused shows no bar."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._bar = seconds, None  # type: float, Any

    def __enter__(self) -> AdaptationBar:
        return self

    def show(self, progress: Any) -> None:
        from tqdm import tqdm

        if self._bar is None:
            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"
            self._bar = tqdm(total=self._seconds, desc="kernels of this CPU", dynamic_ncols=True, bar_format=form)
        note = f"{progress.kernels} measured"
        if progress.expected_error is not None:
            note += f", a detector's error {progress.expected_error:.1%} expected"
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(min(progress.seconds, self._seconds) - self._bar.n)

    def check(self, detectors: int) -> None:
        """So many more detectors are measured."""
        from tqdm import tqdm

        if self._bar is None or self._bar.unit != "detector":
            self.__exit__()
            self._bar = tqdm(total=FITTED + CHECKED, desc="whole detectors", unit="detector", dynamic_ncols=True)
        self._bar.update(detectors)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
