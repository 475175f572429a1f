"""What a kit's script does: measure its kernels and whole detectors, those first that matter most, and keep every figure.

A group of models is measured at a time, their runs interleaved; what it gave is on the disk before the next one starts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from latency_tables.on_device.host import machine
from latency_tables.on_device.results import (
    KitError,
    new_content,
    read_results,
    refuse_other_conditions,
    told_jumps,
    write_results,
)
from latency_tables.on_device.timing import BaseGauge, interleaved, kernels_ms

if TYPE_CHECKING:
    from latency_tables.on_device.timing import Probe

KIT_FORMAT = 1
DETECTORS_TOGETHER, DETECTORS_SHARE = 4, 0.2
"""Whole detectors whose runs are interleaved, and the part of the time that all of them may take."""
MOST_ROUNDS, FEWEST_ROUNDS, RUNS = 12, 3, 3
SECOND_LOOKS, WIDE = 0.1, 0.15
"""Part of the time kept for a second look at groups with kernels that spread so widely."""


class Device(Protocol):
    """A runtime on this device: one of the modules beside this one."""

    ON_CPU: bool

    def version(self) -> str: ...
    def device_name(self) -> str: ...
    def reference(self, model: Any, threads: int, precision: str) -> Any: ...
    def network_probe(self, model: Any, threads: int, precision: str) -> Probe: ...
    def kernel_probe(self, model: Any, kinds: Sequence[str], threads: int, precision: str) -> Probe: ...


class Job:
    """A kit in `folder`, being measured into the file `path`."""

    def __init__(self, device: Any, folder: str, path: str, threads: int, minutes: float) -> None:
        self.device, self.folder, self.path, self.threads = device, folder, path, threads
        self.limit_s, self.started = 60 * minutes, time.monotonic()
        self.kit = read_kit(folder)
        self.precision = self.kit["header"]["precision"]
        facts = machine()
        conditions = {
            "host": facts["host"], "processor": facts["processor"], "device": _device_name(device, facts),
            "runtime_version": _version(device, self.kit["header"]["runtime"]), "threads": threads,
        }  # fmt: skip
        if os.path.exists(path):
            self.content = read_results(path)
            if self.content["kit"]["id"] != self.kit["header"]["id"]:
                raise KitError(f"{path}: results of another kit; move them away, or name another file by --results")
            refuse_other_conditions(path, self.content["conditions"], conditions)
        else:
            self.content = new_content(self.kit["header"], conditions)
        self.session = {"started": time.strftime("%Y-%m-%dT%H:%M:%S"), "seconds": 0.0, "machine": facts}
        self.looks: dict[int, int] = {}
        for group in self.content["groups"]:
            self.looks[group["group"]] = self.looks.get(group["group"], 0) + 1
        self.group_s: list[float] = []
        self.detector_s: list[float] = []
        self.gauge = BaseGauge(
            device.reference(self.file(self.kit["reference"]), threads, self.precision),
            one_core=device.ON_CPU and threads == 1,
        )

    def file(self, name: str) -> str:
        return os.path.join(self.folder, "models", name)

    def run(self) -> None:
        """Measure until all is done or time is up."""
        self.content["sessions"].append(self.session)
        order = list(range(len(self.kit["groups"])))
        first = self.kit["groups_before_detectors"]
        self._groups(order[:first], 1.0)
        self._detectors()
        self._groups(order[first:], 1.0 - SECOND_LOOKS)
        wide = [group for group in order if self.looks.get(group) == 1 and self._spread(group) > WIDE]
        self._groups(sorted(wide, key=lambda group: -self._spread(group)), 1.0, again=True)
        self._keep()

    def _groups(self, groups: Sequence[int], part: float, again: bool = False) -> None:
        todo = [group for group in groups if again or group not in self.looks]
        for group in todo:
            if self.looks and self._elapsed() > part * self.limit_s:
                return
            began = time.monotonic()
            self._group(group)
            self.group_s.append(time.monotonic() - began)
            self._tell(again)

    def _group(self, group: int) -> None:
        models = [self.kit["models"][index] for index in self.kit["groups"][group]]
        self.gauge.looks_ms.clear()
        probes, kept = [], []
        for model in models:
            kinds = [kernel[0] for kernel in model["kernels"]]
            try:
                probes.append(self.device.kernel_probe(self.file(model["file"]), kinds, self.threads, self.precision))
                kept.append(model)
            except Exception as error:
                self._failed(model["file"], error)
        try:
            results = kernels_ms(probes, self.gauge, cold=self.device.ON_CPU) if probes else []
        except Exception as error:
            self._failed(", ".join(model["file"] for model in kept), error)
            results = []
        for model, figures in zip(kept, results):
            for kernel, (ms, spread) in zip(model["kernels"], figures):
                self.content["kernels"].append([*kernel, group, ms, spread])
        looks = sorted(self.gauge.looks_ms) or [0.0]
        self.looks[group] = self.looks.get(group, 0) + 1
        self.content["groups"].append(
            {"group": group, "reference_ms": [looks[0], looks[len(looks) // 2], looks[-1]], "at_s": self._elapsed()}
        )
        self._keep()

    def _failed(self, what: str, error: Exception) -> None:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        self.content["failed"].append([what, text])
        if not self.content["kernels"] and len(self.content["failed"]) >= 3:
            raise KitError(f"the runtime fails on every model ({text}); nothing could be measured") from None

    def _detectors(self) -> None:
        known = {row[0] for row in self.content["detectors"]}
        todo = [item for item in self.kit["detectors"] if item["name"] not in known]
        for start in range(0, len(todo), DETECTORS_TOGETHER):
            chosen = todo[start : start + DETECTORS_TOGETHER]
            probes = [
                self.device.network_probe(self.file(item["file"]), self.threads, self.precision) for item in chosen
            ]
            began = time.monotonic()
            for probe in probes:
                probe.run()
            once = time.monotonic() - began
            budget = DETECTORS_SHARE * self.limit_s * len(chosen) / len(self.kit["detectors"])
            rounds = int(min(max(budget / (once * (RUNS + 1)), FEWEST_ROUNDS), MOST_ROUNDS))
            for item, figures in zip(chosen, interleaved(probes, self.gauge, rounds=rounds, runs=RUNS)):
                self.content["detectors"].append([item["name"], *figures[0]])
            self._keep()
            self.detector_s.append((time.monotonic() - began) / len(chosen))
            self._tell()

    def _spread(self, group: int) -> float:
        return max((row[-1] for row in self.content["kernels"] if row[-3] == group), default=0.0)

    def _keep(self) -> None:
        self.session["seconds"] = round(self._elapsed(), 1)
        write_results(self.path, self.content)

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def measured(self) -> int:
        """How many of the kit's kernels have a figure."""
        return len({tuple(row[:9]) for row in self.content["kernels"]})

    def _left_s(self) -> float:
        """Seconds until all is done or time is up, at the pace so far."""
        groups = len(self.kit["groups"]) - len(self.looks)
        detectors = len(self.kit["detectors"]) - len(self.content["detectors"])
        pace = sum(self.group_s) / max(len(self.group_s), 1)
        each = sum(self.detector_s) / max(len(self.detector_s), 1)
        return min(max(self.limit_s - self._elapsed(), 0.0), groups * pace + detectors * each)

    def _tell(self, again: bool = False) -> None:
        text = "{}{} of {} kernels, {} of {} whole detectors, {} of at most {}, about {} left".format(
            "second looks; " if again else "", self.measured(), self.kit["kernels"], len(self.content["detectors"]),
            len(self.kit["detectors"]), _clock(self._elapsed()), _clock(self.limit_s), _clock(self._left_s()),
        )  # fmt: skip
        print(f"\r{text}   " if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n",
              file=sys.stderr, flush=True)  # fmt: skip


def read_kit(folder: str) -> dict[str, Any]:
    """kit.json. Raises KitError when it, or a model, is missing or of another format."""
    path = os.path.join(folder, "kit.json")
    try:
        with open(path, encoding="utf-8") as file:
            kit: dict[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        raise KitError(f"{path}: cannot be read ({error}); unpack the whole kit") from None
    if kit.get("format") != KIT_FORMAT:
        raise KitError(f"{path}: a kit of format {kit.get('format')}, this script is for format {KIT_FORMAT}")
    names = [kit["reference"], *kit["weights"], *(item["file"] for item in [*kit["models"], *kit["detectors"]])]
    missing = [name for name in names if not os.path.exists(os.path.join(folder, "models", name))]
    if missing:
        raise KitError(
            f"{folder}: {len(missing)} of the kit's files are missing (models/{missing[0]}); unpack it whole"
        )
    return kit


def main(device: Any, folder: str, arguments: Sequence[str] | None = None) -> int:
    """Measure the kit in `folder`; the exit code."""
    try:
        header = read_kit(folder)["header"]
        parser = argparse.ArgumentParser(description=f"Measure a tinynas kit with {header['runtime']} on this device.")
        parser.add_argument("--threads", type=int, default=header["threads"], help="CPU threads (%(default)s)")
        parser.add_argument("--minutes", type=float, default=header["minutes"], help="stop then (%(default)s)")
        parser.add_argument("--results", default="results.json", help="where the figures go (%(default)s)")
        chosen = parser.parse_args(arguments)
        if chosen.threads < 1 or chosen.minutes <= 0:
            raise KitError("--threads from 1 and --minutes above 0 expected")
        with _alone(folder):
            return _measure(device, folder, chosen)
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure(device: Any, folder: str, chosen: argparse.Namespace) -> int:
    job = Job(device, folder, chosen.results, chosen.threads, chosen.minutes)
    try:
        job.run()
    except KeyboardInterrupt:
        print(
            f"\nstopped; all that was measured is in {chosen.results}; run the same command to go on", file=sys.stderr
        )
        return 130
    print(file=sys.stderr)
    number, total = job.measured(), job.kit["kernels"]
    print(f"wrote {chosen.results}: {number} of {total} kernels, {len(job.content['detectors'])} whole detectors")
    if number < total:
        print(
            "time was up; the kernels that matter most came first. Run the same command again to measure the others too"
        )
    for name, text in job.content["failed"][:3]:
        print(f"not measured: {name}: {text}")
    warning = told_jumps(job.content)
    if warning:
        print(f"warning: {warning}")
    print("collect it where tinynas is: tinynas profile --name CHIP --collect results.json")
    return 0


def _version(device: Any, runtime: str) -> str:
    try:
        return str(device.version())
    except ImportError as error:
        raise KitError(f"{runtime} is not installed for this Python ({error}); pip install {runtime}") from None


def _device_name(device: Any, facts: dict[str, Any]) -> str:
    try:
        return str(device.device_name()) or facts["board"] or facts["processor"]
    except RuntimeError as error:
        raise KitError(str(error)) from None


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Two of these at once would disturb and overwrite each other. Where there are no locks nothing is held."""
    with open(os.path.join(folder, "kit.json"), encoding="utf-8") as file:
        try:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError:
            raise KitError(f"{folder}: its measure.py is running already; wait for it") from None
        yield
