"""Graph -> torch: the training form with re-parameterised branches, and the deploy form."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detector.units import ConvUnit, Detect, RepConvUnit, op_module
from search_spaces.emit import emit_detector
from search_spaces.graph import Graph, Op
from search_spaces.structure import Structure

CLASS_PRIOR = 0.01
HEAD_STD = 0.01


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What the loss needs: `cls_logits` (B, A, C), `reg_logits` (B, A, 4 x (reg_max + 1)), `priors` (A, 3) as x, y,
    stride in input pixels, and the named features (`tap1..3`, `neck1..3`)."""

    cls_logits: Tensor
    reg_logits: Tensor
    priors: Tensor
    features: dict[str, Tensor]


class Network(nn.Module):
    """Runs a graph. The module tree mirrors the ops' paths (`backbone.stage2.block1.conv2`).

    `forward(images)` takes (B, 3, H, W) RGB 0..255 and returns boxes (B, A, 4) in input pixels and scores (B, A, C);
    `forward_raw(images)` returns what the loss needs. Height and width may differ from the graph's (multiples of 32).
    """

    def __init__(self, structure: Structure) -> None:
        super().__init__()
        self.structure = structure
        self.graph = emit_detector(structure)
        for op in self.graph:
            module = op_module(self.graph, op)
            if module is not None:
                _mount(self, op.path, module)
        self._last_use = _last_use(self.graph)
        self.initialise()

    @property
    def detect(self) -> Detect:
        module = self.get_submodule("head.detect")
        assert isinstance(module, Detect)
        return module

    @property
    def scales(self) -> dict[str, nn.Parameter]:
        """The head's learnt scales by the path of the conv whose map each multiplies; none where they are folded into it."""
        *_, op = self.graph.ops
        convs = [self.graph.ops[source].path for source in op.inputs[1::2]]
        return {} if self.detect.folded else dict(zip(convs, self.detect.scales))

    def initialise(self) -> None:
        """He-normal convs, head weights of std 0.01, classification bias at probability 0.01."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                if name.startswith("head."):
                    nn.init.normal_(module.weight, std=HEAD_STD)
                else:
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.reset_class_prior()

    def reset_class_prior(self) -> None:
        """Classification biases at probability 0.01 for every class."""
        for name, module in self.named_modules():
            if isinstance(module, ConvUnit) and name.startswith("head.") and name.endswith(".cls"):
                assert module.conv.bias is not None
                nn.init.constant_(module.conv.bias, -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps, _ = self._maps(images)
        boxes, scores = self.detect(maps)
        return boxes, scores

    def forward_raw(self, images: Tensor) -> RawOutput:
        """Logits, priors and features, without decoding."""
        maps, features = self._maps(images)
        cls, reg = self.detect.logits(maps)
        return RawOutput(cls, reg, self.detect.priors(maps), features)

    def features(self, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """The named features (`tap1..3`, `neck1..3`) alone: what stands behind the last of them is not computed."""
        _, features = self._run_ops(images, 1 + max(self.graph.outputs[name] for name in names))
        return [features[name] for name in names]

    def feature_channels(self, names: Sequence[str]) -> tuple[int, ...]:
        """Channels of named features."""
        return tuple(int(self.graph.ops[self.graph.outputs[name]].shape.channels) for name in names)

    def _maps(self, images: Tensor) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The head's maps (class, regression per level) and the named features."""
        *_, detect = self.graph.ops
        values, features = self._run_ops(images, len(self.graph.ops) - 1)
        return [_value(values, source) for source in detect.inputs], features

    def _run_ops(self, images: Tensor, count: int) -> tuple[list[Tensor | None], dict[str, Tensor]]:
        """The first `count` ops: the values that ops behind them need, and the named features among them."""
        names: dict[int, list[str]] = {}
        for name, index in self.graph.outputs.items():
            names.setdefault(index, []).append(name)
        values: list[Tensor | None] = [None] * len(self.graph.ops)
        features: dict[str, Tensor] = {}
        for index, op in enumerate(self.graph.ops[:count]):
            inputs = [images] if op.kind == "input" else [_value(values, source) for source in op.inputs]
            values[index] = value = self._run(op, inputs)
            for name in names.get(index, ()):
                features[name] = value
            for source in self._last_use[index]:
                values[source] = None
        return values, features

    def _run(self, op: Op, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        match op.kind:
            case "conv" | "max_pool":
                result = self.get_submodule(op.path)(x)
            case "add":
                result = x + inputs[1]
                if op.activation is not None:
                    result = self.get_submodule(op.path)(result)
            case "concat":
                result = torch.cat(inputs, 1)
            case "upsample":
                result = F.interpolate(x, scale_factor=2.0, mode="nearest")
            case "space_to_depth":
                result = _space_to_depth(x)
            case _:
                result = x
        assert isinstance(result, Tensor)
        return result

    def merge_branches(self) -> Network:
        """A copy in deploy form: re-parameterised branches merged, other norms kept."""
        other = copy.deepcopy(self)
        for name, module in list(other.named_modules()):
            if isinstance(module, RepConvUnit):
                parent, _, last = name.rpartition(".")
                setattr(other.get_submodule(parent), last, module.merge())
        return other.eval()

    def deploy(self) -> Network:
        """A copy for inference: branches merged, every BatchNorm and the head's scales folded into the convs before."""
        other = self.merge_branches().requires_grad_(False)
        for module in other.modules():
            if isinstance(module, ConvUnit):
                module.fuse_norm()
        for path, scale in other.scales.items():
            for parameter in other.get_submodule(path).parameters():
                parameter.mul_(scale)
        other.detect.folded = True
        return other.requires_grad_(False)


def _space_to_depth(x: Tensor) -> Tensor:
    """Fold by 2 with the channel order (row, col) parity (0,0) (1,0) (0,1) (1,1), each with the three colours.

    `pixel_unshuffle` gives colour-major order with (0,0) (0,1) (1,0) (1,1); a reshape puts parity first.
    """
    batch, channels, height, width = x.shape
    folded = F.pixel_unshuffle(x, 2).reshape(batch, channels, 2, 2, height // 2, width // 2)
    return folded.permute(0, 3, 2, 1, 4, 5).reshape(batch, channels * 4, height // 2, width // 2)


def _mount(root: nn.Module, path: str, module: nn.Module) -> None:
    *scopes, last = path.split(".")
    for scope in scopes:
        if scope not in root._modules:
            root.add_module(scope, nn.Module())
        root = root.get_submodule(scope)
    root.add_module(last, module)


def _last_use(graph: Graph) -> list[list[int]]:
    """For every op, the values that nobody reads after it."""
    released: list[list[int]] = [[] for _ in graph.ops]
    for index, consumers in enumerate(graph.consumers):
        if consumers:
            released[max(consumers)].append(index)
    return released


def _value(values: list[Tensor | None], index: int) -> Tensor:
    value = values[index]
    assert value is not None
    return value
