"""Write the reference pages of the documentation from the code: python scripts/reference_pages.py FOLDER.

commands.md (every command and option, from the command line itself), settings.md (every training setting, its default and
what it does) and api.md (the names that the packages export, with their docstrings).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from detector.training.settings.config import TrainConfig
from search_spaces.files import write_text
from tinynas.cli import build_app

EXPORTED = {"detector": "Detectors", "latency_tables": "Latency tables"}
"""Packages whose exported names are documented."""
MODULES = {
    "search_spaces.text": ("resolve_structure", "parse_structure", "format_structure"),
    "search_spaces.emit": ("emit_detector",),
    "search_spaces.space": ("load_space",),
    "tinynas.budgets": ("parse_request", "parse_latency"),
}
"""Functions of other modules that a program of one's own begins with."""


WIDTH = 88
"""Letters of a signature that stand on one line."""
OPTION = re.compile(r"(?<![`\w-])(--[a-z][a-z-]*)(?!`)")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("commands", commands()), ("settings", settings()), ("api", api())):
        write_text(folder / f"{name}.md", "\n".join(lines) + "\n")


def commands() -> Iterator[str]:
    """A section per command: what it does, its arguments and options."""
    yield "# Commands\n"
    yield "Every command answers to `-h`. A mistake is one line on stderr and exit code 2; Ctrl-C is exit code 130.\n"
    yield from _command(typer.main.get_command(build_app()), "tinynas")


def _command(command: Any, path: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _command(inner, f"{path} {name}")
        if not getattr(command, "invoke_without_command", False):
            return
    yield f"## {path}\n"
    yield _marked(inspect.cleandoc(command.help or "")) + "\n"
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    yield "| option | default | what |\n| --- | --- | --- |"
    for parameter in shown:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        default = parameter.default
        # an option that is not given is None, an empty list or off: nothing to tell (0 is a default)
        given = default is not None and default is not False and default not in ([], ()) and not callable(default)
        told = "" if not given else "on" if default is True else f"`{default}`"
        yield f"| {names} | {told} | {_cell(getattr(parameter, 'help', None) or '')} |"
    yield ""


def settings() -> Iterator[str]:
    """A table per group of training settings."""
    yield "# Training settings\n"
    yield (
        "`--set GROUP.NAME=VALUE` changes one, `--config FILE` several (YAML). A preset gives other defaults than these; a "
        "run's `config.yaml` has the values that it was trained with.\n"
    )
    yield from _group(TrainConfig, "")


def _group(model: type[BaseModel], path: str) -> Iterator[str]:
    leaves, groups = [], []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if inspect.isclass(inner) and issubclass(inner, BaseModel):
            groups.append((name, inner))
        else:
            leaves.append((name, field))
    if leaves:
        yield f"## {path or 'top level'}\n"
        if model.__doc__ and path:
            yield inspect.cleandoc(model.__doc__) + "\n"
        yield "| setting | default | what |\n| --- | --- | --- |"
        for name, field in leaves:
            default = field.get_default(call_default_factory=True)
            yield f"| `{path + '.' if path else ''}{name}` | `{default}` | {_cell(field.description or '')} |"
        yield ""
    for name, inner in groups:
        yield from _group(inner, f"{path}.{name}" if path else name)


def api() -> Iterator[str]:
    """Signatures and docstrings."""
    yield "# Python\n"
    yield "What a program of your own needs. Everything else may change from version to version.\n"
    for package, title in EXPORTED.items():
        yield f"## {title}\n\n`from {package} import ...`\n"
        for name in import_module(package).__all__:
            yield from _entry(name, getattr(import_module(package), name))
    yield "## Structures, spaces, budgets\n"
    for module, names in MODULES.items():
        for name in names:
            yield from _entry(f"{module}.{name}", getattr(import_module(module), name))


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}\n"
    if not inspect.isclass(thing):
        yield f"```python\n{name.rsplit('.')[-1]}{_signature(thing)}\n```\n"
    yield inspect.cleandoc(thing.__doc__ or "") + "\n"
    if not inspect.isclass(thing):
        return
    for key, member in vars(thing).items():
        if key.startswith("_") or not member.__doc__:
            continue
        if isinstance(member, property):
            yield f"**{key}**: {inspect.cleandoc(member.__doc__)}\n"
        elif isinstance(member, classmethod) or inspect.isfunction(member):
            yield f"```python\n{key}{_signature(getattr(thing, key))}\n```\n\n{inspect.cleandoc(member.__doc__)}\n"


class _Written(str):
    """An annotation as it stands in the code, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _signature(function: Any) -> str:
    """Parameters, one to a line where they are many, and what is returned."""
    found = inspect.signature(function)
    parameters = [
        item.replace(annotation=_Written(item.annotation)) if isinstance(item.annotation, str) else item
        for item in found.parameters.values()
        if item.name != "self"
    ]
    returned = found.return_annotation
    shown = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    told = f" -> {returned}" if isinstance(returned, str) else ""
    if len(shown) + len(told) <= WIDTH:
        return shown + told
    lines, depth = [""], 0
    for letter in shown[1:-1]:
        depth += (letter in "[(") - (letter in ")]")
        if letter == "," and not depth:
            lines.append("")
        else:
            lines[-1] += letter
    return "(\n" + "".join(f"    {line.strip()},\n" for line in lines) + f"){told}"


def _cell(text: str) -> str:
    return _marked(" ".join(text.split()).replace("|", "\\|"))


def _marked(text: str) -> str:
    """Options as code: elsewhere the site shows their two hyphens as a dash."""
    return OPTION.sub(r"`\1`", text)


if __name__ == "__main__":
    main()
