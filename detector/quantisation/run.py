"""fp32 file -> int8 file whose AP is known: all layers first, then without the head's class convs, then without all of its
convs, then without those that harm most, too, until AP is close enough."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from detector.data.annotations import Annotations
from detector.detector import Detector
from detector.quantisation.onnx import Inputs, OnnxQuantiser
from detector.quantisation.openvino import OpenVINOQuantiser, require_nncf
from detector.quantisation.pictures import Pictures, drawn_pictures, model_inputs
from detector.quantisation.record import Record
from detector.quantisation.sensitivity import scan
from search_spaces.errors import UserError
from search_spaces.saying import Say, silent

KEPT_SHARES = (0.04, 0.08, 0.15, 0.25, 0.4)
"""How many of the layers are left in floating point, one after another, where quantising all of them loses too much."""
SCANNED = 16
"""Pictures on which the harm of each layer is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """max_drop: points of COCO AP (0..100) that may be lost. calibrate, judge: pictures of train and of val, at most.
    reduced_range: weights of 7 bits in place of 8, for processors on which sums of int8 products saturate."""

    max_drop: float = 0.5
    calibrate: int = 300
    judge: int = 500
    reduced_range: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fp32Export:
    """A fp32 export: always as ONNX, which tells layers, and as OpenVINO (.xml) where that is what is to be quantised."""

    onnx: Path
    openvino: Path | None = None

    @property
    def path(self) -> Path:
        """What is quantised."""
        return self.openvino or self.onnx


class _Quantiser(Protocol):
    @property
    def tool(self) -> str: ...
    def model(self, kept: Sequence[str]) -> Any: ...
    def save(self, model: Any, path: Path, record: str) -> None: ...


def read_pictures(data: Path, class_names: Sequence[str], settings: Settings) -> Pictures:
    """What a model of these classes is calibrated on and judged by. Raises UserError as `drawn_pictures` does."""
    return Pictures(
        train=drawn_pictures(data, "train", class_names, settings.calibrate, settings.seed),
        val=drawn_pictures(data, "val", class_names, settings.judge, settings.seed),
    )


def quantise(source: Fp32Export, pictures: Pictures, target: Path, settings: Settings, say: Say = silent) -> Record:
    """Write `target` (and its .bin), an int8 file of `source`; what was done.

    `say`: told of each step in a line. Raises UserError when a package is missing and, with nothing written, when AP falls
    by more than `settings.max_drop` whatever is kept.
    """
    if source.openvino is not None:
        require_nncf()
    detector = Detector.load(source.path)
    if detector.card.batch not in (1, None):
        raise UserError("--precision int8 is calibrated with one picture at a time; export with --batch 1, or dynamic")
    train, val = pictures.train, pictures.val
    say(f"calibrating on {len(train)} pictures of train, judging by {len(val)} of val")
    if settings.reduced_range:
        say("weights of 7 bits, whose sums do not saturate on processors without VNNI")
    images = model_inputs(train, detector.image_size)
    ap_fp32 = _ap(source.path, val)
    say(f"fp32: AP {100 * ap_fp32:.2f}")
    calibrated, judged = f"{len(train)} pictures of train", f"{len(val)} pictures of val"
    record = Record(
        tool="",
        calibrated_on=calibrated,
        judged_on=judged,
        ap=0.0,
        ap_fp32=ap_fp32,
        reduced_range=settings.reduced_range,
    )
    return _Job(source, images, val, settings, record, say).run(target)


class _Job:
    """A quantisation under way."""

    def __init__(
        self, source: Fp32Export, images: Inputs, val: Annotations, settings: Settings, record: Record,
        say: Say,
    ) -> None:  # fmt: skip
        self.images, self.val, self.settings, self.record, self.say = images, val, settings, record, say
        self.source = source
        self.as_onnx = OnnxQuantiser(source.onnx, images, reduced_range=settings.reduced_range)
        self.harm: dict[str, float] = {}

    def run(self, target: Path) -> Record:
        """Fewer and fewer layers, until AP is close enough."""
        quantiser: _Quantiser = self.as_onnx
        if self.source.openvino is not None:
            quantiser = OpenVINOQuantiser(self.source.openvino, self.images, reduced_range=self.settings.reduced_range)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            trial = Path(folder) / target.name
            record = self._attempt(quantiser, (), trial)
            for kept in self._choices():
                if record.drop <= self.settings.max_drop:
                    break
                record = self._attempt(quantiser, kept, trial)
            if record.drop > self.settings.max_drop:
                raise self._refusal(record)
            for file in sorted(Path(folder).iterdir()):
                file.replace(target.parent / file.name)
        return record

    def _choices(self) -> Iterator[tuple[str, ...]]:
        """More and more layers to be kept. The head's class convs first: where their logits are rounded, weak detections
        score alike, and AP, which ranks them all, falls by more than what happens to the surest ones tells."""
        yield tuple(name for name in self._heads() if name.endswith(".cls"))
        yield self._heads()
        for share in KEPT_SHARES:
            yield (*self._heads(), *self._most_harmful(share))

    def _heads(self) -> tuple[str, ...]:
        """The last convs."""
        return tuple(name for name in self.as_onnx.layers.of if name.startswith("head."))

    def _most_harmful(self, share: float) -> tuple[str, ...]:
        """So many of the other layers; their harm is measured once, when it is first asked for."""
        if not self.harm:
            self.say(f"measuring the harm of each of {len(self.as_onnx.layers.of)} layers")
            self.harm = scan(self.as_onnx, self.images[:SCANNED])
        others = [name for name in self.harm if name not in self._heads()]
        return tuple(others[: max(1, round(share * len(others)))])

    def _attempt(self, quantiser: _Quantiser, kept: tuple[str, ...], trial: Path) -> Record:
        """Write the file with all layers quantised but `kept`, and what its AP is into its metadata."""
        nodes = kept if quantiser is self.as_onnx else self.as_onnx.layers.nodes(frozenset(kept))
        model = quantiser.model(nodes)
        draft = replace(
            self.record,
            tool=quantiser.tool,
            kept=kept,
            harm={name: round(value, 5) for name, value in self.harm.items()},
        )
        quantiser.save(model, trial, draft.to_text())
        record = replace(draft, ap=_ap(trial, self.val))
        quantiser.save(model, trial, record.to_text())
        left = f", {len(kept)} layers in floating point" if kept else ""
        self.say(f"int8{left}: AP {100 * record.ap:.2f} ({-record.drop:+.2f})")
        return record

    def _refusal(self, record: Record) -> UserError:
        kept = f"{len(record.kept)} of {len(self.harm)} layers in floating point"
        return UserError(
            f"int8 costs {record.drop:.2f} points of AP ({100 * record.ap_fp32:.2f} in fp32) even with {kept}; at most "
            f"{self.settings.max_drop:g} may be lost: nothing was written; allow more with --max-drop, or train "
            f"longer{'' if self.settings.reduced_range else '; on an x86 CPU without VNNI also try --reduce-range'}"
        )


def _ap(path: Path, annotations: Annotations) -> float:
    """COCO AP (0..1) of a model file."""
    return float(Detector.load(path).evaluate_split(annotations).metrics.ap)
