"""Training on the card: steps like the CPU's, overflow, multi-scale, memory that runs out, resuming, export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector import Detector
from detector.checkpoint import load_checkpoint
from detector.data.loader import Batch
from detector.training.epoch import at_drawn_size
from detector.training.loop import fit
from detector.training.machine.memory import auto_batch
from detector.training.run import Run
from detector.training.settings.config import build_config
from detector.training.start import load_splits, new_run, resumed_run
from detector.training.step import Stepper
from search_spaces.structure import Structure

BASE = {
    "epochs": 2, "batch_size": 4, "workers": 2, "amp": "off", "schedule": {"warmup_epochs": 1}, "checkpoint_minutes": None,
    "optimizer": {"name": "sgd", "learning_rate_per_image": 1e-4, "clip_norm": 35.0}, "eval": {"every_epochs": 2},
    "augment": {"mosaic": 0.5, "scale": [0.5, 1.5]},
}  # fmt: skip
STEPS = 4


def silent(_: str) -> None:
    pass


def run_of(structure: Structure, data: Path, folder: Path, device: torch.device, **changes: Any) -> Run:
    config = build_config({**BASE, **changes, "device": str(device)})
    return new_run(structure, load_splits(data, silent), config, folder, silent)


def batches(run: Run, count: int = STEPS) -> list[Batch]:
    """The first batches of the run, on its device."""
    run.train_set.set_epoch(0)
    run.stepper.module.train()
    found = [batch.to(run.processes.device) for _, batch in zip(range(count), run.train_loader)]
    run.stop_workers()
    return found


def losses(run: Run, count: int = STEPS) -> list[dict[str, float]]:
    return [run.stepper.run(batch) for batch in batches(run, count)]


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def copied(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.stepper.network.state_dict().items()}


@pytest.mark.parametrize("optimizer", [pytest.param("sgd", marks=pytest.mark.slow), "adamw", "muon"])
def test_steps_are_the_cpus(
    optimizer: str, small: Structure, pictures: Path, tmp_path: Path, device: torch.device
) -> None:
    changes = {"optimizer": {"name": optimizer, "learning_rate_per_image": 1e-4}}
    here, there = (
        losses(run_of(small, pictures, tmp_path / str(number), where, **changes))
        for number, where in enumerate((torch.device("cpu"), device))
    )
    for a, b in zip(here, there, strict=True):
        assert b["num_positives"] == pytest.approx(a["num_positives"], rel=0.1)
        for part in ("cls", "dfl", "giou", "total"):
            assert b[part] == pytest.approx(a[part], rel=0.05), part
    assert there[0]["total"] == pytest.approx(here[0]["total"], rel=1e-3)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_steps_are_near_fp32(
    amp: str, small: Structure, pictures: Path, tmp_path: Path, card: torch.device
) -> None:
    exact, half = (losses(run_of(small, pictures, tmp_path / kind, card, amp=kind), 2) for kind in ("off", amp))
    assert half[0]["total"] == pytest.approx(exact[0]["total"], rel=0.05)
    assert half[1]["total"] == pytest.approx(exact[1]["total"], rel=0.1)


def test_an_overflow_lowers_the_scale_and_changes_nothing(
    small: Structure, pictures: Path, tmp_path: Path, card: torch.device
) -> None:
    run = run_of(small, pictures, tmp_path / "r", card, amp="fp16")
    batch = batches(run, 1)[0]
    run.stepper.gradients.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    before, updates = copied(run), run.stepper.ema.updates
    run.stepper.run(batch)
    assert run.stepper.skipped == 1
    assert run.stepper.bad_steps.in_a_row == 0  # the scaler looks for its scale
    assert run.stepper.gradients.scaler.get_scale() == 2.0**39
    assert run.stepper.ema.updates == updates
    assert all(torch.equal(value, before[name]) for name, value in run.stepper.network.state_dict().items())
    for _ in range(40):
        run.stepper.run(batch)
        if run.stepper.skipped < run.stepper.step:
            break
    assert run.stepper.skipped < run.stepper.step
    assert not all(torch.equal(value, before[name]) for name, value in run.stepper.network.state_dict().items())


def test_a_step_at_every_drawn_size(mobile: Structure, pictures: Path, tmp_path: Path, device: torch.device) -> None:
    run = run_of(mobile, pictures, tmp_path / "r", device, multi_scale=[64, 128], epochs=4)
    (batch,) = batches(run, 1)
    sizes = set()
    for index in range(6):
        drawn = at_drawn_size(batch, run.config, 0, index)
        assert drawn.images.device.type == device.type
        sizes.add(drawn.images.shape[2:])
        found = run.stepper.run(drawn)
        assert found["total"] == found["total"]
    assert len(sizes) > 1
    assert run.stepper.skipped == 0


def test_memory_that_runs_out_is_answered_with_parts(
    small: Structure, pictures: Path, tmp_path: Path, card: torch.device
) -> None:
    """The card's memory is limited to less than what the batch takes, for real."""
    structure, said = small.with_image_size(320, 320), list[str]()
    run = run_of(structure, pictures, tmp_path / "r", card, batch_size=16)
    run.stepper.gradients.say = said.append
    (batch,) = batches(run, 1)
    torch.cuda.reset_peak_memory_stats()
    run.stepper.run(batch)
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(card).total_memory
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(0.7 * peak / total)
        found = run.stepper.run(batch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert run.stepper.gradients.part_size is not None
    assert run.stepper.gradients.part_size < 16
    assert any("out of memory with 16 images at once" in text for text in said)
    assert found["total"] == found["total"]
    assert run.stepper.skipped == 0


def test_an_automatic_batch_fits(small: Structure, pictures: Path, tmp_path: Path, card: torch.device) -> None:
    run = run_of(small, pictures, tmp_path / "r", card)
    before = copied(run)
    chosen = auto_batch(run.stepper.module, (320, 320), 100_000, 1)
    assert chosen.batch_size == chosen.part_size == 256
    assert all(torch.equal(value, before[name]) for name, value in run.stepper.network.state_dict().items())


def test_a_resumed_run_goes_on(
    mobile: Structure, pictures: Path, tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is restored is what was saved, to the bit; the steps after it are the whole run's within a card's rounding."""
    changes = {"epochs": 2, "checkpoint_minutes": 0, "workers": 0}
    whole = run_of(mobile, pictures, tmp_path / "whole", device, **changes)
    fit(whole)
    stopped = run_of(mobile, pictures, tmp_path / "stopped", device, **changes)
    run_step, done = Stepper.run, 0

    def counted(stepper: Stepper, batch: Batch) -> dict[str, float]:
        nonlocal done
        if done == 6:  # in the second epoch of four steps
            raise KeyboardInterrupt
        done += 1
        return run_step(stepper, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "run", counted)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped)
    again = resumed_run(tmp_path / "stopped", None, str(device), silent)
    saved = load_checkpoint(tmp_path / "stopped" / "last.pt")
    assert again.progress.epoch == 1
    for name, value in again.stepper.network.state_dict().items():
        assert value.device.type == device.type
        assert torch.equal(value.cpu(), saved.weights[name])
    for state in again.stepper.optimizer.state.values():
        assert all(
            value.device.type == device.type for key, value in state.items() if key != "step" and value is not None
        )
    fit(again)
    last, expected = rows(tmp_path / "stopped")[-1], rows(tmp_path / "whole")[-1]
    assert last["step"] == expected["step"] == 8
    assert last["total"] == pytest.approx(expected["total"], rel=0.03)


@pytest.mark.slow
def test_a_trained_checkpoint_predicts_and_exports(
    mobile: Structure, pictures: Path, tmp_path: Path, device: torch.device
) -> None:
    """From a run on the card: best.pt runs on the CPU, finds the same there, and its ONNX file is verified."""
    pytest.importorskip("onnxruntime")
    amp = "bf16" if device.type == "cuda" else "off"
    fit(run_of(mobile, pictures, tmp_path / "r", device, epochs=2, amp=amp))
    best = tmp_path / "r" / "best.pt"
    assert all(value.device.type == "cpu" for value in load_checkpoint(best).weights.values())
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (1, 3, 96, 96)).astype(np.float32)
    here, there = (Detector.load(best, where).model.run(pixels) for where in ("cpu", str(device)))
    np.testing.assert_allclose(there[0], here[0], rtol=1e-3, atol=5e-2)
    np.testing.assert_allclose(there[1], here[1], rtol=1e-3, atol=1e-4)
    words = [sys.executable, "-m", "tinynas", "export", str(best), "--format", "onnx", "-o", str(tmp_path / "m.onnx")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "m.onnx").is_file()
