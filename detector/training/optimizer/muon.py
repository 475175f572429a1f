"""Muon: momentum whose directions all get the same length, for the conv weights; AdamW for what is no matrix.

A conv weight of shape (out, in, k, k) is a matrix of `out` rows. Its step is the momentum with all singular values near 1
(Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks"), scaled to the size of a step of AdamW
(Liu et al., 2025, arXiv 2502.16982, eq. 4), so that both go by one learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a x + b x^3 + c x^5 that takes singular values of 0.001 to 1 near 1 in five rounds (Jordan et al.)."""
ROUNDS = 5
MOMENTUM = 0.95
STEP_SIZE = 0.2
"""Root mean square of a step over the learning rate: what AdamW's steps have (Liu et al., section 2.2)."""
_EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Groups with `matrix` true are stepped by Muon, the others by AdamW; weight decay is decoupled in both."""

    def __init__(self, groups: Iterable[dict[str, Any]], rate: float, betas: tuple[float, float], **adamw: Any) -> None:
        """groups: as of any optimiser, each with `matrix`; betas and further keywords: of AdamW."""
        split: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for group in groups:
            split[bool(group["matrix"])].append(group)
        self._adamw = torch.optim.AdamW(split[False], lr=rate, betas=betas, **adamw)
        super().__init__([*split[True], *self._adamw.param_groups], {"lr": rate, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["matrix"]:
                self._step_matrices(group)
        # One state and one list of groups, these ones: they are what is saved, loaded and given a rate.
        self._adamw.param_groups = [group for group in self.param_groups if not group["matrix"]]
        self._adamw.state = self.state
        self._adamw.step()
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        gradients = [weight.grad for weight in weights]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        momenta = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        steps = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        # Views: what is added to them is added to the weights. torch refuses a view of a layout that has none.
        rows = [_as_stored(weight, weight).view(len(weight), -1) for weight in weights]
        for members in _of_one_shape(rows):
            found = [_as_stored(steps[member], weights[member]).reshape(rows[member].shape) for member in members]
            directions = orthogonalized(torch.stack(found))
            size = group["lr"] * STEP_SIZE * math.sqrt(max(directions.shape[1:]))
            for member, direction in zip(members, directions):
                rows[member].add_(direction, alpha=-size)


def orthogonalized(matrices_NRC: Tensor) -> Tensor:
    """Matrices with the same singular vectors, and singular values near 1 (0.7 to 1.2) where they were not tiny."""
    rows, columns = matrices_NRC.shape[1:]
    if rows > columns:
        return orthogonalized(matrices_NRC.mT).mT
    scaled = matrices_NRC / (matrices_NRC.norm(dim=(1, 2), keepdim=True) + _EPSILON)
    return _by_gram(scaled) if columns >= 2 * rows else _by_rounds(scaled)


def _by_rounds(matrices_NRC: Tensor) -> Tensor:
    """Newton-Schulz: X -> (a + b G + c G^2) X with G = X X^T."""
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = matrices_NRC @ matrices_NRC.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        matrices_NRC = torch.baddbmm(matrices_NRC, polynomial, matrices_NRC, beta=a)
    return matrices_NRC


def _by_gram(matrices_NRC: Tensor) -> Tensor:
    """The same rounds over the Gram matrices alone: under half the products for a 3x3 conv. They take fp32: bf16 would
    round the Gram matrix's small eigenvalues away."""
    a, b, c = COEFFICIENTS
    gram = matrices_NRC @ matrices_NRC.mT
    unit = a * torch.eye(gram.shape[1], device=gram.device)
    product = unit / a
    for number in range(ROUNDS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + unit
        product = polynomial @ product
        if number < ROUNDS - 1:
            gram = polynomial @ gram @ polynomial
    return product @ matrices_NRC


def _as_stored(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor of a conv with its axes in the order in which `like` has them in memory: channels first or last. To a
    step the order of a matrix's columns is all the same."""
    return tensor if like.ndim != 4 or like.is_contiguous() else tensor.permute(0, 2, 3, 1)


def _of_one_shape(matrices: Sequence[Tensor]) -> Iterator[list[int]]:
    """Numbers of the matrices of one shape; they are worked on at once."""
    found: dict[torch.Size, list[int]] = {}
    for number, matrix in enumerate(matrices):
        found.setdefault(matrix.shape, []).append(number)
    yield from found.values()
