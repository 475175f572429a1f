"""What every score must do: closed forms on populations as on single networks, forward passes on structures."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.emit import emit_backbone, emit_detector, emit_neck_and_head
from search_spaces.errors import UserError
from search_spaces.plugins import load_plugin, plugin_names
from search_spaces.space import load_space, shipped_spaces
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure
from tinynas.genes.layout import DEPTH, OUT
from tinynas.genes.population import Encoding

SCORES = plugin_names("tinynas.scores")
PLUGINS = {name: load_plugin("tinynas.scores", name) for name in SCORES}
CLOSED = [name for name in SCORES if hasattr(PLUGINS[name], "score")]
ADDITIVE = [name for name in SCORES if hasattr(PLUGINS[name], "gains")]
FORWARD = [name for name in SCORES if hasattr(PLUGINS[name], "score_structures")]
WEIGHTED = [name for name in SCORES if PLUGINS[name].WEIGHTS]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def some_genes(encoding: Encoding, seed: int, count: int) -> np.ndarray:
    genes = encoding.sample(count, np.random.default_rng(seed))
    # depths of one and equal widths are where repeats and projections vanish
    genes[DEPTH : DEPTH + 5, : count // 2] = 1
    genes[OUT + 2, : count // 3] = genes[OUT + 3, : count // 3]
    return encoding.repair(genes)


def deeper(structure: Structure, stage: int) -> Structure:
    stages = list(structure.backbone.stages)
    stages[stage] = replace(stages[stage], depth=stages[stage].depth + 1)
    return replace(structure, backbone=replace(structure.backbone, stages=tuple(stages)))


def values(plugin: ModuleType, structures: list[Structure]) -> np.ndarray:
    """Scores of single structures, whatever the kind of score."""
    if hasattr(plugin, "score_structures"):
        return plugin.score_structures(structures, repeats=1, images=2, side=32)
    return np.array([plugin.score(emit_backbone(structure), plugin.WEIGHTS) for structure in structures])


@pytest.mark.parametrize("name", SCORES)
def test_is_one_of_the_two_kinds_and_says_what_it_computes(name: str) -> None:
    plugin = PLUGINS[name]
    assert plugin.__doc__
    assert isinstance(plugin.WEIGHTS, tuple)
    assert len(plugin.WEIGHTS) in (0, 5)
    assert (name in CLOSED) != (name in FORWARD)
    if name in FORWARD:
        assert list(inspect.signature(plugin.score_structures).parameters)[:2] == ["structures", "seed"]


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("space", shipped_spaces())
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9))
@settings(max_examples=8, deadline=None)
def test_row_of_a_population_is_the_single_network(name: str, space: str, seed: int, count: int) -> None:
    plugin, encoding = PLUGINS[name], Encoding(load_space(space), (64, 96), 3)
    genes = some_genes(encoding, seed, count)
    rows = plugin.score(emit_backbone(encoding.population(genes)), plugin.WEIGHTS)
    assert rows.shape == (count,)
    assert rows.dtype == np.float64
    singles = [plugin.score(emit_backbone(encoding.single(genes, i)), plugin.WEIGHTS) for i in range(count)]
    assert all(type(single) is float for single in singles)
    np.testing.assert_allclose(rows, singles, rtol=1e-12)


@pytest.mark.parametrize("name", ADDITIVE)
@pytest.mark.parametrize("space", shipped_spaces())
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9))
@settings(max_examples=8, deadline=None)
def test_gains_add_up_to_the_score(name: str, space: str, seed: int, count: int) -> None:
    plugin, encoding = PLUGINS[name], Encoding(load_space(space), (64, 96), 3)
    genes = some_genes(encoding, seed, count)
    weights = np.random.default_rng(seed).integers(0, 9, 5) if plugin.WEIGHTS else ()
    for structure in (encoding.population(genes), encoding.single(genes)):
        graph = emit_backbone(structure)
        gains = plugin.gains(graph, weights)
        assert {path for path, _ in gains} <= {op.path for op in graph}
        np.testing.assert_allclose(sum(gain for _, gain in gains), plugin.score(graph, weights), rtol=1e-12)


@pytest.mark.parametrize("name", CLOSED)
def test_neck_and_head_do_not_count_unless_it_says_so(name: str) -> None:
    plugin, structure = PLUGINS[name], resolve_structure("Ns")
    deeper_neck = replace(structure, neck=replace(structure.neck, depth=1.0))
    whole, deep = (plugin.score(emit_detector(each), plugin.WEIGHTS) for each in (structure, deeper_neck))
    if "neck" in getattr(plugin, "SEES", ()):
        assert deep > whole
    else:
        assert whole == deep == plugin.score(emit_backbone(structure), plugin.WEIGHTS)
    one_more_class = structure.with_classes(structure.head.num_classes + 1)
    assert plugin.score(emit_detector(one_more_class), plugin.WEIGHTS) == whole


@pytest.mark.parametrize("name", SCORES)
def test_what_a_score_sees_of_the_image_size(name: str) -> None:
    plugin, structure = PLUGINS[name], resolve_structure("Ns")
    small, large = values(plugin, [structure.with_image_size(side, side) for side in (256, 320)])
    assert (small < large) if "image_size" in getattr(plugin, "SEES", ()) else (small == large)


@pytest.mark.parametrize("name", [name for name in ADDITIVE if "neck" in getattr(PLUGINS[name], "SEES", ())])
@pytest.mark.parametrize("space", shipped_spaces())
def test_gains_of_a_neck_alone_are_what_it_adds(name: str, space: str) -> None:
    """A search prices backbone and neck apart; together they must be the score of the whole, population or not."""
    plugin, encoding = PLUGINS[name], Encoding(load_space(space), (64, 96), 3)
    genes = some_genes(encoding, 0, 6)
    for structure in (encoding.population(genes), encoding.single(genes)):
        whole = emit_detector(structure)
        expected = plugin.score(whole, plugin.WEIGHTS)
        np.testing.assert_allclose(sum(gain for _, gain in plugin.gains(whole, plugin.WEIGHTS)), expected, rtol=1e-12)
        neck = sum(gain for _, gain in plugin.gains(emit_neck_and_head(structure), plugin.WEIGHTS))
        backbone = sum(gain for path, gain in plugin.gains(whole, plugin.WEIGHTS) if path.startswith("backbone."))
        np.testing.assert_allclose(backbone + neck, expected, rtol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_same_network_same_score_whoever_is_beside_it(name: str) -> None:
    plugin = PLUGINS[name]
    structures = [resolve_structure(known) for known in ("Ns", "T", "M")]
    first, again = values(plugin, structures), values(plugin, structures[::-1])
    np.testing.assert_array_equal(first, again[::-1])
    assert np.unique(first).size == len(structures)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("weights", [(), (1.0,) * 4, (1.0,) * 6])
def test_a_wrong_number_of_weights_is_refused(name: str, weights: tuple[float, ...]) -> None:
    plugin, graph = PLUGINS[name], emit_backbone(resolve_structure("Ns"))
    for function in (plugin.score, getattr(plugin, "gains", plugin.score)):
        with pytest.raises(UserError, match=rf"{len(weights)} found, expected 5"):
            function(graph, weights)


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("random", "deepmad")])
@pytest.mark.parametrize("known", ["T", "M", "Ns"])
@pytest.mark.parametrize("stage", [1, 4])
def test_a_deeper_network_scores_higher(name: str, known: str, stage: int) -> None:
    """DeepMAD's does not always: uneven depths cost it."""
    structure = resolve_structure(known).with_image_size(64, 64)
    shallow, deep = values(PLUGINS[name], [structure, deeper(structure, stage)])
    assert deep > shallow


def test_torch_is_imported_by_forward_passes_only() -> None:
    code = (
        "import sys; from search_spaces.plugins import load_plugin, plugin_names\n"
        "for name in plugin_names('tinynas.scores'): load_plugin('tinynas.scores', name)\n"
        "sys.exit(int('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
