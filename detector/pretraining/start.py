"""From structure, teacher and pictures to the checkpoint that a training starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from detector.devices import choose_device
from detector.network import Network
from detector.prediction.sources import find_pictures
from detector.pretraining.module import PretrainingModule
from detector.pretraining.pictures import Pictures
from detector.pretraining.run import Pretraining, begin, run_to_end, saved_settings, take_up, write_start
from detector.pretraining.settings import PretrainSettings
from detector.teachers.backbones import backbone_teacher
from detector.teachers.onnx_model import OnnxInput
from detector.training.machine.depthwise import speed_up_depthwise
from detector.training.machine.process_settings import keep_freed_memory
from detector.training.machine.strided_pointwise import avoid_strided_pointwise
from search_spaces.errors import UserError
from search_spaces.saying import Say
from search_spaces.structure import Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to pre-train: the structure at the crops' size, the teacher's name, folders of pictures, the file to write.
    given: the options that were said, by the settings' field; a resumed run tells of those that it began otherwise with."""

    structure: Structure
    teacher: str
    onnx: OnnxInput
    folders: tuple[Path, ...]
    out: Path
    device: str = "auto"
    resume: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def state_file(self) -> Path:
        """What a stopped pre-training goes on from; deleted in the end."""
        return self.out.with_name(f"{self.out.stem}.last{self.out.suffix}")


def pretrain(request: Request, settings: PretrainSettings, say: Say) -> Pretraining:
    """Pre-train and write `request.out`. With `request.resume`, go on with the settings that the run began with.

    Raises UserError for a teacher that is not there, folders without pictures, and a state that does not fit.
    """
    state = request.state_file
    if request.resume:
        settings = saved_settings(state, settings, request.given, say)
    elif state.exists():
        raise UserError(
            f"{state}: a pre-training to {request.out} was stopped here; pass --resume to go on with it, or delete it"
        )
    device = choose_device(request.device)
    paths = find_pictures(request.folders, request.out)
    teacher = backbone_teacher(request.teacher, request.onnx)
    request.out.parent.mkdir(parents=True, exist_ok=True)
    height, width = request.structure.image_size
    say(
        f"pretrain: {len(paths)} pictures, crops of {width}x{height}; teacher {request.teacher}, channels "
        f"{', '.join(map(str, teacher.channels))} at strides {', '.join(map(str, teacher.strides))}; {settings.distiller}"
    )
    torch.manual_seed(settings.seed)
    network = Network(request.structure.with_classes(1))
    module = PretrainingModule(network, teacher, settings.distiller, settings.options, neck=settings.neck)
    module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher.module.to(device)
    if device.type == "cpu":
        speed_up_depthwise(network)
        avoid_strided_pointwise(network)
        keep_freed_memory()
    pictures = Pictures(paths, request.structure.image_size, settings.seed)
    run = begin(network, module, pictures, settings, say)
    run.teacher = _fingerprint(request, teacher.module)
    if request.resume:
        take_up(run, state)
        say(f"going on after step {run.step} of {run.schedule.total_steps}")
    run_to_end(run, state)
    write_start(run, request.out)
    state.unlink(missing_ok=True)
    return run


def _fingerprint(request: Request, module: nn.Module) -> str:
    """Of the teacher's file and of what an ONNX model is given, or of its weights where its name is no file."""
    path, found = Path(request.teacher), hashlib.sha256(repr(request.onnx).encode())
    if path.is_file():
        found.update(path.read_bytes())
        return found.hexdigest()
    for key, value in module.state_dict().items():
        found.update(key.encode())
        found.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
