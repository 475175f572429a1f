"""The `tinynas` command: one file per command in tinynas/commands, found by name; a folder there is a group of them.

A mistake of the user's (UserError) is one line on stderr and exit code 2, also when torchrun has started several
processes; Ctrl-C is exit code 130. What ends a process politely (SIGTERM: `docker stop`, a cluster's time limit) ends a
command as Ctrl-C does, with exit code 143.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import FrameType
from typing import Any, TextIO

import typer

from search_spaces.errors import UserError
from search_spaces.plugins import plugin_names

WORKFLOW = (
    "search",
    "explain",
    "score",
    "compare",
    "convert",
    "sample_data",
    "data",
    "overfit",
    "pretrain",
    "train",
    "family",
    "eval",
    "export",
    "predict",
    "verify",
    "bench",
    "import_weights",
    "profile",
    "tables",
)


INTERRUPTED = 130
"""Exit code of a command that Ctrl-C stopped, as a shell has it."""
TERMINATED = 143
"""Exit code of a command that SIGTERM stopped, as a shell has it."""
PATIENCE_SECONDS = 5.0
"""After a mistake: how long another process than the first waits to be ended together with the first."""


def build_app(asked: str = "") -> typer.Typer:
    """All commands, those of the main workflow first. Command modules import nothing heavy at module level.

    asked: a command or group as it is typed; where there is one of that name the others are left out, which saves a
    tenth of a second.
    """
    app = typer.Typer(
        name="tinynas", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
        help="From a latency budget on a device to a trained, exported, verified object detector.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )  # fmt: skip
    # without a callback, an app of one command is that command
    app.callback()(lambda: None)
    names = plugin_names("tinynas.commands")
    _add_commands(app, "tinynas.commands", [name for name in names if _typed(name) == asked] or names)
    return app


def _typed(name: str) -> str:
    return name.replace("_", "-")


def _add_commands(app: typer.Typer, package: str, names: Sequence[str]) -> None:
    for name in sorted(names, key=lambda n: (WORKFLOW.index(n) if n in WORKFLOW else len(WORKFLOW), n)):
        module = import_module(f"{package}.{name}")
        if hasattr(module, "__path__"):
            alone = hasattr(module, "run")  # what the group does without a command of it
            group = typer.Typer(no_args_is_help=not alone, invoke_without_command=alone, help=module.__doc__)
            if alone:
                group.callback()(module.run)
            _add_commands(group, module.__name__, plugin_names(module.__name__))
            app.add_typer(group, name=_typed(name))
        else:
            app.command(_typed(name), cls=getattr(module, "Command", None))(module.run)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # names of files and classes may hold what a terminal's encoding, or any, does not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    with _termination_as_interrupt() as terminated:
        code = _run(arguments)
    return TERMINATED if code == INTERRUPTED and terminated else code


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[list[int]]:
    """SIGTERM raises KeyboardInterrupt in this process, and is noted; what was set before comes back at the end.

    A forked process (a loader's) has inherited this, and is ended by SIGTERM as ever. A cluster may send SIGTERM to all
    processes at once. It is no error then that the loader's have ended, so torch's handler for that is taken away.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # only the main thread may set what a signal does
        return
    here = os.getpid()
    replaced: dict[int, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != here:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if hasattr(signal, "SIGCHLD"):  # Windows has none
            replaced.setdefault(signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
        noted.append(number)
        raise KeyboardInterrupt

    replaced[signal.SIGTERM] = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield noted
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _run(arguments: list[str] | None) -> int:
    """The exit code of a command; mistakes are shown."""
    try:
        words = _today(sys.argv[1:] if arguments is None else arguments)
        code = build_app("".join(words[:1]))(args=words, standalone_mode=False)
    except UserError as error:
        _show_error(error)
        return 2
    except OSError as error:
        # what the checks before work could not foresee: a disk that fills up, a folder that only seems writable
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # what writes to a full disk does not know the file's name, that of standard output least of all
        where = "output" if error.filename is None else os.fsdecode(error.filename)
        _show_error(UserError(f"{where}: {error.strerror}; look at the path, its permissions and the free space"))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        # some versions of the library answer Ctrl-C with this, others with the exit code below
        code = INTERRUPTED
    except typer.Exit as stop:
        return stop.exit_code
    except Exception as error:
        # click's usage errors (unknown option, missing argument) know their message and their command
        if not hasattr(error, "format_message"):
            raise
        _show_usage_error(error)
        return int(getattr(error, "exit_code", 2))
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _today(arguments: list[str]) -> list[str]:
    """Arguments in today's spelling: `profile --verify TABLE` is `tables verify TABLE`."""
    if arguments[:1] != ["profile"] or not any(word.split("=")[0] == "--verify" for word in arguments):
        return arguments
    words = [
        part for word in arguments[1:] for part in (word.split("=", 1) if word.startswith("--verify=") else [word])
    ]
    place = words.index("--verify")
    return ["tables", "verify", *words[place + 1 :], *words[:place]]


def _show_error(error: UserError) -> None:
    """One line. Of several processes (torchrun), which mostly meet the same mistake, the first one says it.

    The launcher ends the others as soon as one has ended. So they wait: who ended earlier than the first would silence
    it, and who is still there after that alone has something to say (its own GPU is missing, its memory is short).
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0":
        time.sleep(PATIENCE_SECONDS)
    of = "" if rank == "0" else f" (process {rank})"
    print(f"error{of}: {error}", file=sys.stderr, flush=True)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
    line: str | None = None,
) -> None:  # fmt: skip
    """A warning is one line on stderr, without the place in the code that it came from."""
    print(f"warning: {message}", file=sys.stderr)


def _show_usage_error(error: Any) -> None:
    """One line like every other mistake's; no arguments at all show the help."""
    message, context = error.format_message().rstrip("."), getattr(error, "ctx", None)
    if message.startswith("Missing"):
        # the values that an option takes stand on lines of their own
        message = " ".join(message.split())
    if not message or "\n" in message:
        error.show()
    else:
        see = f"; see {context.command_path} -h" if context is not None else ""
        print(f"error: {message[0].lower()}{message[1:]}{see}", file=sys.stderr)


def run() -> None:
    """Entry point of the installed script."""
    sys.exit(main())
