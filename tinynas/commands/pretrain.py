"""`tinynas pretrain`: a backbone learns an image network's features from pictures without annotations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, TypeAlias

import typer

from detector.training.machine.process_settings import let_threads_sleep
from detector.training.timing.durations import parse_minutes
from search_spaces.errors import UserError
from search_spaces.files import check_new_file
from search_spaces.image_size import parse_image_size
from tinynas.commands._options import was_given

OnnxMean: TypeAlias = Annotated[
    str | None, typer.Option("--teacher-mean", metavar="R,G,B", help="Mean of an ONNX teacher's input, 0..255.")
]
TeacherName: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="A timm model, a checkpoint (.pt), an ONNX model (.onnx), or MODULE:FUNCTION in Python.",
    ),
]


def run(
    context: typer.Context,
    structure: Annotated[str, typer.Argument(help="Structure file, or the name of a shipped one (T S M L Ns Nm Nl).")],
    teacher: TeacherName,
    images: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder of images; may be given several times.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Checkpoint to write, for train --weights.")] = Path(
        "start.pt"
    ),
    time: Annotated[str | None, typer.Option("--time", metavar="30m", help="Duration.  [default: 30m]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps, instead of --time.")] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="H[xW]", help="Size of the crops. Default: the structure's.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "--batch", min=2, help="Crops per step.")] = 32,
    learning_rate: Annotated[
        float, typer.Option(min=1e-6, help="Peak learning rate for a batch of 32; scales with the batch.")
    ] = 0.03,
    distiller: Annotated[str, typer.Option(help="How the feature maps are compared: cwd, mimic or mgd.")] = "mimic",
    neck: Annotated[bool, typer.Option(help="Train the neck on the teacher's maps too, or the backbone alone.")] = True,
    outputs: Annotated[
        str | None, typer.Option("--teacher-outputs", metavar="A,B,C", help="Names of an ONNX teacher's feature maps.")
    ] = None,
    mean: OnnxMean = None,
    std: Annotated[str | None, typer.Option("--teacher-std", metavar="R,G,B", help="Its standard deviation.")] = None,
    amp: Annotated[str, typer.Option(help="Mixed precision: auto, off, bf16 or fp16.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and crops.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[bool, typer.Option(help="Continue a pre-training that was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the checkpoint.")] = False,
) -> None:
    """Pre-train a structure: it learns the feature maps of any image network, on images without annotations."""
    if time is not None and steps is not None:
        raise UserError("--time and --steps: the time says how many steps; leave one of them out")
    minutes = parse_minutes(time or "30m") if steps is None else None
    _refuse(amp, out, overwrite)
    let_threads_sleep()
    from detector.pretraining.settings import PretrainSettings, pretrain_optimizer
    from detector.pretraining.start import Request, pretrain
    from detector.teachers.onnx_model import OnnxInput
    from detector.training.settings.auto_preset import SHORT_RUN_FACTOR
    from search_spaces.text import resolve_structure

    settings = PretrainSettings(
        steps=steps, minutes=minutes, batch_size=batch_size, distiller=distiller, neck=neck,
        optimizer=pretrain_optimizer(learning_rate), amp=amp, seed=seed,
    )  # fmt: skip
    onnx = OnnxInput(
        outputs=tuple(name.strip() for name in outputs.split(",")) if outputs else (),
        mean=_numbers("--teacher-mean", mean, 0.0), std=_numbers("--teacher-std", std, 1.0),
    )  # fmt: skip
    chosen = resolve_structure(structure)
    chosen = chosen if image_size is None else chosen.with_image_size(*parse_image_size(image_size))
    request = Request(
        structure=chosen, teacher=teacher, onnx=onnx, folders=tuple(images), out=out, device=device, resume=resume,
        given=_given(context),
    )  # fmt: skip
    done = _done(lambda: pretrain(request, settings, lambda text: print(text, flush=True)), request.state_file)
    # nothing of the task is learnt yet that the rate from scratch would undo
    rate = f"--set optimizer.short_run_factor={SHORT_RUN_FACTOR:g}"
    print(f"{done}; wrote {out}; next: tinynas train {quote(structure)} --weights {quote(str(out))} --data DIR {rate}")


def _given(context: typer.Context) -> dict[str, str]:
    """The options that the command line names, by the settings' fields that they set."""
    options = {
        "steps": "--steps", "minutes": "--time", "batch_size": "--batch-size", "optimizer": "--learning-rate",
        "distiller": "--distiller", "neck": "--neck", "amp": "--amp", "seed": "--seed",
    }  # fmt: skip
    return {field: option for field, option in options.items() if was_given(context, option)}


def _refuse(amp: str, out: Path, overwrite: bool) -> None:
    """Raise UserError for what could not end well, before anything is loaded."""
    if amp not in ("auto", "off", "bf16", "fp16"):
        raise UserError(f"--amp {amp}: expected auto, off, bf16 or fp16")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("pretrain runs as one process; start it without torchrun")
    check_new_file(out, overwrite=overwrite)


def _done(job: Callable[[], Any], state_file: Path) -> str:
    """Pre-train, and say what the loss did."""
    try:
        done = job()
    except KeyboardInterrupt:
        went_on = state_file.exists()
        print(
            "\nstopped; " + ("the same command with --resume goes on" if went_on else "there was nothing to save yet")
        )
        raise
    took = f"in {done.step} steps ({done.seconds / 60:.1f} min)"
    if done.first == done.recent:  # too few steps for two means
        return f"the loss was {done.recent:.3f} {took}"
    return f"the loss went from {done.first:.3f} to {done.recent:.3f} {took}"


def _numbers(option: str, text: str | None, default: float) -> tuple[float, ...]:
    """Three numbers, as R,G,B. Raises UserError."""
    if text is None:
        return (default,) * 3
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise UserError(f"{option} {text!r}: expected three numbers, for example 123.7,116.3,103.5")
    return numbers
