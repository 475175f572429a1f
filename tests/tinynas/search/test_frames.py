"""Image sizes and necks that the search chooses: the best of all of them, its proof, and what is refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from latency_tables import find_table, predict
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.space import load_space
from search_spaces.text import resolve_structure
from tests.tinynas.exact.test_solver import enumerate_all, tiny
from tinynas.budgets import Budget, Target
from tinynas.cli import main
from tinynas.evolution.engine import Engine
from tinynas.evolution.loop import SearchSettings
from tinynas.exact.solver import priced
from tinynas.genes.membership import outside
from tinynas.pricing import columns
from tinynas.pricing.additive_costs import AdditiveCosts
from tinynas.published import of_most_similar_latency, published_necks, share_at
from tinynas.scores import entropy
from tinynas.search import framed
from tinynas.search.folder import held
from tinynas.search.framed import search_frames
from tinynas.search.frames import check_sizes_covered
from tinynas.search.options import SearchOptions
from tinynas.search.plan import Frame, SearchPlan
from tinynas.search.request import build_plan
from tinynas.search.several import build_plans

T4 = "t4-tensorrt-fp16-b1"
CPU = "epyc-zen5-openvino-fp32-b1-t1"


def tiny_plan(score, share=0.4, quantile=0.5, more=()):
    """Two sizes and three necks of a space that can be enumerated; the budget is a quantile of all latencies."""
    table = find_table("t4")
    space = tiny("res", [1, 1, 1, 2, 4], 2.0, [1, 0, 1, 0, 1], wide=(3,))
    space = space.model_copy(update={"score": space.score.model_copy(update={"kind": score})})
    necks = [space.neck.model_copy(update={"depth": depth}) for depth in (0.5, 1.0, 2.0)]
    frames = tuple(Frame((side, side), neck) for side in (160, 192) for neck in necks)
    plan = SearchPlan(
        space=space, tables={table.id: table}, targets=(), image_size=(160, 160), num_classes=4,
        settings=SearchSettings(evaluations=6000, population=32), frames=frames,
    )  # fmt: skip
    everything = [(frame, *all_of(plan, frame)) for frame in frames]
    limit = float(np.quantile(np.concatenate([totals[:, 1] for _, _, totals in everything]), quantile))
    budgets = (Budget("latency_ms", limit, table.id), Budget("neck_ms", share * limit, table.id), *more)
    return replace(plan, targets=(Target("one", budgets),)), everything


def all_of(plan, frame):
    inside = plan.framed(frame)
    encoding, table = inside.encoding(), next(iter(plan.tables.values()))
    genes = enumerate_all(encoding)
    every = [columns.score(encoding), columns.latency(table), columns.neck_latency(table)]
    return genes, AdditiveCosts(encoding, every).total(genes)


@pytest.mark.parametrize("score", ["entropy_sized", "entropy_detector"])
@pytest.mark.parametrize("quantile", [0.05, 0.6])
def test_the_best_of_all_frames_is_that_of_enumeration(score, quantile):
    plan, everything = tiny_plan(score, quantile=quantile)
    latency, neck = plan.targets[0].budgets
    best, where = -np.inf, None
    for frame, _, totals in everything:
        within = (totals[:, 1] <= latency.limit) & (totals[:, 2] >= neck.limit)
        if within.any() and totals[within, 0].max() > best:
            best, where = totals[within, 0].max(), frame
    result = search_frames(plan, Engine(), None, seconds=60)
    (member,) = result.members
    assert member.score == pytest.approx(best, rel=1e-12)
    assert member.frame == where
    assert (member.structure.image_size, member.structure.neck.depth) == (where.image_size, where.neck.depth)
    assert member.certified["exact"]
    assert member.certified["bound"] == pytest.approx(best, rel=1e-8)
    assert member.costs[neck.key] >= neck.limit
    assert member.costs[latency.key] <= latency.limit
    for row, (_, _, totals) in zip(result.frames, everything, strict=True):
        within = (totals[:, 1] <= latency.limit) & (totals[:, 2] >= neck.limit)
        own = totals[within, 0].max() if within.any() else None
        known = row["networks"]["one"]
        if known["score"] is not None:
            assert known["score"] == pytest.approx(own, rel=1e-12)
        elif own is not None:
            assert own <= known["bound"] * (1 + 1e-9) or own <= best


def test_a_limit_that_is_no_sum_has_every_frame_evolved():
    memory = Budget("peak_memory_bytes", 3e6)
    plan, everything = tiny_plan("entropy_sized", quantile=0.6, more=(memory,))
    latency, neck, _ = plan.targets[0].budgets
    result = search_frames(plan, Engine(), None, seconds=60)
    (member,) = result.members
    assert result.evaluated >= 3 * 900
    assert member.costs["peak_memory_bytes"] <= memory.limit
    assert member.costs[neck.key] >= neck.limit
    assert member.certified["dropped"] == ["peak_memory_bytes"]
    assert not member.certified["exact"]
    unlimited = max(
        totals[(totals[:, 1] <= latency.limit) & (totals[:, 2] >= neck.limit), 0].max(initial=-np.inf)
        for _, _, totals in everything
    )
    assert member.score <= unlimited * (1 + 1e-12)
    assert member.certified["bound"] >= unlimited * (1 - 1e-9)


def test_a_damaged_state_is_no_frame_without_a_network(tmp_path):
    plan, _ = tiny_plan("entropy_sized", quantile=0.6, more=(Budget("peak_memory_bytes", 3e6),))
    with held(tmp_path) as run:
        run.begin({})
        run.state_path(1).write_bytes(b"half a file")
        with pytest.raises(UserError, match=r"state-1.npz: not a readable search state"):
            search_frames(plan, Engine(), run, seconds=1, resume=True)


def test_from_the_command_line(tmp_path, capsys):
    """The files tell what was chosen, the structure is the space's, and it can be explained."""
    options = ["--budget", "6ms", "--device", "t4", "--image-size", "576,640", "--neck", "search", "--space", "csp"]
    assert main(["search", *options, "--out", str(tmp_path / "a")]) == 0
    shown = capsys.readouterr().out
    data = json.loads((tmp_path / "a" / "search.json").read_text())
    (target,) = data["targets"]
    structure = resolve_structure(tmp_path / "a" / "structure.txt")
    assert list(structure.image_size) == target["frame"]["image_size"]
    assert structure.neck.depth == target["frame"]["neck"]["depth"]
    assert outside(structure, load_space("csp")) is None
    assert len(data["frames"]) == len(data["settings"]["frames"]) == 6
    assert "one of 6 combinations" in shown
    assert "published M, 5.63 ms: 44 %" in shown
    published = share_at(published_necks(find_table("t4"), "csp", 80), 6.0)
    assert target["neck_share"][T4]["share"] >= published * 6.0 / target["latency"][T4]["total"] - 1e-9
    assert target["certified"]["exact"]
    assert structure.search["score_kind"] == "entropy_sized"
    assert "image sizes and necks" in (tmp_path / "a" / "report.html").read_text().lower()
    assert (tmp_path / "a" / "front.csv").read_text().splitlines()[0].endswith("image_size,neck_depth")
    assert main(["explain", str(tmp_path / "a" / "structure.txt"), "--why", "--json"]) == 0
    why = json.loads(capsys.readouterr().out)
    assert why["best"] == pytest.approx(target["score"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--image-size", "640..256"], "--image-size 640..256: .*the smaller first"),
        (["--image-size", "256..600"], "600 is not a multiple of 32; the nearest is 608"),
        (["--image-size", "320,417"], "417 is not a multiple of 32"),
        (["--image-size", "320,"], "expected H or HxW in pixels"),
        (["--image-size", "480x640..640"], "two square sizes expected"),
        (
            ["--image-size", "608..768", "--budget", "60ms", "--device", CPU, "--no-measure"],
            f"table {CPU} does not cover 672x672, .* 608x608 to 640x640 of them are covered",
        ),
        (
            ["--image-size", "736,768", "--budget", "60ms", "--device", CPU, "--no-measure"],
            "does not cover 736x736, .*; none of them is covered; take other sizes, or profile",
        ),
        (["--image-size", "320,416", "--score", "zen"], "score zen does not see the image size"),
        (["--image-size", "320,416", "--score", "entropy"], "score entropy does not see the image size"),
        (["--image-size", "320,416", "--measure", "2"], "--measure goes with one image size and one neck"),
        (["--neck", "serach"], "did you mean search"),
        (["--neck", "search", "--backbone-only"], "the backbone alone has no neck"),
        (["--neck-share", "1.5"], "--neck-share '1.5': expected a share between 0 and 1"),
        (["--neck-share", "40%"], "--neck-share '40%': expected a share"),
        (["--neck-share", "0.4", "--backbone-only"], "the backbone alone has no neck"),
        (["--neck-share", "0.9"], "neck at least"),
        (["--image-size", "512..640", "--budget", "0.5ms"], r"reachable range is [\d.]+ ms"),
    ],
)
def test_what_cannot_be_chosen_is_one_line(tmp_path, capsys, options, words):
    given = options if "--budget" in options else ["--budget", "3.8ms", *options]
    quick = ["--evaluations", "2000", "--population", "32"]
    assert main(["search", "--device", "t4", *quick, "--out", str(tmp_path / "out"), *given]) == 2
    error = capsys.readouterr().err
    assert len([line for line in error.splitlines() if line.startswith("error")]) == 1
    assert re.search(words, error), error
    assert not (tmp_path / "out").exists()


def test_costs_with_another_neck_are_those_compiled_anew():
    plan, _ = tiny_plan("entropy_detector")
    inside = [plan.framed(frame).encoding() for frame in plan.frames[:2]]
    first, anew = (priced(each, plan.targets[0].budgets, plan.tables, None, False) for each in inside)
    genes = inside[0].sample(50, np.random.default_rng(0))
    before = first.total(genes)
    derived = first.with_neck(inside[1])
    np.testing.assert_allclose(derived.total(genes), anew.total(genes), rtol=1e-12)
    np.testing.assert_array_equal(first.total(genes), before)
    assert not np.allclose(before, derived.total(genes))
    with pytest.raises(ValueError, match="more than the neck"):
        first.with_neck(plan.framed(plan.frames[-1]).encoding())


def test_ctrl_c_between_frames_says_how_many_were_solved(tmp_path, capsys, monkeypatch):
    real, calls = framed._solve, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(framed, "_solve", interrupted)
    options = ["--budget", "6ms", "--device", CPU, "--no-measure", "--image-size", "256,288,320,352", "--space", "mob"]
    assert main(["search", *options, "--out", str(tmp_path / "a")]) == 130
    shown = capsys.readouterr().out
    assert (
        "interrupted after 2 of 4 combinations of image size and neck (--resume begins with the first again)" in shown
    )
    assert "one of 4 combinations" in shown


def test_a_neck_needs_a_latency(tmp_path, capsys):
    assert main(["search", "--max-macs", "9G", "--neck", "search", "--out", str(tmp_path / "out")]) == 2
    assert "--neck search: the neck's share is one of a latency" in capsys.readouterr().err


def test_a_space_with_one_neck_has_none_to_choose():
    with pytest.raises(UserError, match="space doorbell has only one neck; add neck_choices"):
        build_plan(SearchOptions(max_macs="150M", space="docs/examples/doorbell.yaml", neck="search"))


def test_plans_without_a_choice_are_as_before():
    plan = build_plan(SearchOptions(budget="3.8ms", device="t4"))
    assert plan.frames == ()
    assert plan.space.score.kind == "entropy"
    assert [budget.quantity for budget in plan.targets[0].budgets] == ["latency_ms", "layers"]
    check_sizes_covered(plan)


def test_the_share_is_between_those_of_the_published_detectors():
    necks = published_necks(find_table("t4"), "res", 80)
    assert [neck.name for neck in necks] == ["T", "S"]
    small, large = necks
    assert small.share == pytest.approx(0.466, abs=0.001)
    assert share_at(necks, small.latency_ms) == pytest.approx(small.share)
    assert share_at(necks, 1.0) == pytest.approx(small.share)
    assert share_at(necks, 99.0) == pytest.approx(large.share)
    middle = share_at(necks, (small.latency_ms * large.latency_ms) ** 0.5)
    assert middle == pytest.approx((small.share + large.share) / 2)
    assert of_most_similar_latency(necks, 3.0).name == "T"
    assert of_most_similar_latency([], 3.0) is None


def test_a_share_of_ones_own_is_a_floor():
    plan = build_plan(SearchOptions(budget="2.5ms,3.8ms", device="t4", neck_share="0.5"))
    floors = [budget for target in plan.targets for budget in target.budgets if budget.quantity == "neck_ms"]
    assert [floor.limit for floor in floors] == [1.25, 1.9]
    assert all(floor.floor and floor.device == T4 for floor in floors)
    off = build_plan(SearchOptions(budget="3.8ms", device="t4", neck="search", neck_share="off"))
    assert [budget.quantity for budget in off.targets[0].budgets] == ["latency_ms", "layers"]
    assert len(off.frames) == 8


def test_a_second_stage_takes_sizes_one_by_one_and_no_necks():
    asked = SearchOptions(budget="3.8ms", device="t4", space="res", image_size="576..640")
    plans = build_plans(asked, str)
    assert [plan.image_size[0] for plan in plans] == [576, 608, 640]
    assert all(plan.frames == () for plan in plans)
    with pytest.raises(UserError, match=r"^--image-size 320,417: .*417 is not a multiple of 32"):
        build_plans(replace(asked, image_size="320,417"), str)
    with pytest.raises(UserError, match=r"--neck search .* leave it out"):
        build_plans(replace(asked, neck="search"), str)


def test_layers_of_a_search_over_necks_are_those_of_the_choices():
    for neck, layers in (("rule", 35), ("search", 45)):
        plan = build_plan(SearchOptions(budget="7.9ms", device="t4", space="csp", neck=neck))
        assert next(b.limit for b in plan.targets[0].budgets if b.quantity == "layers") == layers


def test_at_the_largest_detectors_latency_csp_uses_its_budget_and_scores_as_much():
    largest, table = resolve_structure("L"), find_table("t4")
    latency = predict(emit_detector(largest), table).total_ms
    plan = build_plan(SearchOptions(budget=f"{latency:.3f}ms", device="t4", space="csp", neck="search"))
    (member,) = search_frames(plan, Engine(), None, seconds=30).members
    assert latency * 0.99 <= member.account.latency[T4].total_ms <= latency + 0.001
    assert member.score >= entropy.score(emit_detector(largest), plan.space.score.weights)
    assert member.certified["exact"]
