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
from tinynas.search.plan import SearchPlan, SearchResult
from tinynas.search.proof import certify, check_additive, solve_exactly
from tinynas.search.run import check_reachable, run_search

SOLVERS = ("evolution", "exact")
MOMENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A plan, and what to do about it. `certify`: prove for up to `proof_seconds` per target; without it every result is
    proven that MOMENT_SECONDS are enough for. `measure`: how many of the best to time on this machine while searching (None:
    none); `confirm`: whether what was found for this machine is timed on it at the end; `proof_seconds`: limit of the
    exact solver, per target."""

    plan: SearchPlan
    folder: Path
    workers: int = 1
    backend: str = "loky"
    solver: str = "evolution"
    certify: bool = False
    measure: int | None = None
    resume: bool = False
    overwrite: bool = False
    proof_seconds: float = 60.0
    confirm: bool = True

    def settings(self) -> dict[str, Any]:
        """What a resume must not change."""
        return settings_data(self.plan) | {"solver": self.solver, "measure": self.measure}


def run_session(
    session: Session, progress: Callable[[SearchState], None] = lambda state: None
) -> tuple[SearchResult, dict[str, Any]]:
    """Search and write; the result, and the content of search.json.

    Raises UserError before anything is written when the session cannot end well.
    """
    engine = Engine(session.workers, session.backend, progress)
    _check(session)
    check_covered(session.plan)
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
            claim_outputs(session.folder, output_names(session.plan.targets), session.overwrite)
            run.begin(session.settings())
        try:
            with connected(engine):
                result = _find(session, engine, run)
            if session.solver != "exact" and not result.interrupted:
                _until_interrupted(result, lambda: _prove(session, result))
            if session.confirm and not result.interrupted:
                _until_interrupted(result, lambda: measure_members(result, session.solver))
        except UserError:
            run.finish()
            raise
        # a folder that cannot be written leaves the state behind: a resume then writes at once
        data = write_result(result, session.folder)
        if not result.interrupted:
            run.finish()
    return result, data


def _find(session: Session, engine: Engine, run: SearchFolder) -> SearchResult:
    if session.solver == "exact":
        return solve_exactly(session.plan, session.proof_seconds)
    if session.measure is not None:
        from tinynas.search.measure import measured_search

        return measured_search(session.plan, session.measure, engine, run, resume=session.resume)
    return run_search(session.plan, engine, run, resume=session.resume)


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
    if session.certify or session.solver == "exact":
        check_additive(session.plan, exactly=session.solver == "exact")
    if session.measure is not None:
        from tinynas.search.measure import check_measurable

        if session.solver == "exact":
            raise UserError("--measure needs several candidates to measure; leave --solver exact out")
        check_measurable(session.plan)
