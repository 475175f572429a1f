"""`tinynas profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    name: Annotated[str, typer.Option(help="The chip, as the table's id starts: i7_1260p.")],
    runtime: Annotated[str, typer.Option(help="What runs the network.")] = "openvino",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    short_name: Annotated[list[str] | None, typer.Option(help="Another name that the table answers to.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Stop measuring then; the rest is fitted.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a profile that was cut short.")] = False,
    verify: Annotated[bool, typer.Option(help="Compare whole detectors with their predictions afterwards.")] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table; your own tables' folder if not given.")
    ] = None,
) -> None:
    """Measure a latency table on this machine, and check it against whole detectors."""
    from tqdm import tqdm

    from latency_tables import read_table
    from latency_tables.profiler import profile
    from latency_tables.registry import user_folder
    from latency_tables.verify import check, standard_detectors, store

    folder = out or user_folder()
    with tqdm(desc="profile", unit="kernel", dynamic_ncols=True) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        path = profile(
            name, runtime, folder, threads=threads, short_names=short_name or [], resume=resume, progress=show,
            time_limit_s=None if minutes is None else 60 * minutes,
        )  # fmt: skip
    table = read_table(path)
    if verify:
        print("checking against whole detectors (about two minutes)")
        table = store(table, check(table, standard_detectors()))
        for key, value in table.metadata.error.items():
            if not isinstance(value, dict):
                print(f"  {key}: {value}")
    print(f"wrote {path}; use it with --device {table.id}")
