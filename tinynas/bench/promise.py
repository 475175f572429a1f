"""What a model file promises, and whether it holds here: its golden picture, a latency, an AP."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detector.agreement import check_golden, tolerance_of
from detector.data.formats import load_split
from latency_tables.host import is_this_host
from latency_tables.registry import find_table, parse_host_name
from search_spaces.errors import UserError
from tinynas.bench.contestants import Contestant, Setting, contestant
from tinynas.bench.timing import interleaved


@dataclass(frozen=True, slots=True)
class Limits:
    """Most milliseconds and least AP; None: not asked for, only measured."""

    most_ms: float | None
    least_ap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One check: what was found and asked, in words, and the numbers behind them."""

    name: str
    found: str
    asked: str
    kept: bool
    numbers: dict[str, float]

    def data(self) -> dict[str, Any]:
        """As it goes into JSON."""
        return asdict(self)


def verify_file(
    path: Path, limits: Limits, *, data: Path | None, split: str, device: str, seconds: float
) -> list[Promise]:
    """All checks that can be made, the golden picture first.

    Raises UserError for a file that is no model, a device that this is not, a least AP without data, and data
    of other classes.
    """
    if limits.least_ap is not None and data is None:
        raise UserError("--min-ap needs --data, the pictures to evaluate on")
    threads = _threads_of(device)
    one = contestant(path, Setting(threads=threads))
    detector = one.detector
    if detector is None:
        raise UserError(f"{path}: not an export of this project; tinynas bench times foreign files")
    annotations = None
    if data is not None:  # read before time is spent on anything
        annotations, _ = load_split(data, split, detector.class_names, of_model=True)
    found = [_golden(one)]
    (model, whole) = interleaved([one.run, one.whole or one.run], threads=threads, seconds=seconds)
    ms, most = model.median_ms, limits.most_ms
    found.append(Promise(
        name=f"latency, {threads} thread{'s' * (threads > 1)}",
        found=f"{ms:.2f} ms (p90 {model.p90_ms:.2f}; {whole.median_ms:.2f} from pixels to boxes)",
        asked="-" if most is None else f"at most {most:g} ms", kept=most is None or ms <= most,
        numbers={"median_ms": ms, "p90_ms": model.p90_ms, "p99_ms": model.p99_ms, "whole_ms": whole.median_ms},
    ))  # fmt: skip
    if annotations is not None:
        metrics = detector.evaluate_split(annotations).metrics
        least = limits.least_ap
        found.append(Promise(
            name=f"AP on {split}, {len(annotations)} images", found=f"{metrics.ap:.4f} (AP50 {metrics.ap50:.4f})",
            asked="-" if least is None else f"at least {least:g}", kept=least is None or metrics.ap >= least,
            numbers=metrics.numbers(),
        ))  # fmt: skip
    return found


def _golden(one: Contestant) -> Promise:
    assert one.detector is not None
    name = "golden picture"
    found = check_golden(one.detector)
    if found is None:
        return Promise(name=name, found="none in the file", asked="-", kept=True, numbers={})
    tolerance = tolerance_of(one.detector.card)
    numbers = {"boxes_px": found.boxes_px, "scores": found.scores, "compared": found.compared, "matched": found.matched}
    return Promise(
        name=name, found=str(found), asked=f"within {tolerance}", kept=found.within(tolerance), numbers=numbers
    )


def _threads_of(device: str) -> int:
    """Threads that are timed. Raises UserError for another device than this."""
    host = parse_host_name(device)
    if host is not None:
        return host.threads
    metadata = find_table(device).metadata
    if not is_this_host(metadata):
        raise UserError(
            f"--device {device}: {metadata.id} is not the machine that this runs on; verify measures here: run it there, "
            "or say --device cpu"
        )
    return metadata.threads or 1
