"""Whose weights are taken: classes that meet by name, spaces that are refused, the nearest published detector."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.network import Network
from detector.transfer import match_classes, refusals, transfer_checkpoint
from detector.transfer.nearest import distance, nearest_checkpoint, nearest_published
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure
from tests.detector.transfer.networks import (
    build,
    moved,
    trained,
)


def test_classes_by_name() -> None:
    assert match_classes(("cat", "Dog", "cat"), ("dog ", "horse", "CAT")) == [1, -1, 0]


def test_classes_meet_by_the_names_that_data_sets_have_for_them() -> None:
    source = ("couch", "mouse", "mouse (animal)", "tv")
    known = {
        "couch": ("Sofa", "settee"),
        "mouse (animal)": ("Mouse", "rodent"),
        "tv": ("screen",),
        "mouse": ("rodent",),
    }
    names = ("sofa", "Mouse", "rodent", "Television", "couch")
    # its own name goes before another's other name; what two classes are called says nothing
    assert match_classes(source, names, known) == [0, 1, -1, -1, 0]
    assert match_classes(source, names, known, {"Television": ("monitor", "TV")}) == [0, 1, -1, 3, 0]
    assert match_classes(source, ("display",), known, {"display": ("Screen",)}) == [3]
    source = trained(build("mob")).float()
    checkpoint = Checkpoint(structure=source.structure, class_names=("cat", "dog", "cow"), weights=source.state_dict())
    torch.manual_seed(1)
    network = Network(source.structure.with_classes(2))
    report = transfer_checkpoint(checkpoint, network, ("horse", "dog"), "a.pt")
    weight, bias = (network.state_dict()[f"head.level2.cls.conv.{name}"] for name in ("weight", "bias"))
    assert torch.equal(weight[1], source.state_dict()["head.level2.cls.conv.weight"][1])
    assert bias[0].sigmoid().item() == pytest.approx(0.01)
    assert bias[1] == source.state_dict()["head.level2.cls.conv.bias"][1]
    assert report.new_classes == ["horse"]
    assert torch.equal(
        network.get_parameter("head.level1.reg.conv.weight"), source.get_parameter("head.level1.reg.conv.weight")
    )
    lines = report.lines("a.pt")
    assert lines[0].startswith("weights from a.pt: ")
    assert any("fresh: horse" in line for line in lines)
    assert any("loaded in part (6 tensors): head.level1.cls" in line for line in lines)


def test_averaged_weights_are_taken() -> None:
    plain, average = (trained(build("mob"), seed).float() for seed in (1, 2))
    checkpoint = Checkpoint(
        structure=plain.structure, class_names=("a", "b", "c"), weights=plain.state_dict(), ema=average.state_dict()
    )
    network = Network(plain.structure)
    transfer_checkpoint(checkpoint, network, ("a", "b", "c"), "a.pt")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in average.state_dict().items())


def test_other_spaces_are_refused_by_part() -> None:
    source = trained(build("res", neck={"activation": "relu"}))
    _, report = moved(source, build("csp"))
    assert list(report.refused) == ["backbone"]
    assert report.share("backbone") == 0
    assert report.share("neck") > 0.5
    text = "\n".join(report.lines("a.pt"))
    assert "backbone: not transferred, its blocks are res, here csp" in text
    assert "backbone" in text.split("not loaded, fresh")[1]
    assert refusals(source.structure, build("mob")).keys() == {"backbone", "neck"}
    checkpoint = Checkpoint(
        structure=source.structure, class_names=("a", "b", "c"), weights=source.float().state_dict()
    )
    with pytest.raises(UserError, match=r"a\.pt: nothing in it fits .*expected a checkpoint with mob blocks"):
        transfer_checkpoint(checkpoint, Network(build("mob")), ("a", "b", "c"), "a.pt")


def test_nearest(tmp_path: Path) -> None:
    ns, nm = resolve_structure("Ns"), resolve_structure("Nm")
    assert distance(ns, ns) == 0
    assert distance(ns, nm) == distance(nm, ns) > 0
    assert math.isinf(distance(ns, resolve_structure("S")))
    first = ns.backbone.stages[0]
    close = replace(
        ns, backbone=replace(ns.backbone, stages=(replace(first, hidden_channels=72), *ns.backbone.stages[1:]))
    )
    assert nearest_published(close) == "Ns"
    assert nearest_published(build("darknet")) is None
    with pytest.raises(UserError, match=r"0 checkpoints .*none with mob blocks.*--model Ns"):
        nearest_checkpoint(tmp_path, close)
    for name, made in (("a", build("mob", depths=(1, 3, 3, 3, 3))), ("b", build("mob")), ("c", build("res"))):
        save_checkpoint(
            Checkpoint(structure=made, class_names=("a", "b", "c"), weights=Network(made).state_dict()),
            tmp_path / f"{name}.pt",
        )
    assert nearest_checkpoint(tmp_path, build("mob", hidden=24)).name == "b.pt"
    (tmp_path / "d.pt").write_bytes(b"junk")
    with pytest.raises(UserError, match=r"d\.pt: not a checkpoint"):
        nearest_checkpoint(tmp_path, build("mob"))
