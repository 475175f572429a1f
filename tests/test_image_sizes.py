"""benchmarks/image_sizes.py: one network for each image size, all as fast as the one that the score chooses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detector.data.formats import load_split
from detector.data.sample import write_sample_data
from latency_tables import find_table
from latency_tables.predictor import predict
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import parse_structure
from tinynas.scores import entropy_sized

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import image_sizes

TABLE = "epyc-zen5-openvino-fp32-b1-t1"


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Of a machine where pictures above 250 px take 10 % longer than the table says."""
    table = find_table(TABLE)

    def network_ms(graphs: Sequence[Any], *, threads: int, precision: str) -> list[float]:
        return [predict(graph, table).total_ms * (1.1 if graph.image_size[0] > 250 else 1.0) for graph in graphs]

    monkeypatch.setattr(image_sizes, "runtime_here", lambda _: SimpleNamespace(network_ms=network_ms))
    return argparse.Namespace(
        out=tmp_path, space="mob", sizes=[256, 192, 640], device=TABLE, budget=5.0, steps=30, seeds=2, set=["workers=0"]
    )


def test_one_network_a_size_as_fast_as_the_scores_choice(options: argparse.Namespace) -> None:
    found = image_sizes.networks(options, classes=3)
    chosen, other, none = found.values()
    assert list(found) == ["256", "192", "640"]
    assert [chosen["kind"], other["kind"]] == ["chosen", "searched"]
    assert none["left_out"]
    assert other["measured_ms"] == pytest.approx(chosen["measured_ms"], rel=0.03)
    assert other["predicted_ms"] > 1.05 * chosen["predicted_ms"], "the smaller pictures are faster than the table says"
    for size, row in image_sizes.trained(found).items():
        graph = emit_detector(parse_structure(row["structure"]))
        assert graph.image_size == (int(size), int(size))
        assert row["score"] == pytest.approx(float(entropy_sized.score(graph, entropy_sized.WEIGHTS)), abs=1e-3)
    assert image_sizes.networks(argparse.Namespace(**{**vars(options), "budget": 1.0}), classes=3) == found, "as kept"


def test_a_budget_that_nothing_meets(options: argparse.Namespace) -> None:
    options.budget = 1.0
    with pytest.raises(UserError, match=r"--budget 1: no network of space mob is so fast at 192 px"):
        image_sizes.networks(options, classes=3)
    assert not (options.out / "networks.json").exists()


def test_every_network_trains_at_its_own_size(options: argparse.Namespace, tmp_path: Path) -> None:
    write_sample_data(tmp_path / "shapes", images_train=20, images_val=4, size=(64, 64))
    train, _ = load_split(tmp_path / "shapes", "train")
    rows = image_sizes.trained(image_sizes.networks(options, classes=3))
    jobs = image_sizes.alike(rows, train, options, {size: int(size) for size in rows})
    assert [job.name for job in jobs] == ["256-seed0", "192-seed0", "256-seed1", "192-seed1"]
    assert [job.config().image_size for job in jobs[:2]] == [[256, 256], [192, 192]]
    assert {(job.epochs, job.config().optimizer.short_run_factor) for job in jobs} == {(10, 8.0)}


def test_the_picture_shows_every_set(options: argparse.Namespace, tmp_path: Path) -> None:
    rows = {"256": {"structure": ""}, "192": {"structure": ""}, "640": {"left_out": "too slow"}}
    found = {"bccd": {"aps": {"256": [0.5, 0.6], "192": [0.4, None]}}}
    image_sizes.draw(found, rows, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 5000
