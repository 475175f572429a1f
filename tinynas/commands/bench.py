"""`tinynas bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search_spaces.errors import UserError
from tinynas.commands._options import check_companions

if TYPE_CHECKING:
    from tinynas.bench.comparison import Row


def run(
    context: typer.Context,
    models: Annotated[
        list[Path], typer.Argument(help="Exports, checkpoints, and .onnx and .xml files of other tools.")
    ],
    against: Annotated[
        Path | None, typer.Option(help="Reference file: show each median as a ratio to its own.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    streams: Annotated[int, typer.Option(min=1, help="Above 1: images per second of this many copies at once.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Images per run.")] = 1,
    image_size: Annotated[str, typer.Option(help="H or HxW for other tools' files with a free size.")] = "640",
    onnx_runtime: Annotated[str, typer.Option(help="What runs .onnx files: onnxruntime or openvino.")] = "onnxruntime",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Duration of all timing; a long one shows throttling.")
    ] = 10.0,
    device: Annotated[
        str | None, typer.Option(help="Latency table, to show predicted beside measured latency.")
    ] = None,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="With cpu: use a shipped table instead of adapting one to this CPU.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Data folder, to show AP beside latency.")] = None,
    split: Annotated[str, typer.Option(help="The split of --data.")] = "val",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    picture: Annotated[Path | None, typer.Option(help="PNG file for a plot.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
) -> None:
    """Time model files against one another, in turns: median, p90, p99, throughput, memory, drift; AP beside ms."""
    import json

    from search_spaces.files import check_new_file
    from search_spaces.image_size import parse_image_size
    from tinynas.bench.comparison import compare_files
    from tinynas.bench.contestants import Setting

    check_companions(context, {"--split": "--data", "--no-measure": "--device", "--overwrite": "--picture"})
    if onnx_runtime not in ("onnxruntime", "openvino"):
        raise UserError(f"--onnx-runtime {onnx_runtime}: expected onnxruntime or openvino")
    if picture is not None:
        check_new_file(picture, overwrite=overwrite, option="--picture")
    setting = Setting(threads=threads, batch=batch, image_size=parse_image_size(image_size), onnx_runtime=onnx_runtime)
    with _Bar(seconds) as bar:
        found = compare_files(
            models, setting, against=against, seconds=seconds, streams=streams,
            table=lambda one: _table(one, device, no_measure), advance=bar.advance,
        )  # fmt: skip
    _tell_of_foreign([row.name for row, one in found if one.detector is None and (data or device)])
    rows = [row if data is None else _with_ap(row, one, data, split) for row, one in found]
    title = f"{threads} thread{'s' * (threads > 1)}, batch {batch}, {_processor()}"
    if json_:
        print(json.dumps({"setting": title, "seconds": seconds, "models": [row.data() for row in rows]}, indent=1))
    else:
        _print(rows, title)
    if picture is not None:
        from tinynas.bench.picture import write_picture

        picture.parent.mkdir(parents=True, exist_ok=True)
        write_picture(rows, title, picture)
        print(f"wrote {picture}", file=sys.stderr)


def _tell_of_foreign(names: list[str]) -> None:
    if names:
        print(f"note: no export of tinynas, so without AP and prediction: {', '.join(names)}", file=sys.stderr)


class _Bar:
    """Seconds of timing that are gone."""

    def __init__(self, seconds: float) -> None:
        from tqdm import tqdm

        form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s"
        self._left = seconds
        self._bar = tqdm(total=seconds, desc="timing", disable=None, leave=False, bar_format=form)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, seconds: float) -> None:
        self._bar.update(min(seconds, self._left))
        self._left -= min(seconds, self._left)


def _table(one: Any, device: str | None, no_measure: bool) -> Any:
    if device is None or one.detector is None:
        return None
    from tinynas.devices import Wanted, find_device

    wanted = Wanted(sizes=[one.detector.image_size], classes=[len(one.detector.class_names)])
    return find_device(device, wanted, measure=not no_measure)


def _with_ap(row: Row, one: Any, data: Path, split: str) -> Row:
    from dataclasses import replace

    from detector.data.formats import load_split

    if one.detector is None:
        return row
    annotations, _ = load_split(data, split, one.detector.class_names, of_model=True)
    metrics = one.detector.evaluate_split(annotations).metrics
    return replace(row, ap=metrics.ap, ap50=metrics.ap50)


def _processor() -> str:
    from latency_tables.on_device.host import host_processor

    return host_processor()


def _print(rows: list[Row], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def shown(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    table = Table(title=Text(title), caption="whole: from pixels to boxes; drift: last minute or quarter by the first")
    table.add_column("model", no_wrap=True)
    columns = ("precision", "median ms", "p90", "p99", "whole ms", "ratio", "predicted", "drift", "images/s", "peak MB",
               "file MB", "AP", "AP50")  # fmt: skip
    values = [
        (
            row.precision, shown(row.model.median_ms, 2), shown(row.model.p90_ms, 2), shown(row.model.p99_ms, 2),
            shown(None if row.whole is None else row.whole.median_ms, 2), shown(row.ratio, 3), shown(row.predicted_ms, 2),
            shown(row.model.last_ms / row.model.first_ms, 3), shown(row.images_per_second, 1), shown(row.memory_mb, 0),
            shown(row.file_mb, 2), shown(row.ap, 4), shown(row.ap50, 4),
        )
        for row in rows
    ]  # fmt: skip
    kept = [place for place in range(len(columns)) if any(line[place] != "-" for line in values)]
    for place in kept:
        table.add_column(columns[place], justify="right", no_wrap=True)
    for row, line in zip(rows, values):
        table.add_row(Text(Path(row.name).name), *(line[place] for place in kept))
    # a terminal narrower than the table must not cut the figures; a pipe has no width at all
    Console(width=None if Console().width >= 140 else 140).print(table)
