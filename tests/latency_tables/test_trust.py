"""What is said of a table's milliseconds."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from latency_tables import find_table, list_tables, trust
from latency_tables.trust import NEVER_CHECKED, PROVENANCES, checked_error, trust_of

EPYC = "AMD EPYC (family 26, model 2)"


@dataclass
class Metadata:
    """The keys of a table's metadata that are read."""

    kind: str = "cpu"
    device: str = "A board"
    processor: str = EPYC
    measured: object = "by hand"
    adapted: object = None
    host: object = None
    error: dict = field(default_factory=lambda: {"median": 1.234, "detectors": 24})


@pytest.fixture
def on_epyc(monkeypatch):
    monkeypatch.setattr(trust, "is_this_host", lambda metadata: True)


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr(trust, "is_this_host", lambda metadata: False)


def test_measured_on_this_host(on_epyc):
    found = trust_of(Metadata())
    assert found.text == "measured on this host, 1.2 % median error on 24 detectors"
    assert found.record == f"measured on {EPYC}, 1.2 % median error on 24 detectors"
    assert (found.provenance, found.this_host) == ("measured", True)


def test_measured_elsewhere(elsewhere):
    found = trust_of(Metadata())
    assert found.text == (
        f"measured on another processor, {EPYC}: milliseconds differ here; there 1.2 % median error on 24 detectors"
    )
    assert found.this_host is False
    # files travel: what they keep does not depend on the host
    assert found.record == f"measured on {EPYC}, 1.2 % median error on 24 detectors"


def test_adapted(on_epyc):
    adapted = SimpleNamespace(source="chip-openvino-fp32-b1-t1", kernels=240, seconds=60.0)
    error = {"median": 3.1, "detectors": 8, "largest": 7.0}
    found = trust_of(Metadata(measured=None, adapted=adapted, error=error))
    assert found.text == (
        "adapted from chip-openvino-fp32-b1-t1 with 240 kernels measured on this host, "
        "3.1 % median error on 8 detectors (largest 7.0 %)"
    )
    assert found.provenance == "adapted"


def test_a_processor_that_is_not_named_is_neither_here_nor_there(on_epyc):
    for metadata in (Metadata(processor=""), Metadata(kind="gpu", processor="")):
        assert trust_of(metadata).this_host is None
        assert trust_of(metadata).text == "measured on A board, 1.2 % median error on 24 detectors"


def test_shipped_tables_that_were_not_measured():
    derived, fitted = (find_table(name).metadata for name in ("t4", "v100"))
    assert trust_of(derived, {"derived": 1.0}).text == (
        "derived, not measured, 2.5 % mean error on 13 published detectors, each left out once (largest 6.5 %)"
    )
    found = trust_of(fitted, {"fitted": 0.9, "derived": 0.1})
    assert found.provenance == "fitted"
    assert found.text == (
        "fitted to single kernels measured on NVIDIA V100, 6.1 % median error on single kernels "
        "(90 % within 21.8 %), no detectors checked"
    )


def test_every_shipped_table_says_something():
    for metadata, _ in list_tables():
        found = trust_of(metadata)
        assert found.provenance in PROVENANCES
        assert "error on" in found.checked


def test_what_lies_beyond_the_table_and_corrections_are_said(on_epyc):
    assert trust_of(Metadata(), {"extrapolated": 0.004}).text.endswith("24 detectors")
    assert trust_of(Metadata(), {"extrapolated": 0.062}).text.endswith("; 6 % of it beyond the table's rows")
    assert trust_of(Metadata(), None, 8).text.endswith("; corrected by 8 networks measured whole")


@pytest.mark.parametrize("error", [{}, {"note": "later"}, {"median": "small"}, {"median": None, "detectors": 3}])
def test_no_figures_are_no_check(error):
    assert checked_error(error) == NEVER_CHECKED


def test_a_figure_alone_is_enough():
    assert checked_error({"median": 0.0}) == "0.0 % median error"
