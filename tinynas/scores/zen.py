"""Zen-score (Zen-NAS, ICCV 2021): how strongly a random network reacts to a small change of its input.

Computed here: the backbone without shortcuts (adds pass the main branch on; concats stay), every conv with weights from
N(0, 1) and no bias, then a BatchNorm without scale and shift, then the activation that the structure has. For images x
and noise e, both from N(0, 1), with f the deepest tap before any pooling,

    score = ln mean ||f(x) - f(x + 0.01 e)|| + sum over norms of ln sqrt(mean over channels of their variance)

where ||.|| is the Frobenius norm per image, and the norms take their statistics from x and x + 0.01 e together, so that
f is one function. The second term gives back the scale that the norms remove. The mean over `repeats` networks is
returned. The published search runs the networks at full size; here they run at a small one, which shifts the scores and
hardly changes their order (docs/scores.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from search_spaces.emit import emit_backbone
from search_spaces.errors import UserError
from search_spaces.graph import Graph, Op
from search_spaces.structure import Structure
from tinynas.scores._random_network import gaussian_conv, run_main_branch

# groups are not weighted
WEIGHTS: tuple[float, ...] = ()
PERTURBATION = 0.01


def score_structures(
    structures: Sequence[Structure], *, seed: int = 0, repeats: int = 2, images: int = 8, side: int = 96
) -> npt.NDArray[np.float64]:
    """Scores (n,) of single structures (plain ints): mean of `repeats` random networks on `images` square images of
    `side` pixels, a multiple of 32.

    The draws depend on `seed` and the repeat alone: a structure has the same score beside any others. Raises UserError
    for a side or a number out of range.
    """
    if side < 32 or side % 32 or repeats < 1 or images < 1:
        raise UserError(
            f"zen: side {side}, {repeats} repeats, {images} images; the side must be a multiple of 32, the others at "
            "least 1"
        )
    graphs = [emit_backbone(structure.with_image_size(side, side)) for structure in structures]
    return np.array(
        [np.mean([_score(graph, seed, repeat, images) for repeat in range(repeats)]) for graph in graphs], np.float64
    )


def _score(graph: Graph, seed: int, repeat: int, images: int) -> float:
    """The score of one random network."""
    import torch

    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0]))
    log_scale = 0.0

    def conv(op: Op, x: torch.Tensor) -> torch.Tensor:
        nonlocal log_scale
        y = gaussian_conv(op, x, generator)
        variance, mean = torch.var_mean(y, dim=(0, 2, 3), keepdim=True, correction=0)
        log_scale += 0.5 * math.log(float(variance.mean()))
        # a channel that is zero everywhere stays zero
        return (y - mean) / variance.sqrt().clamp_min(torch.finfo(y.dtype).tiny)

    with torch.inference_mode():
        shape = (images, 3, *graph.image_size)
        clean, noise = (torch.randn(shape, generator=generator) for _ in range(2))
        features = run_main_branch(graph, torch.cat([clean, clean + PERTURBATION * noise]), conv)
        difference = (features[:images] - features[images:]).flatten(1).norm(dim=1).mean()
    return math.log(float(difference)) + log_scale
