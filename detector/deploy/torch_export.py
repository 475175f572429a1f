"""PyTorch's exported programs (.pt2): for programs that run torch without tinynas; the card is an extra file inside.

torch.export, and not TorchScript, which PyTorch has deprecated in its favour.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.deploy import Input, Model, Outputs
from detector.deploy._runtimes import cannot_run
from detector.model_card import ModelCard

if TYPE_CHECKING:
    from detector.deploy._source import Source

SUFFIXES = (".pt2",)
RUNTIME = "torch"
FROM_ONNX, BATCHES = False, True
OUTPUTS, INPUTS, PRECISIONS = ("raw",), ("tensor",), ("fp32",)
REASONS = {
    "nms": "torch has no op for it: say --raw (tinynas predict and eval suppress by themselves)",
    "picture": "formats that are made from ONNX take pictures",
    "half": "load the program and call .half() on a GPU",
}
_CARD = "tinynas.json"


def load(path: Path, device: str | None = None, threads: int | None = None) -> Model:
    """device: auto (a GPU if there is one), cpu, cuda, cuda:N. threads: of this whole process.

    Raises UserError when torch cannot read the file, it is no export of this project, or the device is not there.
    """
    import torch

    from detector.devices import choose_device

    place = choose_device(device or "auto")
    if threads is not None:
        torch.set_num_threads(threads)
    found: dict[str, Any] = {_CARD: ""}
    try:
        program = torch.export.load(path, extra_files=found).module().to(place)
        texts = json.loads(found[_CARD]) if found[_CARD] else {}
    except Exception as error:  # a damaged archive fails in many ways
        raise cannot_run(path, "a program that torch can run", error, line=0) from None
    card = ModelCard.from_strings(texts, str(path))

    def run(images: Input) -> Outputs:
        with torch.inference_mode():
            boxes, scores = program(torch.from_numpy(images).to(place))
        return boxes.cpu().numpy(), scores.cpu().numpy()

    return Model(card, run)


def write(source: Source, path: Path) -> None:
    """Export the network in deploy form; a free batch stays free."""
    import torch

    card = source.card
    images = torch.zeros(card.batch or 2, 3, *card.image_size)
    free = ({0: torch.export.Dim("batch")},) if card.batch is None else None
    with torch.no_grad():
        program = torch.export.export(source.network.eval(), (images,), dynamic_shapes=free)
    torch.export.save(program, path, extra_files={_CARD: json.dumps(card.to_strings(), ensure_ascii=False)})
