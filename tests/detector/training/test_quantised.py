"""Training with the rounding of an int8 export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detector.checkpoint import Checkpoint, load_checkpoint
from detector.export import ExportSettings, export_checkpoint
from detector.network import Network
from detector.quantisation.onnx import OnnxQuantiser
from detector.quantisation.openvino import OpenVINOQuantiser
from detector.training.loop import fit
from detector.training.machine.depthwise import speed_up_depthwise
from detector.training.optimizer.schedule import build_schedule, no_aug_epochs
from detector.training.settings.config import validate
from detector.training.start import load_splits, new_run, resumed_run
from detector.training.step import quantised
from detector.training.step.quantised import round_as_exported, rounded, rounded_weight
from detector.training.validation import evaluate_run
from search_spaces.errors import UserError
from search_spaces.graph import Op
from search_spaces.saying import silent
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure
from tests.detector.training.test_training import _config
from tinynas.cli import main

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 3, 64, 64)).astype(np.float32))


@pytest.fixture(scope="module")
def trained(tiny: Structure, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "r"
    fit(new_run(tiny, load_splits(sample, silent), _config(epochs=1), folder, silent))
    return folder / "best.pt"


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (-9.0, 0.5), (0.0, 6.0), (2.0, 6.0), (-4.0, -1.0)])
def test_activations_have_256_levels_over_their_range(symmetric: bool, low: float, high: float) -> None:
    x = torch.linspace(low, high, 5001).requires_grad_()
    found = rounded(x, symmetric=symmetric)
    reach = (min(low, 0.0), max(high, 0.0))
    if symmetric and low < 0:
        reach = (-max(abs(low), high), max(abs(low), high))
    step = (reach[1] - reach[0]) / (254 if symmetric and low < 0 else 255)
    assert torch.all((found - x).abs() <= 0.51 * step)
    assert len(found.unique()) <= 256
    assert rounded(torch.tensor([0.0, low, high]), symmetric=symmetric)[0] == 0
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


def test_zero_is_a_level_of_a_range_that_lies_above_it() -> None:
    """Padding is zero, so exporters widen every range to hold it."""
    levels = rounded(torch.linspace(5, 9, 1000), symmetric=False) * 255 / 9
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert len(levels.unique()) == round(255 * 4 / 9) + 1


@pytest.mark.parametrize(("format_name", "symmetric", "logits"), [("openvino", True, False), ("onnx", False, True)])
def test_each_format_rounds_as_its_exporter(
    tiny: Structure, monkeypatch: pytest.MonkeyPatch, format_name: str, symmetric: bool, logits: bool
) -> None:
    """NNCF's levels lie around zero, and the head's outputs stay as they are; ONNX Runtime's cover the range, logits too."""
    calls: list[bool] = []

    def recorded(x: torch.Tensor, *, symmetric: bool) -> torch.Tensor:
        calls.append(symmetric)
        return rounded(x, symmetric=symmetric)

    network = round_as_exported(Network(tiny).eval(), format_name)
    seen: dict[str, torch.Tensor] = {}
    run = type(network)._run

    def kept(self: Network, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        seen[op.path] = run(self, op, inputs)
        return seen[op.path]

    monkeypatch.setattr(quantised, "rounded", recorded)
    monkeypatch.setattr(type(network), "_run", kept)
    network(torch.rand(2, 3, 64, 64) * 255)
    assert set(calls) == {symmetric}
    *_, detect = network.graph.ops
    values = max(len(seen[network.graph.ops[source].path].unique()) for source in detect.inputs)
    assert (values <= 256) == logits


def test_nothing_but_zeros_stays_so() -> None:
    assert torch.equal(rounded(torch.zeros(4), symmetric=True), torch.zeros(4))
    assert torch.equal(rounded_weight(torch.zeros(4, 2, 3, 3)), torch.zeros(4, 2, 3, 3))


def test_weights_have_a_scale_per_out_channel() -> None:
    weight = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight *= torch.tensor([1e-3, 1.0, 1e3]).reshape(-1, 1, 1, 1)
    for channel, found in zip(weight, rounded_weight(weight)):
        levels = found / (channel.abs().max() / 127)
        assert torch.allclose(levels, levels.round(), atol=1e-3)
        assert (found - channel).abs().max() <= 0.501 * channel.abs().max() / 127


@pytest.mark.parametrize("format_name", ["openvino", "onnx"])
def test_every_weight_learns_and_keeps_its_name(tiny: Structure, format_name: str) -> None:
    torch.manual_seed(0)
    network = Network(tiny)
    keys, plain = list(network.state_dict()), network.eval().forward_raw(IMAGES)
    statistics = {key: value.clone() for key, value in network.state_dict().items() if "running" in key}
    speed_up_depthwise(network)
    round_as_exported(network, format_name).train()
    found = network.forward_raw(IMAGES)
    assert list(network.state_dict()) == keys
    spread = plain.cls_logits.std()
    assert 0 < (found.cls_logits - plain.cls_logits).abs().mean() < 0.2 * spread
    (found.cls_logits.square().mean() + found.reg_logits.square().mean()).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    assert all(torch.equal(network.state_dict()[key], value) for key, value in statistics.items())


def test_branches_are_rounded_as_the_conv_that_they_become() -> None:
    torch.manual_seed(0)
    network = Network(resolve_structure("T").with_image_size(64, 64)).eval()
    with torch.no_grad():
        whole, merged = (
            round_as_exported(network, "openvino")(IMAGES),
            round_as_exported(network.deploy(), "openvino")(IMAGES),
        )
    assert torch.allclose(whole[1], merged[1], atol=1e-4)


@pytest.mark.parametrize("format_name", ["openvino", "onnx"])
def test_rounding_is_as_large_as_the_exporters(tiny: Structure, tmp_path: Path, format_name: str) -> None:
    """How far int8 moves the logits of a picture: by the exporter's own quantisation, and in training. The file is run in
    floating point, between its roundings: some processors cannot add int8 products exactly."""
    torch.manual_seed(0)
    checkpoint = _spread(tiny)
    names = ("m.onnx", "m.xml")
    for name, written in zip(names, ("onnx", "openvino")):
        export_checkpoint(checkpoint, tmp_path / name, written, ExportSettings(output="raw"))
    picture = IMAGES[:1].numpy()
    quantiser = OnnxQuantiser if format_name == "onnx" else OpenVINOQuantiser
    made = quantiser(tmp_path / names[format_name == "openvino"], [picture])
    target = tmp_path / ("int8.onnx" if format_name == "onnx" else "int8.xml")
    made.save(made.model(()), target, "{}")
    exported = _in_floating_point(target, picture)
    with torch.no_grad():
        (plain,) = checkpoint.network()(IMAGES[:1])[1].numpy()
        (trained_so,) = round_as_exported(checkpoint.network(), format_name)(IMAGES[:1])[1].numpy()
    moved = np.abs(_logit(exported) - _logit(plain)).mean()
    assert 0.7 < np.abs(_logit(trained_so) - _logit(plain)).mean() / moved < 1.4


def _in_floating_point(path: Path, picture: np.ndarray) -> np.ndarray:
    """The scores (N, classes) of a raw int8 file, its roundings computed as they are written."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        scores = session.run(None, {session.get_inputs()[0].name: picture})[1]
    else:
        from detector.deploy.openvino import core

        exact = {"INFERENCE_PRECISION_HINT": "f32", "LP_TRANSFORMS_MODE": "NO"}
        scores = core().compile_model(str(path), "CPU", exact)(picture)[1]
    return np.asarray(scores[0])


def _spread(structure: Structure) -> Checkpoint:
    """Random weights with class logits that differ."""
    network = Network(structure.with_classes(3)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".cls." in name and name.endswith("weight"):
                parameter.mul_(10)
    return Checkpoint(structure=network.structure, class_names=("a", "b", "c"), weights=network.state_dict())


def _logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def test_a_run_that_rounds(tiny: Structure, sample: Path, trained: Path, tmp_path: Path) -> None:
    splits, config = load_splits(sample, silent), _config(epochs=2, quantise="onnx")
    run = new_run(tiny, splits, config, tmp_path / "r", silent, trained)
    fit(run)
    start, last = load_checkpoint(trained), load_checkpoint(tmp_path / "r" / "last.pt")
    assert last.ema is not None
    kept = {key for key, value in start.weights.items() if torch.equal(last.ema[key], value)}
    assert kept >= {key for key in start.weights if "running" in key or "num_batches" in key}
    assert not any(key.startswith(("backbone.", "neck.")) and key.endswith((".weight", "norm.bias")) for key in kept)
    resumed = resumed_run(tmp_path / "r", None, None, silent)
    assert type(resumed.stepper.network).__name__ == "QuantisedNetwork"
    assert evaluate_run(resumed).metrics == evaluate_run(run).metrics


def test_the_command_rounds_with_small_steps_and_plain_images(
    tiny_file: Path, sample: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BatchNorms keep their statistics: images of strong augmentation would not be what these are of."""
    command = ["train", str(tiny_file), "--data", str(sample), "--weights", str(trained), "--set", "quantise=onnx"]
    assert main([*command, "--out", str(tmp_path / "r"), "--epochs", "2", "--batch-size", "8"]) == 0
    assert (
        "adamw with a peak rate of 2e-05, whatever the length of the run; mosaic on no image" in capsys.readouterr().out
    )
    config = validate(load_checkpoint(tmp_path / "r" / "last.pt").config)
    assert no_aug_epochs(config.schedule, config.epochs) == config.epochs == 2
    schedule = build_schedule(config.schedule, 100, 10)
    assert schedule.factor(500) == schedule.factor(999) == 1.0


def test_rounding_from_a_random_start_is_refused(tiny: Structure, sample: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fine-tunes what is trained already.*pass --weights"):
        new_run(tiny, load_splits(sample, silent), _config(quantise="openvino"), tmp_path / "r", silent)
    assert not (tmp_path / "r").exists()
