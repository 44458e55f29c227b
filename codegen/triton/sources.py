"""The functions of ours that generated kernels call, as text: read from the support files, not imported, since those need Triton."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

SUPPORT = Path(__file__).parent / "support"
FILES = ("basic.py", "math.py", "rare.py", "atomic.py")


@dataclass(frozen=True, slots=True)
class SupportFunction:
    """A function's text without annotations for the type checker, and the functions of ours that it calls."""

    source: str
    calls: frozenset[str]


@functools.cache
def read_support() -> dict[str, SupportFunction]:
    """All functions of the support files, in their order."""
    texts = [(SUPPORT / file).read_text() for file in FILES]
    nodes = [(node, text) for text in texts for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    names = {node.name for node, _ in nodes}
    found: dict[str, SupportFunction] = {}
    for node, text in nodes:
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        found[node.name] = SupportFunction(_function_text(node, text), frozenset(used & names - {node.name}))
    return found


def _function_text(node: ast.FunctionDef, text: str) -> str:
    parameters = [
        f"{a.arg}: tl.constexpr" if a.annotation is not None and ast.unparse(a.annotation) == "tl.constexpr" else a.arg
        for a in node.args.args
    ]
    body = text.splitlines()[node.lineno : node.end_lineno]
    return "\n".join([f"def {node.name}({', '.join(parameters)}):", *body]) + "\n"


def find_functions() -> frozenset[str]:
    """The names of all support functions, which nothing in a kernel may have."""
    return frozenset(read_support())


def support_functions(source: str) -> list[str]:
    """The texts of the support functions that a text calls, and of those that they call, in order."""
    functions = read_support()
    wanted = set(re.findall(r"(?<![.\w])\w+", source)) & functions.keys()
    pending = list(wanted)
    while pending:
        new = functions[pending.pop()].calls - wanted
        wanted |= new
        pending += new
    return [function.source for name, function in functions.items() if name in wanted]
