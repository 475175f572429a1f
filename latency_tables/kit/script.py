"""The one script of a kit, put together from the modules that the profiler itself measures with."""

from __future__ import annotations

import ast
from collections import defaultdict
from importlib import resources

from latency_tables import __name__ as ours

RUNTIMES = {"onnxruntime": (), "openvino": (), "tensorrt": ("cuda",)}
"""Runtimes that a kit can be for, and what else of latency_tables.on_device each needs."""
HEAD = '''#!/usr/bin/env python3
"""Measures a tinynas kit on this device; it needs Python 3.8, numpy and {runtime}, and nothing else.

    python3 measure.py            (--help: threads, time limit, name of the results)

What was measured is in results.json at every moment: stop it as you like, run it again and it goes on.
"""

from __future__ import annotations

'''
TAIL = """

if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__], os.path.dirname(os.path.abspath(__file__))))
"""


def kit_script(runtime: str) -> str:
    """The source of a kit's measure.py."""
    imports: dict[str, set[str]] = defaultdict(set)
    bodies = []
    for name in ("timing", "host", "results", *RUNTIMES[runtime], runtime, "kit"):
        source = resources.files(f"{ours}.on_device").joinpath(f"{name}.py").read_text(encoding="utf-8")
        bodies.append(f"# {name}\n\n" + _without_imports(source, imports))
    plain = [f"import {name}" for name in sorted(imports.pop("", set()))]
    chosen = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    return HEAD.format(runtime=runtime) + "\n".join([*plain, *chosen, "\n", "\n\n\n".join(bodies)]) + TAIL


def _without_imports(source: str, imports: dict[str, set[str]]) -> str:
    """A module's own text. What it imports from elsewhere is added to `imports` (module -> names; "" -> whole modules),
    what from beside it is dropped."""
    tree, lines = ast.parse(source), source.splitlines()
    dropped: set[int] = set()
    guarded = []
    for place, node in enumerate(tree.body):
        docstring = place == 0 and isinstance(node, ast.Expr)
        if docstring or isinstance(node, (ast.Import, ast.ImportFrom)):
            dropped |= _lines(node)
            _note(node, imports)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            dropped |= _lines(node)
            guarded += [ast.unparse(item) for item in node.body if not _is_own(item)]
    head = "if TYPE_CHECKING:\n" + "".join(f"    {line}\n" for line in guarded) + "\n" if guarded else ""
    return head + "\n".join(line for number, line in enumerate(lines, 1) if number not in dropped).strip()


def _note(node: ast.stmt, imports: dict[str, set[str]]) -> None:
    if isinstance(node, ast.Import):
        imports[""] |= {ast.unparse(item) for item in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__" and not _is_own(node):
        imports[str(node.module)] |= {ast.unparse(item) for item in node.names}


def _lines(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _is_own(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == ours
