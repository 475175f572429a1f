from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from detector.data.sample import write_sample_data
from search_spaces.structure import Structure
from search_spaces.text import format_structure
from tests.detector.tiny_structures import tiny_mob


@pytest.fixture(scope="session")
def tiny() -> Structure:
    """A mob detector of some 20,000 parameters."""
    rows = [(8, 8, 16, 2), (8, 8, 16, 2), (8, 16, 32, 2), (16, 16, 32, 1), (16, 16, 32, 2)]
    return tiny_mob(rows, (64, 64), kernel=5)


@pytest.fixture(scope="session")
def tiny_file(tiny: Structure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("structure") / "tiny.txt"
    path.write_text(format_structure(tiny))
    return path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(folder, images_train=10, images_val=4, size=(64, 64))
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and threads on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
