"""The tree of Triton and its printer."""

import ast
import math

import pytest

from tcomp.codegen.triton.printer import PRECEDENCE, print_triton, print_triton_expression
from tcomp.codegen.triton.tree import (
    Binary,
    Comment,
    Evaluate,
    Expand,
    For,
    Function,
    Literal,
    Name,
    Parameter,
    Set,
    To,
    Tuple,
    Unary,
    add,
    call,
    shape,
)

A, B, C = map(Name, "abc")


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (Binary("+", A, Binary("*", B, C)), "a + b * c"),
        (Binary("*", A, Binary("+", B, C)), "a * (b + c)"),
        (Binary("-", A, Binary("-", B, C)), "a - (b - c)"),
        (Binary("-", Binary("-", A, B), C), "a - b - c"),
        (Binary("&", Binary("<", A, B), Binary("==", B, C)), "(a < b) & (b == c)"),
        (Binary("==", Binary("<", A, B), C), "(a < b) == c"),
        (Binary("<", A, Binary("<", B, C)), "a < (b < c)"),
        (Binary("|", A, Binary("&", B, C)), "a | b & c"),
        (Unary("-", Binary("+", A, B)), "-(a + b)"),
        (Binary("*", Unary("-", A), B), "-a * b"),
        (Binary("-", A, Literal(-3)), "a - -3"),
        (Unary("~", Unary("~", A)), "~~a"),
        (To(Binary("+", A, B), "tl.float32"), "(a + b).to(tl.float32)"),
        (To(Literal(1), "tl.int8"), "(1).to(tl.int8)"),
        (To(Literal(-1), "tl.int8"), "(-1).to(tl.int8)"),
        (To(A, "tl.int32", bitcast=True), "a.to(tl.int32, bitcast=True)"),
        (Expand(A, (True, False)), "a[:, None]"),
        (Expand(Binary("*", A, B), (False, True)), "(a * b)[None, :]"),
        (call("tl.load", A, mask=B), "tl.load(a, mask=b)"),
        (Tuple(()), "()"),
        (shape((16,)), "(16,)"),
        (shape((16, 32)), "(16, 32)"),
        (Literal(True), "True"),
        (Literal("tf32"), '"tf32"'),
        (Literal(-0.0), "-0.0"),
        (Literal(1e-05), "1e-05"),
        (Literal(math.inf), 'float("inf")'),
        (Literal(-math.inf), 'float("-inf")'),
        (Literal(math.nan), 'float("nan")'),
        (add(Literal(0), A), "a"),
        (add(A, Literal(0)), "a"),
        (add(A, Literal(-2)), "a - 2"),
        (add(A, Literal(0.0)), "a + 0.0"),
    ],
)  # fmt: skip
def test_expressions(tree, text):
    assert print_triton_expression(tree) == text


@pytest.mark.parametrize("outer", PRECEDENCE)
@pytest.mark.parametrize("inner", PRECEDENCE)
def test_parentheses_keep_the_tree(outer, inner):
    """Python reads what was printed as the tree it was printed from."""
    for tree in (Binary(outer, Binary(inner, A, B), C), Binary(outer, A, Binary(inner, B, C))):
        expected = f"({full(tree.left)}) {outer} ({full(tree.right)})"
        assert ast.dump(ast.parse(print_triton_expression(tree))) == ast.dump(ast.parse(expected))


def full(tree):
    return f"({full(tree.left)}) {tree.operator} ({full(tree.right)})" if isinstance(tree, Binary) else tree.text


def test_literals_differ_as_their_texts_do():
    assert Literal(0.0) != Literal(-0.0) and Literal(1) != Literal(True) and Literal(1) != Literal(1.0)
    assert Literal(math.nan) == Literal(math.nan)
    assert len({Literal(0.0), Literal(-0.0), Literal(0)}) == 3


def test_statements():
    body = (
        Set("a", Literal(1)),
        For("k", Literal(0), B, 1, (Evaluate(call("f", A)), For("j", A, B, 4, (Set("c", A),)))),
        Comment(("what", "follows\nhere")),
    )
    text = print_triton((Comment(("kernel", "")), Function("kernel", (Parameter("X", "in\n  f32[4]"), Parameter("N")), body)))
    assert text == (
        "# kernel\n#\ndef kernel(\n    X,  # in f32[4]\n    N,\n):\n    a = 1\n    for k in range(0, b):\n        f(a)\n"
        "        for j in range(a, b, 4):\n            c = a\n    # what\n    # follows\n    # here\n"
    )
    ast.parse(text.replace("# here\n", "pass\n"))
