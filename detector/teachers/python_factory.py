"""`MODULE:FUNCTION`: a Python function that returns a network as teacher."""

from __future__ import annotations

import importlib
import inspect
import sys
from contextlib import suppress
from pathlib import Path

from torch import nn

from detector.teachers import Teacher, prepared
from search_spaces.errors import UserError, listed


def load(name: str) -> Teacher:
    """The teacher that the function makes. It takes nothing and returns an `nn.Module` that maps images (B, 3, H, W),
    RGB 0..255, to a list of maps (B, C, h, w); what its network wants of the pixels is its own affair.

    The module is looked for where Python does, and in the current folder. Raises UserError when it, or the function, is
    not there, or gives something else.
    """
    module_name, _, function = name.partition(":")
    expected = "expected MODULE:FUNCTION, a function without arguments that returns an nn.Module"
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(f"--teacher {name}: cannot be imported ({error}); {expected}") from None
    except ValueError:  # an empty name
        raise UserError(f"--teacher {name}: names no module; {expected}") from None
    finally:
        if added:
            sys.path.remove(here)
    factory = getattr(module, function, None)
    if not callable(factory):
        known = listed([key for key, value in vars(module).items() if callable(value) and key[0] != "_"], 8)
        raise UserError(f"--teacher {name}: {module_name} has no function {function!r} (it has: {known}); {expected}")
    with suppress(ValueError):  # some functions of C code tell nothing of their arguments
        try:
            inspect.signature(factory).bind()
        except TypeError as error:
            raise UserError(f"--teacher {name}: {error}; {expected}") from None
    made = factory()
    if not isinstance(made, nn.Module):
        raise UserError(f"--teacher {name}: returns a {type(made).__name__}; {expected}")
    return Teacher(name=name, module=prepared(made), channels=(), strides=())
