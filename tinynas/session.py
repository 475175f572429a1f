"""A search from its plan to its folder: refuse, hold the folder, search or solve, certify, measure, write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import UserError, nearest
from search_spaces.files import claim_outputs
from tinynas.evolution.engine import Engine, check_engine, connected
from tinynas.evolution.state import SearchState
from tinynas.pricing.columns import is_additive
from tinynas.results.data import settings_data
from tinynas.results.outputs import output_names, write_result
from tinynas.search.closing import measure_members
from tinynas.search.coverage import check_covered
from tinynas.search.folder import SearchFolder, held
from tinynas.search.framed import search_frames
from tinynas.search.frames import check_sizes_covered
from tinynas.search.plan import SearchPlan, SearchResult
from tinynas.search.proof import certify, check_additive, solve_exactly
from tinynas.search.run import check_reachable, run_search
from tinynas.second_stage import RankingRequest, Stage, prepare, run_stage

SOLVERS = ("evolution", "exact")
MOMENT_SECONDS, FRAME_SECONDS, PROOF_SECONDS = 1.0, 10.0, 60.0
"""Limits of a proof, and of the solution of each image size and neck, that were not asked for; and of those that were,
where --proof-seconds does not say another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A plan, and what to do about it. `certify`: prove for up to `proof_seconds` per target; without it every result is
    proven that MOMENT_SECONDS are enough for. `measure`: how many of the best to time on this machine while searching (None:
    none); `confirm`: whether what was found for this machine is timed on it at the end; `proof_seconds`: limit of the
    exact solver, per target; `ranking`: the second stage, None without one."""

    plan: SearchPlan
    folder: Path
    workers: int = 1
    backend: str = "loky"
    solver: str = "evolution"
    certify: bool = False
    measure: int | None = None
    resume: bool = False
    overwrite: bool = False
    proof_seconds: float = PROOF_SECONDS
    confirm: bool = True
    ranking: RankingRequest | None = None

    def settings(self) -> dict[str, Any]:
        """What a resume must not change."""
        found = settings_data(self.plan) | {"solver": self.solver, "measure": self.measure}
        return found if self.ranking is None else found | {"ranking": self.ranking.record()}


def run_session(
    session: Session, progress: Callable[[SearchState], None] = lambda state: None
) -> tuple[SearchResult, dict[str, Any]]:
    """Search and write; the result, and the content of search.json.

    Raises UserError before anything is written when the session cannot end well.
    """
    engine = Engine(session.workers, session.backend, progress)
    _check(session)
    check_covered(session.plan)
    check_sizes_covered(session.plan)
    if not session.plan.frames:
        check_reachable(session.plan)
    with held(session.folder) as run:
        if session.resume:
            run.continue_(session.settings())
        else:
            if run.is_unfinished() and not session.overwrite:
                raise UserError(
                    f"{session.folder}: holds an unfinished search; go on with it (--resume), begin again (--overwrite), or "
                    "choose another --out"
                )
            targets = [target.name for target in session.plan.targets]
            names = output_names(targets, ranked=session.ranking is not None)
            claim_outputs(session.folder, names, session.overwrite)
            run.begin(session.settings())
        try:
            with connected(engine):
                result = _find(session, engine, run)
            if session.solver != "exact" and not session.plan.frames and not result.interrupted:
                _until_interrupted(result, lambda: _prove(session, result))
            if session.confirm and not result.interrupted:
                _until_interrupted(result, lambda: measure_members(result, session.solver))
        except UserError:
            run.finish()
            raise
        stage = _staged(session, result, run, engine)
        # a folder that cannot be written leaves the state behind: a resume then writes at once
        data = write_result(result, session.folder)
        if stage is not None:
            result, data = _ranked(session, stage, engine)
        if not result.interrupted:
            run.finish()
    return result, data


def _find(session: Session, engine: Engine, run: SearchFolder) -> SearchResult:
    if session.plan.frames:
        seconds = session.proof_seconds if session.certify or session.solver == "exact" else FRAME_SECONDS
        return search_frames(session.plan, engine, run, seconds=seconds, resume=session.resume)
    if session.solver == "exact":
        return solve_exactly(session.plan, session.proof_seconds)
    if session.measure is not None:
        from tinynas.search.measure import measured_search

        return measured_search(session.plan, session.measure, engine, run, resume=session.resume)
    return run_search(session.plan, engine, run, resume=session.resume)


def _staged(session: Session, result: SearchResult, run: SearchFolder, engine: Engine) -> Stage | None:
    """The second stage made ready, where there is one; a stage that is refused before it began leaves nothing behind."""
    if session.ranking is None or result.interrupted:
        return None
    try:
        with connected(engine):
            return prepare(session.ranking, result, run, engine, resume=session.resume, measure=session.confirm)
    except UserError:
        if not session.resume:
            run.finish()
        raise


def _ranked(session: Session, stage: Stage, engine: Engine) -> tuple[SearchResult, dict[str, Any]]:
    """Train the candidates and write what came of it, over what the score alone had found."""
    with connected(engine):
        result, ranking = run_stage(stage, engine)
    _prove(session, result)
    return result, write_result(result, session.folder, ranking)


def _prove(session: Session, result: SearchResult) -> None:
    """Prove how far from the best each network can be: for as long as was asked for, or else where a moment is enough."""
    if session.certify:
        certify(result, session.proof_seconds)
    elif is_additive(session.plan.space.score.kind):
        with suppress(UserError):  # a space that is too large to prove anything about is no mistake of who searches it
            certify(result, MOMENT_SECONDS)


def _until_interrupted(result: SearchResult, step: Callable[[], None]) -> None:
    """Run a step that adds to the result; after Ctrl-C the result is written with what is done, and a resume does the
    rest."""
    try:
        step()
    except KeyboardInterrupt:
        result.interrupted = True


def _check(session: Session) -> None:
    check_engine(session.workers, session.backend)
    if session.solver not in SOLVERS:
        raise UserError(f"unknown solver {session.solver!r}: {nearest(session.solver, SOLVERS)}")
    if session.ranking is not None:
        _check_ranking(session)
    if session.certify or session.solver == "exact":
        check_additive(session.plan, exactly=session.solver == "exact")
    if session.measure is not None:
        from tinynas.search.measure import check_measurable

        if session.plan.frames:
            raise UserError(
                "--measure goes with one image size and one neck; search over them first, then give what was chosen"
            )
        if session.solver == "exact":
            raise UserError("--measure needs several candidates to measure; leave --solver exact out")
        check_measurable(session.plan)


def _check_ranking(session: Session) -> None:
    """Raises UserError for what the second stage does not go with."""
    unfit = {
        "--solver exact": session.solver == "exact", "--measure": session.measure is not None,
        "--backbone-only": session.plan.backbone_only,
    }  # fmt: skip
    for option in (name for name, given in unfit.items() if given):
        raise UserError(f"--rank-by-training needs several whole detectors of one table; leave {option} out")
    if len(session.plan.targets) > 1:
        raise UserError(
            f"--rank-by-training chooses one network, and there are {len(session.plan.targets)} budgets; give one, and train "
            "a family with tinynas family train"
        )
