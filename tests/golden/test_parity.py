"""Released checkpoints: every key has its place, and the architecture's published outputs come back."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from detector.checkpoint import Checkpoint, load_checkpoint
from detector.data.coco_names import COCO_NAMES
from detector.export import ExportSettings, export_checkpoint
from detector.import_weights import IGNORED, import_state, key_map
from detector.network import Network
from search_spaces.text import resolve_structure
from tinynas.cli import main

FAMILY = ("T", "S", "M", "L", "Ns", "Nm", "Nl")
WITH_FIGURES = ("Ns", "T", "M")
SCORES, BOXES_PX = 1e-4, 1e-2


@cache
def public_shapes(reference: Path, name: str) -> dict[str, tuple[int, ...]]:
    """{key: shape} of a released checkpoint."""
    rows = [line.split("\t")[:2] for line in (reference / "state_dict" / f"{name}.tsv").read_text().splitlines()[1:]]
    return {key: () if shape == "scalar" else tuple(int(n) for n in shape.split("x")) for key, shape in rows}


def generated_value(key: str, shape: tuple[int, ...]) -> Tensor:
    """The weight that the figures were made with."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_mean"):
        value = 0.1 * generator.standard_normal(shape)
    elif key.endswith("running_var"):
        value = 0.8 + 0.4 * generator.random(shape)
    elif len(shape) >= 2:
        value = 0.7 * np.sqrt(2 / np.prod(shape[1:])) * generator.standard_normal(shape)
    elif key.endswith("bias"):
        value = 0.2 * generator.random(shape) - 0.1
    else:
        value = 0.8 + 0.4 * generator.random(shape)
    return torch.tensor(np.asarray(value), dtype=torch.float32)


@cache
def public_state(reference: Path, name: str) -> dict[str, Tensor]:
    shapes = public_shapes(reference, name)
    return {key: generated_value(key, shape) for key, shape in shapes.items() if key != IGNORED}


def imported(reference: Path, name: str) -> Network:
    network = Network(resolve_structure(name))
    import_state(public_state(reference, name), network, name)
    return network.eval()


@cache
def figures(reference: Path, name: str) -> tuple[dict[str, object], np.ndarray]:
    """The reference figures and the input (1, 3, side, side) they belong to."""
    wanted = json.loads((reference / "parity" / f"{name}.json").read_text())
    side = wanted["image_size"]
    images = np.random.Generator(np.random.PCG64(0)).random((1, 3, side, side)).astype(np.float32)
    return wanted, images


def check(boxes: np.ndarray, scores: np.ndarray, wanted: dict[str, object]) -> None:
    rows = wanted["rows"]
    np.testing.assert_allclose(boxes[0][rows], np.array(wanted["boxes"]), rtol=0, atol=BOXES_PX)
    np.testing.assert_allclose(scores[0][rows, :8], np.array(wanted["scores_first8"]), rtol=0, atol=SCORES)


def run(network: Network, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.inference_mode():
        boxes, scores = network(torch.from_numpy(images))
    return boxes.numpy(), scores.numpy()


@pytest.mark.parametrize("name", FAMILY)
def test_keys_are_one_to_one(name: str, reference: Path) -> None:
    with torch.device("meta"):
        network = Network(resolve_structure(name))
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    public = {key: shape for key, shape in public_shapes(reference, name).items() if key != IGNORED}
    pairs = key_map(network)
    assert pairs.keys() == own.keys()
    assert len(set(pairs.values())) == len(pairs)
    assert set(pairs.values()) == public.keys()
    assert {ours: public[theirs] for ours, theirs in pairs.items()} == own


def test_every_reference_file_is_checked(reference: Path) -> None:
    assert {path.stem for path in (reference / "parity").glob("*.json")} == set(WITH_FIGURES)


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_outputs_in_training_and_deploy_form(name: str, reference: Path) -> None:
    wanted, images = figures(reference, name)
    network = imported(reference, name)
    check(*run(network, images), wanted)
    check(*run(network.deploy(), images), wanted)
    with torch.inference_mode():
        features = network.forward_raw(torch.from_numpy(images)).features
    assert set(features) == {"tap1", "tap2", "tap3", "neck1", "neck2", "neck3"}
    for kind, key in (("tap", "features"), ("neck", "neck")):
        for place, figure in enumerate(wanted[key], start=1):  # type: ignore[arg-type, var-annotated]
            value = features[f"{kind}{place}"]
            assert value.mean().item() == pytest.approx(figure["mean"], abs=1e-4)
            assert value.std().item() == pytest.approx(figure["std"], abs=1e-4)


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_outputs_through_onnx(name: str, reference: Path, tmp_path: Path) -> None:
    wanted, images = figures(reference, name)
    network = imported(reference, name)
    checkpoint = Checkpoint(structure=network.structure, class_names=COCO_NAMES, weights=network.state_dict())
    settings = ExportSettings(output="raw", image_size=(images.shape[2], images.shape[3]))
    export_checkpoint(checkpoint, tmp_path / "model.onnx", "onnx", settings)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"images": images})
    check(boxes, scores, wanted)


def test_outputs_through_the_command(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, images = figures(reference, "Ns")
    source, target = tmp_path / "released.pth", tmp_path / "ns.pt"
    state = {**public_state(reference, "Ns"), IGNORED: torch.arange(8.0)}
    torch.save({"model": state, "epoch": 300}, source)
    command = ["import-weights", str(source), "--model", "Ns", "-o", str(target)]
    assert main(command) == 0
    assert f"{len(state) - 1} tensors" in capsys.readouterr().out
    checkpoint = load_checkpoint(target)
    assert checkpoint.class_names == COCO_NAMES
    check(*run(checkpoint.network(), images), wanted)
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert main([*command, "--overwrite", "--class-names", "a,b"]) == 2
    assert f"--class-names: 2 names, but {source} has {len(COCO_NAMES)} classes" in capsys.readouterr().err
    assert load_checkpoint(target).class_names == COCO_NAMES
    for bad, message in (("Nm", "another model"), ("Nx", "did you mean")):
        assert main(["import-weights", str(source), "--model", bad, "-o", str(tmp_path / "x.pt")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()


def test_import_refuses_code_and_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Path("x")}, tmp_path / "code.pth")
    torch.save({"model": [1, 2]}, tmp_path / "list.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    for name, message in (
        ("code.pth", "safely"), ("list.pth", "state dict"), ("junk.pth", "safely"), ("absent.pth", "no such file"),
    ):  # fmt: skip
        assert main(["import-weights", str(tmp_path / name), "--model", "S"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
