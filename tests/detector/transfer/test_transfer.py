"""Weight transfer: onto itself the identity, onto a larger network the same function, onto any other never an error."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.transfer.channels import Channels
from detector.transfer.filters import fit_kernel
from tests.detector.transfer.networks import (
    NECK_DEPTHS,
    SIZE,
    SPACES,
    assert_same_function,
    build,
    moved,
    sizes,
    structures,
    trained,
)


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
