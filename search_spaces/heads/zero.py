"""ZeroHead: one projection conv per task and level, then decoding to boxes (report, 2.2 and figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.builder import Builder, Tensor
from search_spaces.structure import Head


def emit(b: Builder, features: Sequence[Tensor], head: Head) -> Tensor:
    """Boxes and scores of all priors, strides 8, 16, 32 in that order."""
    levels = []
    for number, x in enumerate(features, start=1):
        with b.scope(f"level{number}"):
            cls = b.conv("cls", x, head.num_classes, kernel=head.kernel, bias_only=True)
            reg = b.conv("reg", x, 4 * (head.reg_max + 1), kernel=head.kernel, bias_only=True)
        levels.append((cls, reg))
    return b.detect("detect", levels, head.reg_max, head.num_classes)
