"""`tinynas search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from search_spaces.errors import UserError
from tinynas.commands._options import with_options
from tinynas.commands._train_options import ACCEPTED_DATA, Settings, Split
from tinynas.search.options import SearchOptions

LOOSE_PERCENT = 5.0
"""Gaps above it say that the proof had too little time, not that the search did badly: it never misses by so much."""


@with_options(SearchOptions, but=("convs_only",))
def run(
    *,
    asked: dict[str, Any],
    preset: Annotated[
        str | None, typer.Option(help="Published settings: damo-t, damo-s or damo-m; other options win.")
    ] = None,
    solver: Annotated[str, typer.Option(help="evolution, or exact: the proven best, where it applies.")] = "evolution",
    certify: Annotated[bool, typer.Option("--certify", help="Give the final proof more time.")] = False,
    proof_seconds: Annotated[
        float | None, typer.Option(min=1, help="Time limit of the proof for each network. Default: 60.")
    ] = None,
    measure: Annotated[int | None, typer.Option(min=1, help="Time the best N here, correct the table, repeat.")] = None,
    no_measure: Annotated[bool, typer.Option("--no-measure", help="Time nothing on this machine.")] = False,
    rank_by_training: Annotated[
        bool,
        typer.Option("--rank-by-training", help="Train several candidates on --data; AP on val has the last word."),
    ] = False,
    data: Annotated[Path | None, typer.Option(help=f"For --rank-by-training: {ACCEPTED_DATA}.")] = None,
    hours: Annotated[float | None, typer.Option(help="Hours for all of these trainings. Default: 1.")] = None,
    candidates: Annotated[
        int | None, typer.Option(min=2, help="Number of networks to train; by default as many as --hours allows.")
    ] = None,
    split: Split = None,
    set_: Settings = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the islands; the result is the same.")] = 1,
    backend: Annotated[str, typer.Option(help="joblib's backend for the workers: loky, dask or ray.")] = "loky",
    out: Annotated[Path, typer.Option(help="Folder for structures, search.json, front and plots.")] = Path(),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the folder's unfinished search.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the results of an earlier search in the folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print search.json, and nothing else.")] = False,
) -> int:
    """Find the best detector within a latency budget, without training; or a family of them."""
    from tinynas.commands._ranking import RankingOptions, check_ranking_options, ranking_of
    from tinynas.search.options import options_from
    from tinynas.search.request import build_plan
    from tinynas.session import PROOF_SECONDS, Session, run_session

    if measure is not None and no_measure:
        raise UserError(f"--measure {measure} and --no-measure exclude each other; say one of them")
    if proof_seconds is not None and not certify and solver != "exact":
        raise UserError("--proof-seconds is for --certify or --solver exact; say one of them too, or neither")
    training = RankingOptions(data=data, hours=hours, candidates=candidates, split=split, settings=tuple(set_ or ()))
    check_ranking_options(training, asked=rank_by_training)
    options = options_from(asked, preset)
    if rank_by_training:
        plan, ranking = ranking_of(options, training, measure=not no_measure)
    else:
        plan, ranking = build_plan(options, measure=not no_measure), None
    session = Session(
        plan=plan, folder=out, workers=workers, backend=backend, solver=solver, certify=certify, measure=measure,
        resume=resume, overwrite=overwrite, proof_seconds=proof_seconds or PROOF_SECONDS, confirm=not no_measure,
        ranking=ranking,
    )  # fmt: skip
    result, found = run_session(session, _Progress(plan.settings.evaluations // max(len(plan.frames), 1)))
    if json:
        _print_json(found)
    else:
        _print_summary(result, found, out)
    return 130 if result.interrupted else 0


class _Progress:
    """A bar per search: there are several when the result is measured and the search repeated."""

    def __init__(self, total: int) -> None:
        self.total, self.bar = total, None  # type: int, Any

    def __call__(self, state: Any) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=self.total, unit="candidates", unit_scale=True, desc="search", dynamic_ncols=True)
        best = [rows[-1]["best_score"] for rows in state.history if rows]
        found = [score for score in best if score is not None]
        note = "best score " + ", ".join(f"{score:.2f}" for score in found[:6]) if found else "nothing in budget yet"
        self.bar.set_postfix_str(note, refresh=False)
        self.bar.update(state.evaluated - self.bar.n)
        if state.evaluated >= self.total:
            self.bar.close()
            self.bar = None


def _print_json(data: dict[str, Any]) -> None:
    import json

    print(json.dumps(data, indent=1))


def _print_summary(result: Any, data: dict[str, Any], out: Path) -> None:
    if result.interrupted:
        total = result.plan.settings.evaluations
        if result.frames and not result.evaluated:
            print(
                f"interrupted after {len(result.frames)} of {len(result.plan.frames)} combinations of image size and neck "
                "(--resume begins with the first again); the best so far:"
            )
        else:
            print(
                f"interrupted after {result.evaluated:,} of {total:,} candidates (--resume goes on); the best so far:"
            )
    for member in data["targets"]:
        name = f"{member['name']}: " if len(data["targets"]) > 1 else ""
        print(f"{name}score {member['score']:.2f}{_proof(member)}")
        for line in (*_chosen(member, data), *_latencies(member)):
            print(f"  {line}")
    for line in _ranked(data.get("ranking")):
        print(line)
    for note in data["notes"]:
        print(f"note: {note}")
    from tinynas.results.outputs import output_names

    names = output_names([target.name for target in result.plan.targets], ranked="ranking" in data)
    print(f"wrote {', '.join(name for name in names if (out / name).exists())} in {out}")
    if len(data["targets"]) > 1:
        print("one command trains the family, the largest first; each network learns from the next larger one:")
    for command in data["commands"]:
        print(f"next: {command}")


def _ranked(ranking: dict[str, Any] | None) -> list[str]:
    """What training said, best first; what was won by it."""
    from tinynas.results.rankings import title_of

    if ranking is None:
        return []
    lines = []
    for row in sorted(ranking["candidates"], key=lambda row: row["rank_by_ap"]):
        aps = ", ".join("failed" if rung["ap"] is None else f"{rung['ap']:.3f}" for rung in row["rungs"])
        lines.append(
            f"  {row['rank_by_ap']}. {row['title']}: AP {aps}; score {row['score']:.1f} ({row['rank_by_score']}.)"
        )
    if not ranking["learnt"]:
        return [f"training could not choose: {ranking['choice']}, the search's first choice, is kept", *lines]
    gain = ranking["gain_points"]
    than = "the search's first choice as well" if ranking["choice"] == ranking["first_by_score"] else (
        f"not {ranking['first_by_score']}, the search's first choice" + ("" if gain is None else f": {gain:+.1f} AP points")
    )  # fmt: skip
    return [f"training chose {title_of(ranking, ranking['choice'])}, {than}", *lines]


def _chosen(member: dict[str, Any], data: dict[str, Any]) -> list[str]:
    """The image size and the neck, where they were chosen."""
    frames, chosen = data.get("frames"), member.get("frame")
    if not frames or chosen is None:
        return []
    size, neck = "x".join(map(str, chosen["image_size"])), chosen["neck"]
    words = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in neck.items())
    return [f"{size} px, neck of {words}: one of {len(data['settings']['frames'])} combinations"]


def _latencies(member: dict[str, Any]) -> list[str]:
    """What was predicted, with how far to trust it, and what was measured; a line each."""
    from tinynas.published import share_text

    lines = []
    for device, latency in member["latency"].items():
        split = " + ".join(f"{part} {ms:.2f}" for part, ms in latency["parts"].items())
        lines.append(f"{latency['total']:.3f} ms predicted on {device} ({split} + fixed {latency['overhead']:.2f})")
        lines.append(f"  {latency['trust']['text']}")
        if device in member["neck_share"]:
            lines.append(f"  {share_text(member['neck_share'][device])}")
    for device, row in (member["measured"] or {}).items():
        if "corrected_ms" in row:
            lines.append(
                f"{row['measured_ms']:.3f} ms measured on {device}; {row['predicted_ms']:.3f} ms by the table, "
                f"{row['corrected_ms']:.3f} ms corrected"
            )
        else:
            gap = 100 * (row["measured_ms"] / row["predicted_ms"] - 1)
            lines.append(
                f"{row['measured_ms']:.3f} ms measured on this host with {row['runtime']}, {gap:+.1f} % to the prediction"
            )
    return lines


def _proof(member: dict[str, Any]) -> str:
    from tinynas.results.report.network import is_best

    proof = member["certified"]
    if proof is None:
        return ""
    if is_best(proof):
        return f"; proven to be the best (bound {proof['bound']:.2f})"
    if proof["gap_percent"] > LOOSE_PERCENT and not proof.get("dropped"):
        return (
            f"; no proof within {proof['seconds']:.1f} s (bound {proof['bound']:.2f}); "
            "--certify and --proof-seconds give it more"
        )
    dropped = f", which leaves {', '.join(proof['dropped'])} out" if proof.get("dropped") else ""
    return f"; within {proof['gap_percent']:.3f} % of the best there can be (bound {proof['bound']:.2f}{dropped})"
