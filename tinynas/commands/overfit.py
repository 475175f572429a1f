"""`tinynas overfit`: does a structure learn a few of your images by heart? The check to run before training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.training.machine.process_settings import let_threads_sleep
from search_spaces.files import claim_outputs
from search_spaces.image_size import parse_image_size
from tinynas.commands._train_options import ACCEPTED_DATA
from tinynas.commands.train import find_data

if TYPE_CHECKING:
    from detector.overfit.training import OverfitResult, Reading
    from detector.training.run import Run

PICTURE = "overfit.jpg"


def run(
    structure: Annotated[str, typer.Argument(help="Structure file, or the name of a shipped one (T S M L Ns Nm Nl).")],
    data: Annotated[Path | None, typer.Option(help=f"Data: {ACCEPTED_DATA}. Default: ./data.yaml or ./data.")] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Training images to learn by heart. Default: 8, or as many as there are.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Give up after this many steps.")] = 400,
    image_size: Annotated[str | None, typer.Option(metavar="H[xW]", help="Default: the structure's.")] = None,
    out: Annotated[Path | None, typer.Option(help=f"Folder for {PICTURE}. Default: runs/NAME-overfit.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A training setting, e.g. loss.assigner=atss."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of images and of the weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace an earlier picture.")] = False,
) -> None:
    """Train on a few images until AP50 on the same ones is above 0.95. Exit code 1 and advice when that fails."""
    let_threads_sleep()
    folder = out or Path("runs") / f"{Path(structure).stem}-overfit"
    claim_outputs(folder, [PICTURE], overwrite)
    size = None if image_size is None else list(parse_image_size(image_size))
    source = find_data(data)

    from detector.overfit.images import MOST_AT_ONCE, load_few
    from detector.overfit.picture import write_overfit_picture
    from detector.overfit.training import overfit, overfit_run, settings
    from detector.training.settings.config import build_config
    from search_spaces.text import resolve_structure

    chosen = resolve_structure(structure)
    direct: dict[str, Any] = {"seed": seed, "device": device, "image_size": size}
    config = build_config(settings(images or MOST_AT_ONCE, steps), overrides=set_ or [], direct=direct)
    height, width = config.image_size or chosen.image_size
    few = load_few(source, images, seed, (height, width), _say)
    # Their number shapes the batch and the epochs; before, the settings were only checked.
    config = build_config(settings(len(few), steps), overrides=set_ or [], direct=direct)
    started = overfit_run(chosen, few, str(source), config, folder, _say)
    result = overfit(started, tell=_tell)
    write_overfit_picture(started, folder / PICTURE)
    _say(_verdict(result, folder))
    if not result.passed:
        for line in _advice(result, started):
            _say(f"  - {line}")
        raise typer.Exit(1)


def _tell(reading: Reading) -> None:
    found = {name: value for name, value in reading.metrics.class_ap50.items() if not math.isnan(value)}
    lowest = min(found, key=found.__getitem__)
    of_class = f", lowest {found[lowest]:.3f} ({lowest})" if len(found) > 1 else ""
    _say(f"step {reading.step}: loss {reading.loss:.3f}, AP50 {reading.metrics.ap50:.3f}{of_class}")


def _verdict(result: OverfitResult, folder: Path) -> str:
    last, picture = result.last, f"truth and predictions in {folder / PICTURE}"
    found = f"AP50 {last.metrics.ap50:.3f} after {last.step} steps, {result.seconds:.0f} s"
    if result.passed:
        return f"passed: {found}; {picture}"
    return f"failed: {found}; {picture}. What was seen:"


def _advice(result: OverfitResult, run: Run) -> list[str]:
    from detector.evaluation.settings import selection_of
    from detector.overfit.advice import advice

    chosen = selection_of(run.blank)
    return advice(
        result,
        run.val_set.annotations,
        run.blank.structure.image_size,
        chosen["iou_threshold"],
        chosen["max_detections"],
    )


def _say(text: str) -> None:
    print(text, flush=True)
