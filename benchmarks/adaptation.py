"""How right an adapted table is after how many seconds of measuring, beside a plain profile of equal time.

    python benchmarks/adaptation.py --sources epyc-zen4-openvino-fp32-b1-t1 --out results/adaptation
    python benchmarks/adaptation.py --sources epyc-zen5-openvino-fp32-b1-t1 --threads 2 --out results/two-threads
    python benchmarks/adaptation.py --prior

Measures whole detectors that no fit sees on this host, adapts each source once and looks at what it has after each of
`--seconds`, then profiles plainly for as long. Writes adaptation.json and adaptation.png into `--out`; prints the JSON.
The detectors are timed anew right after each source's kernels, since a host's speed wanders (`speed` says how much): errors
are against the mean of all timings, and once more, `by_its_own_timing`, against the one that followed. Keep the host calm.
What a stopped run has measured is in `--out`: the same command goes on there.

`--prior` measures nothing: it fits the standard deviations and lengths of the prior (`latency_tables.adaptation.ratio.Prior`)
by maximum likelihood to the ratios between tables that were measured, and takes some minutes (scipy is needed).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables import Table, find_table, read_table
from latency_tables.adaptation.adapt import adapt
from latency_tables.adaptation.ratio import Prior, fit_ratio, points
from latency_tables.adaptation.source import source_figures
from latency_tables.measuring import ProfileSettings
from latency_tables.on_device.host import host_processor
from latency_tables.profiler import profile
from latency_tables.tables import read_rows
from latency_tables.verify import check, compared
from search_spaces.errors import UserError
from search_spaces.files import write_text
from search_spaces.graph import Graph
from tinynas.adapted_tables import Adaptation
from tinynas.devices import CLASSES, FITTED, SIZES, SPACES
from tinynas.sampling import parse_image_sizes, parse_spaces, populations, random_detectors

PLAIN = "plain profile"
TIMING = "detectors.json"
ROUNDS = 6
"""In which whole detectors are measured, interleaved: as many for those that fit a scale as for those that check it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is measured, on what: `runtime`, `threads`, and the detectors that fit a table's scale (`fitted`) and that it is
    checked on (`checked`), by name."""

    runtime: str
    threads: int
    out: Path
    fitted: Mapping[str, Graph]
    checked: Mapping[str, Graph]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", nargs="+", default=[], help="tables to adapt, by full id")
    parser.add_argument("--runtime", default="openvino", help="runtime to adapt to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 10.0, 20.0, 40.0, 60.0])
    parser.add_argument("--plain", type=float, nargs="*", default=None, help="seconds of the plain profiles")
    parser.add_argument("--detectors", type=int, default=40)
    parser.add_argument("--seed", type=int, default=51, help="of the detectors")
    parser.add_argument("--out", type=Path, default=Path("results/adaptation"))
    parser.add_argument("--prior", action="store_true", help="fit the prior instead")
    parser.add_argument("--pairs", nargs="*", default=None, help="with --prior: SOURCE:TARGET, tables or paths")
    arguments = parser.parse_args()
    report = fitted_prior(arguments.pairs) if arguments.prior else measured(arguments)
    print(json.dumps(report, indent=1))


# ---- on this host ----------------------------------------------------------------------------------------------------


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that is asked for, measured on this host."""
    sources = [find_table(name) for name in arguments.sources]
    job = Adaptation(
        name="host", sources=sources, runtime=arguments.runtime, precision="fp32", threads=arguments.threads,
        folder=arguments.out, spaces=parse_spaces(",".join(SPACES)), sizes=SIZES, classes=[CLASSES],
        seconds=max(arguments.seconds), fitted=FITTED,
    )  # fmt: skip
    fitted = job.fit_detectors()
    checked = random_detectors(
        job.spaces, parse_image_sizes("256..640"), arguments.detectors, num_classes=CLASSES, seed=(arguments.seed,),
        exclude=fitted,
    )  # fmt: skip
    setting = Setting(
        runtime=arguments.runtime, threads=arguments.threads, out=arguments.out, fitted=fitted, checked=checked
    )
    tables, timings = {}, []
    for source in sources:
        adapted = setting.out / source.id
        tables[source.id] = _kept(adapted) or _adapted_after(job, source, arguments.seconds, setting)
        timings.append(_timing(adapted, tables[source.id], setting))
    seconds = arguments.seconds if arguments.plain is None else arguments.plain
    if plain := _kept(setting.out / "plain") or _plain_after(job, seconds, setting):
        tables[PLAIN] = plain
        timings.append(_timing(setting.out / "plain", plain, setting))
    report = {
        "host": host_processor(), "runtime": setting.runtime, "threads": setting.threads, "seed": arguments.seed,
        "timings": len(timings), "speed": _speeds(timings),
        "results": {name: _errors(found, _mean(timings), setting) for name, found in tables.items()},
        "by_its_own_timing": {
            name: _errors(found, timing, setting) for (name, found), timing in zip(tables.items(), timings)
        },
    }  # fmt: skip
    write_text(setting.out / "adaptation.json", json.dumps(report, indent=1) + "\n")
    title = f"{report['host']}, {setting.runtime}, {setting.threads} thread(s)"
    draw(report["results"], setting.out / "adaptation.png", title)
    return report


def _kept(folder: Path) -> dict[float, Table]:
    """The tables that an earlier run left, by seconds; none where it was stopped before their detectors were timed."""
    if not (folder / TIMING).exists():
        return {}
    paths = [path for path in folder.glob("*/host-*.csv") if ".partial" not in path.name]
    return {float(path.parent.name): read_table(path) for path in paths}


def _timing(folder: Path, tables: Mapping[float, Table], setting: Setting) -> dict[str, float]:
    """Milliseconds of every detector, measured right after the kernels of these tables: a host's speed wanders."""
    path = folder / TIMING
    if not path.exists():
        some = next(iter(tables.values()))  # which table prices them does not matter to what they take
        every = [*setting.fitted.items(), *setting.checked.items()]
        latency_ms = check(some, every, rounds=ROUNDS).measured_ms
        found = {name: round(float(item), 4) for (name, _), item in zip(every, latency_ms)}
        write_text(path, json.dumps(found, indent=1) + "\n")
    timing: dict[str, float] = json.loads(path.read_text())
    return timing


def _mean(timings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The geometric mean over all timings of each detector: what it takes on this host, not in one of its spells."""
    return {name: float(np.exp(np.mean([np.log(item[name]) for item in timings]))) for name in timings[0]}


def _speeds(timings: Sequence[Mapping[str, float]]) -> list[float]:
    """How the host's speed wandered: each timing over their mean, the median over the detectors."""
    mean = _mean(timings)
    return [round(float(np.median([item[name] / mean[name] for name in mean])), 4) for item in timings]


def _adapted_after(job: Adaptation, source: Table, seconds: Sequence[float], setting: Setting) -> dict[float, Table]:
    """One adaptation, and the tables that it would have written after so many seconds."""
    graphs = job.populations()
    folder = setting.out / source.id
    shutil.rmtree(folder, ignore_errors=True)
    settings = ProfileSettings(threads=setting.threads, time_limit_s=max(seconds))
    partial = folder / f"host-{setting.runtime}-fp32-b1-t{setting.threads}.partial.csv"
    marks = sorted(seconds)

    def look(progress: Any) -> None:
        while marks and progress.seconds >= marks[0] and partial.exists():
            kept = folder / f"{marks.pop(0):g}"
            kept.mkdir()
            shutil.copy(partial, kept)

    adapt("host", [source], folder, graphs, settings, runtime=setting.runtime, progress=look)
    found = {}
    for mark in seconds:
        at_once = ProfileSettings(threads=setting.threads, time_limit_s=1e-6)
        path = adapt("host", [source], folder / f"{mark:g}", graphs, at_once, runtime=setting.runtime, resume=True)
        found[mark] = read_table(path)
    return found


def _plain_after(job: Adaptation, seconds: Sequence[float], setting: Setting) -> dict[float, Table]:
    """Plain profiles that took so many seconds; those are left out that were too short for a table."""
    found = {}
    for mark in seconds:
        folder = setting.out / "plain" / f"{mark:g}"
        shutil.rmtree(folder, ignore_errors=True)
        graphs = populations(job.spaces, job.sizes, job.classes, members=256, seed=0)
        settings = ProfileSettings(threads=setting.threads, time_limit_s=mark)
        try:
            found[mark] = read_table(profile("host", setting.runtime, folder, graphs, settings))
        except UserError as error:
            print(f"a plain profile of {mark:g} s: {error}")
    return found


def _errors(tables: Mapping[float, Table], latency_ms: Mapping[str, float], setting: Setting) -> dict[str, Any]:
    """Error figures by seconds: each table with its scale fitted as an adaptation does, on the detectors that it is checked
    on."""
    fit_ms, checked_ms = ([latency_ms[name] for name in graphs] for graphs in (setting.fitted, setting.checked))
    found = {}
    for seconds, table in sorted(tables.items()):
        factors, overhead_ms = compared(table, setting.fitted, fit_ms).best_fit()
        result = compared(table.with_fit(factors=factors, overhead_ms=overhead_ms), setting.checked, checked_ms)
        scale = {kind: round(factors[kind], 4) for kind in ("conv", "depthwise")}
        found[f"{seconds:g}"] = {
            "kernels": table.counts()["measured"], "scale": scale, **result.summary(overhead_ms),
            "signed": [round(100 * float(error), 2) for error in result.errors(overhead_ms)],
        }  # fmt: skip
    return found


def draw(results: Mapping[str, Mapping[str, Any]], path: Path, title: str) -> None:
    """Median error and 90th percentile over seconds of measuring, one colour per source."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for source, by in results.items():
        if by:
            seconds = [float(mark) for mark in by]
            (line,) = axes.plot(seconds, [item["median"] for item in by.values()], marker="o", label=source)
            axes.plot(seconds, [item["percentile_90"] for item in by.values()], ":", marker=".", color=line.get_color())
    axes.set(xscale="log", yscale="log", xlabel="seconds of measuring", ylabel="error of whole detectors [%]")
    ticks = sorted({float(mark) for by in results.values() for mark in by})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_title(f"{title}\nsolid: median; dotted: 90th percentile", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)


# ---- the prior -------------------------------------------------------------------------------------------------------

TOGETHER = 200
"""Kernels of a kind whose ratios are looked at at once: the likelihood takes the cube of their number."""


def fitted_prior(pairs: Sequence[str] | None) -> dict[str, Any]:
    """The prior that makes the ratios between measured tables most likely, and each pair's likelihood by it and by the one
    that is in use; every pair weighs the same."""
    from scipy.optimize import minimize

    if pairs is None:
        shipped = ("epyc-zen4-openvino-fp32-b1-t1", "epyc-zen5-openvino-fp32-b1-t1")
        pairs = [f"{a}:{b}" for a, b in permutations(shipped, 2)] + [f"{shipped[1]}:epyc-zen5-openvino-fp32-b1-t2"]
    likelihoods = {pair: _likelihood(*map(find_table, pair.split(":"))) for pair in pairs}
    names = [field.name for field in fields(Prior) if field.name != "level"]
    start = np.log([getattr(Prior(), name) for name in names])

    def prior_of(logs: Any) -> Prior:
        return Prior(**dict(zip(names, map(float, np.exp(logs)))))

    def loss(logs: Any) -> float:
        # a weak pull towards where it started: some lengths hardly matter
        try:
            total = sum(one(prior_of(logs)) for one in likelihoods.values())
        except np.linalg.LinAlgError:
            return 1e9
        return -total + 0.5 * float(((logs - start) ** 2).sum())

    best = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 40})
    prior = prior_of(best.x)
    return {
        "prior": {name: round(value, 3) for name, value in asdict(prior).items()},
        "log_likelihood": {
            pair: {"fitted": round(one(prior), 1), "in_use": round(one(Prior()), 1)} for pair, one in likelihoods.items()
        },
    }  # fmt: skip


def _likelihood(source: Table, target: Table) -> Callable[[Prior], float]:
    """The log likelihood of a sample of the target's measured kernels, by a prior."""
    rng, by_kind = np.random.default_rng(0), {}  # type: Any, dict[str, list[Any]]
    for row in read_rows(Path(target.source)):
        if row.source == "measured":
            by_kind.setdefault(row.kernel.kind, []).append(row)
    rows = [rows[place] for rows in by_kind.values() for place in rng.permutation(len(rows))[:TOGETHER]]
    kernels = [row.kernel for row in rows]
    figures = source_figures(source, kernels)
    every = points(kernels, figures, target.metadata.tail_block)
    ratios = np.log([row.latency_ms for row in rows]) - figures.log_ms
    return lambda prior: fit_ratio(every, np.arange(len(rows)), ratios, prior).likelihood


if __name__ == "__main__":
    main()
