"""One account and one table of quantities: every figure that is shown is counted and named in one place."""

import json
from typing import get_args

import numpy as np
import pytest

from latency_tables import find_table, predict
from search_spaces import costs
from search_spaces.emit import emit_backbone, emit_detector
from search_spaces.space import load_space
from search_spaces.text import resolve_structure
from tinynas.account import account
from tinynas.budgets import Budget, Limited
from tinynas.cli import main
from tinynas.genes.population import Encoding
from tinynas.pricing.columns import budgeted
from tinynas.quantities import QUANTITIES, quantity_of


def test_an_account_adds_up():
    graph, table = emit_detector(resolve_structure("S")), find_table("t4")
    found = account(graph, {table.id: table})
    assert (found.params, found.conv_macs) == (costs.params(graph), costs.conv_macs(graph))
    assert sum(part.params for part in found.parts.values()) == found.params < found.params_train
    assert sum(part.params_train for part in found.parts.values()) == found.params_train
    assert sum(part.conv_macs for part in found.parts.values()) == found.conv_macs
    assert found.latency_ms() == {f"latency_ms@{table.id}": predict(graph, table).total_ms}
    assert "2.5 % mean error" in found.trust[table.id].text
    for name, value in found.counted().items():
        assert QUANTITIES[name].count(graph) == value


def test_what_can_be_limited_is_in_the_table_and_is_what_it_says():
    """Additive, rising, of the backbone alone: the flags that searches and proofs go by."""
    encoding = Encoding(load_space("res"), (320, 320), 5)
    ends = [encoding.corner(largest=end) for end in (False, True)]
    drawn = np.concatenate([*ends, encoding.sample(200, np.random.default_rng(0))], axis=1)
    population = encoding.population(drawn)
    whole, backbone = emit_detector(population), emit_backbone(population)
    for name in get_args(Limited):
        quantity = QUANTITIES[name]
        assert quantity.key == name
        if quantity.count is None:
            assert name in ("latency_ms", "neck_ms")
            continue
        values, alone = (np.broadcast_to(quantity.count(graph), drawn.shape[1]) for graph in (whole, backbone))
        assert np.array_equal(values, alone) == quantity.of_backbone
        assert (values.min() == values[0] and values.max() == values[1]) == quantity.rising
        if quantity.additive:
            terms = sum(value for _, value in budgeted(Budget(name, 1.0), {}).terms(whole))
            np.testing.assert_array_equal(terms, values)
        else:
            with pytest.raises(KeyError):
                budgeted(Budget(name, 1.0), {})


def test_figures_are_shown_in_the_quantity_s_unit():
    macs = quantity_of("conv_macs")
    assert (macs.text(18_264_123_456), macs.brief(9e9)) == ("18.264 G", "9 G")
    assert quantity_of("layers").text(25) == "25"
    assert quantity_of("params").text(None) == "–"
    assert quantity_of("latency_ms@t4").label == "latency on t4"
    assert (quantity_of("unheard_of").label, quantity_of("unheard_of").text("a word")) == ("unheard of", "a word")


def test_thop_counts_the_same_on_the_torch_module(capsys, monkeypatch):
    options = ["explain", "Ns", "--image-size", "64", "--num-classes", "3", "--check", "thop"]
    assert main([*options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = told["check"]
    assert found["agrees"]
    assert (found["params"] + 3, found["unseen"]) == (told["params_deploy"], 3)
    assert found["conv_macs"] == told["conv_macs"]
    assert main(options) == 0
    assert f"{found['conv_macs']:,} MACs: as the graph has them" in capsys.readouterr().out
    monkeypatch.setattr(costs, "conv_macs", lambda graph, part=None: 7)
    assert main(options) == 1
    assert "NOT what the graph has" in capsys.readouterr().out


def test_every_command_says_the_same_of_a_network(capsys):
    def said(*arguments):
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    explained, scored, compared = said("explain", "Nl"), said("score", "Nl"), said("compare", "Nl", "Nm")[0]
    found = account(emit_detector(resolve_structure("Nl")))
    assert found.params == explained["params_deploy"] == scored["params"] == compared["params"]
    assert (
        found.parts["backbone"].params == explained["parts"]["backbone"]["params_deploy"] == scored["params_backbone"]
    )
    for name in ("conv_macs", "layers"):
        assert getattr(found, name) == explained[name] == scored[name] == compared[name]
    assert found.peak_memory_bytes == explained["peak_memory_bytes"] == compared["peak_memory_bytes"]
