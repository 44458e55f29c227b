"""Every rule does what its docstring says, keeps every bit, and nothing else."""

import math
import re

import numpy
import pytest

from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import bf16, boolean, f32, f64, i8, i64
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.expressions import Environment, evaluate_expression, read_array
from tcomp.ir.expressions import Apply, as_index
from tcomp.ir.index import Bounds
from tcomp.ir.operators import OPERATORS
from tcomp.ir.parse.cascade import parse_expression
from tcomp.passes.cascade.rules.rule import Context
from tcomp.passes.cascade.simplify import RULES, Simplifier, rules_by_root

DTYPES = dict.fromkeys("XYZ", f32) | dict.fromkeys("NM", i64) | dict.fromkeys("BC", boolean)
DTYPES |= {"H": bf16, "S": i8, "D": f64}
BOUNDS = Bounds({"i": as_index(8), "j": as_index(8)})
CONTEXT = Context(DTYPES, {name: (as_index(8),) for name in DTYPES}, BOUNDS)

FLOATS = [0.0, -0.0, 1.5, -2.25, math.inf, -math.inf, math.nan, 1e-40]
WHOLES = [0, 1, -1, 7, -8, 2**63 - 1, -(2**63), 100]
VALUES = {"X": FLOATS, "Y": FLOATS[::-1], "Z": FLOATS[3:] + FLOATS[:3], "H": FLOATS, "D": FLOATS, "N": WHOLES, "M": WHOLES[::-1]}
VALUES |= {"B": [True, False] * 4, "C": [True, True, False, False] * 2, "S": [0, 1, -1, 127, -128, 5, -5, 64]}

REWRITES = [
    (rule, line.strip().rstrip("."))
    for rule in RULES
    for line in (rule.rewrite.__doc__ or "").splitlines()
    if "=>" in line
]
CASES = [pytest.param(rule, text, id=f"{rule.name}: {text}") for rule, text in REWRITES]


def sides(text):
    before, after = text.split("=>")
    return parse_expression(before), parse_expression(re.split(r" if ", after)[0])


def evaluate(expression):
    arrays = {name: numpy.asarray(VALUES[name]).astype(storage(dtype)) for name, dtype in DTYPES.items()}
    arrays["H"] = round_float(arrays["H"], bf16)

    def read(tensor, index, outside):
        return read_array(arrays[tensor], index, outside)

    ranks = {"i": numpy.arange(8).reshape(-1, 1), "j": numpy.arange(8)}
    return numpy.broadcast_to(evaluate_expression(expression, Environment(ranks, DTYPES, read)), (8, 8))


def test_every_rule_states_a_rewrite():
    assert all(any(stated is rule for stated, _ in REWRITES) for rule in RULES)


def test_rules_have_names_of_their_own():
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("rule", "text"), CASES)
def test_the_code_does_what_the_docstring_says(rule, text):
    before, after = sides(text)
    assert expression_dtype(before, DTYPES) == expression_dtype(after, DTYPES)
    assert rule.rewrite(before, CONTEXT) == after


@pytest.mark.parametrize(("rule", "text"), [case for case in CASES if case.values[0].exact])
def test_exact_rules_keep_every_bit(rule, text):
    before, after = map(evaluate, sides(text))
    assert before.dtype == after.dtype
    numpy.testing.assert_array_equal(before, after)
    if before.dtype.kind == "f":
        known = ~numpy.isnan(before)
        numpy.testing.assert_array_equal(numpy.signbit(before)[known], numpy.signbit(after)[known])


def is_commutative(expression):
    return isinstance(expression, Apply) and OPERATORS[expression.operator].commutative


@pytest.mark.parametrize(("rule", "text"), [case for case in CASES if is_commutative(sides(case.values[1])[0])])
def test_commuted_operands_are_matched(rule, text):
    before, after = sides(text)
    commuted = Apply(before.operator, before.arguments[::-1])
    got = Simplifier({before.operator: (rule,)}, CONTEXT).apply_rules(commuted)
    assert got is not None
    numpy.testing.assert_array_equal(evaluate(got), evaluate(after))


@pytest.mark.parametrize(
    "text",
    [
        "X[i] + 0.0",
        "0.0 - X[i]",
        "X[i] - -0.0 + Y[i]",
        "X[i] - X[i]",
        "X[i] * 0.0",
        "X[i] / 3.0",
        "X[i] / inf",
        "X[i] / 1.7014118346046923e+38",
        "pow(X[i], 0.5)",
        "pow(X[i], -0.5)",
        "pow(X[i], 5.0)",
        "floordiv(N[i], 0)",
        "floordiv(1, 0)",
        "mod(1, 0)",
        "shl(1, 64)",
        "pow(2, -1)",
        "i8(300.0)",
        "bf16(0.1)",
        "exp(1.0)",
        "i64(nan)",
        "!(X[i] < Y[i])",
        "X[i] == X[i]",
        "X[i] <= X[i]",
        "minimum(X[i], -inf)",
        "maximum(X[i], inf)",
        "maximum(X[i], maximum(Y[i], 1.0))",
        "select(B[i], X[i], Y[i])",
        "select(B[i], select(C[i], X[i], Y[i]), Z[i])",
        "bf16(X[i])",
        "i64(f32(N[i]))",
        "i64(i8(N[i]))",
        "f32(i8(N[i]))",
        "f32(bf16(N[i]))",
        "bf16(f32(D[i]))",
        "i64[i] < 7",
        "i64[i] == 3",
        "i64[i] < i64[j]",
        "i8[100*i] < 8:i8",
        "i64[i] * i64[j]",
        "floordiv(i64[i], -4)",
        "floordiv(i8[100*i], 4:i8)",
        "f32(i8[100*i])",
        "f32[i] + 1.0",
        "bool(i64[i])",
        "(X[i + 1] else 0.0)",
        "(X[i - 1] else 0.0)",
        "(X[N[i]] else 0.0)",
        "X[i // 2]",
        "log(exp(X[i]))",
        "exp(log(X[i]))",
        "N[i] | 6",
        "N[i] & 6",
    ],
)
def test_refusals(text):
    expression = parse_expression(text)
    expression_dtype(expression, DTYPES)
    exact = Simplifier(rules_by_root(strict=True), CONTEXT)
    if text == "X[i] - -0.0 + Y[i]":  # x - -0.0 is x + 0.0, which is 0.0 for -0.0
        assert exact.apply_rules(expression.arguments[0]) is None
    else:
        assert exact.apply_rules(expression) is None


@pytest.mark.parametrize("text", ["f32(bf16(X[i]))", "pow(X[i], 3.0)", "f64(f16(D[i]))", "X[i] + sqrt(1.5)"])
def test_rules_that_change_roundings_do_not_run_when_strict(text):
    expression = parse_expression(text)
    assert Simplifier(rules_by_root(strict=True), CONTEXT).simplify(expression) is expression
    assert Simplifier(rules_by_root(strict=False), CONTEXT).simplify(expression) != expression


def test_a_planted_rule_that_is_wrong_is_seen():
    before, after = map(evaluate, sides("X[i] + 0.0 => X[i]"))
    assert not numpy.array_equal(numpy.signbit(before), numpy.signbit(after))
