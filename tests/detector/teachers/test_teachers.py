"""Teachers: what they compute, at which size, and which classes they may know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.distillation import FeatureDistillation
from detector.network import Network
from detector.teachers import Teacher, check_classes, prepared, teacher_size
from detector.teachers.checkpoint import NECK, TAPS, load
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure

NAMES = ("Platelets", "RBC", "WBC")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    """A checkpoint of T with statistics that are not those of a fresh network."""
    torch.manual_seed(0)
    network = Network(resolve_structure("T").with_classes(3).with_image_size(64, 96)).train()
    with torch.no_grad():
        network.forward_raw(255 * torch.rand(4, 3, 64, 96))
    path = tmp_path_factory.mktemp("teacher") / "best.pt"
    save_checkpoint(Checkpoint(structure=network.structure, class_names=NAMES, weights=network.state_dict()), path)
    return path, network.eval()


@pytest.mark.parametrize("names", [NECK, TAPS])
def test_a_checkpoint_gives_the_maps_of_its_training_form(saved: tuple[Path, Network], names: tuple[str, ...]) -> None:
    path, network = saved
    teacher, images = load(path, names), 255 * torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = network.forward_raw(images).features
    found = teacher.maps(images)
    assert teacher.class_names == NAMES
    assert teacher.image_size == (64, 96)
    assert teacher.channels == tuple(m.shape[1] for m in found)
    assert teacher.strides == tuple(64 // m.shape[2] for m in found)
    for name, maps in zip(names, found):
        assert torch.allclose(maps, expected[name], rtol=1e-3, atol=1e-3 * float(expected[name].abs().max()))


def test_it_is_in_deploy_form_and_learns_nothing(saved: tuple[Path, Network]) -> None:
    module = load(saved[0]).module
    assert not any(isinstance(part, nn.BatchNorm2d) for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any(part.training for part in module.modules())
    assert not any(maps.requires_grad for maps in load(saved[0]).maps(torch.zeros(1, 3, 64, 96, requires_grad=True)))


def test_taps_need_no_neck(saved: tuple[Path, Network]) -> None:
    """A teacher of the backbone's maps runs the backbone alone."""
    teacher = load(saved[0], TAPS)
    called: list[str] = []
    for name, part in teacher.module.named_modules():
        part.register_forward_hook(lambda *_, name=name: called.append(name))
    teacher.maps(torch.zeros(1, 3, 64, 96))
    assert any("backbone" in name for name in called)
    assert not any("neck" in name or "head" in name for name in called)


@pytest.mark.parametrize(
    ("images", "student", "teacher", "expected"),
    [
        ((320, 320), (320, 320), None, (320, 320)),
        ((320, 320), (320, 320), (320, 320), (320, 320)),
        ((320, 320), (320, 320), (640, 640), (640, 640)),
        ((192, 256), (192, 256), (384, 384), (384, 384)),
        ((448, 448), (320, 320), (640, 640), (896, 896)),  # multi-scale: both grow
        ((224, 224), (320, 320), (480, 480), (320, 320)),  # 336 is no multiple of 32
        ((32, 32), (320, 320), (64, 64), (32, 32)),
    ],
)
def test_the_size_that_a_teacher_sees(
    images: tuple[int, int], student: tuple[int, int], teacher: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    assert teacher_size(images, student, teacher) == expected


def test_images_are_stretched_to_the_teachers_size() -> None:
    seen: list[tuple[int, ...]] = []

    class Sees(nn.Module):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            seen.append(tuple(images.shape))
            return [images]

    teacher = Teacher(name="sees", module=prepared(Sees()), channels=(3,), strides=(1,))
    flat = torch.full((2, 3, 64, 64), 100, dtype=torch.uint8)
    for size in ((32, 32), (96, 128)):
        assert torch.allclose(teacher.maps(flat, size)[0], torch.tensor(100.0), atol=1e-4)
    teacher.maps(flat)
    assert seen == [(2, 3, 32, 32), (2, 3, 96, 128), (2, 3, 64, 64)]


def knowing(*names: str) -> Teacher:
    return Teacher(name="t", module=nn.Identity(), channels=(1,), strides=(8,), class_names=names)


def test_classes_agree_by_name_whatever_case_and_order() -> None:
    assert check_classes(knowing("rbc", "WBC", "platelets"), NAMES, "same", "t.pt") == NAMES
    assert check_classes(knowing("RBC", "cat"), NAMES, "shared", "t.pt") == ("RBC",)


def test_other_classes_are_refused_with_a_diff() -> None:
    with pytest.raises(UserError, match="lacks: Platelets, WBC; it knows besides: cat") as refused:
        check_classes(knowing("RBC", "cat"), NAMES, "same", "t.pt")
    assert "--teacher-classes shared" in str(refused.value)
    for agreement in ("same", "shared"):  # no advice that the next try refuses
        with pytest.raises(
            UserError, match=r"knows none of the data's classes .* its own: cat, dog.* tinynas pretrain"
        ):
            check_classes(knowing("cat", "dog"), NAMES, agreement, "t.pt")


def test_the_teacher_belongs_to_no_state_and_the_rest_learns(saved: tuple[Path, Network]) -> None:
    torch.manual_seed(0)
    student = Network(resolve_structure("Ns").with_image_size(64, 64))
    distillation = FeatureDistillation(load(saved[0]), student.feature_channels(NECK), (64, 64), "mgd")
    names = set(distillation.state_dict())
    assert names == {name for name, _ in distillation.named_parameters()}
    assert {name.split(".")[0] for name in names} == {"align", "distiller"}
    images = 255 * torch.rand(2, 3, 64, 64)
    features = student.forward_raw(images).features
    distillation(images, [features[name] for name in NECK], torch.Generator().manual_seed(0)).backward()
    for name, parameter in distillation.named_parameters():
        assert parameter.grad is not None, name
        # a shift of a whole channel is taken away by the normalisation: its gradient is rounding
        assert ("projections" in name and name.endswith("bias")) or parameter.grad.abs().sum() > 0, name
    learning = [parameter for parameter in student.get_submodule("neck").parameters() if parameter.grad is not None]
    assert learning
    assert all(parameter.grad is None for parameter in student.get_submodule("head").parameters())
    assert distillation.seconds > 0
