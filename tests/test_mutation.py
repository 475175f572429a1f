"""benchmarks/mutation.py: which changes it makes, and which of them count."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import _mutants  # noqa: E402
import mutation  # noqa: E402

LOW = """
\"\"\"The lower of two, at least 0.\"\"\"
FLOOR = 0


def low(a: int, b: int) -> int:
    if a < b:
        return max(a, FLOOR)
    if not isinstance(a, int):
        raise ValueError("5 > 4")
    return b + 0
"""


def test_mutants_change_one_thing_each_and_no_message():
    found = [(mutant.before, mutant.after) for mutant in _mutants.mutants_of(LOW)]
    assert found == [
        ("0", "1"), ("if a < b", "if not a < b"), ("a < b", "a <= b"), ("max", "min"),
        ("not isinstance(a, int)", "isinstance(a, int)"),
        ("b + 0", "b - 0"), ("0", "1"),
    ]  # fmt: skip


def test_a_mutant_is_imported_in_place_of_its_module(tmp_path, monkeypatch):
    path = tmp_path / "lower.py"
    path.write_text(LOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "lower", raising=False)
    number = next(mutant.number for mutant in _mutants.mutants_of(LOW) if mutant.after == "min")
    _mutants.install("lower", path, number)
    import lower

    assert (lower.low(3, 5), lower.low(7, 5)) == (0, 5)
    monkeypatch.delitem(sys.modules, "lower")
    with pytest.raises(IndexError):
        _mutants.changed_tree(LOW, 99)
    assert path.read_text() == LOW


def test_rooms_of_the_mutation_benchmark_are_there():
    for sources, tests in mutation.ROOMS.values():
        assert all(list(mutation.ROOT.glob(pattern)) for pattern in sources)
        assert all((mutation.ROOT / test).exists() for test in tests)


def test_survivors_with_a_reason_do_not_count():
    def result(code, state):
        shown = {"line": 1, "before": "a", "after": "b", "test": "", "seconds": 1.0, "key": code}
        return mutation.Result(room="nms", file="x.py", code=code, state=state, **shown)

    told = mutation.summary(
        [result("one", "killed"), result("two", "timeout"), result("three", "survived"), result("four", "survived")],
        {"x.py": {"four": "changes nothing"}},
    )
    assert told["rooms"] == {"nms": {"mutants": 4, "killed": 2, "excused": 1, "killed_percent": 66.7}}
    assert [row["code"] for row in told["survivors"]] == ["three"]
    assert told["excused"][0]["reason"] == "changes nothing"
