"""From a picture's bytes to the network's input, and its boxes back to the picture's pixels, as ONNX ops."""

from __future__ import annotations

from typing import Any

from detector.model_card import ModelCard

# Rounding: what is resized on 8-bit pictures is 8-bit again. In bytes, not in order of channels, a reversed gather is
# cheaper than a reversed copy of the resized floats.
_BEFORE = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
before (uint8[{n}, {height}, {width}, 3] pictures) => (float[{n}, 3, {net_height}, {net_width}] images)
<int64[2] size = {{{net_height}, {net_width}}}, int64[3] reversed = {{2, 1, 0}}>
{{
    planes = Transpose <perm = [0, 3, 1, 2]> (pictures)
    {ordered}
    values = Cast <to = 1> (rgb)
    resized = Resize <axes = [2, 3], mode = "linear", coordinate_transformation_mode = "half_pixel", antialias = 0>
        (values, , , size)
    images = Round (resized)
}}
"""
_CUT = "inside = Max (scaled, zero) boxes = Min (inside, limits)"
_AFTER = """
<ir_version: {ir_version}, opset_import: ["" : {opset}]>
after (float[{n}, K, 4] found, uint8[{n}, {height}, {width}, 3] pictures) => (float[{n}, K, 4] boxes)
<float[4] sides = {{{net_width}.0, {net_height}.0, {net_width}.0, {net_height}.0}}, float zero = {{0.0}},
 int64[4] places = {{1, 0, 1, 0}}>
{{
    height_width = Shape <start = 1, end = 3> (pictures)
    whole = Gather (height_width, places)
    limits = Cast <to = 1> (whole)
    scale = Div (limits, sides)
    scaled = Mul (found, scale)
    {cut}
}}
"""


def with_preprocessing(model: Any, card: ModelCard) -> Any:
    """An ONNX model with the card's pre-processing before it and boxes in the picture's own pixels; `model` stays.

    Detections are cut to the picture; raw boxes are not, since suppression compares whole ones.

    Input `pictures` (N, H, W, 3) uint8, of any size unless the card fixes one, all of a batch alike; stretched as in
    training (bilinear, pixel centres, no anti-aliasing), rounded.
    """
    import onnx

    height, width = card.picture_size or ("height", "width")
    net_height, net_width = card.image_size
    values = {
        "ir_version": model.ir_version, "opset": model.opset_import[0].version, "n": card.batch or "batch",
        "height": height, "width": width, "net_height": net_height, "net_width": net_width,
        "ordered": "rgb = Identity (planes)" if card.channels == "rgb" else "rgb = Gather <axis = 1> (planes, reversed)",
        "cut": "boxes = Identity (scaled)" if card.output == "raw" else _CUT,
    }  # fmt: skip
    inner = onnx.compose.add_prefix(model, "net_", rename_outputs=True, rename_inputs=True)
    before = onnx.compose.add_prefix(
        onnx.parser.parse_model(_BEFORE.format(**values)), "before_", rename_inputs=False, rename_outputs=False
    )
    after = onnx.compose.add_prefix(
        onnx.parser.parse_model(_AFTER.format(**values)), "after_", rename_inputs=False, rename_outputs=False
    )
    first = onnx.compose.merge_models(before, inner, io_map=[("images", "net_images")])
    names = [output.name.removeprefix("net_") for output in first.graph.output]
    merged = _joined(first, after)
    kept = {output.name: output for output in merged.graph.output}
    del merged.graph.output[:]
    for name in names:
        output = kept["boxes" if name == "boxes" else f"net_{name}"]
        merged.graph.output.append(output)
    _rename_outputs(merged, {f"net_{name}": name for name in names if name != "boxes"})
    merged.graph.name = model.graph.name
    merged.producer_name = model.producer_name
    onnx.checker.check_model(merged)
    return merged


def _joined(first: Any, after: Any) -> Any:
    """`after` reads the pictures as well as the boxes, which merging knows no word for: its nodes are put behind."""
    import copy

    merged = copy.deepcopy(first)
    for node in after.graph.node:
        merged.graph.node.append(node)
        renamed = ["net_boxes" if name == "found" else name for name in node.input]
        del merged.graph.node[-1].input[:]
        merged.graph.node[-1].input.extend(renamed)
    merged.graph.initializer.extend(after.graph.initializer)
    merged.graph.output.extend(after.graph.output)
    return merged


def _rename_outputs(model: Any, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for values in (node.input, node.output):
            for place, name in enumerate(values):
                values[place] = names.get(name, name)
    for output in model.graph.output:
        output.name = names.get(output.name, output.name)
