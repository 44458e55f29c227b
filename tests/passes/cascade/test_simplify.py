"""The simplifier: rules meet, conditions see ranges, nothing changes without need."""

import pytest
from hypothesis import given, settings

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import Apply
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade import simplify as module
from tcomp.passes.cascade.rules.rule import Rule
from tcomp.passes.cascade.simplify import simplify, simplify_strictly
from tcomp.passes.check import describe_difference
from tests.cascade_strategies import programs
from tests.program_runner import random_inputs


def simplified(statement, inputs="X: f32[8], N: i64[8], H: bf16[8]", **options):
    before = parse_cascade(f"cascade c({inputs}) -> (Y) for M in 4.. {{ {statement} }}")
    check_cascade(before)
    after = simplify(before, **options)
    check_cascade(after)
    return str(after).splitlines()[1].strip()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Y: f32[i:8] = select(i64[i] < 8, (X[i] else 0.0) * 1.0, 0.0)", "Y: f32[i:8] = X[i]"),
        ("Y: f32[i:8] = X[i] * (2.0 / 4.0)", "Y: f32[i:8] = X[i] * 0.5"),
        ("Y: f32[i:8] = 1.0 * X[i] / 8.0", "Y: f32[i:8] = X[i] * 0.125"),
        ("Y: f32[i:8] = f32(bf16(f32(H[i]) + -0.0))", "Y: f32[i:8] = f32(H[i])"),
        ("Y: f32[i:8] = select(!!(i64[i] >= 0), X[i], -X[i])", "Y: f32[i:8] = X[i]"),
        ("Y: f32[i:8] = select(i64[i] < 4, X[i], 0.0)", "Y: f32[i:8] = select(i64[i] < 4, X[i], 0.0)"),
        ("Y: f32[i:4, j:2] = X[(2*i + j) // 2 * 2 + j]", "Y: f32[i:4, j:2] = X[2*i + j]"),
        ("Y: f32[i:8] = X[value(N[i] * 1 + 0)]", "Y: f32[i:8] = X[N[i]]"),
        ("Y: f32[i:8] = X[value(i64[i] + 0)]", "Y: f32[i:8] = X[i]"),
        ("Y: f32[] = sum(i:8) X[i] where i64[i] < 8", "Y: f32[] = sum(i:8) X[i]"),
        ("Y: f32[] = sum(i:8) X[i] where i64[i] < 7", "Y: f32[] = sum(i:8) X[i] where i64[i] < 7"),
        ("Y: bool[i:M] = i64[i] < i64[M]", "Y: bool[i:M] = true"),
        ("Y: bool[i:M] = i64[M] < 4", "Y: bool[i:M] = false"),
        ("Y: f32[value(N[i] + 0):8] = sum(i:8) X[i] from 0.0 * 1.0", "Y: f32[N[i]:8] = sum(i:8) X[i] from 0.0"),
        ("Y: f32[i:8] = exp(minimum(maximum(X[i], -inf), inf))", "Y: f32[i:8] = exp(X[i])"),
    ],
)
def test_before_and_after(before, after):
    assert simplified(before) == after


def test_ranges_of_an_iteration_count():
    body = "Y: f32[t + 1:5] = Y[t] + (X[t] else 0.0) * select(i64[t] < 4, 1.0, 0.0) from 0.0"
    text = f"cascade c(X: f32[8]) -> (Y) {{ iterate t:4 {{ {body} }} }}"
    assert "Y: f32[t + 1:5] = Y[t] + X[t] from 0.0" in str(simplify(parse_cascade(text)))


@pytest.mark.parametrize("text", ["Y: f32[i:8] = exp(X[i]) + 0.0", "iterate t:4 { Y: f32[t + 1:5] = Y[t] + X[t] from 0.0 }"])
def test_the_same_object_if_nothing_changed(text):
    cascade = parse_cascade(f"cascade c(X: f32[8]) -> (Y) {{ {text} }}")
    assert simplify(cascade) is cascade


def test_strict_keeps_roundings():
    text = "cascade c(X: f32[8]) -> (Y) { Y: f32[i:8] = f32(bf16(X[i])) }"
    cascade = parse_cascade(text)
    assert simplify_strictly(cascade) is cascade
    assert "Y: f32[i:8] = X[i]" in str(simplify(cascade))


def test_a_literal_that_rounds_is_kept_when_strict():
    assert simplified("Y: f32[i:8] = X[i] + sqrt(2.25)", strict=True) == "Y: f32[i:8] = X[i] + 1.5"
    assert simplified("Y: f32[i:8] = X[i] + sqrt(1.5)", strict=True) == "Y: f32[i:8] = X[i] + sqrt(1.5)"
    assert simplified("Y: f32[i:8] = X[i] + sqrt(1.5)") == "Y: f32[i:8] = X[i] + 1.224744871391589"


def test_a_shared_part_is_simplified_once(monkeypatch):
    seen = []

    def note(node, context):
        seen.append(node)

    monkeypatch.setattr(module, "RULES", (Rule(("exp", "add"), note),))
    cascade = parse_cascade("cascade c(X: f32[8]) -> (Y) { Y: f32[i:8] = exp(X[i]) }")
    (einsum,) = cascade.statements
    whole = einsum.expression
    for _ in range(40):
        whole = Apply("add", (whole, whole))
    object.__setattr__(einsum, "expression", whole)
    simplify(cascade)
    assert len(seen) == 1 + 2 * 40  # each sum in both orders


def test_rules_that_undo_each_other_are_a_bug(monkeypatch):
    flip = Rule(("lt", "gt"), lambda node, context: Apply({"lt": "gt", "gt": "lt"}[node.operator], node.arguments[::-1]))
    monkeypatch.setattr(module, "RULES", (flip,))
    with pytest.raises(AssertionError, match=r"undo each other: .*X"):
        simplify(parse_cascade("cascade c(X: f32[8]) -> (Y) { Y: bool[i:8] = X[i] < 1.0 }"))


@settings(max_examples=60, deadline=None)
@given(programs())
def test_values_are_kept_and_a_second_run_changes_nothing(cascade):
    after = simplify(cascade)
    check_cascade(after)
    assert simplify(after) is after
    inputs = random_inputs(cascade)
    before, now = (evaluate(c, inputs, float64=True) for c in (cascade, after))
    for name in cascade.outputs:
        assert describe_difference(now[name].reshape(-1), before[name].reshape(-1)) is None
