"""Constants that are tuned by hand stand where things are guessed: where a schedule is applied, numbers are facts, listed here."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "passes"

GUESSED = {"guess", "schedule", "cost", "cascade", "one_pass"}
"""Rooms of the heuristics; and the algebra on a cascade, which no schedule has a word about."""

PLANNED = {"plan/greedy.py", "plan/order.py", "plan/plan.py"}
"""What the guess asks for addresses; a schedule gives them."""

FACTS = {
    ("einsums/contraction.py", 4): "SMALLEST_LANES: which operand gives the lanes where no schedule has said yet",
    ("einsums/contraction.py", 64): "LONG_LANES: the same",
    ("einsums/contraction.py", 1 << 20): "a length that is not known",
    ("lower/cpu/contract.py", 16): "f32 elements of a cache line, which one prefetch brings",
    ("lower/legal.py", 3): "a chain has a tile of rows, one of what is between, and one of the result",
    ("lower/lowering.py", 4): "words of a kernel's name",
    ("pipeline.py", 12): "digits of a cascade's digest",
    ("pipeline.py", 6): "digits of a kernel's digest",
    ("plan/lifetimes.py", 64): "bytes of a cache line, to which tensors are aligned",
}
"""Every number above 2, by file, and what it is."""


def find_numbers(source):
    """The numbers above 2 in a source, and the values of shifts of numbers."""
    found = set()
    inside = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            inside |= {node.left, node.right}
            found.add(eval(compile(ast.Expression(node), "", "eval")))
        elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node not in inside:
            found.add(node.value)
    return {number for number in found if not isinstance(number, bool) and abs(number) > 2}


def test_where_a_schedule_is_applied_numbers_are_facts():
    found = set()
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] not in GUESSED and name not in PLANNED:
            found |= {(name, number) for number in find_numbers(path.read_text())}
    assert found == set(FACTS)


@pytest.mark.parametrize(
    ("source", "numbers"),
    [
        ("x = 3", {3}),
        ("def f(n=48): pass", {48}),
        ("x = 1 << 12", {4096}),
        ("x = n * 0.5 + 2 - 1", set()),
        ("x = True", set()),
        ("x = -7.5", {7.5}),
    ],
)
def test_numbers_are_seen(source, numbers):
    assert find_numbers(source) == numbers
