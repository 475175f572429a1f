"""Options of a command from the fields of a dataclass, so that names, types and help are said once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from search_spaces.errors import UserError


def was_given(context: typer.Context, option: str) -> bool:
    """Whether the command line names an option, `--max-drop`."""
    source = context.get_parameter_source(option.removeprefix("--").replace("-", "_"))
    return source is not None and source.name == "COMMANDLINE"


def check_companions(context: typer.Context, companions: Mapping[str, str]) -> None:
    """Raise UserError for an option on the command line that does nothing without another one, which is not there. Options
    as they are typed: {"--split": "--data"}."""

    for option, other in companions.items():
        if was_given(context, option) and not was_given(context, other):
            raise UserError(f"{option} does nothing without {other}; say both, or neither")


def with_options(options: type, *, but: Collection[str] = ()) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that gives a command an option for every field of a dataclass (save those in `but`), before its own.

    The command takes them as `asked`, by name, None where an option was not given: the dataclass's defaults are not the
    command line's, so that a preset can tell what was said from what was not. A field's metadata holds the option's
    `help` and its least value `min`.
    """
    types = get_type_hints(options)
    named = [field for field in fields(options) if field.name not in but]
    given = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=None,
            annotation=Annotated[types[field.name] | None, typer.Option(**field.metadata)],
        )
        for field in named
    ]  # fmt: skip

    def decorate(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def command(**values: Any) -> Any:
            asked = {field.name: values.pop(field.name) for field in named}
            return run(asked=asked, **values)

        own = inspect.signature(run, eval_str=True).parameters.values()
        parameters = [*given, *(parameter for parameter in own if parameter.name != "asked")]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        vars(command)["__signature__"] = inspect.Signature(parameters)
        return command

    return decorate
