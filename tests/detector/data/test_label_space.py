"""Several data sets as one: by which rules their classes meet, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data import formats
from detector.data.annotations import Annotations
from detector.data.check import check_data
from detector.data.convert import convert
from detector.data.label_space import table
from detector.data.label_space.document import read_document
from detector.data.label_space.look_alike import form, meaning
from detector.data.label_space.proposal import FoundSet, find_sets, propose, text_of
from detector.data.label_space.reading import read_label_space
from detector.data.label_space.unify import unify
from detector.data.origins import Origins, Source, joined_origins
from detector.data.splitting import split_data
from detector.training.start import load_splits
from search_spaces.errors import UserError
from tests.detector.data.several_sets import rooms_and_pets, write_list, write_set

CLASSES = ("couch", "Chair", "mouse", "cat", "mouse (animal)")


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rooms_and_pets(tmp_path_factory.mktemp("sets"))


def labels_by_picture(split: Annotations) -> dict[str, list[str]]:
    return {
        path.stem: sorted(split.class_names[label] for label in split.boxes_of(i).labels)
        for i, path in enumerate(split.image_paths)
    }


def test_classes_meet_by_case_alias_and_name_of_their_own(general: Path) -> None:
    assert formats.detect(general) == "label_space"
    assert formats.available_splits(general) == ["train", "val"]
    train, report = formats.load_split(general, "train")
    assert sorted(train.class_names) == sorted(CLASSES)
    assert labels_by_picture(train) == {
        "rooms_train_0": ["Chair", "couch"], "rooms_train_1": ["mouse"],
        "pets_train_0": ["couch", "mouse (animal)"], "pets_train_1": ["Chair", "cat"],
    }  # fmt: skip
    assert (report.images, report.boxes) == (4, 7)
    val, _ = formats.load_split(general, "val", train.class_names)
    assert labels_by_picture(val)["pets_val_1"] == ["mouse (animal)"]


def test_origins_say_what_each_set_labels(general: Path) -> None:
    train, _ = formats.load_split(general, "train")
    assert train.origins is not None
    assert [train.origins.sources[i].name for i in train.origins.of_image] == ["rooms", "rooms", "pets", "pets"]
    labelled = train.origins.labelled(CLASSES)
    assert labelled.tolist() == [[True, True, True, False, False], [True, True, False, True, True]]
    assert train.origins.aliases() == {"couch": ("Sofa",), "mouse (animal)": ("Mouse",)}
    part = train.subset([3, 0])
    assert part.origins is not None
    assert part.origins.of_image.tolist() == [1, 0]
    # a detector with more classes than the space: nobody labels those
    assert train.origins.labelled(("cat", "lamp")).tolist() == [[False, False], [True, False]]


def test_what_is_left_out_is_neither_a_class_nor_a_box(general: Path) -> None:
    path = write_list(
        general.parent, "sets:\n  rooms: {path: rooms, drop: [MOUSE]}\n  pets: {path: pets}\naliases: {couch: [sofa]}\n"
        "drop: [chair]\n", "dropped.yaml",
    )  # fmt: skip
    train, report = formats.load_split(path, "train")
    assert set(train.class_names) == {"couch", "Mouse", "cat"}
    assert report.boxes == 4
    assert train.origins is not None
    assert train.origins.sources[0].becomes == {"Sofa": "couch", "Chair": None, "mouse": None}
    # the set whose mice are left out does not tell where mice are
    assert train.origins.labelled(("Mouse",)).tolist() == [[False], [True]]


def test_absent_classes_are_background(general: Path) -> None:
    text = "sets:\n  rooms: {path: rooms, absent: [cat]}\n  pets: {path: pets, absent: all}\n"
    space = read_label_space(write_list(general.parent, text, "absent.yaml"))
    labelled = Origins(space.sources, np.zeros(0, dtype=np.int32)).labelled(space.class_names)
    assert space.class_names == ("Sofa", "Chair", "mouse", "couch", "cat")
    assert labelled.tolist() == [[True, True, True, False, True], [True] * 5]


def test_the_files_own_list_of_classes_is_enough(general: Path) -> None:
    text = "sets:\n  rooms: {path: rooms, classes: [Sofa, Chair, mouse, lamp]}\n  pets: {path: pets}\n"
    path = write_list(general.parent, text, "listed.yaml")
    assert "lamp" in formats.load_split(path, "val")[0].class_names
    short = write_list(general.parent, text.replace("mouse, ", ""), "short.yaml")
    with pytest.raises(UserError, match=r"class 'mouse' is not among the classes of this set.*add it to its `classes`"):
        formats.load_split(short, "train")


def test_merging_two_classes_of_one_set_is_allowed_and_said(general: Path) -> None:
    path = write_list(
        general.parent,
        "sets:\n  rooms: {path: rooms, rename: {Chair: seat, Sofa: Seat}}\n  pets: {path: pets}\n",
        "two.yaml",
    )
    with pytest.warns(UserWarning, match="rooms: its classes Sofa, Chair are one class here, 'Seat'"):
        train, _ = formats.load_split(path, "train")
    assert labels_by_picture(train)["rooms_train_0"] == ["Seat", "Seat"]
    notes = [note for note in check_data(path).notes if note.kind == "read-otherwise"]
    assert "one class here" in notes[0].reason


REFUSED = {
    "alias to nothing": ("aliases: {couch: [Soffa]}", r"aliases.couch: no data set has a class 'Soffa'.*did you mean Sofa"),
    "alias without names": ("aliases: {couch: []}", r"aliases.couch: no other name; expected at least one"),
    "alias of two": ("aliases: {couch: [Sofa], seat: [sofa]}", r"'sofa' is another name of 'couch' and of 'seat'"),
    "alias of an alias": (
        "aliases: {couch: [Sofa], chair: [couch]}", r"'couch' has aliases and is itself one of 'chair'; put all of them there"
    ),
    "drop of nothing": ("drop: [lamp]", r"drop: no data set has a class 'lamp'"),
    "unknown key": ("alias: {couch: [Sofa]}", r"alias: unknown key; did you mean aliases"),
    "not a list": ("drop: {a: b}", r"drop: .*expected a list in square brackets"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_rules_that_apply_to_nothing_or_contradict_are_refused(general: Path, case: str) -> None:
    rule, expected = REFUSED[case]
    path = write_list(general.parent, f"sets:\n  rooms: {{path: rooms}}\n  pets: {{path: pets}}\n{rule}\n", "bad.yaml")
    with pytest.raises(UserError, match=expected):
        formats.load_split(path, "train")


REFUSED_SETS = {
    "same set twice": ("a: {path: rooms}\n  b: {path: ./rooms}", r"sets.b and sets.a are the same data set, .*list it once"),
    "same name twice": ("a: {path: rooms}\n  a: {path: pets}", r"bad.yaml:4: the key 'a' is twice here"),
    "all left out": ("a: {path: rooms, drop: [Sofa, Chair, mouse]}", r"sets.a: every one of its 3 classes is left out"),
    "rename of nothing": ("a: {path: rooms, rename: {Chiar: seat}}", r"sets.a.rename: it has no class 'Chiar'; did you mean"),
    "drop of nothing": ("a: {path: rooms, drop: [lamp]}", r"sets.a.drop: it has no class 'lamp'"),
    "renamed and dropped": ("a: {path: rooms, rename: {Sofa: s}, drop: [sofa]}", r"'Sofa' is under rename and under drop"),
    "absent and labelled": ("a: {path: rooms, absent: [chair]}", r"sets.a.absent: the set labels 'chair' itself"),
    "absent unknown": ("a: {path: rooms, absent: [lamp]}", r"sets.a.absent: there is no class 'lamp'"),
    "not there": ("a: {path: nowhere}", r"bad.yaml: sets.a: .*nowhere: no such folder or file"),
    "empty folder": ("a: {path: empty}", r"bad.yaml: sets.a: .*empty: the folder is empty"),
    "a list in a list": ("a: {path: general.yaml}", r"sets.a: .*general.yaml is a list of data sets itself"),
    "without splits": ("a: {path: heap}", r"heap: has no splits; split it first: tinynas data split"),
    "a name with spaces": ("'a b': {path: rooms}", r"a data set is called 'a b'; expected letters, digits"),
    "path of control characters": ('a: {path: "r\\tooms"}', r"control characters in a path"),
    "no sets": ("{}", r"sets: no data sets; expected NAME: {path: FOLDER} for each"),
    "reference": ("a: &x {path: rooms}\n  b: *x", r"YAML's \* references are not read here"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_SETS)
def test_sets_that_cannot_be_one_are_refused(general: Path, case: str) -> None:
    text, expected = REFUSED_SETS[case]
    (general.parent / "empty").mkdir(exist_ok=True)
    if case == "without splits":
        write_set(general.parent / "heap", ("a",), {"all": [(0, "a")]}, format="coco")
    path = write_list(general.parent, f"sets:\n  {text}\n", "bad.yaml")
    with pytest.raises(UserError, match=expected):
        formats.load_split(path, "train")


def test_another_version_and_broken_yaml_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "general.yaml"
    path.write_text("label_space: 2\nsets: {a: {path: a}}\n")
    with pytest.raises(UserError, match="label_space: version 2 found; this release reads 1"):
        read_document(path)
    path.write_text("label_space: 1\nsets: {a: [\n")
    with pytest.raises(UserError, match=r"general.yaml:\d+: .*expected the keys label_space, sets, aliases, drop"):
        read_document(path)


def test_a_set_without_pictures_or_boxes_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "full", ("a",), {"train": [(0, "a")], "val": [(0, "a")]})
    write_set(tmp_path / "bare", ("b",), {"train": [], "val": []})
    path = write_list(tmp_path, "sets: {full: {path: full}, bare: {path: bare}}\n")
    with pytest.raises(UserError, match=r"sets.bare has 2 training images but not one box of a class that is kept"):
        load_splits(path, lambda _: None)
    annotations = next((tmp_path / "bare").rglob("*train*.json"))
    annotations.write_text('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "b"}]}')
    with pytest.raises(UserError, match=r"bare/annotations/instances_train.json: no images"):
        load_splits(path, lambda _: None)
    write_set(tmp_path / "listless", ("b",), {"all": [(0, "b")]}, images=4)
    split_data(tmp_path / "listless", 0.5)
    (tmp_path / "listless/tinynas-splits/train.txt").write_text("")
    path = write_list(tmp_path, "sets: {full: {path: full}, bare: {path: listless}}\n")
    with pytest.raises(UserError, match=r"sets.bare: .*listless has no pictures in train; take the set off the list"):
        load_splits(path, lambda _: None)


def test_a_split_of_some_sets_only(general: Path) -> None:
    write_set(general.parent / "tested", ("cat",), {"train": [(0, "cat")], "test": [(1, "cat")]})
    path = write_list(general.parent, "sets: {rooms: {path: rooms}, tested: {path: tested}}\n", "tests.yaml")
    assert formats.available_splits(path) == ["train", "val", "test"]
    test, _ = formats.load_split(path, "test")
    assert test.origins is not None
    assert test.origins.of_image.tolist() == [1, 1]
    assert test.class_names == ("Sofa", "Chair", "mouse", "cat")


def test_lists_of_splits_are_each_sets_own_affair(tmp_path: Path) -> None:
    heap = write_set(tmp_path / "heap", ("a", "b"), {"all": [(i, "ab"[i % 2]) for i in range(12)]}, images=12)
    write_set(tmp_path / "other", ("c",), {"train": [(0, "c")], "val": [(0, "c")]})
    split_data(heap, 0.25)
    path = write_list(heap, "sets: {heap: {path: .}, other: {path: ../other}}\n")
    train, _ = formats.load_split(path, "train")
    val, _ = formats.load_split(path, "val")
    assert (len(train), len(val)) == (11, 5)
    with pytest.raises(UserError, match="a list of data sets; split those that need it, one by one"):
        split_data(path, 0.2)


def test_the_table_before_training(general: Path) -> None:
    said: list[str] = []
    splits = load_splits(general, said.append)
    text = "\n".join(said)
    assert "2 data sets: their 7 classes are 5 here" in text
    assert "couch: rooms Sofa 1, pets couch 1" in text
    assert "mouse (animal)" not in "\n".join(said[2].splitlines()[4:])  # one set, one name: nothing to look over
    rows = table.as_csv(splits.train, splits.val).splitlines()
    assert rows[0] == "set,own_class,class,train_boxes,val_boxes"
    assert "pets,Mouse,mouse (animal),1,1" in rows


def test_converting_says_what_is_lost(general: Path, tmp_path: Path) -> None:
    done = convert(general, tmp_path / "out", "coco")
    assert any("what a set does not label is background" in line for line in done.lost)
    assert set(formats.load_split(tmp_path / "out", "train")[0].class_names) == set(CLASSES)


def test_check_looks_through_all_sets(general: Path) -> None:
    found = check_data(general)
    assert found.format == "label_space"
    assert found.splits["train"].per_class["couch"] == 2
    assert [problem.kind for problem in found.problems] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hot-Dogs", "hot dog"), ("hotdog", "hot dog"), ("Cherries", "cherry"), ("knives", "Knife"), ("benches", "bench"),
        ("Head Phone", "headphones"), ("wine_glass", "Wine glass"), ("buses", "Bus"),
    ],
)  # fmt: skip
def test_names_that_look_alike(one: str, other: str) -> None:
    assert form(one) == form(other)


@pytest.mark.parametrize(("one", "other"), [("glasses", "glass"), ("skies", "skis"), ("bus", "bu"), ("pants", "pant")])
def test_names_that_do_not(one: str, other: str) -> None:
    assert form(one) != form(other)


def test_known_names_of_public_sets_meet() -> None:
    for group in (("tv", "Television", "Monitor/TV", "television set"), ("cell phone", "Mobile phone", "cellphones")):
        assert len({meaning(name) for name in group}) == 1
    assert meaning("keyboard") != meaning("Musical keyboard")


def found(name: str, *classes: str) -> FoundSet:
    return FoundSet(name, Path(name), dict.fromkeys(classes, 3))


def test_a_proposal_merges_what_looks_alike() -> None:
    proposal = propose([found("a", "Sofa", "Cell-Phone"), found("b", "couch", "mobile phone"), found("c", "couches")])
    assert proposal.aliases == {"couch": ["Sofa", "couches"], "Cell-Phone": ["mobile phone"]}
    assert proposal.rename == {}


def test_a_proposal_keeps_apart_what_one_set_tells_apart() -> None:
    """Open Images' mouse is a rodent: it has a computer mouse besides."""
    proposal = propose([found("coco", "mouse"), found("open", "Mouse", "Computer mouse")])
    assert proposal.rename == {"open": {"Mouse": "Mouse (open)"}}
    assert proposal.aliases == {"mouse": ["Computer mouse"]}
    assert "'Mouse' stays apart" in proposal.notes[0]


def test_a_proposal_is_read_as_it_is_meant(general: Path, tmp_path: Path) -> None:
    sets = find_sets([general.parent / "rooms", general.parent / "pets"])
    path = tmp_path / "general.yaml"
    path.write_text(text_of(propose(sets), path))
    space = read_label_space(path)
    assert space.class_names == ("couch", "Chair", "mouse", "cat")
    with pytest.raises(UserError, match="the same data set as"):
        find_sets([general.parent / "rooms", general.parent / "rooms" / "."])
    with pytest.raises(UserError, match="a list of data sets; name the sets themselves"):
        find_sets([general])


def test_names_that_yaml_reads_otherwise_come_back(tmp_path: Path) -> None:
    odd = ("no", "12", "a: b", "#c", "d, e", "[f]", "null", "~", "ü-Boot", '"q"', "1.50")
    write_set(tmp_path / "odd", odd, {"train": [(0, name) for name in odd[:6]], "val": [(0, "no")]})
    write_set(tmp_path / "plain", ("No",), {"train": [(0, "No")], "val": [(0, "No")]})
    path = tmp_path / "general.yaml"
    path.write_text(text_of(propose(find_sets([tmp_path / "odd", tmp_path / "plain"])), path))
    assert read_label_space(path).class_names == odd


def test_the_reports_own_scale(tmp_path: Path) -> None:
    """80 + 365 + 500 = 945 classes that are 701: found by their look, and unified, in a moment."""
    words = [f"thing{chr(97 + i // 26)}{chr(97 + i % 26)}d" for i in range(701)]
    # 701 meanings; 60 in all three sets, 124 in two
    small = [*words[:60], *words[60:80]]
    middle = [f"{word.capitalize()}s" for word in words[:60]] + words[60:80] + [f"{w} part" for w in words[80:184]]
    middle += [f"{word} m" for word in words[:181]]
    large = (
        [word.upper() for word in words[:60]] + [f"{w}_parts" for w in words[80:184]] + [f"{w} l" for w in words[:336]]
    )
    sets = [found("small", *small), found("middle", *middle), found("large", *large)]
    assert [len(one.boxes) for one in sets] == [80, 365, 500]
    proposal = propose(sets)
    path = tmp_path / "general.yaml"
    path.write_text(text_of(proposal, path))
    space = unify(read_document(path), {one.name: tuple(one.boxes) for one in sets}, str(path))
    assert len(space.class_names) == 701
    assert proposal.notes == []
    assert not space.merged_within()


def test_parts_with_and_without_origins() -> None:
    origins = Origins((Source("a", {"x": "x"}), Source("b", {"y": "y"})), np.array([0, 1, 1], dtype=np.int32))
    joined = joined_origins([(None, 2), (origins, 3)], ("x", "y"))
    assert joined is not None
    assert joined.of_image.tolist() == [0, 0, 1, 2, 2]
    assert joined.labelled(("x", "y")).tolist() == [[True, True], [True, False], [False, True]]
    assert joined_origins([(None, 2), (None, 1)], ("x",)) is None
