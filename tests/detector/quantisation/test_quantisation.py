"""int8 files: what is quantised, what is not, what is refused, and what the file says of it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from detector.checkpoint import Checkpoint, save_checkpoint
from detector.detector import Detector
from detector.quantisation import Record, Settings, export, openvino, quantise, read_record, run
from detector.quantisation.layers import find_layers
from detector.quantisation.onnx import OnnxQuantiser
from detector.quantisation.pictures import Pictures, drawn_pictures, model_inputs
from detector.quantisation.run import Fp32Export, read_pictures
from detector.quantisation.sensitivity import scan
from search_spaces.errors import UserError
from tests.terminal import Terminal
from tinynas.cli import main

LOOSE = Settings(max_drop=100)


@pytest.fixture(scope="session")
def quantiser(source: Fp32Export, data: Path) -> OnnxQuantiser:
    names = Detector.load(source.onnx).class_names
    return OnnxQuantiser(source.onnx, model_inputs(drawn_pictures(data, "train", names, 4, 0), (64, 96)))


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def fed_by_int8(model: onnx.ModelProto) -> dict[str, bool]:
    """Conv -> whether what it reads and its weights are taken back from int8."""
    producer = {output: node.op_type for node in model.graph.node for output in node.output}
    return {
        node.name: all(producer.get(name) == "DequantizeLinear" for name in node.input[:2])
        for node in model.graph.node if node.op_type == "Conv"
    }  # fmt: skip


@pytest.fixture(scope="module")
def pictures(source: Fp32Export, data: Path) -> Pictures:
    return read_pictures(data, Detector.load(source.onnx).class_names, LOOSE)


def test_layers_are_blocks_of_the_structure(source: Fp32Export) -> None:
    model = onnx.load(source.onnx)
    layers = find_layers(model, source.onnx)
    assert {"backbone.stem", "backbone.stage3.block1", "head.level1.cls", "head.level3.reg"} <= set(layers.of)
    convs = [node.name for node in model.graph.node if node.op_type == "Conv"]
    owned = [node for nodes in layers.of.values() for node in nodes]
    assert sorted(node for node in owned if node in convs) == sorted(convs)
    assert len(owned) == len(set(owned))
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert "Softmax" not in {kinds[name] for name in layers.network}


def test_every_conv_is_int8_and_decoding_is_not(quantiser: OnnxQuantiser) -> None:
    model = quantiser.model(())
    assert all(fed_by_int8(model).values())
    producer = {output: node.op_type for node in model.graph.node for output in node.output}
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    assert producer[softmax.input[0]] != "DequantizeLinear"


def test_kept_layers_stay_in_floating_point(quantiser: OnnxQuantiser) -> None:
    kept = "backbone.stage3.block1"
    fed = fed_by_int8(quantiser.model((kept,)))
    own = {node for node in quantiser.layers.of[kept] if node in fed}
    assert own
    assert {name for name, int8 in fed.items() if not int8} == own
    nothing = operators(quantiser.model(tuple(quantiser.layers.of)))
    assert "QuantizeLinear" not in nothing


def test_the_scan_finds_the_layer_that_was_made_harmful(
    source: Fp32Export, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of a channel a hundred times the others: 256 levels leave nothing of the rest."""
    model = onnx.load(source.onnx)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("neck.m3.entry") and tensor.name.endswith("weight"):
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[:, 0] += 100 * np.abs(values).max() * np.sign(values[:, 0])
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    names = Detector.load(source.onnx).class_names
    pictures = model_inputs(drawn_pictures(data, "train", names, 2, 0), (64, 96))
    harm = scan(OnnxQuantiser(broken, pictures), pictures)
    assert list(harm.values()) == sorted(harm.values(), reverse=True)
    assert all(value >= 0 for value in harm.values())
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    healthy = scan(OnnxQuantiser(source.onnx, pictures), pictures)
    assert f"/{len(healthy)} [" in screen.getvalue()  # how far it is: the longest part of an export
    assert harm["neck.m3.entry"] > 2 * healthy["neck.m3.entry"]


def test_onnx_file_says_what_was_done_and_runs(
    source: Fp32Export, data: Path, pictures: Pictures, tmp_path: Path
) -> None:
    target, lines = tmp_path / "int8.onnx", []
    record = quantise(Fp32Export(source.onnx), pictures, target, LOOSE, lines.append)
    assert read_record(target) == record
    assert record.tool.startswith("onnxruntime ")
    assert (record.calibrated_on, record.judged_on) == ("6 pictures of train", "6 pictures of val")
    assert record.ap_fp32 > 0.5
    assert record.ap == pytest.approx(Detector.load(target).evaluate(data).ap, abs=1e-9)
    assert any(line.startswith("int8: AP") for line in lines)
    fp32, int8 = Detector.load(source.onnx), Detector.load(target)
    assert int8.card == replace(fp32.card, precision="int8")
    pixels = np.full((64, 96, 3), 99, np.uint8)
    assert len(int8.predict(pixels, score_threshold=0.0)) > 0
    assert target.stat().st_size < source.onnx.stat().st_size
    assert read_record(source.onnx) is None


def test_openvino_file_holds_int8_weights(source: Fp32Export, pictures: Pictures, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    import openvino as runtime

    target = tmp_path / "int8.xml"
    record = quantise(source, pictures, target, LOOSE)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["int8.bin", "int8.xml"]
    assert read_record(target) == record
    assert record.tool.startswith("nncf ")
    assert Detector.load(target).card == replace(Detector.load(source.path).card, precision="int8")
    ops = runtime.Core().read_model(target).get_ops()
    kinds = Counter(op.get_type_name() for op in ops)
    convs = kinds["Convolution"] + kinds["GroupConvolution"]
    int8 = [op for op in ops if op.get_type_name() == "Constant" and op.get_element_type() == runtime.Type.i8]
    assert len(int8) == convs
    softmax = next(op for op in ops if op.get_type_name() == "Softmax")
    assert softmax.input_value(0).get_node().get_type_name() != "FakeQuantize"


def int8_weights(path: Path) -> list[np.ndarray]:
    if path.suffix == ".onnx":
        found = (onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
        return [weight for weight in found if weight.dtype == np.int8 and weight.ndim == 4]
    import openvino as runtime

    constants = (op for op in runtime.Core().read_model(path).get_ops() if op.get_type_name() == "Constant")
    return [op.data for op in constants if op.get_element_type() == runtime.Type.i8]


@pytest.mark.parametrize("name", ["int8.onnx", "int8.xml"])
def test_a_reduced_range_is_of_seven_bits(source: Fp32Export, pictures: Pictures, tmp_path: Path, name: str) -> None:
    """Two products of 255 and 64 fit into 16 bits; two of 255 and 127 do not."""
    pytest.importorskip("nncf")
    form = source if name.endswith("xml") else Fp32Export(source.onnx)
    largest = {}
    for reduced in (False, True):
        folder = tmp_path / str(reduced)
        folder.mkdir()
        said: list[str] = []
        record = quantise(form, pictures, folder / name, replace(LOOSE, reduced_range=reduced), said.append)
        assert ("7 bits" in " ".join(said)) == reduced
        assert record.reduced_range == reduced
        assert read_record(folder / name) == record
        weights = int8_weights(folder / name)
        assert weights
        largest[reduced] = max(int(np.abs(weight.astype(np.int16)).max()) for weight in weights)
    assert largest[False] in (127, 128)
    assert largest[True] in (63, 64)
    assert 2 * 255 * largest[True] < 2**15 <= 2 * 255 * largest[False]


def test_openvino_leaves_the_kept_layers_alone(source: Fp32Export, data: Path) -> None:
    pytest.importorskip("nncf")
    layers = find_layers(onnx.load(source.onnx), source.onnx)
    pictures = model_inputs(drawn_pictures(data, "train", Detector.load(source.path).class_names, 2, 0), (64, 96))
    nodes = layers.nodes(frozenset({"neck.m3.entry"}))
    model = openvino.OpenVINOQuantiser(source.path, pictures).model(nodes)
    floating = []
    for op in model.get_ops():
        if op.get_type_name() == "Convolution":
            weights = op.input_value(1).get_node()
            while weights.get_input_size():
                weights = weights.input_value(0).get_node()
            if str(weights.get_element_type()) != "<Type: 'int8_t'>":
                floating.append(op.get_friendly_name().split("/")[0])
    assert floating
    assert set(floating) <= set(nodes)


@pytest.fixture
def costly(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """AP falls by 4 points, less one for each layer kept but the head's; the layers kept in each attempt."""
    attempts: list[tuple[str, ...]] = []

    def ap(path: Path, annotations: object) -> float:
        record = read_record(path)
        if record is None:
            return 0.5
        attempts.append(record.kept)
        return 0.5 - 0.01 * (4 - sum(not name.startswith("head.") for name in record.kept))

    monkeypatch.setattr(run, "_ap", ap)
    return attempts


def test_the_most_harmful_layers_are_kept_until_ap_is_close_enough(
    source: Fp32Export, pictures: Pictures, tmp_path: Path, costly: list[tuple[str, ...]]
) -> None:
    record = quantise(Fp32Export(source.onnx), pictures, tmp_path / "int8.onnx", Settings(max_drop=0.5))
    heads = tuple(f"head.level{level}.{task}" for level in (1, 2, 3) for task in ("cls", "reg"))
    assert costly[0] == ()
    assert costly[1] == ("head.level1.cls", "head.level2.cls", "head.level3.cls")
    assert set(costly[2]) == set(heads)
    assert [len(kept) for kept in costly] == sorted(len(kept) for kept in costly)
    others = [name for name in record.harm if name not in heads]
    assert len(record.kept) >= 4 + len(heads)
    assert set(record.kept[:6]) == set(heads)
    assert list(record.kept[6:]) == others[: len(record.kept) - 6]
    assert list(record.harm.values()) == sorted(record.harm.values(), reverse=True)
    assert read_record(tmp_path / "int8.onnx") == record
    kept = find_layers(onnx.load(source.onnx), source.onnx).nodes(frozenset(record.kept))
    fed = fed_by_int8(onnx.load(tmp_path / "int8.onnx"))
    assert {name for name, int8 in fed.items() if not int8} == set(kept) & set(fed)


def test_what_loses_too_much_is_refused_and_not_written(
    source: Fp32Export, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_ap", lambda path, annotations: 0.5 if read_record(path) is None else 0.4)
    with pytest.raises(UserError, match=r"int8 costs 10.00 points of AP .* layers in floating point; at most 0.5 may"):
        quantise(Fp32Export(source.onnx), pictures, tmp_path / "int8.onnx", Settings(max_drop=0.5))
    assert not list(tmp_path.iterdir())


def test_openvino_without_nncf_says_what_to_install(
    source: Fp32Export, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"int8 for OpenVINO needs NNCF; pip install 'tinynas\[int8\]'"):
        quantise(source, pictures, tmp_path / "int8.xml", LOOSE)


def test_an_int8_file_is_not_quantised_again(source: Fp32Export, pictures: Pictures, tmp_path: Path) -> None:
    quantise(Fp32Export(source.onnx), pictures, tmp_path / "int8.onnx", LOOSE)
    with pytest.raises(UserError, match=r"int8.onnx: its convs have no weights of their own .* expected a fp32 export"):
        quantise(Fp32Export(tmp_path / "int8.onnx"), pictures, tmp_path / "again.onnx", LOOSE)


def test_a_damaged_record_is_said(tmp_path: Path, source: Fp32Export) -> None:
    model = onnx.load(source.onnx)
    model.metadata_props.add(key="quantisation", value="{")
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UserError, match=r"model.onnx: what it says of its quantisation is damaged"):
        read_record(tmp_path / "model.onnx")
    record = Record(tool="x", calibrated_on="a", judged_on="b", ap=0.51, ap_fp32=0.5)
    assert Record.from_text(record.to_text(), "x") == record
    assert record.drop == pytest.approx(-1)
    assert replace(record, ap=0.4).drop == pytest.approx(10)


@pytest.fixture(scope="session")
def checkpoint(tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    save_checkpoint(tiny, path)
    return path


def test_export_command(checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.onnx"
    words = ["export", str(checkpoint), "--precision", "int8", "--data", str(data), "--max-drop", "100", "-o", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "in int8" in shown.out
    assert f"wrote {out}" in shown.out
    assert "calibrating on 6 pictures of train, judging by 6 of val" in shown.err
    record = read_record(out)
    assert record is not None
    assert Detector.load(out).card.precision == "int8"
    assert f"AP {100 * record.ap:.2f} in int8" in shown.out
    assert [file.name for file in tmp_path.iterdir()] == ["small.onnx"]
    assert main(words) == 2
    assert "exists already; choose another -o or say --overwrite" in capsys.readouterr().err


def test_seven_bits_are_an_option(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def stop(*arguments: Any, **_: Any) -> None:
        asked.append(arguments[5].reduced_range)
        raise UserError("enough")

    monkeypatch.setattr(export, "export_quantised", stop)
    out = str(tmp_path / "small.onnx")
    for words in ([], ["--reduce-range"]):
        assert main(["export", str(checkpoint), "--precision", "int8", "--data", str(data), "-o", out, *words]) == 2
    assert asked == [False, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reduce-range"], "--reduce-range is for --precision int8"),
        (["--precision", "int8"], "--precision int8 is calibrated on your pictures; say which: --data DIR"),
        (["--precision", "int4", "--data", "."], "--precision int4: int8, which --data is for, expected"),
        (["--precision", "bf16"], "--precision bf16: fp32 or int8 expected"),
        (["--precision", "int8", "--data", ".", "--half", "-o", "x.xml"], "--half stores fp32's weights in fp16"),
        (["--precision", "int8", "--data", ".", "--preprocess", "any"], "--precision int8 is calibrated on tensors"),
        (["--precision", "int8", "--data", "DATA", "--batch", "2"], "--precision int8 is calibrated with one picture"),
        (["--precision", "int8", "--data", "OTHER"], "class"),
        (["--precision", "int8", "--data", "EMPTY"], "no images"),
    ],
)
def test_refusals(
    words: list[str], message: str, checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    other, empty = tmp_path / "other", tmp_path / "empty"
    for folder, old, new in ((other, '"cell"', '"sell"'), (empty, "", "")):
        for split in ("train", "val"):
            (folder / f"{split}2017").mkdir(parents=True)
            (folder / "annotations").mkdir(exist_ok=True)
            name = f"annotations/instances_{split}2017.json"
            text = (data / name).read_text()
            if folder is empty:
                text = '{"images": [], "annotations": [], "categories": ' + text[text.rindex("[") :]
            (folder / name).write_text(text.replace(old, new))
    places = {"DATA": str(data), "OTHER": str(other), "EMPTY": str(empty)}
    assert main(["export", str(checkpoint), *(places.get(word, word) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(checkpoint.parent.glob("*.onnx"))


def test_the_data_are_looked_at_before_the_export(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "export_checkpoint", lambda *_: pytest.fail("exported first"))
    command = ["export", str(checkpoint), "-o", str(tmp_path / "new" / "int8.onnx"), "--precision", "int8"]
    assert main([*command, "--data", str(tmp_path / "nosuch")]) == 2
    assert "nosuch: no such folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
