"""Runs spoilt inputs through a target, and tells of what must not happen."""

from __future__ import annotations

import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS

MOST_SECONDS = 5.0
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Fault:
    """An input that made a target fail: its number (which is its seed), and how."""

    target: str
    number: int
    what: str


class _TooLongError(Exception):
    pass


def faults(name: str, first: int, last: int, started: Callable[[int], object] = lambda _: None) -> Iterator[Fault]:
    """The faults among inputs `first` to `last` - 1 of a target: exceptions, 5 s of CPU time, 1 GB of memory above what this
    process had before the first. started: told of each input.
    """
    target = TARGETS[name]
    before = _peak_bytes()
    previous = signal.signal(signal.SIGPROF, _ring)
    with tempfile.TemporaryDirectory() as folder:
        sound, spoilt = Path(folder) / "sound", Path(folder) / "spoilt"
        sound.mkdir()
        target.build(sound)
        for number in range(first, last):
            started(number)
            shutil.copytree(sound, spoilt)
            spoil(spoilt, name, number)
            begun = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, 2 * MOST_SECONDS)
            what = ""
            try:
                target.read(spoilt)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                lines = "".join(traceback.format_exception(error, limit=-8)).splitlines()
                what = "\n".join(line[:300] for line in lines)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                shutil.rmtree(spoilt, ignore_errors=True)
            seconds, grown = time.process_time() - begun, _peak_bytes() - before
            if not what and seconds > MOST_SECONDS:
                what = f"took {seconds:.1f} s"
            if not what and grown > MOST_BYTES:
                what, before = f"grew by {grown / 1e6:.0f} MB", before + grown
            if what:
                yield Fault(name, number, what)
    signal.signal(signal.SIGPROF, previous)


def spoil(root: Path, name: str, number: int) -> None:
    """Mutate one of the target's files, or two, as the number's seed has it."""
    rng = np.random.default_rng([number, sum(name.encode())])
    files = sorted(path for path in root.rglob("*") if path.is_file() and TARGETS[name].spoil(path))
    for _ in range(1 + int(rng.random() < 0.2)):
        path = files[int(rng.integers(len(files)))]
        path.write_bytes(mutate(path.read_bytes(), path.suffix, rng))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _ring(_: int, __: FrameType | None) -> None:
    raise _TooLongError(f"still running after {2 * MOST_SECONDS:g} s of CPU time")
