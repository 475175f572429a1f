"""ncnn files (.ncnn.param with its .ncnn.bin), for phones and small boards; the card stands behind the last layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from detector.deploy import Input, Model, Outputs
from detector.deploy._runtimes import cannot_run, only_cpu, runtime
from detector.model_card import ModelCard
from search_spaces.errors import UserError

if TYPE_CHECKING:
    from detector.deploy._source import Source

SUFFIXES = (".ncnn.param", ".ncnn.bin")
RUNTIME = "ncnn"
FROM_ONNX, BATCHES = False, False
OUTPUTS, INPUTS, PRECISIONS = ("raw",), ("tensor",), ("fp32", "half")
REASONS = {
    "nms": "ncnn has no layer for it: say --raw (tinynas predict and eval suppress by themselves)",
    "picture": "ncnn resizes with its own from_pixels_resize; leave it out",
}
_CARD = "# tinynas "


def load(path: Path, device: str | None = None, threads: int | None = None) -> Model:
    """device: cpu.

    Raises UserError when ncnn cannot read the files, they are no export of this project, or ncnn is not installed.
    """
    only_cpu(path, device, "ncnn")
    ncnn = runtime("ncnn", path, "'tinynas[ncnn]'")
    weights = path.with_name(path.name.removesuffix(SUFFIXES[0]) + SUFFIXES[1])
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; an ncnn model is two files, {path.name} and {weights.name}")
    card = _card_in(path)
    net = ncnn.Net()
    net.opt.num_threads = threads or ncnn.get_cpu_count()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise cannot_run(path, "a model that ncnn can run", ValueError("its layers or weights are damaged"), line=0)

    def run(images: Input) -> Outputs:
        found = []
        for image in images:
            extractor = net.create_extractor()
            values = np.ascontiguousarray(image, dtype=np.float32)  # held: ncnn reads this very memory
            extractor.input("images", ncnn.Mat(values))
            found.append([np.array(extractor.extract(name)[1]) for name in ("boxes", "scores")])
        return tuple(np.stack(arrays) for arrays in zip(*found))

    return Model(card, run)


def write(source: Source, path: Path) -> None:
    """Write the network's layers; precision `half` stores the convs' weights in fp16."""
    from detector.deploy._ncnn_layers import layers_of
    from search_spaces.emit import emit_detector

    card = source.card
    graph = emit_detector(source.network.structure.with_image_size(*card.image_size))
    made = layers_of(source.network, graph, card.precision == "half")
    # ncnn reads as many layers as the head of the file says, and nothing behind them
    text = made.param_text() + _CARD + json.dumps(card.to_strings(), ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    path.with_name(path.name.removesuffix(SUFFIXES[0]) + SUFFIXES[1]).write_bytes(b"".join(made.weights))


def _card_in(path: Path) -> ModelCard:
    try:
        last = path.read_text(encoding="utf-8").rstrip("\n").rpartition("\n")[2]
        texts = json.loads(last.removeprefix(_CARD)) if last.startswith(_CARD) else {}
    except ValueError:
        texts = {}
    return ModelCard.from_strings(texts, str(path))
