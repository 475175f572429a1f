"""What stands beside a table's milliseconds: where they come from, and how the table did when it was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from latency_tables.host import is_this_host
from latency_tables.metadata import TableMetadata

PROVENANCES = ("measured", "adapted", "fitted", "derived")
"""Timed on the device; another device's table made to fit by some timed kernels; a fit to public measurements of single
kernels; computed from bytes, MACs and launches."""
WORTH_SAYING = 0.01
"""Share of a latency from beyond the table that is said."""
NEVER_CHECKED = "never checked on whole detectors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far to trust milliseconds of a table.

    `provenance`: one of PROVENANCES. `this_host`: whether the table is of this very machine; None where that cannot be
    told (a GPU, a processor that the table does not name). `checked`: the error found by its check, in words. `text`:
    all of it in one phrase for who sits at this host; `record`: the same for files, which travel: it says nothing of
    the host.
    """

    provenance: str
    this_host: bool | None
    checked: str
    text: str
    record: str

    def data(self) -> dict[str, Any]:
        """As it goes into JSON."""
        return asdict(self)


def trust_of(metadata: TableMetadata, shares: Mapping[str, float] | None = None, corrected_by: int = 0) -> Trust:
    """What to say of a table's milliseconds. `shares`: those of one prediction, by origin (None: of the table as such).
    `corrected_by`: how many measured networks the prediction was corrected by."""
    here = is_this_host(metadata) if metadata.kind == "cpu" and metadata.processor else None
    kind, checked = _provenance(metadata, shares or {}), checked_error(metadata.error)
    beyond = (shares or {}).get("extrapolated", 0.0)
    aside = f"; {100 * beyond:.0f} % of it beyond the table's rows" if beyond >= WORTH_SAYING else ""
    aside += f"; corrected by {corrected_by} networks measured whole" if corrected_by else ""
    device = metadata.processor or metadata.device
    record = f"{_origin(metadata, kind, device)}, {checked}{aside}"
    text = record
    if here:
        text = f"{_origin(metadata, kind, 'this host')}, {checked}{aside}"
    elif here is False:
        origin = _origin(metadata, kind, f"another processor, {device}")
        text = f"{origin}: milliseconds differ here; there {checked}{aside}"
    return Trust(provenance=kind, this_host=here, checked=checked, text=text, record=record)


def checked_error(error: Mapping[str, Any]) -> str:
    """The figures of a table's check in a few words; NEVER_CHECKED where there are none.

    `error`: as in the metadata: of whole detectors that were measured, of published ones that a fit had left out, or of
    single kernels held back.
    """
    median, mean = _percent(error, "median"), _percent(error, "mean_leave_one_structure_out")
    if median:
        on = f" on {error['detectors']} detectors" if "detectors" in error else ""
        return f"{median} median error{on}{_aside('largest', _percent(error, 'largest'))}"
    if mean:
        on = f" on {error['structures']} published detectors" if "structures" in error else ""
        largest = _percent(error, "worst_leave_one_structure_out")
        return f"{mean} mean error{on}, each left out once{_aside('largest', largest)}"
    if kernels := _percent(error, "table_median"):
        most = _aside("90 % within", _percent(error, "table_percentile_90"))
        return f"{kernels} median error on single kernels{most}, no detectors checked"
    return NEVER_CHECKED


def _percent(error: Mapping[str, Any], key: str) -> str:
    """`2.0 %`; empty where there is no such figure."""
    value = error.get(key)
    return f"{value:.1f} %" if isinstance(value, (int, float)) else ""


def _aside(words: str, figure: str) -> str:
    return f" ({words} {figure})" if figure else ""


def _provenance(metadata: TableMetadata, shares: Mapping[str, float]) -> str:
    if metadata.adapted is not None:
        return "adapted"
    if metadata.measured is not None:
        return "measured"
    return "fitted" if shares.get("fitted", 0.0) > shares.get("derived", 0.0) else "derived"


def _origin(metadata: TableMetadata, provenance: str, device: str) -> str:
    """`measured on this host`."""
    if (adapted := metadata.adapted) is not None:
        return f"adapted from {adapted.source} with {adapted.kernels} kernels measured on {device}"
    words = {
        "measured": f"measured on {device}",
        "fitted": f"fitted to single kernels measured on {device}",
        "derived": "derived, not measured",
    }
    return words[provenance]
