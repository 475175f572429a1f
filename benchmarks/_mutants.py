"""Mutants of a module: its syntax tree with one small change each, and a way to import one in place of the module.

No file is changed: the changed tree is compiled, and an import hook hands it to whoever imports the module.
"""

from __future__ import annotations

import ast
import copy
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NAMES = {
    "min": "max", "minimum": "maximum", "amin": "amax", "any": "all", "floor": "ceil", "zeros": "ones",
    "zeros_like": "ones_like", "argmin": "argmax", "rint": "floor", "flatnonzero": "argsort",
}  # fmt: skip
_NAMES |= {other: name for name, other in _NAMES.items() if name not in ("rint", "flatnonzero")}
_SKIPPED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.arguments)


@dataclass(frozen=True, slots=True)
class Mutant:
    """The `number`-th change of a module. line: where; before, after: the changed piece of code."""

    number: int
    line: int
    before: str
    after: str


def mutants_of(source: str) -> list[Mutant]:
    """All changes of a module's source: operators, numbers, booleans, calls of opposite functions, statements left out."""
    found = []
    for number, (line, before, after, _) in enumerate(_changes(ast.parse(source))):
        found.append(Mutant(number, line, before, after))
    return found


def changed_tree(source: str, number: int) -> ast.Module:
    """The module's tree with the `number`-th change."""
    for index, (*_, tree) in enumerate(_changes(ast.parse(source))):
        if index == number:
            return tree()
    raise IndexError(f"no mutant {number}")


def install(module: str, path: Path, number: int) -> None:
    """Have the next import of `module` give the mutant. Raises ImportError when it was imported before."""
    if module in sys.modules:
        raise ImportError(f"{module} is imported already")
    sys.meta_path.insert(0, _Finder(module, path, number))


class _Loader(SourceFileLoader):
    def __init__(self, module: str, path: Path, number: int) -> None:
        super().__init__(module, str(path))
        self._number = number

    def get_code(self, _: str) -> types.CodeType:
        tree = changed_tree(Path(self.path).read_text(encoding="utf-8"), self._number)
        code: types.CodeType = compile(tree, self.path, "exec")
        return code


class _Finder(MetaPathFinder):
    def __init__(self, module: str, path: Path, number: int) -> None:
        self._module, self._path, self._number = module, path, number

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name != self._module:
            return None
        folders = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        loader = _Loader(name, self._path, self._number)
        return spec_from_file_location(name, self._path, loader=loader, submodule_search_locations=folders)


_Change = tuple[int, str, str, Any]


def _changes(tree: ast.Module) -> Iterator[_Change]:
    """(line, before, after, the changed tree's maker) of every change, in the order of the source."""
    for path, node in _walk(tree, ()):
        for after in _replacements(node):
            line = int(getattr(node, "lineno", 0))
            yield line, _text(node), _text(after), lambda path=path, after=after: _with(tree, path, after)


_Path = tuple[tuple[str, int | None], ...]


def _walk(node: ast.AST, path: _Path) -> Iterator[tuple[_Path, ast.AST]]:
    """Every node that may be changed; annotations, messages, arguments' defaults and docstrings are left alone."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_comment"):
            continue
        children = [(index, child) for index, child in enumerate(value)] if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or isinstance(child, _SKIPPED) or _is_text(child):
                continue
            inner = (*path, (name, index))
            yield inner, child
            yield from _walk(child, inner)


def _is_text(node: ast.AST) -> bool:
    """A docstring or a string constant: names and messages, not what a program computes."""
    inner = node.value if isinstance(node, ast.Expr) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, (str, bytes, type(None), type(...)))


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _OPERATORS:
            yield _copy(node, op=_OPERATORS[type(op)]())
        case ast.AugAssign(op=op) if type(op) in _OPERATORS:
            yield _copy(node, op=_OPERATORS[type(op)]())
            yield ast.copy_location(ast.Pass(), node)
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                yield _copy(node, ops=[*ops[:index], _OPERATORS[type(op)](), *ops[index + 1 :]])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield _copy(node, value=not value)
        case ast.Constant(value=int() as value):
            yield _copy(node, value=value + 1)
        case ast.Constant(value=float() as value):
            yield _copy(node, value=value * 2 if value else 1.0)
        case ast.Expr(value=ast.Call()):
            yield ast.copy_location(ast.Pass(), node)
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.UnaryOp):
            yield _copy(node, test=ast.copy_location(ast.UnaryOp(ast.Not(), test), test))
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield _copy(node, id=_NAMES[name])
        case ast.Attribute(attr=name) if name in _NAMES:
            yield _copy(node, attr=_NAMES[name])
        case ast.Continue():
            yield ast.copy_location(ast.Break(), node)
        case ast.Break():
            yield ast.copy_location(ast.Continue(), node)


def _copy(node: ast.AST, **changes: Any) -> ast.AST:
    other = copy.copy(node)
    for name, value in changes.items():
        setattr(other, name, value)
    return other


def _with(tree: ast.Module, path: _Path, after: ast.AST) -> ast.Module:
    """A copy of the tree whose node at `path` is `after`."""
    changed = copy.deepcopy(tree)
    node: Any = changed
    *way, (name, index) = path
    for step, place in way:
        node = getattr(node, step) if place is None else getattr(node, step)[place]
    if index is None:
        setattr(node, name, copy.deepcopy(after))
    else:
        getattr(node, name)[index] = copy.deepcopy(after)
    return ast.fix_missing_locations(changed)


def _text(node: ast.AST) -> str:
    """The first line of the piece of code."""
    if isinstance(node, ast.If):
        return f"if {ast.unparse(node.test)}"
    return ast.unparse(node).splitlines()[0][:100]
