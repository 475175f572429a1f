"""A small kit, made once, and a fresh copy of it for each test."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from latency_tables.kit import weights
from search_spaces.space import load_space
from tinynas.kit import KitRequest, make_kit


def small_request(runtime: str = "openvino", **changes: object) -> KitRequest:
    """Networks of the mob space at 64 px."""
    keys: dict[str, object] = {
        "runtime": runtime, "spaces": [load_space("mob")], "image_sizes": "64", "num_classes": [1, 80], "members": 2,
    }  # fmt: skip
    return KitRequest(**{**keys, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No tables of the user's own, and little weights: most of the time that a kit takes goes into compressing them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYNAS_TABLES", str(tmp_path_factory.mktemp("tables")))
        patch.setattr(weights, "SECTION", 2**18)
        yield


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kit") / "kit.zip"
    make_kit(path, small_request())
    return path


@pytest.fixture(scope="session")
def unpacked(archive: Path) -> Path:
    with zipfile.ZipFile(archive) as file:
        file.extractall(archive.parent)
    return archive.parent / "tinynas_kit_openvino"


@pytest.fixture
def kit_folder(unpacked: Path, tmp_path: Path) -> Path:
    """An unpacked kit that nobody has measured yet."""
    return Path(shutil.copytree(unpacked, tmp_path / "device"))
