"""A search's state between two epochs: all that is needed to go on, bit by bit as if it had not stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from search_spaces.errors import UserError
from search_spaces.files import replacing
from tinynas.evolution.front import Front
from tinynas.evolution.islands import Batch, Island, Pool

VERSION = 1
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchState:
    """`evaluated` candidates in `epoch` epochs. `history`: rows {evaluations, best_score (None while nothing is within
    budget), costs} per target. `polished`: marks of the candidates whose neighbourhoods were searched."""

    evaluated: int
    epoch: int
    islands: tuple[Island, ...]
    front: Front
    history: tuple[tuple[dict[str, Any], ...], ...]
    polished: frozenset[int]
    population: int

    def pool(self, target: int = 0, most: int | None = None) -> Pool:
        """A target's survivors on all islands, best first; only the best `most` if given."""
        most = most or self.population * len(self.islands)
        pool = self.islands[0].pools[target].first(most)
        for island in self.islands[1:]:
            pool = pool.join(island.pools[target].first(most), most)
        return pool

    def save(self, path: Path) -> None:
        """Write the state as npz (no pickles), at once or not at all."""
        arrays: Arrays = dict(_front_arrays("front", self.front))
        for number, island in enumerate(self.islands):
            for target, pool in enumerate(island.pools):
                arrays |= _pool_arrays(f"pool{number}.{target}", pool)
        header = {
            "version": VERSION, "evaluated": self.evaluated, "epoch": self.epoch, "population": self.population,
            "islands": [island.rng_state for island in self.islands], "targets": len(self.history),
            "history": self.history, "polished": sorted(self.polished),
            "front": {"key": self.front.key, "origin": self.front.origin},
        }  # fmt: skip
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @staticmethod
    def load(path: Path) -> SearchState:
        """Read a saved state. Raises UserError when the file is damaged or of another version."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            header = json.loads(arrays["header"].tobytes())
            if header["version"] == VERSION:
                return _assemble(header, arrays)
        except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
            raise UserError(f"{path}: not a readable search state ({error}); start the search again") from None
        raise UserError(f"{path}: written by another version of this tool; start the search again")


def record(
    history: tuple[tuple[dict[str, Any], ...], ...], evaluated: int, steps: list[list[Batch]]
) -> tuple[tuple[dict[str, Any], ...], ...]:
    """The history with an epoch's steps of all islands, which count as taken side by side."""
    rows = [list(target) for target in history]
    for together in _side_by_side(steps):
        evaluated += sum(step.evaluated for step in together)
        for target, earlier in enumerate(rows):
            excess, score, costs = min((step.best[target] for step in together), key=lambda best: (best[0], -best[1]))
            row = {"evaluations": evaluated, "best_score": score if excess <= 0 else None, "costs": costs}
            before = earlier[-1]["best_score"] if earlier else None
            if before is not None and (row["best_score"] is None or row["best_score"] <= before):
                row = {**earlier[-1], "evaluations": evaluated}
            earlier.append(row)
    return tuple(tuple(target) for target in rows)


def _side_by_side(steps: list[list[Batch]]) -> Iterator[list[Batch]]:
    for number in range(max((len(of_island) for of_island in steps), default=0)):
        yield [of_island[number] for of_island in steps if number < len(of_island)]


def _pool_arrays(name: str, pool: Pool) -> Arrays:
    arrays: Arrays = {f"{name}.cost.{key}": values for key, values in pool.costs.items()}
    parts = {"genes": pool.genes, "score": pool.score, "excess": pool.excess, "marks": pool.marks}
    return arrays | {f"{name}.{part}": values for part, values in parts.items()}


def _pool(name: str, arrays: Arrays) -> Pool:
    prefix = f"{name}.cost."
    costs = {key.removeprefix(prefix): values for key, values in arrays.items() if key.startswith(prefix)}
    return Pool(
        genes=arrays[f"{name}.genes"],
        score=arrays[f"{name}.score"],
        costs=costs,
        excess=arrays[f"{name}.excess"],
        marks=arrays[f"{name}.marks"],
    )


def _front_arrays(name: str, front: Front) -> Arrays:
    parts = {"score": front.score, "cost": front.cost, "genes": front.genes, "envelope": front.envelope}
    return {f"{name}.{part}": values for part, values in parts.items()}


def _assemble(header: dict[str, Any], arrays: Arrays) -> SearchState:
    parts = {part: arrays[f"front.{part}"] for part in ("score", "cost", "genes", "envelope")}
    front = Front(key=header["front"]["key"], origin=header["front"]["origin"], **parts)
    islands = tuple(
        Island(rng, tuple(_pool(f"pool{number}.{target}", arrays) for target in range(header["targets"])))
        for number, rng in enumerate(header["islands"])
    )
    history = tuple(tuple(rows) for rows in header["history"])
    polished = frozenset(header["polished"])
    return SearchState(
        evaluated=header["evaluated"],
        epoch=header["epoch"],
        islands=islands,
        front=front,
        history=history,
        polished=polished,
        population=header["population"],
    )
