"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

with suppress(ImportError):  # a GPU check's machine may be without hypothesis
    from hypothesis import HealthCheck, settings

    # A busy machine pauses for seconds: how long a draw or an example took says nothing of what is tested.
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `cuda` run where there is a GPU, and with TINYNAS_CUDA_TESTS=cpu on the CPU (see tests/cuda)."""
    if item.get_closest_marker("cuda") is None or os.environ.get("TINYNAS_CUDA_TESTS") == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data (bccd/, tiny_coco/) named by TINYNAS_TEST_DATA; skips without it."""
    folder = os.environ.get("TINYNAS_TEST_DATA")
    if not folder:
        pytest.skip("TINYNAS_TEST_DATA is not set: no real data")
    return Path(folder)


@pytest.fixture(scope="session")
def reference(real_data: Path) -> Path:
    """Figures of the released models (parity/, state_dict/) beside the folder of real data; skips without them."""
    folder = real_data.parent / "reference"
    if not (folder / "parity").is_dir():
        pytest.skip(f"{folder} is not there: no figures of the released models")
    return folder


@pytest.fixture
def with_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host says that it has AVX-512, as the fake runtime of the latency tables' tests does: runtimes differ by that."""
    monkeypatch.setattr("latency_tables.on_device.host.flags", lambda: {"avx2", "avx512f"})


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C works, here and in processes started here, also where the tests run in the background (SIGINT ignored)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@pytest.fixture(autouse=True)
def own_process_settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training changes malloc's settings for the rest of its process; here that process also runs all other tests."""
    if "tests/tinynas" in request.node.nodeid or "tests/detector" in request.node.nodeid:
        from detector.training import assembly

        monkeypatch.setattr(assembly, "keep_freed_memory", lambda: False)


@pytest.fixture(autouse=True)
def no_tables_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the user who runs the tests has measured must not be found by them."""
    monkeypatch.setenv("TINYNAS_TABLES", str(tmp_path_factory.getbasetemp() / "no-tables"))
