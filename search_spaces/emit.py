"""Structure -> Graph: the one place where backbone, neck and head are joined."""

from __future__ import annotations

from search_spaces.builder import Builder, Tensor
from search_spaces.graph import Graph, Shape
from search_spaces.plugins import load_plugin
from search_spaces.structure import TAP_STRIDES, Backbone, Structure


def emit_detector(structure: Structure) -> Graph:
    """The whole detector. Outputs: `tap1..3` (backbone), `neck1..3` at strides 8, 16, 32, and `detections`."""
    b = Builder(structure.image_size)
    x = b.input()
    with b.scope("backbone"):
        taps = _emit_backbone(b, x, structure.backbone)
    for number, tap in enumerate(taps, start=1):
        b.output(f"tap{number}", tap)
    _emit_neck_and_head(b, taps, structure)
    return b.graph()


def emit_backbone(structure: Structure) -> Graph:
    """The backbone alone, with outputs `tap1..3`."""
    b = Builder(structure.image_size)
    x = b.input()
    with b.scope("backbone"):
        for number, tap in enumerate(_emit_backbone(b, x, structure.backbone), start=1):
            b.output(f"tap{number}", tap)
    return b.graph()


def emit_neck_and_head(structure: Structure) -> Graph:
    """Neck and head alone, on inputs shaped like the taps: `structure.neck.in_channels` at strides 8, 16, 32."""
    b = Builder(structure.image_size)
    height, width = structure.image_size
    taps = [
        b.input(f"tap{number}", Shape(channels, height // stride, width // stride))
        for number, (channels, stride) in enumerate(zip(structure.neck.in_channels, TAP_STRIDES, strict=True), start=1)
    ]
    _emit_neck_and_head(b, taps, structure)
    return b.graph()


def _emit_neck_and_head(b: Builder, taps: list[Tensor], structure: Structure) -> None:
    with b.scope("neck"):
        fused = load_plugin("search_spaces.necks", structure.neck.kind).emit(b, taps, structure.neck)
    for number, feature in enumerate(fused, start=1):
        b.output(f"neck{number}", feature)
    with b.scope("head"):
        b.output("detections", load_plugin("search_spaces.heads", structure.head.kind).emit(b, fused, structure.head))


def _emit_backbone(b: Builder, image: Tensor, backbone: Backbone) -> list[Tensor]:
    b.stage_depths([stage.depth for stage in backbone.stages])
    stem = backbone.stem
    if stem.kind == "focus":
        x = b.space_to_depth(image)
        x = b.conv("stem", x, stem.out_channels, kernel=stem.kernel, activation=backbone.activation, scored=True)
    else:
        x = b.conv(
            "stem", image, stem.out_channels, kernel=stem.kernel, stride=2, activation=backbone.activation, scored=True
        )
    outputs = load_plugin("search_spaces.blocks", backbone.space).emit_stages(b, x, backbone)
    height = image.shape.height
    last_at = {height // output.shape.height: output for output in outputs}
    return [last_at[stride] for stride in TAP_STRIDES]
