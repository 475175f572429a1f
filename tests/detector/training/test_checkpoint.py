from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detector import Detector
from detector.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from detector.network import Network
from search_spaces.errors import UserError
from search_spaces.structure import Structure


@pytest.fixture
def checkpoint(tiny: Structure) -> Checkpoint:
    torch.manual_seed(1)
    structure = tiny.with_classes(2)
    return Checkpoint(
        structure=structure,
        class_names=("cat", "dog"),
        weights=Network(structure).state_dict(),
        category_ids=(3, 7),
        metrics={"ap": 0.5},
    )


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "a.pt")
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert (loaded.structure, loaded.class_names, loaded.category_ids) == (checkpoint.structure, ("cat", "dog"), (3, 7))
    assert loaded.metrics == {"ap": 0.5}
    assert all(torch.equal(value, checkpoint.weights[key]) for key, value in loaded.weights.items())
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a file of torch at all")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Path("code that must not run")}))


def _tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


def _public(path: Path) -> None:
    torch.save({"model": {"backbone.x": torch.zeros(3)}}, path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": 1}))


def _python_object(path: Path) -> None:
    torch.save({"model": Path("code that must not run")}, path)


@pytest.mark.parametrize("write", [_garbage, _pickle, _plain_pickle, _python_object, _tensor, _public, _empty])
def test_what_is_no_checkpoint_is_one_line(write: object, tmp_path: Path) -> None:
    write(tmp_path / "x.pt")  # type: ignore[operator]
    with pytest.raises(UserError) as error:
        load_checkpoint(tmp_path / "x.pt")
    assert "\n" not in str(error.value)
    assert "Weights only load failed" not in str(error.value)
    assert ("it holds Python code" in str(error.value)) == (write is _python_object)
    assert ("import-weights" in str(error.value)) == (write is _public)


def test_damaged_checkpoints(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"a\.pt"):
        load_checkpoint(path)
    with pytest.raises(UserError, match="no such file"):
        load_checkpoint(tmp_path / "b.pt")
    save_checkpoint(replace(checkpoint, weights=Network(checkpoint.structure.with_classes(5)).state_dict()), path)
    with pytest.raises(UserError, match="another model"):
        load_checkpoint(path)
    save_checkpoint(replace(checkpoint, class_names=("cat",)), path)
    with pytest.raises(UserError, match="1 class names"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("structure", 3), ("class_names", "cat"), ("weights", 3), ("weights", {"a": 3}), ("ema", 3), ("config", None),
        ("preprocessing", None), ("training", []),
    ],
)  # fmt: skip
def test_parts_of_another_type(checkpoint: Checkpoint, tmp_path: Path, key: str, value: object) -> None:
    save_checkpoint(checkpoint, tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({**content, key: value}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=rf"a\.pt: its '?{key}"):
        load_checkpoint(tmp_path / "a.pt")
    del content[key]
    torch.save(content, tmp_path / "a.pt")
    if key != "ema":
        with pytest.raises(UserError, match=rf"its '{key}' is missing"):
            load_checkpoint(tmp_path / "a.pt")


def test_a_failed_write_keeps_the_old_file(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(checkpoint, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left"):
        save_checkpoint(checkpoint, path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.pt"]


def test_detector_predicts(checkpoint: Checkpoint, tmp_path: Path) -> None:
    detector = Detector.of(checkpoint)
    save_checkpoint(checkpoint, tmp_path / "a.pt")
    image = np.random.default_rng(0).integers(0, 255, (40, 90, 3)).astype(np.uint8)
    found = Detector.load(tmp_path / "a.pt").predict(image, score_threshold=0.005)
    assert len(found) == len(found.names) > 0
    assert found.boxes_xyxy.min() >= 0
    assert found.boxes_xyxy[:, [0, 2]].max() <= 90
    assert found.boxes_xyxy[:, [1, 3]].max() <= 40
    both = detector.predict([image, image], score_threshold=0.005)
    assert np.array_equal(both[1].boxes_xyxy, found.boxes_xyxy)
    assert len(detector.predict(image, score_threshold=0.9)) == 0
    for bad in (image.astype(np.float32), image[..., 0], image[:0]):
        with pytest.raises(UserError):
            detector.predict(bad)  # type: ignore[call-overload]
