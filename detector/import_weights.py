"""The public DAMO-YOLO checkpoint format -> this project's state dict, as a map of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from detector.checkpoint import load_safely
from detector.network import Network
from search_spaces.errors import UserError
from search_spaces.graph import Graph, Op
from search_spaces.structure import Structure

NORM_KEYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
FUSIONS = {"m3": "merge_3", "m4": "merge_4", "o3": "merge_5", "o4": "merge_7", "o5": "merge_6"}
DOWNS = {
    "m3.down_p4": "bu_conv13", "m4.down_p3": "bu_conv24", "o4.down_o3": "bu_conv57",
    "o5.down_m4": "bu_conv46", "o5.down_o4": "bu_conv76",
}  # fmt: skip
FUSION_CONVS = {"bypass": "conv1", "entry": "conv2", "close": "conv3"}
IGNORED = "head.integral.project"


def key_map(network: Network) -> dict[str, str]:
    """{key of this project's training-form state dict: key of the public checkpoint}, one to one."""
    structure, pairs = network.structure, {}
    for op in network.graph:
        if op.kind == "conv":
            for ours, theirs in _conv_keys(op, structure, network.graph):
                pairs[f"{op.path}.{ours}"] = theirs
        elif op.kind == "detect":
            for level in range(len(op.strides)):
                pairs[f"{op.path}.scale{level}"] = f"head.scales.{level}.scale"
    return pairs


def import_state(public: Mapping[str, Tensor], network: Network, source: str) -> None:
    """Load a public state dict into a network in training form.

    Raises UserError naming the first missing, unknown or wrongly shaped key.
    """
    pairs = key_map(network)
    own = network.state_dict()
    missing = sorted(set(pairs.values()) - set(public))
    unknown = sorted(set(public) - set(pairs.values()) - {IGNORED})
    wrong = [
        f"{theirs} is {tuple(public[theirs].shape)}, expected {tuple(own[ours].shape)}"
        for ours, theirs in pairs.items()
        if theirs in public and public[theirs].shape != own[ours].shape
    ]
    if missing or unknown or wrong:
        first = wrong[0] if wrong else f"no key {missing[0]}" if missing else f"unknown key {unknown[0]}"
        raise UserError(
            f"{source}: a checkpoint of another model ({first}; {len(missing)} keys missing, {len(unknown)} unknown, "
            f"{len(wrong)} of another shape); name the right one with --model"
        )
    network.load_state_dict({ours: public[theirs] for ours, theirs in pairs.items()})


def read_public_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict under `model` of a public checkpoint, loaded without running code from it.

    Raises UserError when the file is missing, is no checkpoint, or holds more than tensors and plain values.
    """
    data = load_safely(path, "a public DAMO-YOLO .pth")
    state = data.get("model", data) if isinstance(data, dict) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: holds no state dict under 'model'; expected a public DAMO-YOLO checkpoint")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _norm(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for key in NORM_KEYS:
        yield f"{ours}.{key}", f"{theirs}.{key}"


def _conv_bn(theirs: str, conv: str = "conv", norm: str = "bn") -> Iterator[tuple[str, str]]:
    yield "conv.weight", f"{theirs}.{conv}.weight"
    yield from _norm("norm", f"{theirs}.{norm}")


def _rep(theirs: str) -> Iterator[tuple[str, str]]:
    for ours, branch in (("dense", "rbr_dense"), ("pointwise", "rbr_1x1")):
        yield f"{ours}.weight", f"{theirs}.{branch}.conv.weight"
        yield from _norm(f"{ours}_norm", f"{theirs}.{branch}.bn")


def _conv_keys(op: Op, structure: Structure, graph: Graph) -> Iterator[tuple[str, str]]:
    words = op.path.split(".")
    if words[0] == "head":
        level, task = int(words[1].removeprefix("level")) - 1, words[2]
        yield "conv.weight", f"head.gfl_{task}.{level}.weight"
        yield "conv.bias", f"head.gfl_{task}.{level}.bias"
    elif words[0] == "neck":
        yield from _neck_keys(words[1:], op)
    elif words[1] == "stem":
        root = "csp_stage" if structure.backbone.space == "csp" else "block_list"
        conv, norm = ("conv", "bn") if structure.backbone.stem.kind == "focus" else ("conv1", "bn1")
        yield from _conv_bn(f"backbone.{root}.0.conv", conv, norm)
    elif structure.backbone.space == "csp":
        yield from _csp_keys(words[1:], op, graph)
    else:
        yield from _chain_keys(words[1:], op, structure)


def _neck_keys(words: list[str], op: Op) -> Iterator[tuple[str, str]]:
    fusion, *rest = words
    down = DOWNS.get(".".join(words[:2]))
    if down is not None:
        if op.depthwise or rest[-1] == "pointwise":
            short = "dw" if op.depthwise else "pw"
            yield "conv.weight", f"neck.{down}.{rest[-1]}.weight"
            yield from _norm("norm", f"neck.{down}.{short}norm")
        else:
            yield from _conv_bn(f"neck.{down}")
    elif rest[0] in FUSION_CONVS:
        yield from _conv_bn(f"neck.{FUSIONS[fusion]}.{FUSION_CONVS[rest[0]]}")
    else:
        theirs = f"neck.{FUSIONS[fusion]}.convs.{int(rest[0].removeprefix('block')) - 1}"
        if op.reparam:
            yield from _rep(f"{theirs}.conv2")
        elif op.path.endswith("conv2") and not op.depthwise:
            yield from _conv_bn(f"{theirs}.conv1")
        else:
            yield from _mob_keys(f"{theirs}.conv.conv", rest[1], last_at=6)


def _mob_keys(theirs: str, name: str, last_at: int) -> Iterator[tuple[str, str]]:
    position = {"conv1": 0, "conv2": 3, "conv3": last_at}[name]
    yield "conv.weight", f"{theirs}.{position}.weight"
    yield from _norm("norm", f"{theirs}.{position + 1}")


def _chain_keys(words: list[str], op: Op, structure: Structure) -> Iterator[tuple[str, str]]:
    stage = int(words[0].removeprefix("stage"))
    theirs = f"backbone.block_list.{stage}.block_list"
    last = stage == len(structure.backbone.stages) and structure.backbone.spp
    if words[1] == "spp":
        yield from _conv_bn(f"{theirs}.1.{words[2]}")
        return
    block = int(words[1].removeprefix("block")) - 1
    theirs = f"{theirs}.{block + 1 if last and block > 0 else block}"
    if structure.backbone.space == "mob":
        yield from _mob_keys(f"{theirs}.conv", words[2], last_at=7)
    elif op.reparam:
        yield from _rep(f"{theirs}.{words[2]}")
    else:
        name = "residual_proj" if words[2] == "projection" else words[2]
        yield from _conv_bn(f"{theirs}.{name}", "conv1", "bn1")


def _csp_keys(words: list[str], op: Op, graph: Graph) -> Iterator[tuple[str, str]]:
    wrappers = list(dict.fromkeys(o.path.split(".")[1] for o in graph if o.path.startswith("backbone.stage")))
    theirs = f"backbone.csp_stage.{wrappers.index(words[0]) + 1}"
    outer = {"down": "downsampler", "start": "conv_start", "shortcut": "conv_shortcut", "fuse": "conv_fuse"}
    if words[1] == "spp":
        yield from _conv_bn(f"{theirs}.spp.{words[2]}")
    elif words[1] in outer:
        yield from _conv_bn(f"{theirs}.{outer[words[1]]}.conv", "conv1", "bn1")
    else:
        theirs = f"{theirs}.convstem.{int(words[1].removeprefix('block')) - 1}.{words[2]}"
        yield from _rep(theirs) if op.reparam else _conv_bn(theirs, "conv1", "bn1")
