"""The YAML beside a table's CSV: which device it is for, and how its figures came about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from latency_tables.fusion import FusionRules, fusion_rules
from latency_tables.kernels import KINDS
from search_spaces.errors import UserError, nearest
from search_spaces.files import read_text
from search_spaces.validation import first_problem

NAME = r"[a-z0-9_]+(-[a-z0-9_]+)*"
ShortName = Annotated[str, Field(pattern=f"^{NAME}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HostFacts(_Model):
    """What tells one CPU from another: `processor` as tables name it, those vector `extensions` that kernels are chosen by,
    the `governor` of the clock (empty where the system shows none), and whether it is `virtual`, under a hypervisor that
    may hide the model."""

    processor: str = ""
    extensions: tuple[str, ...] = ()
    governor: str = ""
    virtual: bool = False


class Measured(_Model):
    """How kernels were timed, and for which networks.

    `reach`: the spaces and image sizes whose kernels were measured. `expected_error`: mean relative error of a kernel
    that the profiler's own fit expected when it stopped, weighted by latency. `minutes`: what the last run of the
    profiler took, which may have gone on with what earlier ones had measured.
    """

    method: str
    statistic: str
    warm_up: Annotated[int, Field(ge=0)]
    repeats: Annotated[int, Field(ge=1)]
    host: str = ""
    reach: str = ""
    minutes: Annotated[float, Field(ge=0)] | None = None
    expected_error: Annotated[float, Field(ge=0)] | None = None


class Derived(_Model):
    """What a table was computed from, and how; `parameters` are the calibrated figures."""

    sources: list[str]
    method: str
    parameters: dict[str, float] = {}


class Adapted(_Model):
    """What a table was adapted from: the id of the `source`, how many `kernels` were measured on the device, in how many
    `seconds`. `expected_error`: relative error of a whole detector that the fit expected when it stopped. `unsteadiness`:
    by how much a reference conv was above its best time in a tenth of the looks at it meanwhile."""

    source: str
    kernels: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)] = 0.0
    expected_error: Annotated[float, Field(ge=0)] | None = None
    unsteadiness: Annotated[float, Field(ge=0)] = 0.0


class TableMetadata(_Model):
    """`id` is `chip-runtime-precision-bN`, on a CPU with `-tN` for the threads.

    `short_names`: names (`t4`, `cpu`) for which this table is the default; no other table may claim them. `overhead_ms`
    is added once per network. `scale`: by kind of kernel, what it takes in a row in a network over what its rows, timed one
    by one, say (it multiplies all that is read from the table; 1 for a kind that is not named); both are fitted on whole
    detectors. `processor`, and `host` where
    it is known, are compared with the host's for a CPU table. `clocks`: what is known of the device's clocks while it was
    measured. `tail_block`: see FusionRules. `error`: figures of checks against whole detectors, by name.
    """

    id: Annotated[str, Field(pattern=rf"^{NAME}-b[1-9][0-9]*(-t[1-9][0-9]*)?$")]
    short_names: list[ShortName] = []
    kind: Literal["gpu", "cpu"]
    device: str
    processor: str = ""
    host: HostFacts | None = None
    runtime: str
    runtime_version: str
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    batch: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)] | None = None
    clocks: str = ""
    date: str
    overhead_ms: Annotated[float, Field(ge=0)] = 0.0
    scale: dict[str, Annotated[float, Field(gt=0)]] = {}
    tail_block: Annotated[int, Field(ge=1)] = 1
    measured: Measured | None = None
    derived: Derived | None = None
    adapted: Adapted | None = None
    error: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> TableMetadata:
        wanted = f"-{self.runtime}-{self.precision}-b{self.batch}" + (f"-t{self.threads}" if self.threads else "")
        if not self.id.endswith(wanted):
            raise ValueError(f"id: {self.id!r} found, by the other keys it must end in {wanted!r}")
        strange = next((kind for kind in self.scale if kind not in KINDS), None)
        if strange is not None:
            raise ValueError(f"scale: {strange!r} is no kind of kernel; {nearest(strange, KINDS)}")
        if self.measured is None and self.derived is None:
            raise ValueError("measured: one of `measured` and `derived` must say where the figures come from")
        return self

    @property
    def rules(self) -> FusionRules:
        """What the table's runtime fuses on the table's processor."""
        rules = fusion_rules(self.runtime, self.precision, self.host.extensions if self.host else ())
        return replace(rules, tail_block=self.tail_block)

    @property
    def default_space(self) -> str:
        """The space that is searched for this device when none is named."""
        return "res" if self.kind == "gpu" else "mob"


def parse_metadata(text: str, source: str) -> TableMetadata:
    """Metadata from YAML text. Raises UserError naming `source` and the first problem."""
    try:
        data = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{source}:{mark.line + 1}" if mark else source
        raise UserError(f"{line}: not YAML ({getattr(error, 'problem', error)}); expected a table's metadata") from None
    if not isinstance(data, dict):
        raise UserError(f"{source}: a table's metadata expected (keys {', '.join(TableMetadata.model_fields)})")
    try:
        return TableMetadata.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{source}: {_first_problem(error)}") from None


def new_metadata(**keys: Any) -> TableMetadata:
    """Metadata from its keys. Raises UserError naming the first problem."""
    try:
        return TableMetadata.model_validate(keys)
    except ValidationError as error:
        raise UserError(f"table {keys.get('id')}: {_first_problem(error)}") from None


def format_metadata(metadata: TableMetadata) -> str:
    """YAML text that `parse_metadata` reads back."""
    data = metadata.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def read_metadata(path: Path) -> TableMetadata:
    """Raises UserError when the file is missing or not sound."""
    text = read_text(path, "a table's metadata; every table has a .csv and a .yaml of one name")
    return parse_metadata(text, str(path))


def _first_problem(error: ValidationError) -> str:
    return str(first_problem(error, TableMetadata, _said))


def _said(kind: str, key: str, found: Any) -> str | None:
    if kind == "string_pattern_mismatch":
        example = ", ending in -bN or -bN-tN: i7_1260p-openvino-fp32-b1-t1" if key == "id" else ": my_laptop"
        return f"{found!r} found; lower-case letters, digits, _ and - between them expected{example}"
    if kind == "string_type":
        return f"{found!s} found; text expected, in quotes where it looks like a number or a date"
    return None
