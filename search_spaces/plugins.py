"""Plug-ins are files: the file's name is the registered name, imported when first asked for."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from search_spaces.errors import UserError, nearest


def plugin_names(package: str) -> list[str]:
    """Names of all plug-ins in `package` (`search_spaces.blocks`), sorted."""
    paths = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_"))


def load_plugin(package: str, name: str, kind: str | None = None) -> ModuleType:
    """The plug-in module `name` of `package`; `kind`: what it is called in an error, by default the package's name.

    Raises UserError, naming the nearest choices, when there is none.
    """
    names = plugin_names(package)
    if name not in names:
        called = kind or package.rsplit(".", 1)[-1].rstrip("s")
        raise UserError(f"unknown {called} {name!r}: {nearest(name, names)}")
    return importlib.import_module(f"{package}.{name}")
