"""Training settings: one frozen tree with its defaults in code; a YAML file and `--set a.b=value` change leaves.

Nothing here imports torch.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from detector.data.augment import AugmentConfig
from detector.data.sampling import SamplingConfig
from detector.distillers import DistillConfig
from detector.evaluation.settings import EvalConfig, Share
from detector.losses import LossConfig
from search_spaces.errors import UserError, nearest
from search_spaces.files import read_text
from search_spaces.image_size import parse_image_size
from search_spaces.validation import model_in, validated

_SHORT = {"batch": "batch_size"}


def _off(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    return "off" if value is False else value


def _sides(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] % 32 or value[1] % 32 or not 0 < value[0] <= value[1]:
        raise ValueError("expected two multiples of 32, the smaller first, for example [256, 448]")
    return value


def _auto(value: Any) -> Any:
    """`auto` is stored as none: not known yet."""
    return None if value == "auto" else value


def _height_width(value: Any) -> list[int] | None:
    """What `--image-size` takes, or a list of one or two sides. Raises UserError, as `--image-size` does."""
    sides = value if isinstance(value, (list, tuple)) else [value]
    return None if value is None else list(parse_image_size("x".join(map(str, sides))))


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimizerConfig(_Model):
    """Defaults: the published recipe of the res and csp models."""

    name: Literal["sgd", "adamw", "muon"] = Field(
        "sgd",
        description="sgd has Nesterov momentum; muon steps convs by orthogonalised momentum, and the rest as adamw",
    )
    learning_rate_per_image: float = Field(0.01 / 64, gt=0, description="the peak rate is this times the whole batch")
    momentum: Share = Field(0.9, description="SGD's (Nesterov); the first beta of AdamW, also beside muon")
    weight_decay: float = Field(5e-4, ge=0, description="of conv weights alone, never of norms and biases")
    clip_norm: float | None = Field(None, gt=0, description="largest gradient norm; none: gradients are not clipped")
    short_run_factor: float = Field(
        1.0, ge=1, description="the peak rate is this times higher in runs of up to 2,000 steps, less so up to 20,000"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="the rate of each layer (stem, stages, neck) is this times the next one's; 1: off"
    )


class ScheduleConfig(_Model):
    """Quadratic warm-up, cosine, floor."""

    warmup_epochs: float = Field(5.0, ge=0, description="epochs in which the learning rate rises from 0, quadratically")
    warmup_min_steps: int = Field(0, ge=0, description="shortest warm-up in steps (for tiny data sets)")
    warmup_max_share: Share = Field(0.2, description="longest warm-up, as a share of the run")
    min_ratio: Share = Field(0.05, description="lowest learning rate of the cosine, as a share of the peak")
    no_aug_epochs: int = Field(
        16, ge=0, description="last epochs without mosaic, affine and mixup, at the lowest learning rate"
    )
    no_aug_max_share: Share = Field(0.2, description="upper limit of no_aug_epochs, as a share of all epochs")


class EmaConfig(_Model):
    """Moving average of the weights; decay x (1 - exp(-step / ramp))."""

    decay: float = Field(0.9998, ge=0, lt=1, description="share of the old average that a step keeps, late in a run")
    ramp_steps: float = Field(2000.0, gt=0, description="steps over which that share grows from 0")
    memory_share: float | None = Field(
        0.1,
        gt=0,
        le=1,
        description="the average, and BatchNorm's statistics, reach back at most this share of a short run",
    )


class TrainConfig(_Model):
    """Everything about a training run but the structure, the data and the output folder."""

    preset: str = Field("published", description="preset from which these settings started")
    epochs: int = Field(300, ge=1, description="passes through the training images")
    minutes: float | None = Field(
        None, gt=0, description="wall-clock budget that epochs and evaluations were chosen for; `--time`"
    )
    batch_size: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_auto)] = Field(
        256, description="images per optimiser step, over all processes and parts; auto: from free memory"
    )
    accumulate: int = Field(1, ge=1, description="number of parts into which a step's batch is split, to save memory")
    image_size: Annotated[list[int] | None, BeforeValidator(_height_width)] = Field(
        None, description="height, width; None: the structure's"
    )
    multi_scale: Annotated[tuple[int, int], AfterValidator(_sides)] | None = Field(
        None, description="smallest and largest longer side, px: every batch is stretched to one in steps of 32"
    )
    seed: int = Field(0, ge=0, description="seed of weights, order and augmentation; the same seed gives the same run")
    workers: int | None = Field(None, ge=0, description="loader processes per rank; None: chosen from the cores")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N")
    amp: Annotated[Literal["auto", "off", "bf16", "fp16"], BeforeValidator(_off)] = Field(
        "auto", description="precision of the forward pass; auto: the faster one on this machine; fp16: GPUs only"
    )
    channels_last: bool = Field(True, description="memory format of images and weights")
    quantise: Annotated[Literal["off", "openvino", "onnx"], BeforeValidator(_off)] = Field(
        "off", description="round weights and activations as an int8 export to that format does; needs trained weights"
    )
    compile: bool = Field(False, description="torch.compile of the network; needs a C++ compiler, or triton on a GPU")
    tensorboard: bool = Field(False, description="scalars of every epoch for TensorBoard, in the run folder")
    max_bad_steps: int = Field(10, ge=1, description="stop after this many non-finite steps in a row")
    checkpoint_minutes: float | None = Field(
        10.0,
        ge=0,
        description="minutes after which last.pt is also written within an epoch; none: never; 0: after every batch",
    )
    freeze: list[str] = Field(default_factory=list, description="modules to freeze, e.g. `backbone`")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    augment: AugmentConfig = AugmentConfig()
    sampling: SamplingConfig = SamplingConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    eval: EvalConfig = EvalConfig()


def build_config(
    base: Mapping[str, Any], file: Path | None = None, overrides: Sequence[str] = (), *, direct: Mapping[str, Any] = {}
) -> TrainConfig:
    """Merge, later ones winning: defaults, `base` (a preset), a YAML file, `direct` values, `a.b=value` overrides.

    A number of epochs takes the place of minutes that were asked for less late. Raises UserError, one line, for an unknown
    key (nearest named), for a value of the wrong type or range, and for epochs beside minutes on the command line.
    """
    merged = merge({}, base)
    if file is not None:
        found = _read_yaml(file)
        _check_keys(found, TrainConfig, "", f"{file}: ")
        merged = merge(merged, found)
    said: dict[str, Any] = {key: value for key, value in direct.items() if value is not None}
    for text in overrides:
        said = merge(said, parse_override(text))
    if said.get("epochs") is not None:
        if said.get("minutes") is not None:
            raise UserError("minutes and epochs: the time says how many epochs; leave one of them out")
        merged["minutes"] = None
    return validate(merge(merged, said))


def validate(values: Mapping[str, Any]) -> TrainConfig:
    """A config from plain nested values. Raises UserError in one line."""
    _check_keys(values, TrainConfig, "")
    return validated(TrainConfig, values, "training setting")


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `changes`; neither is altered."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old if isinstance(old, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return merged


def parse_override(text: str) -> dict[str, Any]:
    """`a.b=value` as nested dicts; the value is YAML (`1e-3` counts as a number). Raises UserError."""
    key, sign, value = text.partition("=")
    words = key.strip().removeprefix("train.").split(".")
    words[0] = _SHORT.get(words[0], words[0])
    if not sign or not all(words):
        raise UserError(f"--set {text!r}: expected key=value, for example --set optimizer.weight_decay=0.01")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # YAML's own values: 2024-13-01 is no date
        raise UserError(f"--set {text!r}: the value is not YAML; quote texts with special characters") from None
    nested: Any = parsed
    for word in reversed(words):
        nested = {word: nested}
    return typing.cast("dict[str, Any]", nested)


def dump(config: TrainConfig) -> str:
    """The resolved config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=120)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(read_text(path, "a YAML file of training settings"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: not YAML ({getattr(error, 'problem', error)})") from None
    except (RecursionError, ValueError) as error:  # nested without end; YAML's own values: 2024-13-01 is no date
        raise UserError(f"{path}: not YAML ({error})") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: a {type(data).__name__} found; expected YAML keys such as epochs, optimizer, augment")
    return data


def _check_keys(values: Mapping[Any, Any], model: type[BaseModel], prefix: str, where: str = "") -> None:
    fields = model.model_fields
    for key, value in values.items():
        if key not in fields:
            named = nearest(str(key), [*fields, *_deeper(str(key), model)])
            raise UserError(f"{where}unknown training setting {prefix}{key}; {named}")
        inner = model_in(fields[key].annotation)
        if inner is not None:
            if not isinstance(value, Mapping):
                keys = ", ".join(inner.model_fields)
                raise UserError(f"{where}training setting {prefix}{key}: {value!r} found; expected the keys {keys}")
            _check_keys(value, inner, f"{prefix}{key}.", where)


def _deeper(key: str, model: type[BaseModel]) -> list[str]:
    """Dotted settings one level down that end with `key` (`learning_rate_per_image` -> `optimizer.learning_...`)."""
    found = []
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        found += [f"{name}.{leaf}" for leaf in (inner.model_fields if inner else ()) if key in leaf]
    return found
