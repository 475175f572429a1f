import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import UserError
from tinynas.budgets import parse_count, parse_latency, parse_memory, show


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
    assert show("conv_macs", 9.0e9) == "9 G"
    with pytest.raises(UserError, match="the unit is missing"):
        parse_memory("24")
