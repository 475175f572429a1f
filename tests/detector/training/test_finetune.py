"""Starting from other weights, frozen parts and layer-wise rates, from the command line to the optimiser."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detector.checkpoint import load_checkpoint, save_checkpoint
from detector.network import Network
from detector.training.loop import fit
from detector.training.optimizer import build_optimizer, freeze, layer_names, norms_of_frozen, set_rate
from detector.training.settings.config import OptimizerConfig
from detector.training.start import load_splits, new_run, resumed_run
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.structure import Structure
from search_spaces.text import format_structure, resolve_structure
from tests.detector.training.test_refusals import QUICK, _refused
from tests.detector.training.test_training import _config
from tinynas.cli import main

LAYERS = ["backbone.stem", *(f"backbone.stage{number}" for number in range(1, 6)), "neck", "head"]


@pytest.fixture(scope="module")
def trained(tiny: Structure, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt of a short run on the sample data."""
    folder = tmp_path_factory.mktemp("trained") / "r"
    fit(new_run(tiny, load_splits(sample, silent), _config(epochs=1), folder, silent))
    return folder / "best.pt"


@pytest.fixture(scope="module")
def wider_file(tiny: Structure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    stages = tuple(replace(stage, hidden_channels=stage.hidden_channels + 8, depth=2) for stage in tiny.backbone.stages)
    path = tmp_path_factory.mktemp("structure") / "wider.txt"
    path.write_text(format_structure(replace(tiny, backbone=replace(tiny.backbone, stages=stages))))
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone", LAYERS[:6]),
        ("stem", LAYERS[:1]),
        ("stage2", LAYERS[2:3]),
        ("stem..stage3", LAYERS[:4]),
        ("stage2..stage5", LAYERS[2:6]),
        ("neck", ["neck"]),
        ("backbone.stage1", LAYERS[1:2]),
    ],
)
def test_what_a_name_freezes(name: str, expected: list[str], tiny: Structure) -> None:
    network = Network(tiny)
    freeze(network, [name])
    for layer in LAYERS:
        learning = {parameter.requires_grad for parameter in network.get_submodule(layer).parameters()}
        assert learning == {layer not in expected}


@pytest.mark.parametrize("name", ["bakbone", "stage6", "stem..stage9", "stage3..stem", "..", "stem..", "", "none"])
def test_unknown_names_are_refused(name: str, tiny: Structure) -> None:
    network = Network(tiny)
    with pytest.raises(
        UserError, match=r"no module .*expected backbone, neck, head, stem, stage1.*stem\.\.stage1"
    ) as error:
        freeze(network, [name])
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="nothing is left to learn"):
        freeze(network, ["backbone", "neck", "head"])


def test_stages_that_share_a_layer_freeze_together() -> None:
    with torch.device("meta"):
        network = Network(resolve_structure("M"))
    assert "backbone.stage4" not in layer_names(network)
    freeze(network, ["stem..stage3"])
    assert not any(p.requires_grad for p in network.get_submodule("backbone.stage3").parameters())
    assert all(p.requires_grad for p in network.get_submodule("backbone.stage5").parameters())


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_layer_wise_rates(name: str, tiny: Structure) -> None:
    network = Network(tiny)
    freeze(network, ["stem"])
    config = OptimizerConfig(name=name, layer_decay=0.5, weight_decay=0.1)  # type: ignore[arg-type]
    optimizer = build_optimizer(network, config, batch_size=8)
    set_rate(optimizer, 1.0)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for number, layer in enumerate(reversed(LAYERS)):
        for parameter in network.get_submodule(layer).parameters():
            assert rate_of.get(id(parameter)) == (None if layer == "backbone.stem" else 0.5**number)
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (0.1 if group["params"][0].ndim > 1 else 0)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rate_of)
    plain = build_optimizer(network, OptimizerConfig(), batch_size=8)
    assert {group["lr"] for group in plain.param_groups} == {8 * 0.01 / 64}


def test_the_first_rates_are_layer_wise_too(tiny: Structure) -> None:
    groups = build_optimizer(Network(tiny), OptimizerConfig(layer_decay=0.5), 64).param_groups
    assert {group["layer"]: group["lr"] for group in groups}["neck"] == pytest.approx(0.005)


def test_frozen_parts_stay_as_they_were(tiny: Structure, sample: Path, trained: Path, tmp_path: Path) -> None:
    config = _config(epochs=2, freeze=["stem..stage4"], optimizer={"layer_decay": 0.7})
    run = new_run(tiny, load_splits(sample, silent), config, tmp_path / "r", silent, trained)
    fit(run)
    start, last = load_checkpoint(trained).weights, load_checkpoint(tmp_path / "r" / "last.pt")
    assert last.ema is not None
    frozen = {key for key in start if key.startswith(tuple(f"{layer}." for layer in LAYERS[:5]))}
    for weights in (last.weights, last.ema):
        assert all(torch.equal(weights[key], start[key]) for key in frozen)
    moved = [key for key in set(start) - frozen if not torch.equal(last.weights[key], start[key])]
    assert any(key.endswith("running_mean") for key in moved)
    assert all(any(key.startswith(f"{layer}.") for key in moved) for layer in LAYERS[5:])
    learning = {id(p) for group in run.stepper.optimizer.param_groups for p in group["params"]}
    assert learning == {id(p) for p in run.stepper.network.parameters() if p.requires_grad}

    resumed = resumed_run(tmp_path / "r", None, None, silent)
    network = resumed.stepper.network
    assert not any(p.requires_grad for layer in LAYERS[:5] for p in network.get_submodule(layer).parameters())
    assert len(norms_of_frozen(network)) == len(norms_of_frozen(run.stepper.network)) > 5
    shares = [[group["rate_share"] for group in r.stepper.optimizer.param_groups] for r in (run, resumed)]
    assert shares[0] == shares[1]


def test_frozen_fresh_weights_are_pointed_out(
    tiny: Structure, wider_file: Path, trained: Path, sample: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    splits, config = load_splits(sample, silent), _config(freeze=["stem"])
    for structure, weights in ((tiny, None), (resolve_structure(str(wider_file)), trained), (tiny, trained)):
        new_run(structure, splits, config, tmp_path / "r", said.append, weights)
    warnings = [line for line in said if line.startswith("freeze: ")]
    assert len(warnings) == 1
    assert "3 of the 3 frozen tensors stay at their random start" in warnings[0]
    new_run(
        resolve_structure(str(wider_file)), splits, _config(freeze=["stage1"]), tmp_path / "r", said.append, trained
    )
    assert "(backbone.stage1.block1.conv1.conv.weight first); pass --weights" in said[-1]


def _train(*arguments: object) -> list[str]:
    return ["train", *(str(argument) for argument in arguments), *QUICK]


def test_weights_by_command(
    tiny_file: Path, wider_file: Path, trained: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", sample)
    assert main(_train(tiny_file, *data, "--out", tmp_path / "a", "--weights", trained, "--freeze", "stem,neck")) == 0
    said = capsys.readouterr().out
    assert "tensors loaded whole" in said
    assert "not loaded" not in said
    assert load_checkpoint(tmp_path / "a" / "last.pt").config["freeze"] == ["stem", "neck"]
    folder = trained.parent
    weights = ("--weights", folder, "--freeze", "none")
    assert main(_train(wider_file, *data, "--out", tmp_path / "b", *weights, "--set", "freeze=[neck]")) == 0
    said = capsys.readouterr().out
    assert f"weights from {folder}" in said
    assert "another structure: weight transfer, " in said
    assert "of the parameters (backbone " in said
    assert "not loaded, fresh (" in said


def test_weights_that_are_refused(
    tiny_file: Path, trained: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk, public = tmp_path / "junk.pt", tmp_path / "public.pth"
    junk.write_bytes(b"junk")
    torch.save({"model": {"backbone.x": torch.zeros(3)}}, public)
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, expected in (
        (("--weights", junk), "not a checkpoint that can be loaded safely"),
        (("--weights", tmp_path / "absent.pt"), "no such file"),
        (("--weights", public), "convert it with: tinynas import-weights"),
        (("--weights", empty), "0 checkpoints (*.pt), none with mob blocks"),
        (("--freeze", "bakbone"), "no module 'bakbone'"),
        (("--freeze", "backbone,neck,head"), "nothing is left to learn"),
        (("--set", "optimizer.layer_decay=1.5"), "optimizer.layer_decay"),
        (("--resume", trained.parent, "--freeze", "stem"), "leave out epochs, batch-size, freeze, structure"),
    ):
        out = () if "--resume" in arguments else ("--out", tmp_path / "r")
        error = _refused(_train(tiny_file, "--data", sample, *out, *arguments), capsys)
        assert expected in error
        assert not (tmp_path / "r").exists()


def test_evaluation_on_other_classes_is_refused(
    trained: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = load_checkpoint(trained)
    names = ("cat", *checkpoint.class_names[1:])
    save_checkpoint(replace(checkpoint, class_names=names), tmp_path / "other.pt")
    shutil.copytree(sample, tmp_path / "data")
    error = _refused(["eval", str(tmp_path / "other.pt"), "--data", str(tmp_path / "data")], capsys)
    assert f"class {checkpoint.class_names[0]!r} is not among" in error
