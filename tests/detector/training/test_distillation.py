"""A teacher in a training: two stages, its weight, what is saved, and when the run is refused or stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from detector.checkpoint import load_checkpoint
from detector.data.loader import Batch
from detector.distillers import DistillConfig
from detector.network import Network
from detector.training.distillation.features import Distillation
from detector.training.distillation.taught import BAD_STEPS, WATCHED_STEPS, weight_at
from detector.training.loop import fit
from detector.training.optimizer.schedule import Schedule
from detector.training.run import Run
from detector.training.start import resumed_run
from search_spaces.errors import UserError
from search_spaces.saying import silent
from search_spaces.structure import Structure
from tests.detector.tiny_structures import tiny_res
from tests.detector.training.test_resume import _assert_same_run, _stop_before_step
from tests.detector.training.test_training import _run
from tinynas.cli import main
from tinynas.results.training.charts import run_data
from tinynas.results.training.run_folder import RunFolder

STAGES = {"schedule": {"no_aug_epochs": 1, "no_aug_max_share": 0.5}}


@pytest.fixture(scope="module")
def teacher(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of another space, other widths, another neck and another image size than the tiny student's."""
    folder = tmp_path_factory.mktemp("teacher") / "t"
    rows = [(8, 8, 8, 2), (8, 12, 8, 2), (12, 20, 12, 2), (20, 20, 12, 1), (20, 24, 12, 2)]
    structure = tiny_res(rows, (96, 96), (12, 16, 24))
    fit(_run(structure, sample, folder, epochs=1))
    return folder / "best.pt"


def distilled(teacher: Path, **settings: Any) -> dict[str, Any]:
    return {"distill": {"teacher": str(teacher), **settings}, **STAGES}


def term_of(run: Run) -> Distillation:
    term = run.stepper.terms["distill"]
    assert isinstance(term, Distillation)
    return term


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def copied(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in values.items()}


def test_the_weight_falls_by_a_cosine_and_ends_with_the_strong_epochs() -> None:
    schedule, config = Schedule(100, 5, 20, 0.05), DistillConfig()
    for step in range(80):
        expected = 0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 100)) / 2)
        assert weight_at(step, schedule, config) == pytest.approx(expected)
    assert weight_at(0, schedule, config) == 0.5
    assert [weight_at(step, schedule, config) for step in (80, 99)] == [0, 0]
    throughout = DistillConfig(weight=2.0, final_share=1.0, last_epochs=True)
    assert [weight_at(step, schedule, throughout) for step in (0, 50, 99)] == [2, 2, 2]


@pytest.mark.parametrize("amp", ["off", "bf16"])
@pytest.mark.parametrize("distiller", ["cwd", "mimic", "mgd"])
def test_a_distilled_run(
    tiny: Structure, sample: Path, teacher: Path, tmp_path: Path, distiller: str, amp: str
) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=2, amp=amp, **distilled(teacher, distiller=distiller))
    before = copied(dict(term_of(run).named_parameters()))
    fit(run)
    first, last = rows(tmp_path / "r")
    assert first["distill"] > 0.01
    assert last["distill"] == 0
    for row in (first, last):
        assert row["total"] == pytest.approx(row["cls"] + row["dfl"] + row["giou"] + row["distill"], rel=1e-4)
    for name, parameter in term_of(run).named_parameters():
        assert not torch.equal(parameter, before[name]), name
    best = load_checkpoint(tmp_path / "r" / "best.pt")
    with torch.device("meta"):
        assert set(best.weights) == set(Network(best.structure).state_dict())
    assert not best.training
    found = RunFolder.read(tmp_path / "r")
    assert found is not None
    drawn = {series["name"]: series["values"] for series in run_data(found)["losses"]["series"]}
    assert drawn["distill"] == [first["distill"], 0]


@pytest.mark.parametrize(("distiller", "steps"), [("mgd", 1), ("cwd", 4)])
def test_resumed_equals_uninterrupted(
    tiny: Structure, sample: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distiller: str, steps: int
) -> None:  # fmt: skip
    """Stopped in the first stage and in the second; the draws, the distiller and its optimiser go on."""
    changes = {"epochs": 2, "checkpoint_minutes": 0, "accumulate": 2, **distilled(teacher, distiller=distiller)}
    fit(_run(tiny, sample, tmp_path / "whole", **changes))
    with monkeypatch.context() as patch:
        _stop_before_step(patch, steps)
        with pytest.raises(KeyboardInterrupt):
            fit(_run(tiny, sample, tmp_path / "stopped", **changes))
    torch.rand(5)
    fit(resumed_run(tmp_path / "stopped", None, None, silent))
    _assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_the_student_starts_as_without_a_teacher(tiny: Structure, sample: Path, teacher: Path, tmp_path: Path) -> None:
    alone, taught = (_run(tiny, sample, tmp_path / "r", **changes) for changes in ({}, distilled(teacher)))
    for key, value in alone.stepper.network.state_dict().items():
        assert torch.equal(taught.stepper.network.state_dict()[key], value), key


def test_out_of_memory_halves_what_the_teacher_sees(
    tiny: Structure, sample: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny, sample, tmp_path / "r", **distilled(teacher))
    run.train_set.set_epoch(0)
    run.stepper.module.train()
    batch: Batch = next(iter(run.train_loader))
    module, seen = term_of(run).features.teacher.module, []
    forward = module.forward

    def limited(images: torch.Tensor) -> Any:
        seen.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    monkeypatch.setattr(module, "forward", limited)
    losses = run.stepper.run(batch)
    assert seen == [4, 2, 2]
    assert math.isfinite(losses["distill"])
    assert run.stepper.gradients.part_size == 2


def test_the_teacher_sees_its_own_size_and_learns_nothing(
    tiny: Structure, sample: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=1, multi_scale=[64, 128], **distilled(teacher))
    module, sizes = term_of(run).features.teacher.module, set()
    forward, before = module.forward, copied(module.state_dict())

    def watched(images: torch.Tensor) -> Any:
        sizes.add(tuple(images.shape[-2:]))
        assert not torch.is_grad_enabled()
        assert not module.training
        return forward(images)

    monkeypatch.setattr(module, "forward", watched)
    fit(run)
    assert sizes <= {(96, 96), (160, 160), (192, 192), (144, 144), (128, 128)}  # 1.5 times 64, 96, 128, in steps of 32
    assert (96, 96) in sizes or (192, 192) in sizes
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_the_share_of_a_step_is_said_once(tiny: Structure, sample: Path, teacher: Path, tmp_path: Path) -> None:
    said: list[str] = []
    fit(_run(tiny, sample, tmp_path / "r", epochs=8, say=said.append, eval={"every_epochs": 100}, **distilled(teacher)))
    shares = [text for text in said if text.startswith("teacher: ")]
    assert len(shares) == 1
    assert 0 < int(shares[0].split()[1]) < 100
    assert "all epochs but the last" in shares[0]


def test_a_constant_loss_stops_the_run(tiny: Structure, sample: Path, teacher: Path, tmp_path: Path) -> None:
    term = term_of(_run(tiny, sample, tmp_path / "r", **distilled(teacher)))
    schedule = Schedule(1000, 5, 0, 0.05)

    def steps(count: int, value: Callable[[int], float]) -> None:
        for step in range(count):
            term.at_step(step, schedule)
            term.after_step(term.weight * value(step))

    steps(2 * WATCHED_STEPS, lambda step: 1 + 1e-4 * (step % 2))
    with pytest.raises(UserError, match=r"stayed at 1\.5 for 50 steps"):
        steps(2 * WATCHED_STEPS, lambda _: 1.5)


def test_a_loss_that_is_not_finite_stops_the_run(tiny: Structure, sample: Path, teacher: Path, tmp_path: Path) -> None:
    run = _run(tiny, sample, tmp_path / "r", epochs=4, **distilled(teacher))
    with torch.no_grad():
        next(term_of(run).features.parameters()).fill_(math.nan)
    with pytest.raises(
        UserError, match=f"the distillation loss was not finite {BAD_STEPS} steps in a row; lower distill"
    ):
        fit(run)
    assert (tmp_path / "r" / "last.pt").is_file()


def test_a_teacher_whose_maps_say_nothing_is_refused(
    tiny: Structure, sample: Path, teacher: Path, tmp_path: Path
) -> None:
    for value, message in ((0.0, "are the same at every place"), (math.inf, "are not finite")):
        run = _run(tiny, sample, tmp_path / "r", epochs=1, **distilled(teacher))
        with torch.no_grad():
            for parameter in term_of(run).features.teacher.module.parameters():
                parameter.fill_(value)
        with pytest.raises(UserError, match=f"its maps at stride 8 {message}"):
            fit(run)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the command line says of a mistake."""
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_refusals(
    tiny_file: Path, sample: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train: tuple[object, ...] = ("train", tiny_file, "--data", sample, "--out", tmp_path / "r", "--epochs", 1)
    other = tmp_path / "other.pt"
    content = torch.load(teacher, weights_only=True)
    torch.save({**content, "class_names": ["disc", "square", "cat"]}, other)
    assert "lacks: triangle; it knows besides: cat" in said(capsys, *train, "--teacher", other)
    torch.save({**content, "class_names": ["dog", "cow", "cat"]}, other)
    assert "knows none of the data's classes" in said(capsys, *train, "--teacher", other, "--teacher-classes", "shared")
    assert "expected same or shared" in said(capsys, *train, "--teacher", other, "--teacher-classes", "some")
    assert "no such file" in said(capsys, *train, "--teacher", tmp_path / "none.pt")
    assert "expected a checkpoint (best.pt), or a raw export" in said(
        capsys, *train, "--teacher", tmp_path / "teacher.txt"
    )
    assert "distiller 'cdw' is not known; did you mean cwd" in said(
        capsys, *train, "--teacher", teacher, "--set", "distill.distiller=cdw"
    )
    assert "a teacher has nothing to teach" in said(
        capsys, *train, "--teacher", teacher, "--freeze", "backbone,neck"
    )  # fmt: skip
    assert not (tmp_path / "r").exists()


def test_a_teacher_that_moved_or_changed(
    tiny: Structure, sample: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here.pt", tmp_path / "there.pt"
    here.write_bytes(teacher.read_bytes())
    fit(_run(tiny, sample, tmp_path / "r", epochs=1, **distilled(here)))
    here.rename(there)
    assert "here.pt: no such file" in said(capsys, "train", "--resume", tmp_path / "r")
    assert main(["train", "--resume", str(tmp_path / "r"), "--teacher", str(there)]) == 0
    content = torch.load(there, weights_only=True)
    torch.save({**content, "metrics": {"ap": 1.0}}, there)
    assert "is not the teacher that this run began with" in said(
        capsys, "train", "--resume", tmp_path / "r", "--teacher", there
    )
    fit(_run(tiny, sample, tmp_path / "plain", epochs=1))
    assert "began without a teacher" in said(capsys, "train", "--resume", tmp_path / "plain", "--teacher", teacher)
