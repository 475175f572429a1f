from __future__ import annotations

import numpy as np
import pytest

from latency_tables.fusion import fuse, fusion_rules
from search_spaces.emit import emit_detector
from search_spaces.errors import UserError
from search_spaces.text import resolve_structure, shipped_names
from tests.latency_tables.conftest import member, random_population

RUNTIMES = ("tensorrt", "openvino", "onnxruntime", "torch")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", shipped_names())
def test_every_op_is_in_exactly_one_kernel(name: str, runtime: str) -> None:
    graph = emit_detector(resolve_structure(name))
    ops = sorted(op for site in fuse(graph, fusion_rules(runtime)) for op in site.ops)
    assert ops == [index for index, op in enumerate(graph) if op.kind != "input"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("space", ["res", "csp", "mob"])
def test_population_runs_the_kernels_of_its_members(space: str, runtime: str) -> None:
    rules = fusion_rules(runtime)
    population = random_population(np.random.default_rng(1), space, 6)
    sites = fuse(emit_detector(population), rules)
    for index in range(6):
        expected: dict[tuple[object, ...], int] = {}
        for site in fuse(emit_detector(member(population, index)), rules):
            expected[_key(site.kernel, 0)] = expected.get(_key(site.kernel, 0), 0) + int(site.count)
        found: dict[tuple[object, ...], int] = {}
        for site in sites:
            count = int(np.broadcast_to(site.count, 6)[index])
            if count:
                found[_key(site.kernel, index)] = found.get(_key(site.kernel, index), 0) + count
        assert found == expected


def test_tensorrt_adds_join_convs_and_concats_are_free() -> None:
    kinds = [s.kernel.kind for s in fuse(emit_detector(resolve_structure("S")), fusion_rules("tensorrt"))]
    assert "add" not in kinds
    assert "concat" not in kinds


def test_openvino_adds_join_only_where_the_runtime_does_it() -> None:
    sites = fuse(emit_detector(resolve_structure("Ns")), fusion_rules("openvino"))
    fused = {site.path for site in sites if site.kernel.fused_add}
    alone = {site.path for site in sites if site.kernel.kind == "add"}
    # As OpenVINO 2026.4's execution graph of Ns has it: the last block's operand is read again by the ELAN concat.
    assert "backbone.stage2.block2.conv3" in fused
    assert "neck.m3.block1.conv3" in fused
    assert "neck.m3.block2.add" in alone
    sites = fuse(emit_detector(resolve_structure("T")), fusion_rules("openvino"))
    assert "neck.o3.block1.add" in {site.path for site in sites if site.kernel.kind == "add"}
    assert "backbone.stage2.block2.conv2" in {site.path for site in sites if site.kernel.fused_add}


def test_blocks_are_as_wide_as_the_processors_vectors() -> None:
    avx2, avx512 = ("avx", "avx2", "fma"), ("avx", "avx2", "fma", "avx512f")
    graph = emit_detector(resolve_structure("Ns"))
    for extensions, block, ragged in (((), 16, 6), (avx512, 16, 6), (("asimd",), 16, 6), (avx2, 8, 1)):
        rules = fusion_rules("onnxruntime", extensions=extensions)
        sites = fuse(graph, rules)
        assert rules.channel_block == block
        assert {site.kernel.out_channels % block for site in sites if site.kernel.kind == "conv"} == {0}
        assert sum(site.kernel.kind == "reordered_concat" for site in sites) == ragged
        assert fusion_rules("openvino", extensions=extensions).tail_block == block
    assert fusion_rules("onnxruntime", "int8", avx2).channel_block == 1
    assert fusion_rules("tensorrt", extensions=avx2) == fusion_rules("tensorrt")


def test_unknown_runtime_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown runtime 'openvin': did you mean openvino"):
        fusion_rules("openvin")


def _key(kernel: object, index: int) -> tuple[object, ...]:
    fields = ("kind", "in_channels", "out_channels", "height", "width", "kernel", "stride", "activation", "fused_add")
    values = [getattr(kernel, name) for name in fields]
    return tuple(value if isinstance(value, (str, bool)) else int(np.broadcast_to(value, 6)[index]) for value in values)
