"""torch form of the models in `_models`, as modules. torch is imported inside functions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from latency_tables.kernels import Kernel
from latency_tables.runtimes._models import RandomWeights, activation_of, detect_maps, priors

Step = tuple[Callable[..., Any], tuple[int, ...]]


class TorchWriter:
    """Writes one torch.nn.Module that takes the tensors of `input_shapes` and returns the outputs; tensors are numbers:
    the inputs', then the steps' in order."""

    fuses_any_add = False

    def __init__(self, seed: int = 0) -> None:
        import torch

        self._weights = RandomWeights(seed)
        self._shapes: list[tuple[int, ...]] = []
        self._steps: list[Step] = []
        self._modules = torch.nn.ModuleList()

    def image(self, height: int, width: int) -> int:
        return self.tensor(3, height, width)

    def tensor(self, channels: int, height: int, width: int) -> int:
        """An input; all inputs come before the first step."""
        self._shapes.append((1, channels, height, width))
        return len(self._shapes) - 1

    def conv(
        self, x: int, in_channels: int, out_channels: int, *, kernel: int, stride: int, depthwise: bool,
        activation: str | None, name: str,
    ) -> int:  # fmt: skip
        import torch

        groups = in_channels if depthwise else 1
        layer: Any = torch.nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups)
        weights, bias = self._weights.conv(in_channels, out_channels, kernel, depthwise)
        layer.weight.data, layer.bias.data = torch.from_numpy(weights), torch.from_numpy(bias)
        self._modules.append(layer)
        return self._activate(self._step(layer, x), activation)

    def add(self, first: int, second: int, activation: str | None, name: str) -> int:
        import torch

        return self._activate(self._step(torch.add, first, second), activation)

    def _activate(self, x: int, activation: str | None) -> int:
        from torch.nn import functional

        if activation == "relu":
            return self._step(lambda value: functional.relu(value, inplace=True), x)
        return self._step(lambda value: functional.silu(value, inplace=True), x) if activation == "silu" else x

    def concat(self, inputs: Sequence[int], name: str) -> int:
        import torch

        return self._step(lambda *values: torch.cat(values, 1), *inputs)

    def max_pool(self, x: int, kernel: int, name: str) -> int:
        from torch.nn import functional

        return self._step(lambda value: functional.max_pool2d(value, kernel, 1, kernel // 2), x)

    def upsample(self, x: int, name: str) -> int:
        from torch.nn import functional

        return self._step(lambda value: functional.interpolate(value, scale_factor=2, mode="nearest"), x)

    def space_to_depth(self, x: int, name: str) -> int:
        from torch.nn import functional

        return self._step(lambda value: functional.pixel_unshuffle(value, 2), x)

    def detect(
        self, inputs: Sequence[int], maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int,
        num_classes: int, name: str,
    ) -> int:  # fmt: skip
        """Decoding as the exported detectors have it."""
        decode = _decoder(maps, strides, reg_max)
        self._modules.append(decode)
        return self._step(decode, *inputs)

    def model(self, outputs: Sequence[int]) -> Any:
        return _tape(self._modules, self._steps, self._shapes, tuple(outputs))

    def _step(self, function: Callable[..., Any], *inputs: int) -> int:
        self._steps.append((function, inputs))
        return len(self._shapes) + len(self._steps) - 1


def kernel_module(kernel: Kernel) -> Any:
    """One kernel alone, as a module."""
    writer = TorchWriter()
    inputs, outputs, size = int(kernel.in_channels), int(kernel.out_channels), int(kernel.kernel)
    if kernel.kind == "detect":
        return _detect_module(kernel, writer)
    x = writer.tensor(inputs // 2 if "concat" in kernel.kind else inputs, kernel.height, kernel.width)
    if kernel.kind in ("stem", "conv", "depthwise"):
        side = tuple(-(-side // kernel.stride) for side in (kernel.height, kernel.width))
        other = writer.tensor(outputs, *side) if kernel.fused_add else None
        own = None if kernel.fused_add else activation_of(kernel)
        x = writer.conv(
            x,
            inputs,
            outputs,
            kernel=size,
            stride=kernel.stride,
            depthwise=kernel.kind == "depthwise",
            activation=own,
            name="conv",
        )
        x = x if other is None else writer.add(other, x, activation_of(kernel), "add")
    elif kernel.kind == "add":
        x = writer.add(x, writer.tensor(inputs, kernel.height, kernel.width), activation_of(kernel), "add")
    elif kernel.kind in ("concat", "reordered_concat"):
        x = writer.concat([x, writer.tensor(inputs - inputs // 2, kernel.height, kernel.width)], "concat")
    elif kernel.kind == "max_pool":
        x = writer.max_pool(x, size, "pool")
    elif kernel.kind == "upsample":
        x = writer.upsample(x, "upsample")
    else:
        x = writer.space_to_depth(x, "fold")
    return writer.model([x])


def _detect_module(kernel: Kernel, writer: TorchWriter) -> Any:
    maps = detect_maps(kernel.height)
    bins, classes = int(kernel.in_channels), int(kernel.out_channels)
    inputs = [writer.tensor(channels, *size) for size in maps for channels in (classes, bins)]
    return writer.model([writer.detect(inputs, maps, (8, 16, 32), bins // 4 - 1, classes, "detect")])


def _tape(modules: Any, steps: Sequence[Step], shapes: Sequence[tuple[int, ...]], outputs: Sequence[int]) -> Any:
    """A module that runs the steps in order and lets go of tensors after their last reader."""
    import torch

    last_reader = {source: place for place, (_, inputs) in enumerate(steps) for source in inputs}
    done = [
        [source for source in dict.fromkeys(inputs) if last_reader[source] == place and source not in outputs]
        for place, (_, inputs) in enumerate(steps)
    ]

    class Tape(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.parts = modules
            self.input_shapes = list(shapes)

        def forward(self, *inputs: Any) -> list[Any]:
            values: dict[int, Any] = dict(enumerate(inputs))
            for place, (function, sources) in enumerate(steps):
                values[len(inputs) + place] = function(*(values[source] for source in sources))
                for source in done[place]:
                    del values[source]
            return [values[item] for item in outputs]

    return Tape().eval()


def _decoder(maps: Sequence[tuple[int, int]], strides: Sequence[int], reg_max: int) -> Any:
    import torch

    class Decoder(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        priors: torch.Tensor
        steps: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("priors", torch.from_numpy(priors(maps, strides)), persistent=False)
            self.register_buffer("steps", torch.arange(reg_max + 1, dtype=torch.float32), persistent=False)

        def forward(self, *levels: Any) -> Any:
            scores = torch.cat([x.flatten(2).transpose(1, 2) for x in levels[0::2]], 1).sigmoid()
            logits = torch.cat([(1.1 * x).flatten(2).transpose(1, 2) for x in levels[1::2]], 1)
            shares = logits.reshape(1, -1, 4, reg_max + 1).softmax(3)
            distance = (shares * self.steps).sum(3) * self.priors[:, 2:]
            centres = self.priors[:, :2]
            return torch.cat([centres - distance[..., :2], centres + distance[..., 2:], scores], 2)

    return Decoder()
