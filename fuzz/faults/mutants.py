"""Mutants: small changes of the syntax tree anywhere in passes and in what prints C, each following from a number.

They are no mistakes that somebody made, but there is no end of them, and nobody chose them with an oracle in mind. Some change nothing
that can be seen (a limit of a heuristic, an order of what has none): no fuzzer finds all (DeMillo, Lipton and Sayward, "Hints on test
data selection", 1978, call them equivalent).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tcomp.codegen.c
import tcomp.passes
from tcomp.fuzz.choices import RandomChoices
from tcomp.fuzz.faults.fault import Fault

MUTANT = "mutant:"
"""What the names of mutants begin with; then comes their number."""
ROOMS = {"tcomp.passes": tcomp.passes.__path__, "tcomp.codegen.c": tcomp.codegen.c.__path__}
LEFT_OUT = frozenset(
    {
        "tcomp.passes.check",  # an oracle
        *(f"tcomp.codegen.c.{name}" for name in ("build", "child", "limited", "machine", "measure", "run", "toolchain")),  # processes
    }
)
ARITHMETIC: Mapping[type[ast.operator], ast.operator] = {ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.Add()}
COMPARISONS: Mapping[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.LtE(), ast.LtE: ast.Lt(), ast.Gt: ast.GtE(), ast.GtE: ast.Gt(), ast.Eq: ast.NotEq(), ast.NotEq: ast.Eq(),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Site:
    """A place that can be mutated: a node, what takes its place, and what kind of change that is."""

    node: ast.expr | ast.stmt
    new: str
    kind: str


def find_mutant(number: str) -> Fault:
    """The mutant of a number, as an edit of whole lines of a module. Raises ValueError if that is no number."""
    choices = RandomChoices(int(number))
    sources = find_sources()
    # Long modules have more to mutate.
    at = choices.integer(0, sum(len(text) for text in sources.values()) - 1)
    module = next(name for name, text in sources.items() if (at := at - len(text)) < 0)
    source = sources[module]
    sites = list(find_sites(ast.parse(source)))
    if not sites:
        return find_mutant(str(int(number) + (1 << 32)))
    # Kinds are equally likely: swapped arguments outnumber all others, and mostly have types that do not fit.
    kind = choices.pick(list(dict.fromkeys(site.kind for site in sites)))
    return _make_fault(f"{MUTANT}{number}", module, source, choices.pick([site for site in sites if site.kind == kind]))


@cache
def find_sources() -> Mapping[str, str]:
    """The source of every module that is mutated, by its name; none is imported."""
    found: dict[str, str] = {}
    for room, paths in ROOMS.items():
        for folder in map(Path, paths):
            for file in sorted(folder.rglob("*.py")):
                parts = file.relative_to(folder).with_suffix("").parts
                name = ".".join((room, *(part for part in parts if part != "__init__")))
                if name not in LEFT_OUT:
                    found[name] = file.read_text()
    return found


def find_sites(tree: ast.AST) -> Iterator[Site]:
    """All that can be mutated below a node; not what is for readers and type checkers, nor texts of errors."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_comment", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, (ast.JoinedStr, ast.Raise, ast.Assert, ast.Import, ast.ImportFrom)):
                continue
            if isinstance(child, (ast.expr, ast.stmt)):
                yield from (Site(child, new, kind) for kind, change in CHANGES.items() for new in change(child))
            yield from find_sites(child)


def _swap_arithmetic(node: ast.AST) -> list[str]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        return [_print(ast.BinOp(node.left, ARITHMETIC[type(node.op)], node.right))]
    return []


def _swap_comparison(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        return [_print(ast.Compare(node.left, [COMPARISONS[type(node.ops[0])], *node.ops[1:]], node.comparators))]
    return []


def _drop_not(node: ast.AST) -> list[str]:
    return [_print(node.operand)] if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not) else []


def _swap_truth(node: ast.AST) -> list[str]:
    return [str(not node.value)] if isinstance(node, ast.Constant) and isinstance(node.value, bool) else []


def _shift_number(node: ast.AST) -> list[str]:
    # A truth is an int as well.
    return [str(node.value + 1)] if isinstance(node, ast.Constant) and type(node.value) is int else []


def _drop_call(node: ast.AST) -> list[str]:
    return ["pass"] if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else []


def _swap_arguments(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.Call) or len(node.args) < 2 or any(isinstance(argument, ast.Starred) for argument in node.args):
        return []
    if isinstance(node.func, ast.Name) and node.func.id == "isinstance":
        return []
    first, second, *rest = node.args
    return [_print(ast.Call(node.func, [second, first, *rest], node.keywords))]


def _swap_logic(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.BoolOp):
        return []
    return [_print(ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values))]


CHANGES: Mapping[str, Callable[[ast.AST], list[str]]] = {
    "another operator": _swap_arithmetic,
    "another comparison": _swap_comparison,
    "not dropped": _drop_not,
    "another truth": _swap_truth,
    "off by one": _shift_number,
    "call dropped": _drop_call,
    "arguments swapped": _swap_arguments,
    "and for or": _swap_logic,
}
"""What may be done to a node, by kind: the texts of what takes its place."""


def _print(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _make_fault(name: str, module: str, source: str, site: Site) -> Fault:
    """The change of a site as one of texts that occur once: as many lines around it as that takes."""
    node = site.node
    assert node.end_lineno is not None and node.end_col_offset is not None
    lines = source.splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1
    # Columns of the syntax tree count bytes.
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last].encode()[node.end_col_offset :].decode()
    while True:
        old = "".join(lines[first : last + 1])
        if source.count(old) == 1:
            break
        if first > 0:
            first -= 1
            before = lines[first] + before
        if last + 1 < len(lines):
            last += 1
            after += lines[last]
    return Fault(name, module, old, before + site.new + after, f"mutant: {site.kind}")
