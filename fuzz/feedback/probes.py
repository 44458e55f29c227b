"""Branch coverage of our own packages at little cost: probes in the syntax tree, put there while modules are imported.

Every block that may or may not run gets a probe: bodies of functions, both sides of a condition (also where there is no `else`), bodies
of loops, cases, handlers. A probe stores one byte, so that a test is slowed down by about a tenth; tracing functions of the interpreter
slow it down five times. `install` has to be called before the modules are imported.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, ModuleType
from typing import Any

NAME = "__tcomp_probes__"
"""What the table is called inside instrumented modules."""
PACKAGES = ("tcomp.passes",)
"""Whose branches are counted: rewrites, fusion, schedules, lowering, planning."""
MOST = 1 << 17


class Probes:
    """The table of all probes: a byte each, 1 once it has been passed since it was last cleared."""

    def __init__(self) -> None:
        self.hits = bytearray(MOST)
        self.names: list[str] = []
        """The place of every probe: file, line and kind."""

    def take(self) -> list[int]:
        """The probes that were passed since the last call."""
        count = len(self.names)
        seen = bytes(self.hits[:count])
        found = []
        place = seen.find(1)
        while place >= 0:
            found.append(place)
            place = seen.find(1, place + 1)
        self.hits[:count] = bytes(count)
        return found


PROBES = Probes()


class _Instrument(ast.NodeTransformer):
    """Puts a probe at the beginning of every block."""

    def __init__(self, file: str, probes: Probes) -> None:
        self.file, self.probes = file, probes

    def probe(self, node: ast.AST, kind: str) -> ast.stmt:
        number = len(self.probes.names)
        assert number < MOST, "more branches than probes"
        line = getattr(node, "lineno", 0)
        self.probes.names.append(f"{self.file}:{line} {kind}")
        store = ast.parse(f"{NAME}[{number}] = 1").body[0]
        return ast.copy_location(store, node) if hasattr(node, "lineno") else store

    def block(self, body: list[ast.stmt], node: ast.AST, kind: str) -> list[ast.stmt]:
        first = body[:1]
        is_documented = kind == "def" and first and isinstance(first[0], ast.Expr) and isinstance(first[0].value, ast.Constant)
        cut = 1 if is_documented else 0
        return [*body[:cut], self.probe(node, kind), *body[cut:]]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body = self.block(node.body, node, "def")
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        node.body = self.block(node.body, node, "if")
        node.orelse = self.block(node.orelse, node, "else")
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.body = self.block(node.body, node, "for")
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        node.body = self.block(node.body, node, "while")
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self.generic_visit(node)
        node.body = self.block(node.body, node, "except")
        return node

    def visit_match_case(self, node: ast.match_case) -> ast.AST:
        self.generic_visit(node)
        node.body = self.block(node.body, node.body[0], "case")
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        node.body, node.orelse = self.value(node.body, "then"), self.value(node.orelse, "otherwise")
        return node

    def value(self, node: ast.expr, kind: str) -> ast.expr:
        """A probe in front of a value: `(table.__setitem__(n, 1), value)[1]`."""
        number = len(self.probes.names)
        self.probes.names.append(f"{self.file}:{node.lineno} {kind}")
        call = ast.parse(f"({NAME}.__setitem__({number}, 1), 0)[1]", mode="eval").body
        assert isinstance(call, ast.Subscript) and isinstance(call.value, ast.Tuple)
        call.value.elts[1] = node
        ast.copy_location(call, node)
        return ast.fix_missing_locations(call)


Edit = Callable[[str], str]
"""Changes the source of a module before it is compiled."""


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module with probes in it, or with its source changed; nothing is kept on disk."""

    def __init__(self, fullname: str, path: str, edit: Edit | None) -> None:
        super().__init__(fullname, path)
        self._edit = edit

    def source_to_code(  # type: ignore[override]
        self, data: Any, path: Any, *, _optimize: int = -1
    ) -> CodeType:
        source = importlib.util.decode_source(data)
        tree = ast.parse(source if self._edit is None else self._edit(source), str(path))
        if is_covered(self.name):
            tree = _Instrument(self.name.removeprefix("tcomp.").replace(".", "/") + ".py", PROBES).visit(tree)
        code: CodeType = compile(ast.fix_missing_locations(tree), str(path), "exec", dont_inherit=True, optimize=_optimize)
        return code

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, NAME, PROBES.hits)
        super().exec_module(module)


def is_covered(name: str) -> bool:
    """Whether the branches of a module are counted."""
    return name.startswith(tuple(f"{package}." for package in PACKAGES))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: Mapping[str, Edit]) -> None:
        self._edits = edits

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if not is_covered(fullname) and fullname not in self._edits:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader) or spec.origin is None:
            return spec
        spec.loader = _Loader(fullname, spec.origin, self._edits.get(fullname))
        return spec


def install(edits: Mapping[str, Edit] | None = None) -> Probes:
    """Put probes into the modules of `PACKAGES` that are imported from now on, and change the sources of others.

    Raises RuntimeError if some of them are there already.
    """
    early = sorted(name for name in sys.modules if is_covered(name) or name in (edits or {}))
    if early:
        raise RuntimeError(f"{early[0]} has been imported before its probes were there")
    sys.meta_path.insert(0, _Finder(edits or {}))
    return PROBES
