"""Tests on a GPU, against the CPU's results. All are marked `cuda` and skipped where there is none.

With TINYNAS_CUDA_TESTS=cpu they run on the CPU, against itself: so that they are known to run before a GPU is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from detector.data.sample import write_sample_data
from search_spaces.structure import Structure
from search_spaces.text import resolve_structure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cuda)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The card, or in a rehearsal the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


@pytest.fixture
def card(device: torch.device) -> torch.device:
    """The card; what only a card has is left out of a rehearsal."""
    if device.type != "cuda":
        pytest.skip("a rehearsal without a GPU")
    return device


@pytest.fixture(autouse=True)
def exact_fp32() -> Iterator[None]:
    """Convs and products in fp32 as said, not in TF32; the network's own settings afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.fixture(scope="session")
def small() -> Structure:
    """A detector with re-parameterised branches, SPP and all three levels, at 96 px."""
    return resolve_structure("T").with_classes(3).with_image_size(96, 96)


@pytest.fixture(scope="session")
def mobile() -> Structure:
    """A detector with depthwise convs, at 96 px."""
    return resolve_structure("Ns").with_classes(3).with_image_size(96, 96)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda") / "pictures"
    write_sample_data(folder, images_train=16, images_val=4, size=(96, 96))
    return folder
