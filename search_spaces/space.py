"""Search spaces by file: block, ranges, the rule that neck and head follow, score weights, mutations."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from search_spaces.errors import UserError, nearest
from search_spaces.files import read_text
from search_spaces.plugins import plugin_names

Range = Annotated[tuple[int, int], Field(description="lowest and highest value, both allowed")]
Ratios = tuple[float, float]
Activation = Literal["relu", "silu"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StemSpace(_Model):
    kind: Literal["focus", "conv"]
    kernel: int = 3
    out: Range


class StageSpace(_Model):
    """`hidden` is a range of multiples of out. `tied`: out, hidden and kernel are those of the stage before."""

    out: Range
    hidden: Ratios
    depth: Range
    stride: Literal[1, 2]
    kernels: tuple[int, ...] = (3,)
    tied: bool = False


class NeckRule(_Model):
    """How the neck follows the backbone: widths in = taps, out = taps x out_ratio in whole channel steps."""

    kind: str
    depth: float
    hidden_ratio: float
    out_ratio: float = 1.0
    activation: Activation
    depthwise: bool = False


class HeadRule(_Model):
    kind: str
    reg_max: int
    kernel: int


class ScoreRule(_Model):
    """`weights`: one per group (stem, stage 1, stage 2, stages 3 + 4, stage 5)."""

    kind: str = "entropy"
    weights: tuple[float, ...] = Field(min_length=5, max_length=5)


class Mutation(_Model):
    channel_factors: tuple[float, ...]
    channel_steps: tuple[int, ...] = ()
    depth_steps: tuple[int, ...]


class Space(_Model):
    """A search space. Raises UserError on loading when a range is contradictory.

    `tap_growth`: each tap (stages 2, 4, 5) is so many times as wide as the tap before; None leaves them independent.
    """

    name: str
    block: str
    image_size: tuple[int, int]
    stem: StemSpace
    channel_step: int = Field(default=8, ge=1)
    stages: tuple[StageSpace, ...] = Field(min_length=5, max_length=5)
    tap_growth: float | None = None
    max_layers: int | None = None
    activation: Activation
    spp: bool = True
    reparam: bool = True
    neck: NeckRule
    head: HeadRule
    score: ScoreRule
    mutation: Mutation

    @model_validator(mode="after")
    def _sound(self) -> Space:
        for key, value, package in (
            ("block", self.block, "search_spaces.blocks"),
            ("neck.kind", self.neck.kind, "search_spaces.necks"),
            ("head.kind", self.head.kind, "search_spaces.heads"),
        ):
            if value not in plugin_names(package):
                raise ValueError(f"{key}: {value!r} found, known are {', '.join(plugin_names(package))}")
        self._check_range("stem.out", self.stem.out, self.channel_step)
        highest = self.stem.out[1]
        for number, stage in enumerate(self.stages, start=1):
            self._check_range(f"stages.{number}.out", stage.out, self.channel_step)
            self._check_range(f"stages.{number}.depth", stage.depth, 1)
            if not 0 < stage.hidden[0] <= stage.hidden[1]:
                raise ValueError(f"stages.{number}.hidden: {list(stage.hidden)} found, expected 0 < lowest <= highest")
            if not stage.kernels or any(kernel < 1 or kernel % 2 == 0 for kernel in stage.kernels):
                raise ValueError(f"stages.{number}.kernels: {list(stage.kernels)} found, expected odd numbers")
            if stage.out[1] < highest:
                raise ValueError(
                    f"stages.{number}.out: highest {stage.out[1]} is below the {highest} of what comes before; "
                    "a stage is never narrower than its input"
                )
            highest = stage.out[1]
        self._check_taps()
        strides = [stage.stride for stage in self.stages]
        if strides != [2, 2, 2, 1, 2]:
            raise ValueError(f"stages: strides {strides} found, expected [2, 2, 2, 1, 2]")
        for side in self.image_size:
            if side < 32 or side % 32:
                raise ValueError(f"image_size: {side} found, sides must be multiples of 32")
        return self

    def _check_taps(self) -> None:
        if self.tap_growth is None:
            return
        for before, after in ((2, 4), (4, 5)):
            low, high = (round(end * self.tap_growth) for end in self.stages[before - 1].out)
            if (low, high) != self.stages[after - 1].out or low % self.channel_step or high % self.channel_step:
                raise ValueError(
                    f"stages.{after}.out: {list(self.stages[after - 1].out)} found, tap_growth {self.tap_growth} times the "
                    f"range of stage {before} is [{low}, {high}]"
                )

    @staticmethod
    def _check_range(key: str, values: tuple[int, int], step: int) -> None:
        low, high = values
        if not 0 < low <= high:
            raise ValueError(f"{key}: {list(values)} found, expected 0 < lowest <= highest")
        if low % step or high % step:
            raise ValueError(f"{key}: {list(values)} found, expected multiples of {step}")


def shipped_spaces() -> list[str]:
    """Names of the spaces that come with the package."""
    folder = resources.files("search_spaces").joinpath("spaces")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_space(name_or_path: str | Path) -> Space:
    """A space from a shipped name (`res`) or a YAML file.

    Raises UserError: unknown name (nearest named), unreadable file, unknown key, contradictory range.
    """
    text = str(name_or_path)
    if text in shipped_spaces():
        source = resources.files("search_spaces").joinpath("spaces", f"{text}.yaml").read_text()
    elif Path(text).is_file():
        source = read_text(Path(text), "a space file")
    else:
        raise UserError(f"no space {text!r}: neither a file nor a shipped name; {nearest(text, shipped_spaces())}")
    try:
        data: Any = yaml.safe_load(source)
        return Space.model_validate(data)
    except yaml.YAMLError as error:
        raise UserError(f"{text}: not YAML ({getattr(error, 'problem', error)}); expected a space file") from None
    except ValidationError as error:
        raise UserError(f"{text}: {_problem(error)}") from None


def _problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(item + 1 if isinstance(item, int) else item) for item in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key; {nearest(str(problem['loc'][-1]), _keys_at(problem['loc'][:-1]))}"
    return f"{key}: {message}" if key else message


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Space
    for word in location:
        if isinstance(word, str):
            annotation = model.model_fields[word].annotation
            model = getattr(annotation, "__args__", (annotation,))[0]
    return list(model.model_fields)
