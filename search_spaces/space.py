"""Search spaces by file: block, ranges, the rule that neck and head follow, score weights, mutations."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from search_spaces.errors import UserError, nearest
from search_spaces.files import read_text
from search_spaces.plugins import plugin_names
from search_spaces.schema import MAX_CHANNELS, Activation, Fusion, Kernel, Links
from search_spaces.validation import validated

Range = Annotated[tuple[int, int], Field(description="lowest and highest value, both allowed")]
Ratios = tuple[float, float]
MAX_DEPTH = 100
GROUPS = 5
SHARING_BLOCKS = ("csp", "darknet")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StemSpace(_Model):
    kind: Literal["focus", "conv"]
    kernel: Kernel = 3
    out: Range


class StageSpace(_Model):
    """`hidden` is a range of multiples of out. `tied`: out, hidden and kernel are those of the stage before."""

    out: Range
    hidden: Ratios
    depth: Range
    stride: Literal[1, 2]
    kernels: tuple[Kernel, ...] = Field(default=(3,), min_length=1)
    tied: bool = False


class NeckRule(_Model):
    """How the neck follows the backbone: widths in = taps, out = taps x out_ratio in whole channel steps; the other keys
    are those of a structure file's neck."""

    kind: str
    depth: float = Field(ge=0, le=20)
    hidden_ratio: float = Field(gt=0, le=4)
    out_ratio: float = Field(default=1.0, gt=0, le=4)
    activation: Activation
    depthwise: bool = False
    links: Links = "down"
    fusion: Fusion = "csp_reparam_elan"


class NeckChoices(_Model):
    """What a search over necks may take in place of the rule's values: every combination of them, an empty list meaning
    the rule's own. `max_layers`: the limit of layers of such a search, where it is another."""

    depth: tuple[Annotated[float, Field(ge=0, le=20)], ...] = ()
    hidden_ratio: tuple[Annotated[float, Field(gt=0, le=4)], ...] = ()
    out_ratio: tuple[Annotated[float, Field(gt=0, le=4)], ...] = ()
    max_layers: int | None = Field(default=None, ge=1)


class HeadRule(_Model):
    """The keys of a structure file's head."""

    kind: str
    reg_max: int = Field(ge=1, le=64)
    kernel: Kernel
    depth: int = Field(default=0, ge=0, le=20)
    activation: Activation = "relu"


class ScoreRule(_Model):
    """`weights`: one per group (stem, stage 1, stage 2, stages 3 + 4, stage 5); none: those that the score was published
    with."""

    kind: str = "entropy"
    weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> ScoreRule:
        if self.weights and (len(self.weights) != GROUPS or not any(self.weights)):
            raise ValueError(f"weights: {list(self.weights)} found, expected {GROUPS} numbers, not all zero")
        return self


class Mutation(_Model):
    """What a single change may do to a width (factors, and steps of `channel_step`) and to a depth."""

    channel_factors: tuple[Annotated[float, Field(gt=0, le=10)], ...] = (2.0, 1.5, 1.25, 0.8, 0.6, 0.5)
    channel_steps: tuple[int, ...] = (-1, 1)
    depth_steps: tuple[int, ...] = Field(default=(-2, -1, 1, 2), min_length=1)

    @model_validator(mode="after")
    def _sound(self) -> Mutation:
        if not self.channel_factors and not self.channel_steps:
            raise ValueError("channel_factors and channel_steps are both empty; give one of them")
        for key in ("channel_steps", "depth_steps"):
            if 0 in getattr(self, key):
                raise ValueError(f"{key}: {list(getattr(self, key))} found, a step of 0 changes nothing")
        return self


class Space(_Model):
    """A search space. Raises UserError on loading when a range is contradictory.

    `tap_growth`: each tap (stages 2, 4, 5) is so many times as wide as the tap before; None leaves them independent.
    """

    name: str
    block: str
    image_size: tuple[int, int]
    stem: StemSpace
    channel_step: int = Field(default=8, ge=2, multiple_of=2)
    stages: tuple[StageSpace, ...] = Field(min_length=5, max_length=5)
    tap_growth: float | None = Field(default=None, gt=0, le=16)
    max_layers: int | None = Field(default=None, ge=1)
    activation: Activation
    spp: bool = True
    reparam: bool = True
    neck: NeckRule
    neck_choices: NeckChoices = NeckChoices()
    head: HeadRule
    score: ScoreRule = ScoreRule()
    mutation: Mutation = Mutation()

    @model_validator(mode="after")
    def _sound(self) -> Space:
        for key, value, package in (
            ("block", self.block, "search_spaces.blocks"),
            ("neck.kind", self.neck.kind, "search_spaces.necks"),
            ("head.kind", self.head.kind, "search_spaces.heads"),
        ):
            if value not in plugin_names(package):
                raise ValueError(f"{key}: {value!r} found, known are {', '.join(plugin_names(package))}")
        self._check_range("stem.out", self.stem.out, self.channel_step, MAX_CHANNELS)
        highest = self.stem.out[1]
        for number, stage in enumerate(self.stages, start=1):
            self._check_stage(f"stages.{number}", number, stage)
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

    def necks(self) -> tuple[NeckRule, ...]:
        """The rule of the space, then every other one that `neck_choices` allows."""
        rule, choices = self.neck, self.neck_choices
        others = (
            rule.model_copy(update={"depth": depth, "hidden_ratio": hidden, "out_ratio": out})
            for depth in choices.depth or (rule.depth,)
            for hidden in choices.hidden_ratio or (rule.hidden_ratio,)
            for out in choices.out_ratio or (rule.out_ratio,)
        )
        return tuple(dict.fromkeys((rule, *others)))

    def with_neck(self, rule: NeckRule) -> Space:
        """The space with another rule for the neck."""
        return self.model_copy(update={"neck": rule})

    def _check_stage(self, key: str, number: int, stage: StageSpace) -> None:
        self._check_range(f"{key}.out", stage.out, self.channel_step, MAX_CHANNELS)
        self._check_range(f"{key}.depth", stage.depth, 1, MAX_DEPTH)
        low, high = stage.hidden
        if not 0 < low <= high < float("inf"):
            raise ValueError(f"{key}.hidden: {[low, high]} found, expected 0 < lowest <= highest, as multiples of out")
        if self.block in SHARING_BLOCKS and number == 4 and not stage.tied:
            raise ValueError(f"{key}.tied: a {self.block} stage 4 shares its wrapper with stage 3; say tied: true")
        if not stage.tied:
            return
        if number == 1 or stage.stride != 1:
            raise ValueError(f"{key}.tied: only a stage of stride 1 can be tied to the one before it; leave it out")
        before = self.stages[number - 2]
        for name in ("out", "hidden", "kernels"):
            if getattr(stage, name) != getattr(before, name):
                raise ValueError(
                    f"{key}.{name}: {list(getattr(stage, name))} found, tied to stage {number - 1}, which has "
                    f"{list(getattr(before, name))}; make them equal, or leave tied out"
                )

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
    def _check_range(key: str, values: tuple[int, int], step: int, most: int) -> None:
        low, high = values
        if not 0 < low <= high:
            raise ValueError(f"{key}: {list(values)} found, expected 0 < lowest <= highest")
        if high > most:
            raise ValueError(f"{key}: {list(values)} found, expected at most {most}")
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
    elif Path(text).exists():
        source = read_text(Path(text), "a space file")
    else:
        raise UserError(f"no space {text!r}: neither a file nor a shipped name; {nearest(text, shipped_spaces())}")
    try:
        data: Any = yaml.safe_load(source)
        if not isinstance(data, dict):
            raise UserError(f"{text}: not a space; expected YAML with the keys {', '.join(Space.model_fields)}")
        return validated(Space, data, f"{text}:")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{text}:{mark.line + 1}" if mark else text
        raise UserError(f"{line}: not YAML ({getattr(error, 'problem', error)}); expected a space file") from None
    except (RecursionError, ValueError) as error:  # nested without end; YAML's own values: 2024-13-01 is no date
        raise UserError(f"{text}: not YAML ({error}); expected a space file") from None
