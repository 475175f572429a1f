"""ZeroHead: one projection conv per task and level, then decoding to boxes (report, 2.3 and figure 3).

With `depth` the report's ablation (table 6): so many convs of the feature's width in each branch before the projection.
"""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.builder import Builder, Tensor
from search_spaces.structure import Head


def emit(b: Builder, features: Sequence[Tensor], head: Head) -> Tensor:
    """Boxes and scores of all priors, strides 8, 16, 32 in that order."""
    levels = []
    for number, x in enumerate(features, start=1):
        with b.scope(f"level{number}"):
            cls = b.conv("cls", _branch(b, "cls", x, head), head.num_classes, kernel=head.kernel, bias_only=True)
            reg = b.conv("reg", _branch(b, "reg", x, head), 4 * (head.reg_max + 1), kernel=head.kernel, bias_only=True)
        levels.append((cls, reg))
    return b.detect("detect", levels, head.reg_max, head.num_classes)


def _branch(b: Builder, task: str, x: Tensor, head: Head) -> Tensor:
    for number in range(1, head.depth + 1):
        x = b.conv(f"{task}_conv{number}", x, x.channels, kernel=head.kernel, activation=head.activation)
    return x
