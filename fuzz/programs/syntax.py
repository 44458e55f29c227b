"""The Python of statements as trees: what they name, and statements a step smaller."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator


def parse_line(statement: str) -> ast.stmt:
    """The tree of a statement of `forward`."""
    function = ast.parse(f"def forward():\n  {statement}").body[0]
    assert isinstance(function, ast.FunctionDef)
    return function.body[0]


def names_of(statement: str) -> set[str]:
    """Names that a statement reads or writes, `torch` and `self` left out; `self.w` counts as w too."""
    tree = parse_line(statement)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
    return (names | own) - {"torch", "self"}


def is_self(node: ast.AST) -> bool:
    """Whether a tree is the name `self`."""
    return isinstance(node, ast.Name) and node.id == "self"


def written_name(statement: str) -> str | None:
    """The name that a statement assigns, or whose tensor it writes to; None if it returns, or it is something else."""
    tree = parse_line(statement)
    if isinstance(tree, ast.Assign) and isinstance(tree.targets[0], ast.Name):
        return tree.targets[0].id
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Call) and isinstance(tree.value.func, ast.Attribute):
        return ast.unparse(tree.value.func.value)
    return None


def name_operator(statement: str) -> str:
    """The outermost operator of a statement."""
    for node in ast.walk(parse_line(statement)):
        if isinstance(node, ast.Call):
            return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            return type(node.op).__name__.lower()
        if isinstance(node, ast.Subscript):
            return "getitem"
    return re.split(r"\W", statement)[0]


def rename(statement: str, old: str, new: str) -> str:
    """The statement with a name exchanged for an expression."""

    class _Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return ast.parse(new, mode="eval").body if node.id == old and isinstance(node.ctx, ast.Load) else node

    return ast.unparse(ast.fix_missing_locations(_Rename().visit(parse_line(statement))))


def exchange_at(statement: str, place: int, new: ast.expr) -> str:
    """The statement with its expression of this number (in the order of `list_expressions`) exchanged."""
    count = -1

    class _Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            nonlocal count
            if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                count += 1
                if count == place:
                    return new
            return self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(_Exchange().visit(parse_line(statement))))


def list_expressions(statement: str) -> list[ast.expr]:
    """All expressions that a statement reads, an outer one before its parts."""
    found: list[ast.expr] = []

    class _List(ast.NodeVisitor):
        def visit(self, node: ast.AST) -> None:
            if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                found.append(node)
            self.generic_visit(node)

    _List().visit(parse_line(statement))
    return found


def list_simpler(statement: str) -> Iterator[str]:
    """Statements with a part in place of the whole, an argument less, or a smaller number."""
    for place, node in enumerate(list_expressions(statement)):
        if isinstance(node, ast.Call):
            own = [node.func.value] if isinstance(node.func, ast.Attribute) else []
            for part in (*own, *node.args):
                if ast.unparse(part) != "torch" and not ast.unparse(part).startswith("torch.nn"):
                    yield exchange_at(statement, place, part)
            for number in range(len(node.keywords)):
                keywords = node.keywords[:number] + node.keywords[number + 1 :]
                yield exchange_at(statement, place, ast.Call(node.func, node.args, keywords))
            if node.args:
                yield exchange_at(statement, place, ast.Call(node.func, node.args[:-1], node.keywords))
        elif isinstance(node, ast.BinOp):
            yield exchange_at(statement, place, node.left)
            yield exchange_at(statement, place, node.right)
        elif isinstance(node, (ast.UnaryOp, ast.Subscript)):
            yield exchange_at(statement, place, node.operand if isinstance(node, ast.UnaryOp) else node.value)
        elif isinstance(node, (ast.Tuple, ast.List, ast.Dict)):
            parts = node.values if isinstance(node, ast.Dict) else node.elts
            for part in parts if statement.startswith("return") else ():
                yield exchange_at(statement, place, part)
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            for value in dict.fromkeys((0, 1, 2, node.value // 2)):
                if abs(value) < abs(node.value):
                    yield exchange_at(statement, place, ast.Constant(value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value != 1.0:
            yield exchange_at(statement, place, ast.Constant(1.0))
