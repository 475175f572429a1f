"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data (bccd/, tiny_coco/) named by TINYNAS_TEST_DATA; skips without it."""
    folder = os.environ.get("TINYNAS_TEST_DATA")
    if not folder:
        pytest.skip("TINYNAS_TEST_DATA is not set: no real data")
    return Path(folder)
