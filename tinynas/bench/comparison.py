"""What `tinynas bench` finds out: one row per model file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detector.detector import Detector
from latency_tables import Table, predict
from search_spaces.emit import emit_detector
from tinynas.bench.contestants import Contestant, Setting, contestant
from tinynas.bench.memory import peak_memory_mb
from tinynas.bench.timing import Timing, images_per_second, interleaved

STREAM_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model. model: alone; whole: from pixels to boxes (None for foreign files). ratio: median by that of the file
    compared with. predicted_ms: by a latency table, without NMS. images_per_second: of several streams. ap: COCO AP."""

    name: str
    precision: str
    model: Timing
    whole: Timing | None
    ratio: float | None
    predicted_ms: float | None
    images_per_second: float | None
    memory_mb: float
    file_mb: float
    ap: float | None = None
    ap50: float | None = None

    def data(self) -> dict[str, Any]:
        """As it goes into JSON."""
        return asdict(self)


def compare_files(
    paths: Sequence[Path], setting: Setting, *, against: Path | None = None, seconds: float = 10.0, streams: int = 1,
    table: Callable[[Contestant], Table | None] = lambda _: None, advance: Callable[[float], Any] = lambda _: None,
) -> list[tuple[Row, Contestant]]:  # fmt: skip
    """Time files in turns, the one compared with among them, and measure what else is asked for.

    seconds: of timing in all. streams: above 1, copies of each model at once. Raises UserError for files that cannot run.
    """
    wanted = list(dict.fromkeys([*paths, *([against] if against is not None else [])]))
    fields = [contestant(path, setting) for path in wanted]
    predicted = [predicted_ms(one.detector, table(one)) for one in fields]
    runs = [(one, run) for one in fields for run in (one.run, one.whole) if run is not None]
    timings = interleaved([run for _, run in runs], threads=setting.threads, seconds=seconds, advance=advance)
    by_run = {id(run): timing for (_, run), timing in zip(runs, timings)}
    base = None if against is None else by_run[id(fields[wanted.index(against)].run)].median_ms
    rows = []
    for path, one, ms in zip(wanted, fields, predicted):
        model = by_run[id(one.run)]
        rows.append(Row(
            name=one.name, precision=one.detector.card.precision if one.detector else "?", model=model,
            whole=None if one.whole is None else by_run[id(one.whole)],
            ratio=None if base is None else model.median_ms / base, predicted_ms=ms,
            images_per_second=_throughput(path, setting, streams), file_mb=file_mb(path),
            memory_mb=peak_memory_mb(path, setting),
        ))  # fmt: skip
    return list(zip(rows, fields))


def file_mb(path: Path) -> float:
    """Size of a model in MB, with the file of its weights."""
    parts = {path, path.with_suffix(".bin")} if path.suffix == ".xml" else {path}
    if path.name.endswith(".ncnn.param"):
        parts.add(path.with_name(path.name.removesuffix(".param") + ".bin"))
    return sum(part.stat().st_size for part in parts) / 1e6


def _throughput(path: Path, setting: Setting, streams: int) -> float | None:
    if streams < 2:
        return None
    copies = [contestant(path, setting) for _ in range(streams)]
    return images_per_second([copy.run for copy in copies], setting.batch, STREAM_SECONDS)


def predicted_ms(detector: Detector | None, table: Table | None) -> float | None:
    """What a table says of a model's structure at its image size. Raises UserError for what the table does not cover."""
    if table is None or detector is None:
        return None
    structure = detector.structure.with_image_size(*detector.image_size)
    return float(predict(emit_detector(structure), table).total_ms)
