"""Every distiller on the card gives the CPU's loss and gradients."""

from __future__ import annotations

import copy

import pytest
import torch

from detector import distillers


@pytest.mark.parametrize("name", distillers.names())
def test_distillers_are_the_cpus(name: str, device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 8, 12, 12), (2, 16, 6, 6)]
    students, teachers = ([torch.randn(shape, generator=generator) for shape in shapes] for _ in range(2))
    torch.manual_seed(0)
    distiller = distillers.build(name, (8, 16)).train()
    found = []
    for where in (torch.device("cpu"), device):
        leaves = [value.detach().clone().to(where).requires_grad_() for value in students]
        moved = copy.deepcopy(distiller).to(where)
        loss = moved(leaves, [value.to(where) for value in teachers], torch.Generator().manual_seed(1))
        loss.backward()
        grads = [leaf.grad.cpu() for leaf in leaves if leaf.grad is not None]
        found.append(
            (float(loss.detach()), [*grads, *(p.grad.cpu() for p in moved.parameters() if p.grad is not None)])
        )
    (here, gradients), (there, others) = found
    assert here > 0
    assert there == pytest.approx(here, rel=1e-3)
    assert len(gradients) >= len(shapes)
    for a, b in zip(gradients, others, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-2, atol=1e-5)
