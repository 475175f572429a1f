"""The structure file's schema: what a person may write, checked before anything is built."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from search_spaces.plugins import plugin_names
from search_spaces.structure import TAP_STRIDES, Backbone, Head, Neck, Stage, Stem, Structure

FORMAT_VERSION = 1
MAX_CHANNELS = 8192
Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
Activation = Literal["relu", "silu"]
Links = Literal["down", "up", "both", "none"]
Fusion = Literal["csp_reparam_elan", "csp_reparam", "csp", "conv"]


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a kernel must be odd")
    return value


Kernel = Annotated[int, Field(ge=1, le=31), AfterValidator(_odd)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class StemModel(_Model):
    kind: Literal["focus", "conv"]
    out: Channels
    kernel: Kernel = 3


class StageModel(_Model):
    in_: Channels = Field(alias="in")
    out: Channels
    hidden: Channels
    depth: Annotated[int, Field(ge=1, le=100)]
    stride: Literal[1, 2]
    kernel: Kernel = 3


class NeckModel(_Model):
    kind: str
    depth: Annotated[float, Field(ge=0, le=20)]
    hidden_ratio: Annotated[float, Field(gt=0, le=4)]
    in_: Annotated[list[Channels], Field(alias="in", min_length=3, max_length=3)]
    out: Annotated[list[Channels], Field(min_length=3, max_length=3)]
    activation: Activation = "relu"
    depthwise: bool = False
    links: Links = "down"
    fusion: Fusion = "csp_reparam_elan"


class HeadModel(_Model):
    kind: str
    reg_max: Annotated[int, Field(ge=1, le=64)]
    kernel: Kernel = 3
    num_classes: Annotated[int, Field(ge=1, le=100_000)] = 80
    depth: Annotated[int, Field(ge=0, le=20)] = 0
    activation: Activation = "relu"


class StructureModel(_Model):
    """The whole file. `tinynas` is the format's version."""

    tinynas: int
    image_size: Annotated[list[int], Field(min_length=2, max_length=2)]
    space: str
    stem: StemModel
    stages: Annotated[list[StageModel], Field(min_length=5, max_length=5)]
    activation: Activation
    spp: bool = True
    reparam: bool = True
    neck: NeckModel
    head: HeadModel
    search: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _whole(self) -> StructureModel:
        if self.tinynas != FORMAT_VERSION:
            raise ValueError(f"tinynas: format version {self.tinynas} found, this release reads {FORMAT_VERSION}")
        for side in self.image_size:
            if side < 32 or side % 32:
                raise ValueError(f"image_size: {side} found, sides must be multiples of 32, at least 32")
        self._check_plugins()
        self._check_chain()
        return self

    def _check_plugins(self) -> None:
        for key, value, package in (
            ("space", self.space, "search_spaces.blocks"),
            ("neck.kind", self.neck.kind, "search_spaces.necks"),
            ("head.kind", self.head.kind, "search_spaces.heads"),
        ):
            known = plugin_names(package)
            if value not in known:
                raise ValueError(f"{key}: {value!r} found, known are {', '.join(known)}")

    def _check_chain(self) -> None:
        channels, stride, taps = self.stem.out, 2, {}
        for number, stage in enumerate(self.stages, start=1):
            if stage.in_ != channels:
                raise ValueError(f"stages.{number}: in is {stage.in_}, but what comes before has {channels} channels")
            if self.space == "csp" and stage.out % 2:
                raise ValueError(f"stages.{number}: out is {stage.out}, csp halves it, so it must be even")
            channels, stride = stage.out, stride * stage.stride
            taps[stride] = channels
        if self.stages[0].stride != 2 or stride != 32:
            raise ValueError(f"stages: the strides reach {stride} in all, starting with 2 they must reach 32")
        found = [taps.get(tap) for tap in TAP_STRIDES]
        if self.neck.in_ != found:
            raise ValueError(f"neck.in: {self.neck.in_} found, but the backbone's taps have {found} channels")
        for widths in (self.neck.in_, self.neck.out):
            if any(width % 2 for width in widths):
                raise ValueError(f"neck: {widths} found, widths must be even (each fusion halves them)")

    def to_structure(self) -> Structure:
        """The emission side's dataclasses."""
        return Structure(
            image_size=(self.image_size[0], self.image_size[1]),
            backbone=Backbone(
                space=self.space,
                stem=Stem(self.stem.kind, self.stem.out, self.stem.kernel),
                stages=tuple(
                    Stage(
                        in_channels=s.in_,
                        out_channels=s.out,
                        hidden_channels=s.hidden,
                        depth=s.depth,
                        stride=s.stride,
                        kernel=s.kernel,
                    )
                    for s in self.stages
                ),
                activation=self.activation,
                spp=self.spp,
                reparam=self.reparam,
            ),
            neck=Neck(
                kind=self.neck.kind,
                depth=self.neck.depth,
                hidden_ratio=self.neck.hidden_ratio,
                in_channels=tuple(self.neck.in_),
                out_channels=tuple(self.neck.out),
                activation=self.neck.activation,
                depthwise=self.neck.depthwise,
                links=self.neck.links,
                fusion=self.neck.fusion,
            ),
            head=Head(
                kind=self.head.kind,
                reg_max=self.head.reg_max,
                kernel=self.head.kernel,
                num_classes=self.head.num_classes,
                depth=self.head.depth,
                activation=self.head.activation,
            ),
            search=self.search,
        )
