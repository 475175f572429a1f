"""general.yaml: the data sets and the rules by which their classes become those of one label space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from detector.data.scalars import clean_name
from search_spaces.errors import UserError
from search_spaces.files import read_text
from search_spaces.validation import validated

VERSION = 1
VERSION_KEY = "label_space"
MAX_BYTES = 4_000_000
ALL = "all"
"""In place of a list of classes: every one."""
_NAME = re.compile(r"[\w.-]+")


def _listed_all(value: Any) -> Any:
    return [ALL] if value == ALL else value


class ListedSet(BaseModel):
    """One data set of the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1, description="folder or YAML of the data set, from this file's folder")
    classes: list[str] | None = Field(None, description="its classes; without this key, those of its training split")
    rename: dict[str, str] = Field(default_factory=dict, description="its class: what it is called here, aliases aside")
    drop: list[str] = Field(default_factory=list, description="its classes that are left out")
    absent: Annotated[list[str], BeforeValidator(_listed_all)] = Field(
        default_factory=list,
        description="classes that it does not label, and that its pictures have nothing of; all: every such class",
    )

    @field_validator("path")
    @classmethod
    def _printable(cls, path: str) -> str:
        if any(ord(character) < 32 for character in path):
            raise ValueError("control characters in a path: backslashes in double quotes are escapes, write / instead")
        return path

    @field_validator("classes", "drop", "absent")
    @classmethod
    def _cleaned(cls, names: list[str] | None) -> list[str] | None:
        return None if names is None else [clean_name(name) for name in names]

    @field_validator("rename")
    @classmethod
    def _cleaned_pairs(cls, names: dict[str, str]) -> dict[str, str]:
        return {clean_name(own): clean_name(name) for own, name in names.items()}


class Document(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_space: int = Field(description="version of this format")
    sets: dict[str, ListedSet] = Field(description="the data sets, by a name of your choice")
    aliases: dict[str, list[str]] = Field(default_factory=dict, description="class: its other names in the sets")
    drop: list[str] = Field(default_factory=list, description="classes that are left out of all sets")

    @field_validator("label_space")
    @classmethod
    def _known_version(cls, version: int) -> int:
        if version != VERSION:
            raise ValueError(f"version {version} found; this release reads {VERSION}")
        return version

    @field_validator("sets")
    @classmethod
    def _plain_names(cls, sets: dict[str, ListedSet]) -> dict[str, ListedSet]:
        if not sets:
            raise ValueError("no data sets; expected NAME: {path: FOLDER} for each")
        for name in sets:
            if not _NAME.fullmatch(name):
                raise ValueError(f"a data set is called {name!r}; expected letters, digits, dots, - and _ alone")
        return sets

    @field_validator("aliases")
    @classmethod
    def _cleaned_lists(cls, aliases: dict[str, list[str]]) -> dict[str, list[str]]:
        return {clean_name(name): [clean_name(other) for other in others] for name, others in aliases.items()}

    @field_validator("drop")
    @classmethod
    def _cleaned(cls, names: list[str]) -> list[str]:
        return [clean_name(name) for name in names]


def is_document(path: Path) -> bool:
    """Whether a file is meant to be such a list of data sets: YAML with the key `label_space` at its head."""
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return False
    try:
        text = read_text(path, "YAML")
    except UserError:
        return False
    return re.search(rf"^['\"]?{VERSION_KEY}['\"]?\s*:", text, re.MULTILINE) is not None


def read_document(path: Path) -> Document:
    """The file, checked for itself. Raises UserError, one line, for YAML that does not parse, unknown keys, keys that occur
    twice and values of the wrong kind."""
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: more than {MAX_BYTES:,} bytes; expected a list of data sets, is this another file?")
    try:
        data = yaml.load(read_text(path, "a list of data sets"), _Texts)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(
            f"{where}: {getattr(error, 'problem', None) or 'not YAML'}; expected the keys "
            f"{', '.join(Document.model_fields)}"
        ) from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: the YAML does not parse ({type(error).__name__}); restore the file") from None
    return validated(Document, _without_empty(data), f"{path}:")


def member_path(document: Path, member: ListedSet) -> Path:
    """Where a set is: its path, from the folder of the file that lists it."""
    return document.parent / member.path


class _Texts(yaml.BaseLoader):
    """Every scalar stays a text (`no` and `12` are class names too); a key that occurs twice is a mistake, and so are YAML's
    anchors, with which a short file can stand for an endless one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "YAML's * references are not read here", self.get_mark())
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is twice here", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _without_empty(value: Any) -> Any:
    """Keys without a value (`drop:`) are as if they were not there."""
    if isinstance(value, Mapping):
        return {key: _without_empty(inner) for key, inner in value.items() if inner != ""}
    return value
