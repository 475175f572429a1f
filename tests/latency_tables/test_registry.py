from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from latency_tables import find_table, list_tables, registry
from latency_tables.metadata import TableMetadata
from latency_tables.on_device.host import host_processor
from latency_tables.tables import Row, write_table
from search_spaces.errors import UserError


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "user"
    monkeypatch.setenv("TINYNAS_TABLES", str(folder))
    return folder


@pytest.mark.parametrize("name", ["t4", "T4", "t4-tensorrt-fp16-b1", "t4-tens"])
def test_shipped_t4_by_any_name(name: str, user: Path) -> None:
    assert find_table(name).id == "t4-tensorrt-fp16-b1"


def test_by_path(user: Path) -> None:
    path = registry.SHIPPED / "t4-tensorrt-fp16-b1.csv"
    assert find_table(str(path)).hash == find_table(path.with_suffix(".yaml")).hash == find_table("t4").hash
    with pytest.raises(UserError, match=r"nothing.csv: no such file; expected a latency table"):
        find_table("nothing.csv")


def test_unknown_device_lists_choices(user: Path) -> None:
    with pytest.raises(UserError, match="unknown device 't5': did you mean t4"):
        find_table("t5")
    with pytest.raises(UserError, match="unknown device ''"):
        find_table("")


def test_user_tables_win(user: Path, metadata: TableMetadata, conv_rows: list[Row]) -> None:
    own = metadata.model_copy(update={"id": "mine-tensorrt-fp16-b1", "short_names": ["t4"]})
    write_table(user, own, conv_rows)
    assert find_table("t4").id == "mine-tensorrt-fp16-b1"
    write_table(user, metadata.model_copy(update={"id": "t4-tensorrt-fp16-b1"}), conv_rows)
    assert find_table("t4-tensorrt-fp16-b1").metadata.device == "Toy"
    assert len([m for m, _ in list_tables() if m.id == "t4-tensorrt-fp16-b1"]) == 1


def test_ambiguous_names_list_the_tables(user: Path, metadata: TableMetadata, conv_rows: list[Row]) -> None:
    for name in ("toy-tensorrt-fp16-b1", "toy2-tensorrt-fp16-b1"):
        write_table(user, metadata.model_copy(update={"id": name}), conv_rows)
    for name in ("toy", "to"):
        with pytest.raises(UserError, match="fits several tables: toy-tensorrt-fp16-b1, toy2-tensorrt-fp16-b1"):
            find_table(name)


def test_a_yaml_without_a_csv_is_no_table(user: Path, metadata: TableMetadata, conv_rows: list[Row]) -> None:
    write_table(user, metadata, conv_rows)
    (user / "my_space.yaml").write_text("name: mine\nblock: res\n")
    assert find_table("toy").id == metadata.id


def test_no_tables_at_all(user: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "none")
    with pytest.raises(UserError, match="no tables in"):
        find_table("t4")


def test_user_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYNAS_TABLES", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert registry.user_folder() == Path("/data/tinynas/tables")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert registry.user_folder() == Path.home() / ".local/share/tinynas/tables"


def test_cpu_table_of_another_processor_warns(user: Path, metadata: TableMetadata, conv_rows: list[Row]) -> None:
    changes = {
        "id": "toy-openvino-fp32-b1-t1", "runtime": "openvino", "precision": "fp32", "threads": 1, "kind": "cpu",
        "processor": "Another",
    }  # fmt: skip
    other = metadata.model_copy(update=changes)
    write_table(user, other, conv_rows)
    with pytest.warns(UserWarning, match="was measured on Another"):
        find_table("toy")
    write_table(user, other.model_copy(update={"processor": host_processor()}), conv_rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_table("toy").metadata.default_space == "mob"


def test_a_short_name_is_one_tables() -> None:
    claimed = [
        name for metadata, path in list_tables() if path.parent == registry.SHIPPED for name in metadata.short_names
    ]
    assert {"t4", "cpu"} <= set(claimed)
    assert len(claimed) == len(set(claimed))
    ids = [metadata.id for metadata, _ in list_tables()]
    assert not set(claimed) & set(ids)


def test_a_table_of_another_batch_or_precision_is_refused(
    user: Path, metadata: TableMetadata, conv_rows: list[Row]
) -> None:
    for precision, batch in (("fp16", 1), ("fp16", 32), ("int8", 1)):
        changes = {
            "id": f"toy-tensorrt-{precision}-b{batch}",
            "precision": precision,
            "batch": batch,
            "short_names": [],
        }
        if (precision, batch) == ("fp16", 1):
            changes["short_names"] = ["toy"]
        path = write_table(user, metadata.model_copy(update=changes), conv_rows)
    assert find_table("toy", batch=1, precision="fp16").id == "toy-tensorrt-fp16-b1"
    with pytest.raises(UserError, match="batch 1, precision fp16; batch 32 was asked for: take toy-tensorrt-fp16-b32"):
        find_table("toy", batch=32)
    with pytest.raises(UserError, match="batch 32 and precision fp32 was asked for: take or measure another table"):
        find_table("toy-tensorrt-fp16-b1", batch=32, precision="fp32")
    assert find_table("toy-", precision="int8").id == "toy-tensorrt-int8-b1"
    assert find_table("toy-tensorrt-f", batch=32).id == "toy-tensorrt-fp16-b32"
    with pytest.raises(UserError, match="fits several tables"):
        find_table("toy-", batch=1)
    with pytest.raises(UserError, match="batch 4 was asked for"):
        find_table("toy-", batch=4)
    with pytest.raises(UserError, match="precision int8; batch 32 was asked for"):
        find_table(path, batch=32)
