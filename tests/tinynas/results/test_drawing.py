"""The picture of a network follows its graph, whatever neck it has, on the page and as a PNG."""

import re
from dataclasses import replace
from types import ModuleType
from typing import get_args

import cv2
import pytest

from latency_tables import find_table, predict
from search_spaces import emit
from search_spaces.builder import Builder
from search_spaces.emit import emit_detector
from search_spaces.schema import Fusion, Links
from search_spaces.text import format_structure, resolve_structure
from tests.tinynas.search_account import search_account
from tinynas.results.data import latency_by_scope
from tinynas.results.drawing import draw, scope_of
from tinynas.results.pictures import draw_network
from tinynas.results.report import write_report


def lateral(b: Builder, features, neck):
    """A neck with names of its own, one of them a backbone's: a conv per level, and the coarsest from its own scope."""
    outs = [b.conv(f"lateral{n}", x, neck.out_channels[n], activation="relu") for n, x in enumerate(features)]
    with b.scope("stage1"):
        return [*outs[:2], b.conv("last", outs[2], neck.out_channels[2], activation="relu")]


@pytest.fixture(params=[(fusion, links) for fusion in get_args(Fusion) for links in get_args(Links)] + ["a plug-in"])
def structure(request, monkeypatch):
    shipped = resolve_structure("Ns")
    if request.param != "a plug-in":
        fusion, links = request.param
        return replace(shipped, neck=replace(shipped.neck, fusion=fusion, links=links))
    plugin = ModuleType("lateral")
    plugin.emit = lateral
    load = emit.load_plugin
    monkeypatch.setattr(
        emit, "load_plugin", lambda package, name: plugin if package.endswith("necks") else load(package, name)
    )
    return shipped


def test_every_neck_is_drawn_with_all_its_links(structure, tmp_path):
    graph = emit_detector(structure)
    drawing = draw(structure, graph, {})
    scopes = {scope_of(op.path) for op in graph if op.kind not in ("input", "detect")} - {"head"}
    assert {node.scope for node in drawing.nodes if node.part != "head"} == scopes
    assert {node.part for node in drawing.nodes} == {"backbone", "neck", "head"}
    assert len({node.scope for node in drawing.nodes}) == len(drawing.nodes)
    ends = {(node.x, node.y) for node in drawing.nodes}
    reached = {link.points[-1] for link in drawing.links}
    assert reached <= ends
    assert len(reached) == len(drawing.nodes) - 1, "all but the stem read from another"
    fused = [graph.ops[graph.outputs[f"neck{number}"]] for number in (1, 2, 3)]
    shapes = {scope_of(op.path): op.shape for op in fused}
    for scope, shape in shapes.items():
        node = next(node for node in drawing.nodes if node.scope == scope)
        assert node.lines[1].startswith(f"{shape.channels} × {shape.height}")

    draw_network(drawing, dict.fromkeys(scopes | {"head", "overhead"}, 1.0), "a title", tmp_path / "network.png")
    assert cv2.imread(str(tmp_path / "network.png")).std() > 10


def test_the_page_draws_the_same(structure, tmp_path):
    account = search_account(tmp_path, ("S",))
    (tmp_path / "structure.txt").write_text(format_structure(structure))
    html = write_report(account, tmp_path).read_text()
    drawing = draw(structure, emit_detector(structure), {})
    assert len(re.findall('class="link"', html)) == len(drawing.links)
    assert re.findall('<path class="link" d="([^"]+)"', html) == [link.path for link in drawing.links]


@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_every_scope_of_a_prediction_has_its_place(fusion):
    shipped = resolve_structure("S")
    structure = replace(shipped, neck=replace(shipped.neck, fusion=fusion))
    graph = emit_detector(structure)
    priced = latency_by_scope(predict(graph, find_table("t4")))
    drawn = {node.scope for node in draw(structure, graph, priced).nodes}
    assert priced.keys() - {"head", "overhead"} <= drawn
