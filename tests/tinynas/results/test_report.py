"""report.html: one page, complete, self-contained, and safe whatever names it is given."""

import json
import re

import pytest

from latency_tables.predictor import ORIGINS
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure, shipped_names
from tests.tinynas.results.page import Page
from tests.tinynas.search_account import search_account
from tinynas.results.drawing import PX_PER_CHANNEL, draw
from tinynas.results.report import write_report
from tinynas.results.report.latency import MEANINGS


def page_of(data, folder):
    path = write_report(data, folder)
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture
def family(tmp_path):
    return search_account(tmp_path)


def test_every_member_has_its_figures(family, tmp_path):
    _, page = page_of(family, tmp_path)
    assert "4 networks from space res" in page.text
    assert "524,288 candidates in 1.31 s, 381,679 per second" in page.text
    for target in family["targets"]:
        total = target["costs"]["latency_ms"]
        limit = target["budgets"][0]["limit"]
        assert f"{total:.3f} ms of {limit:g} ms {100 * total / limit:.1f} %" in page.text
        assert f"{target['score']:,.2f}" in page.text
        assert f"no network of the space scores above {target['certified']['bound']:,.2f}, 0.03 % more" in page.text
        assert f"{target['costs']['params'] / 1e6:.3f} M" in page.text
    assert "stages 3 + 4" in page.text
    assert page.text.count("derived 100.0 %") == 4


def test_shares_of_latency_and_score_add_up(tmp_path):
    data = search_account(tmp_path, ("S",))
    html, _ = page_of(data, tmp_path)
    rows = re.search(r'<table class="scopes">(.*?)</table>', html, re.S)[1]
    latency = [float(share) for share in re.findall(r"<em>([\d.]+) %</em>", rows)]
    score = [float(share) for share in re.findall(r"<b>([\d.]+) %</b>", rows)]
    assert sum(latency) == pytest.approx(100, abs=0.6)
    assert sum(score) == pytest.approx(100, abs=0.6)
    priced = next(iter(data["targets"][0]["latency"].values()))["by_scope"]
    assert len(latency) == sum(ms > 0 for ms in priced.values())


def test_nothing_is_loaded_from_anywhere(family, tmp_path):
    html, page = page_of(family, tmp_path)
    for tag, name, value in page.attributes:
        assert not (name in ("src", "href") and not value.startswith("data:")), (tag, name, value)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_chart_data_is_the_front_and_the_history(family, tmp_path):
    _, page = page_of(family, tmp_path)
    charts = json.loads(page.scripts[0])
    front = charts["front"]
    assert front["rows"] == sorted(family["front"]["rows"])
    assert front["columns"][front["x"]]["label"] == "latency"
    assert [mark["x"] for mark in front["marks"]] == [target["costs"]["latency_ms"] for target in family["targets"]]
    assert [mark["limit"] for mark in front["marks"]] == [2.8, 4.0, 6.0, 8.5]
    for member, target in zip(charts["members"], family["targets"], strict=True):
        assert member["bound"] == target["certified"]["bound"]
        # the first generations found nothing within budget
        found = [[row["evaluations"], row["best_score"]] for row in target["history"] if row["best_score"] is not None]
        assert member["history"] == found


def test_long_fronts_are_thinned_but_keep_their_ends(family, tmp_path):
    family["front"] = {"columns": ["latency_ms", "score"], "rows": [[1 + n / 1000, n] for n in range(10_001)]}
    _, page = page_of(family, tmp_path)
    rows = json.loads(page.scripts[0])["front"]["rows"]
    assert len(rows) <= 4001
    assert (rows[0], rows[-1]) == ([1.0, 0], [11.0, 10_000])


def test_a_front_without_figures_is_left_out(family, tmp_path):
    family["front"]["rows"][3][2] = None
    _, page = page_of(family, tmp_path)
    assert [column["label"] for column in json.loads(page.scripts[0])["front"]["columns"]] == [
        "latency", "score", "MACs", "layers",
    ]  # fmt: skip
    family["front"]["rows"] = [[None, 1.0, 2, 3, 4], [2.0, 1.0, 2, 3, 4], [1.0, float("nan"), 2, 3, 4]]
    _, page = page_of(family, tmp_path)
    assert json.loads(page.scripts[0])["front"] is None
    assert "What a budget buys" not in page.text


EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)> & \"quotes\" {{ 7 * 7 }}"


def test_names_cannot_break_out(tmp_path):
    data = search_account(tmp_path, ("S",))
    target = data["targets"][0]
    target["name"], target["structure_file"] = EVIL, EVIL
    target["latency"] = {EVIL: next(iter(target["latency"].values()))}
    target["latency"][EVIL]["by_scope"][EVIL] = 0.1
    target["latency"][EVIL]["parts"] = {EVIL: 1.0}
    target["budgets"].append({"quantity": EVIL, "limit": 1.0, "device": EVIL, "key": EVIL})
    data["settings"] = {EVIL: EVIL}
    data["commands"], data["tool"] = [EVIL], EVIL
    data["front"]["columns"][2] = EVIL
    html, page = page_of(data, tmp_path)
    assert len(page.scripts) == 2
    assert not [item for item in page.attributes if item[1].startswith("on") or item[0] == "img"]
    assert "alert('x')</script>" not in html
    assert "{{ 7 * 7 }}" in page.text
    assert json.loads(page.scripts[0])["members"][0]["name"] == EVIL


def test_one_network_without_proof_or_front_or_device(tmp_path):
    data = search_account(tmp_path, ("S",))
    target = data["targets"][0]
    target |= {"certified": None, "latency": {}, "history": []}
    target["budgets"] = [{"quantity": "conv_macs", "limit": 20e9, "device": "", "key": "conv_macs"}]
    del target["costs"]["latency_ms"]
    data |= {"front": None, "interrupted": True, "commands": []}
    _, page = page_of(data, tmp_path)
    assert "One network from space res" in page.text
    assert "Interrupted." in page.text
    assert "Not proven" in page.text
    assert "18.808 G of 20 G 94.0 %" in page.text
    assert "tinynas train structure.txt --data DIR" in page.text
    assert "What a budget buys" not in page.text
    assert "The family" not in page.text


def test_an_exact_solution_is_called_proven(tmp_path):
    data = search_account(tmp_path, ("S",))
    target = data["targets"][0]
    target["certified"] = {"bound": target["score"], "gap_percent": 0.0, "exact": True, "seconds": 3.1}
    target["history"], data["front"]["rows"] = [], data["front"]["rows"][:1]
    _, page = page_of(data, tmp_path)
    assert "Proven: no network of the space scores higher within the budget. Proved in 3.1 s." in page.text
    assert "Solved exactly in 1.31 s" in page.text
    assert "Convergence" not in page.text
    assert "What a budget buys" not in page.text


def test_a_proof_says_what_it_leaves_aside(tmp_path):
    data = search_account(tmp_path, ("S",))
    data["targets"][0]["certified"]["dropped"] = ["peak_memory_bytes"]
    _, page = page_of(data, tmp_path)
    assert "0.03 % more. The proof leaves the limit on peak fp32 memory aside." in page.text


def test_the_error_stands_with_every_figure(family, tmp_path):
    _, page = page_of(family, tmp_path)
    words = "derived, not measured, 2.5 % mean error on 13 published detectors, each left out once (largest 6.5 %)"
    table = next(iter(family["targets"][0]["latency"]))
    assert page.text.count(f"predicted on {table} {words}") == 4  # the tiles
    assert page.text.count(f"ms {words}") == 4  # where the latency comes from
    assert page.text.count(f"{table}: {words}") == 1  # the table of the family


def test_an_account_of_an_older_version_has_a_page(tmp_path):
    data = search_account(tmp_path, ("S",))
    for account in data["targets"][0]["latency"].values():
        del account["trust"]
    _, page = page_of(data, tmp_path)
    assert "predicted on t4-tensorrt-fp16-b1" in page.text


def test_every_origin_of_latency_is_drawn_in_a_colour_of_its_own(tmp_path):
    data = search_account(tmp_path, ("S",))
    account = next(iter(data["targets"][0]["latency"].values()))
    account["shares"] = dict.fromkeys(ORIGINS, 1 / len(ORIGINS))
    html, page = page_of(data, tmp_path)
    bar = re.search(r'<p class="stack thin"[^>]*>(.*?)</p>', html, re.S)[1]
    drawn = re.findall(r"width:([\d.]+)%;background:var\(--(\w+)\)", bar)
    assert [name for _, name in drawn] == list(ORIGINS)
    assert sum(float(width) for width, _ in drawn) == pytest.approx(100, abs=0.1)
    style = re.search(r"<style>(.*?)</style>", html, re.S)[1]
    for scheme in re.findall(r":root \{(.*?)\}", style, re.S):  # light, and dark
        colours = dict(re.findall(r"--(\w+): (#\w+);", scheme))
        assert set(ORIGINS) <= set(colours)
        assert len({colours[name] for name in ORIGINS}) == len(ORIGINS)
    for name in ORIGINS:
        assert f"{name} {100 / len(ORIGINS):.1f} %" in page.text
        assert ("li", "title", MEANINGS[name]) in page.attributes


@pytest.mark.filterwarnings("ignore:table")
def test_a_measured_table_s_fitted_rows_fill_the_bar(tmp_path):
    """Most rows of a measured table are fitted: they must not be left out of the bar."""
    data = search_account(tmp_path, ("S",), "epyc-zen5-openvino-fp32-b1-t1")
    html, _ = page_of(data, tmp_path)
    bar = re.search(r'<p class="stack thin"[^>]*>(.*?)</p>', html, re.S)[1]
    assert "var(--fitted)" in bar
    assert sum(float(width) for width in re.findall(r"width:([\d.]+)%", bar)) == pytest.approx(100, abs=0.1)


def test_a_family_that_was_measured_has_the_figures_in_its_table(family, tmp_path):
    for target in family["targets"]:
        (table,) = target["latency"]
        total = target["costs"]["latency_ms"]
        timed = {"runtime": "tensorrt 10.0", "processor": "a host"}
        target["measured"] = {table: {"predicted_ms": total, "measured_ms": 1.25 * total} | timed}
    _, page = page_of(family, tmp_path)
    assert f"measured on {table}" in page.text.split("params")[0]
    for target in family["targets"]:
        measured = 1.25 * target["costs"]["latency_ms"]
        assert f"{measured:.3f} ms measured, the table is -20.0 % off" in page.text
    assert page.text.count("the whole detector, tensorrt 10.0 on a host") == 4


def test_two_devices_and_a_measurement(tmp_path):
    data = search_account(tmp_path, ("S",))
    target = data["targets"][0]
    account = next(iter(target["latency"].values()))
    target["latency"]["other-device"] = {**account, "total": 2 * account["total"]}
    target["budgets"].append({"quantity": "latency_ms", "limit": 9.0, "device": "other-device", "key": "latency_ms@x"})
    target["measured"] = {"cpu": {"predicted_ms": 4.0, "corrected_ms": 4.1, "measured_ms": 4.125}}
    data["notes"] = ["take a larger image"]
    _, page = page_of(data, tmp_path)
    assert "measured on cpu (the table is -3.0 % off) 4.125 ms" in page.text
    assert "the corrected prediction, to what was measured -0.6 %" in page.text
    assert "take a larger image" in page.text
    assert "ms on other-device" in page.text
    assert f"{2 * account['total']:.3f} ms of 9 ms" in page.text


def test_a_missing_structure_file_leaves_the_picture_out_only(tmp_path):
    data = search_account(tmp_path, ("S",))
    (tmp_path / "structure.txt").unlink()
    _, page = page_of(data, tmp_path)
    assert "No drawing: structure.txt could not be read" in page.text
    assert "stage2" in page.text


def test_no_targets_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(UserError, match="no targets in it; expected the result of tinynas search"):
        write_report({"score": 1.0}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", shipped_names())
def test_the_drawing_is_to_scale_and_whole(name):
    structure = resolve_structure(name)
    graph = emit_detector(structure)
    drawing = draw(structure, graph, {})
    stages = [node for node in drawing.nodes if node.scope.startswith("stage")]
    assert sum(node.count for node in stages) == sum(stage.depth for stage in structure.backbone.stages)
    for node in stages:
        stage = structure.backbone.stages[int(node.scope[-1]) - 1]
        assert node.slab_width == pytest.approx(PX_PER_CHANNEL * stage.out_channels)
    heights = {node.scope: node.height for node in drawing.nodes}
    assert heights["stem"] == pytest.approx(4 * heights["stage2"])
    assert sum(node.part == "head" for node in drawing.nodes) == 3
    # every input of the five fusions and the head, and the chain of stages
    assert len(drawing.links) == len(stages) + 15
    for node in drawing.nodes:
        assert node.x >= 0
        assert node.x + node.width <= drawing.width + 1e-6
        assert node.y - node.height / 2 >= 0
        assert node.y + node.height / 2 <= drawing.height


def test_no_two_slabs_overlap():
    structure = resolve_structure("L")
    nodes = draw(structure, emit_detector(structure), {"stage3": 2.0}).nodes
    for number, node in enumerate(nodes):
        for other in nodes[number + 1 :]:
            beside = node.x + node.width <= other.x or other.x + other.width <= node.x
            apart = abs(node.y - other.y) >= (node.height + other.height) / 2
            assert beside or apart, (node.scope, other.scope)
