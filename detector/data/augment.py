"""The training recipe's augmentation: mosaic, affine, mixup, mirrors, SADA, colour. One Generator gives all draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from detector.data.geometry import Matrix, Picture, affine_matrix, clip_boxes, keep_visible, orient, warp, warp_boxes
from detector.data.image import Pixels, resize_stretch
from detector.data.mosaic import boxes_on_canvas, draw, lay_out, seen
from detector.data.regions import laid_over, mapped, whole
from detector.data.sada.box_level import augment_boxes
from detector.data.sada.policy import parse_policy
from search_spaces.errors import UserError, nearest

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PictureOf = Callable[[int], Picture]
"""Picture `index` of the data set, stretched to the network's input size; must not be written to."""
SADA_POLICY = parse_policy()


class AugmentConfig(BaseModel):
    """Augmentation settings; the defaults are the published recipe of S, M and L (technical report, released configs),
    but for SADA, which a preset switches on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mosaic: Probability = Field(1.0, description="probability of a four-image mosaic")
    scale: tuple[float, float] = Field((0.1, 2.0), description="range of the affine's zoom")
    degrees: float = Field(10.0, ge=0.0, le=180.0, description="largest rotation, degrees")
    translate: float = Field(0.2, ge=0.0, le=1.0, description="largest shift, share of the side")
    shear_degrees: float = Field(2.0, ge=0.0, le=45.0, description="largest shear, degrees")
    mixup: Probability = Field(0.15, description="probability of averaging with a second image")
    mixup_scale: tuple[float, float] = Field((0.5, 1.5), description="range of the second image's zoom")
    flip: Probability = Field(0.5, description="probability of a left-right mirror; 0: nothing is ever mirrored")
    flip_pairs: dict[str, str] = Field(
        default_factory=dict, description="classes that a left-right mirror turns into each other, each named once"
    )
    sada: Probability = Field(
        0.0, description="box-level augmentation: its probabilities grow to this share of the published ones"
    )
    vertical_flip: Probability = Field(0.0, description="probability of an up-down mirror")
    quarter_turns: bool = Field(False, description="rotate by a random multiple of 90 degrees")
    hue: float = Field(0.0, ge=0.0, le=0.5, description="largest hue shift, share of the colour circle")
    saturation: float = Field(0.0, ge=0.0, le=1.0, description="largest relative change of saturation")
    brightness: float = Field(0.0, ge=0.0, le=1.0, description="largest relative change of brightness")
    fill: int = Field(114, ge=0, le=255, description="grey level outside the images")
    min_side_px: float = Field(2.0, ge=0.0, description="smaller boxes are dropped, network pixels")
    min_visible: Probability = Field(0.1, description="boxes of which a smaller share is left are dropped")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in (("scale", self.scale), ("mixup_scale", self.mixup_scale)):
            if not 0 < low <= high:
                raise ValueError(f"{name} is ({low}, {high}); expected 0 < low <= high")
        named = [*self.flip_pairs, *self.flip_pairs.values()]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"flip_pairs names {twice!r} twice; expected every class in one pair, once")
        return self


def mirrored_labels(class_names: Sequence[str], pairs: Mapping[str, str]) -> npt.NDArray[np.int32]:
    """The class (C,) that each class becomes in a left-right mirror. Raises UserError for a name that is no class."""
    labels = np.arange(len(class_names), dtype=np.int32)
    for pair in pairs.items():
        for name in pair:
            if name not in class_names:
                raise UserError(f"augment.flip_pairs: no class {name!r} in the data; {nearest(name, class_names)}")
        left, right = (class_names.index(name) for name in pair)
        labels[left], labels[right] = right, left
    return labels


def augment(
    index: int,
    source: PictureOf,
    partners: npt.NDArray[np.int64],
    config: AugmentConfig,
    rng: np.random.Generator,
    *,
    strong: bool = True,
    progress: float = 1.0,
    mirrored: npt.NDArray[np.int32] | None = None,
) -> Picture:
    """Picture `index`, augmented, at the size (H, W) that `source` gives; its region map is (L, H / 8, W / 8).

    partners: indices that mosaic and mixup draw from. strong=False leaves out mosaic, affine, mixup and SADA (the
    recipe's last epochs). progress: 0..1, share of the epochs before those that is done; SADA grows with it.
    mirrored: as from `mirrored_labels`; None: every class is its own mirror image.
    """
    picture = source(index)
    size_hw = (picture.image.shape[0], picture.image.shape[1])
    if strong:
        if rng.random() < config.mosaic:
            picture = _mosaic(picture, source, partners, config, rng)
        else:
            picture = _affine(picture, size_hw, config, rng)
        if rng.random() < config.mixup and len(partners):
            picture = _mixup(picture, source(int(rng.choice(partners))), config, rng, mirrored)
    left_right = bool(rng.random() < config.flip)
    picture = orient(
        picture,
        left_right=left_right,
        up_down=bool(rng.random() < config.vertical_flip),
        quarter_turns=int(rng.integers(4)) if config.quarter_turns else 0,
    )
    picture = _relabelled(picture, mirrored) if left_right else picture
    image, boxes = resize_stretch(picture.image, picture.boxes_xyxy, size_hw)
    picture = picture._replace(image=image, boxes_xyxy=boxes, regions=whole(picture.regions, size_hw))
    if strong and config.sada:
        picture = augment_boxes(
            picture, SADA_POLICY, config.sada * progress, rng,
            fill=config.fill, min_side_px=config.min_side_px, min_visible=config.min_visible,
            mirror=config.flip > 0 and not config.flip_pairs,
        )  # fmt: skip
    return picture._replace(image=jitter(picture.image, config, rng))


def _mosaic(
    first: Picture, source: PictureOf, partners: npt.NDArray[np.int64], config: AugmentConfig, rng: np.random.Generator
) -> Picture:
    """Four pictures (h, w) around a random point of a (2h, 2w) canvas, mapped to (h, w); boxes are cut to both."""
    size_hw = (first.image.shape[0], first.image.shape[1])
    layout = lay_out(size_hw, partners, rng)
    matrix = _drawn_matrix(layout.canvas_hw, size_hw, config, rng)
    # Boxes of no size count where a config says so: then every tile is looked at.
    wanted = seen(layout, matrix) if config.min_side_px > 0 else [True] * len(layout.corners_xy)
    tiles = [first, *(source(other) if there else None for other, there in zip(layout.others, wanted[1:]))]
    canvas = draw(layout, tiles, matrix, config.fill)
    maps = [None if tile is None else tile.regions for tile in tiles]
    regions = mapped(maps, layout.rectangles(), matrix, size_hw)
    laid = boxes_on_canvas(layout, tiles, config.min_visible)._replace(image=canvas, regions=regions)
    return _mapped(laid, matrix, size_hw, config)


def _affine(picture: Picture, size_hw: tuple[int, int], config: AugmentConfig, rng: np.random.Generator) -> Picture:
    source_hw = (picture.image.shape[0], picture.image.shape[1])
    matrix = _drawn_matrix(source_hw, size_hw, config, rng)
    return _mapped(_with_mapped_regions(picture, matrix, size_hw), matrix, size_hw, config)


def _drawn_matrix(
    source_hw: tuple[int, int], size_hw: tuple[int, int], config: AugmentConfig, rng: np.random.Generator
) -> Matrix:
    height, width = size_hw
    scale, degrees = rng.uniform(*config.scale), rng.uniform(-config.degrees, config.degrees)
    shear_x, shear_y = rng.uniform(-config.shear_degrees, config.shear_degrees, 2)
    shift_x, shift_y = rng.uniform(-config.translate, config.translate, 2)
    return affine_matrix(
        source_hw,
        size_hw,
        scale=scale,
        degrees=degrees,
        shear_degrees=(shear_x, shear_y),
        shift=(shift_x * width, shift_y * height),
    )


def _mapped(picture: Picture, matrix: Matrix, size_hw: tuple[int, int], config: AugmentConfig) -> Picture:
    image = warp(picture.image, matrix, size_hw, config.fill)
    hulls = warp_boxes(picture.boxes_xyxy, matrix)
    moved = picture._replace(image=image, boxes_xyxy=clip_boxes(hulls, size_hw))
    return keep_visible(moved, hulls, config.min_side_px, config.min_visible)


def _with_mapped_regions(picture: Picture, matrix: Matrix, size_hw: tuple[int, int]) -> Picture:
    """Of a plain picture that `matrix` maps into a frame of `size_hw`."""
    height, width = picture.image.shape[:2]
    frame = np.array([[0, 0, width, height]], dtype=np.float32)
    return picture._replace(regions=mapped([picture.regions], frame, matrix, size_hw))


def _relabelled(picture: Picture, mirrored: npt.NDArray[np.int32] | None) -> Picture:
    return picture if mirrored is None else picture._replace(labels=mirrored[picture.labels])


def _mixup(
    picture: Picture, other: Picture, config: AugmentConfig, rng: np.random.Generator,
    mirrored: npt.NDArray[np.int32] | None,
) -> Picture:  # fmt: skip
    """The average of two pictures (h, w); the second zoomed, mirrored with probability 1/2, and moved at random."""
    size_hw = (picture.image.shape[0], picture.image.shape[1])
    scale = rng.uniform(*config.mixup_scale)
    # Where the zoomed picture is larger than the frame it covers the frame; where smaller it stays inside.
    slack = np.abs(1 - scale) / 2 * np.array(size_hw[::-1])
    shift_x, shift_y = rng.uniform(-slack, slack)
    matrix = affine_matrix(size_hw, size_hw, scale=scale, shift=(shift_x, shift_y))
    moved = _mapped(_with_mapped_regions(other, matrix, size_hw), matrix, size_hw, config)
    if rng.random() < 0.5 and config.flip > 0:
        moved = _relabelled(orient(moved, left_right=True, up_down=False, quarter_turns=0), mirrored)
    return Picture(
        np.asarray(cv2.addWeighted(picture.image, 0.5, moved.image, 0.5, 0), dtype=np.uint8),
        np.concatenate([picture.boxes_xyxy, moved.boxes_xyxy]),
        np.concatenate([picture.labels, moved.labels]),
        np.concatenate([picture.ignore, moved.ignore]),
        laid_over(picture.regions, moved.regions),
    )


def jitter(image: Pixels, config: AugmentConfig, rng: np.random.Generator) -> Pixels:
    """Shift hue, scale saturation and brightness of an RGB image through 256-entry tables."""
    if not (config.hue or config.saturation or config.brightness):
        return image
    ranges = np.array([config.hue, config.saturation, config.brightness])
    hue, saturation, value = rng.uniform(-1, 1, 3) * ranges
    levels = np.arange(256)
    tables = [
        (levels + hue * 180) % 180,
        np.clip(levels * (1 + saturation), 0, 255),
        np.clip(levels * (1 + value), 0, 255),
    ]
    table = np.stack(tables, axis=1).astype(np.uint8).reshape(1, 256, 3)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), dtype=np.uint8)
