import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import UserError
from tinynas.budgets import (
    Budget,
    LatencyRequest,
    parse_count,
    parse_latency,
    parse_memory,
    parse_ratio,
    parse_request,
)


@pytest.mark.parametrize(
    ("text", "ms"), [("3.8ms", 3.8), ("3800us", 3.8), ("0.0038s", 3.8), (" 4 ms ", 4), ("1e1MS", 10), (".5ms", 0.5)]
)
def test_latencies(text, ms):
    assert parse_latency(text).limit == pytest.approx(ms)


@given(st.floats(1e-3, 1e6), st.sampled_from([("ms", 1.0), ("us", 1e-3), ("s", 1e3)]))
def test_any_written_latency_reads_back(value, unit):
    name, factor = unit
    assert parse_latency(f"{value!r}{name}").limit == pytest.approx(value * factor)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3.8", "the unit is missing"), ("0ms", "above zero"), ("-3ms", "above zero"), ("3.8 hours", "unknown unit"),
        ("fast", "not a number"), ("", "not a number"), ("nanms", "not a number"), ("1e999ms", "above zero"),
    ],
)  # fmt: skip
def test_bad_latencies(text, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_latency(text)
    assert "3.8ms" in str(caught.value)


def test_counts_and_memory():
    assert parse_count("8.5M", "params", "--max-params").limit == 8_500_000
    assert parse_count("25", "layers", "--max-layers").limit == 25
    assert parse_memory("32MiB").limit == 32 * 2**20
    assert str(Budget("conv_macs", 9.0e9)) == "MACs 9 G"
    with pytest.raises(UserError, match="the unit is missing"):
        parse_memory("24")


@pytest.mark.parametrize(
    ("budget", "device", "request_"),
    [
        ("3.8ms", "t4", LatencyRequest((3.8,), "t4", ())),
        ("4ms,2ms, 3ms", "t4", LatencyRequest((2.0, 3.0, 4.0), "t4", ())),
        ("4ms@t4", None, LatencyRequest((), None, (("t4", 4.0),))),
        ("4ms@t4,30ms@cpu", None, LatencyRequest((), None, (("t4", 4.0), ("cpu", 30.0)))),
        ("4ms@t4,2ms@t4", None, LatencyRequest((2.0, 4.0), "t4", ())),
        ("2ms,3ms,30ms@cpu", "t4", LatencyRequest((2.0, 3.0), "t4", (("cpu", 30.0),))),
        ("4ms,30ms@cpu", "t4", LatencyRequest((4.0,), "t4", (("cpu", 30.0),))),
        ("1e1ms @ t4", None, LatencyRequest((), None, (("t4", 10.0),))),
    ],
)
def test_families_and_several_devices(budget, device, request_):
    assert parse_request(budget, device) == request_


@pytest.mark.parametrize(
    ("budget", "device", "words"),
    [
        ("2ms,3", "t4", "'3': the unit is missing"),
        ("2ms,3000us", "t4", "mixed units in 2ms and 3000us"),
        ("2ms,3MB", "t4", "unknown unit 'MB'.*--max-memory"),
        ("2ms,16M", "t4", "unknown unit 'M'.*--max-params"),
        ("2ms,,3ms", "t4", "an empty place in the list"),
        ("2ms,2ms", "t4", "2 ms occurs twice"),
        ("2.0000001ms,2.0000002ms", "t4", "2 ms occurs twice"),
        ("4ms@", None, "no device after the @"),
        ("4ms", None, "go together"),
        ("4ms,30ms@cpu", None, "go together"),
        ("4ms@t4", "cpu", "no budget for --device cpu"),
        ("4ms@t4", "t4", "named by --device already"),
        ("2ms@t4,3ms@t4,30ms@cpu", None, "a family on t4 mixed with budgets on other devices"),
        ("2ms@t4,3ms@t4,30ms@cpu,40ms@cpu", None, "a family on t4 mixed"),
        ("4ms,20ms@cpu,30ms@cpu", "t4", "only the device of --device can have a family"),
    ],
)
def test_what_cannot_be_meant_is_refused(budget, device, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_request(budget, device)
    assert "\n" not in str(caught.value)


@given(st.sets(st.integers(1, 999), min_size=1, max_size=6), st.randoms())
def test_a_family_is_read_in_any_order(limits, random):
    texts = [f"{limit}ms" for limit in limits]
    random.shuffle(texts)
    assert parse_request(",".join(texts), "t4").family == tuple(sorted(map(float, limits)))


def test_keys_name_the_device():
    assert Budget("latency_ms", 4.0, "t4-x").key == "latency_ms@t4-x"
    assert Budget("params", 4.0).key == "params"
    assert parse_ratio("0.3", "effectiveness", "--max-effectiveness").limit == 0.3
