"""Weight transfer: onto itself the identity, onto a larger network the same function, onto any other never an error."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.network import Network
from detector.transfer import TransferReport, match_classes, refusals, transfer_checkpoint, transfer_weights
from detector.transfer.channels import Channels
from detector.transfer.filters import fit_kernel
from detector.transfer.nearest import distance, nearest_checkpoint, nearest_published
from search_spaces.errors import UserError
from search_spaces.structure import Backbone, Head, Neck, Stage, Stem, Structure
from search_spaces.text import resolve_structure

SPACES = ("mob", "res", "csp", "darknet")
STRIDES = (2, 2, 2, 1, 2)
NECK_DEPTHS = (0.0, 0.34, 0.67)
SIZE = (32, 64)


def build(
    space: str, outs: tuple[int, ...] = (8, 8, 8, 16, 16, 24), hidden: int = 16, depths: tuple[int, ...] = (1, 2, 2, 2, 2),
    kernel: int = 3, *, neck: dict[str, Any] | None = None, head: dict[str, Any] | None = None, **backbone: Any,
) -> Structure:  # fmt: skip
    """outs: of the stem and the five stages."""
    mob = space == "mob"
    act = "silu" if mob else "relu"
    stages = tuple(
        Stage(in_channels=i, out_channels=o, hidden_channels=hidden, depth=depth, stride=stride, kernel=kernel)
        for i, o, depth, stride in zip(outs, outs[1:], depths, STRIDES)
    )
    taps = (outs[2], outs[4], outs[5])
    made = Backbone(
        space=space, stem=Stem("conv" if mob else "focus", outs[0]), stages=stages, activation=act, reparam=not mob
    )
    return Structure(
        image_size=SIZE,
        backbone=replace(made, **backbone),
        neck=replace(
            Neck(
                kind="repgfpn",
                depth=0.34,
                hidden_ratio=0.5,
                in_channels=taps,
                out_channels=taps,
                activation=act,
                depthwise=mob,
            ),
            **neck or {},
        ),
        head=replace(Head(kind="zero", reg_max=7, kernel=1, num_classes=3), **head or {}),
    )


def trained(structure: Structure, seed: int = 0) -> Network:
    """A network in float64 with norms as training leaves them: none at its start."""
    torch.manual_seed(seed)
    network = Network(structure).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for level in range(3):
        nn.init.uniform_(network.detect.get_parameter(f"scale{level}"), 0.5, 1.5)
    return network


def moved(source: Network, structure: Structure, seed: int = 1) -> tuple[Network, TransferReport]:
    torch.manual_seed(seed)
    network = Network(structure).double().eval()
    return network, transfer_weights(source, network, range(3))


def assert_same_function(one: Network, other: Network) -> None:
    images = 255 * torch.rand(2, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        found, wanted = other.forward_raw(images), one.forward_raw(images)
    torch.testing.assert_close(found.cls_logits, wanted.cls_logits, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.reg_logits, wanted.reg_logits, rtol=1e-6, atol=1e-8)


@st.composite
def sizes(draw: st.DrawFn, space: str) -> dict[str, Any]:
    outs = [draw(st.sampled_from([8, 16, 24])) for _ in range(6)]
    if space == "csp" or draw(st.booleans()):
        outs[4] = outs[3]
    return {
        "outs": tuple(sorted(outs)),
        "hidden": draw(st.sampled_from([8, 16, 24])),
        "depths": tuple(draw(st.integers(1, 3)) for _ in range(5)),
        "kernel": draw(st.sampled_from([3, 5])),
    }


@st.composite
def structures(draw: st.DrawFn, space: str) -> Structure:
    neck = {
        "depth": draw(st.sampled_from(NECK_DEPTHS)),
        "hidden_ratio": draw(st.sampled_from([0.5, 1.0])),
        "links": draw(st.sampled_from(["down", "up", "both", "none"])),
        "fusion": draw(st.sampled_from(["csp_reparam_elan", "csp_reparam", "csp", "conv"])),
        "depthwise": draw(st.booleans()),
        "out_channels": draw(st.sampled_from([(8, 16, 24), (24, 24, 24)])),
    }
    head = {
        "kernel": draw(st.sampled_from([1, 3])),
        "reg_max": draw(st.sampled_from([4, 7])),
        "depth": draw(st.integers(0, 1)),
    }
    more = {"spp": draw(st.booleans()), "reparam": draw(st.booleans())}
    stem = Stem(draw(st.sampled_from(["conv", "focus"])), 8, draw(st.sampled_from([3, 5])))
    made = build(space, **draw(sizes(space)), neck=neck, head=head, **more)
    first = replace(made.backbone.stages[0], in_channels=8)
    return replace(made, backbone=replace(made.backbone, stem=stem, stages=(first, *made.backbone.stages[1:])))


@pytest.mark.parametrize("space", SPACES)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_onto_itself_is_the_identity(space: str, data: st.DataObject) -> None:
    source = trained(data.draw(structures(space)))
    network, report = moved(source, source.structure)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in source.state_dict().items())
    assert [*report.fresh, *report.partly, *report.unused, *report.refused] == []
    assert report.same_structure
    assert report.share() == 1.0


@pytest.mark.parametrize("space", SPACES)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_any_pair_of_a_space_fits(space: str, data: st.DataObject) -> None:
    one, other = (data.draw(structures(space)) for _ in range(2))
    source = trained(one)
    network, report = moved(source, other)
    assert all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())
    assert 0.0 < report.share("head") <= 1.0
    assert all(0 <= report.taken.get(key, 0) <= size for key, size in report.sizes.items())
    assert set(report.taken) <= set(report.sizes)
    with torch.inference_mode():
        assert bool(torch.isfinite(network(torch.zeros(1, 3, *SIZE, dtype=torch.float64))[1]).all())


@pytest.mark.parametrize("space", SPACES)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_a_larger_network_computes_the_same(space: str, data: st.DataObject) -> None:
    small = data.draw(sizes(space))
    steps, widths = 0, {}
    for out in sorted(set(small["outs"])):
        steps += data.draw(st.sampled_from([0, 8]))
        widths[out] = out + steps
    deeper = tuple(depth + data.draw(st.integers(0, 2)) for depth in small["depths"])
    # behind the pooling, whose SiLU goes below zero, an additional block's ReLU is no identity
    deeper = (*deeper[:4], deeper[4] if space != "res" or small["depths"][4] > 1 else 1)
    large = {
        "outs": tuple(widths[out] for out in small["outs"]),
        "hidden": small["hidden"] + data.draw(st.sampled_from([0, 8])),
        "depths": deeper,
        "kernel": max(small["kernel"], data.draw(st.sampled_from([3, 5]))),
    }
    fusion = data.draw(st.sampled_from(["csp_reparam_elan", "csp_reparam"]))
    depths = sorted(data.draw(st.sampled_from(NECK_DEPTHS)) for _ in range(2))
    reparam = {one: data.draw(st.booleans()) for one in "ab"}
    source = trained(build(space, **small, neck={"depth": depths[0], "fusion": fusion}, reparam=reparam["a"]))
    neck = {"depth": depths[1], "fusion": fusion, "hidden_ratio": data.draw(st.sampled_from([0.5, 0.75]))}
    head = {"kernel": data.draw(st.sampled_from([1, 3]))}
    network, report = moved(source, build(space, **large, neck=neck, head=head, reparam=reparam["b"]))
    assert_same_function(source, network)
    assert not report.unused


def test_the_same_twice_and_the_source_as_it_was() -> None:
    source = trained(build("mob"))
    before = {key: value.clone() for key, value in source.state_dict().items()}
    one, other = (
        moved(source, build("mob", (8, 8, 16, 16, 24, 16), hidden=8, neck={"depth": 0.67}))[0] for _ in range(2)
    )
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in before.items())


def test_a_stage_that_changes_its_width_gets_an_identity_as_projection() -> None:
    source = trained(build("res", (8, 16, 16, 16, 16, 24)))
    network, _ = moved(source, build("res", (8, 16, 16, 24, 32, 40)))
    assert "backbone.stage4.block1.projection" in dict(network.named_modules())
    assert_same_function(source, network)


def test_additional_head_convs_are_identities_behind_a_relu() -> None:
    source = trained(build("res", neck={"activation": "relu"}))
    assert_same_function(source, moved(source, build("res", head={"depth": 2}))[0])


def test_new_distances_start_unlikely() -> None:
    source = trained(build("mob", head={"reg_max": 4}))
    network, report = moved(source, build("mob", head={"reg_max": 6}))
    images = 255 * torch.rand(1, 3, *SIZE, dtype=torch.float64)
    with torch.inference_mode():
        wanted, found = source(images)[0], network(images)[0]
    assert (wanted - found).abs().max() < 1.0
    assert "head.level1.reg.conv.bias" in report.partly


def test_what_is_new_learns() -> None:
    """After a step or two every parameter has a gradient: silent blocks and unheard channels wake up."""
    source = trained(build("mob", hidden=8, depths=(1, 1, 1, 1, 1)))
    network, _ = moved(
        source, build("mob", (8, 16, 16, 24, 24, 32), hidden=24, depths=(1, 2, 2, 2, 2), neck={"depth": 0.67})
    )
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    images = 255 * torch.rand(2, 3, 64, 64, dtype=torch.float64)
    still = set(dict(network.named_parameters()))
    for _ in range(4):
        raw = network.forward_raw(images)
        optimizer.zero_grad()
        (raw.cls_logits.square().mean() + raw.reg_logits.square().mean()).backward()
        optimizer.step()
        still -= {name for name, p in network.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert not still


def test_narrowing_keeps_the_channels_that_scale_most() -> None:
    source = trained(build("mob", hidden=16))
    path = "backbone.stage1.block1"
    loud = [3, 4, 9, 10, 12, 13, 14, 15]
    with torch.no_grad():
        for name in ("conv1", "conv2"):
            norm = source.get_submodule(f"{path}.{name}.norm").weight
            norm.fill_(0.1)
            norm[loud] = 2.0
    network, report = moved(source, build("mob", hidden=8))
    for name, keep in (("conv1", (loud, slice(None))), ("conv2", (loud, slice(None))), ("conv3", (slice(None), loud))):
        wanted = source.get_parameter(f"{path}.{name}.conv.weight")[keep[0]][:, keep[1]]
        assert torch.equal(network.get_parameter(f"{path}.{name}.conv.weight"), wanted)
    mean = source.get_buffer(f"{path}.conv1.norm.running_mean")
    assert torch.equal(network.get_buffer(f"{path}.conv1.norm.running_mean"), mean[loud])
    assert report.share("backbone") == 1.0


def test_values_that_are_added_keep_the_same_channels() -> None:
    source = trained(build("res"))
    channels = Channels(source)
    at = {op.path: index for index, op in enumerate(source.graph)}
    one, other = at["backbone.stage2.block1.conv2"], at["backbone.stage2.block2.add"]
    assert channels.kept(one, 3).tolist() == channels.kept(other, 3).tolist()
    assert channels.kept(one, 10).tolist() == [*range(8), -1, -1]
    hidden = at["backbone.stage2.block1.conv1"]
    assert channels.group(hidden) != channels.group(one)


def test_kernels_about_their_centre() -> None:
    weight = torch.arange(9.0).reshape(1, 1, 3, 3)
    wide = fit_kernel(weight, 5)
    assert torch.equal(wide[..., 1:4, 1:4], weight)
    assert wide.sum() == weight.sum()
    assert torch.equal(fit_kernel(wide, 3), weight)
    assert fit_kernel(weight, 1).item() == 4.0


def test_an_additional_block_copies_the_last_one_and_is_silent() -> None:
    source = trained(build("mob"))
    network, report = moved(source, build("mob", depths=(1, 2, 3, 2, 2)))
    last, new = (f"backbone.stage3.block{number}" for number in (2, 3))
    for name in ("conv1", "conv2", "conv3"):
        found = network.get_parameter(f"{new}.{name}.conv.weight")
        assert torch.equal(found, source.get_parameter(f"{last}.{name}.conv.weight"))
    assert not network.get_parameter(f"{new}.conv3.norm.weight").any()
    assert {key.removeprefix(f"{new}.") for key in report.fresh} == {"conv3.norm.weight", "conv3.norm.bias"}


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
