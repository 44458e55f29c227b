"""Selects by position that follow one rule are one element."""

import pytest

from tcomp.ir.expressions import print_expression
from tcomp.ir.index import simplify_indices
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.reroll.selects import join_selects


def join(expression, extent):
    text = f"cascade c(X: f32[9, 8], Y: f32[9, 8]) -> (Z) {{ Z: f32[k:{extent}, d:8] = {expression} }}"
    (einsum,) = parse_cascade(text).statements
    return einsum.expression, join_selects(einsum.expression, einsum.bounds()), einsum.bounds()


@pytest.mark.parametrize(
    ("expression", "extent", "joined"),
    [
        (
            "select(i64[k] < 2, select(i64[k] < 1, X[0, d], X[1, d]), select(i64[k] <= 2, X[2, d], X[3, d]))",
            4,
            "X[k, d]",
        ),
        (
            "select(i64[k + 1] < 2, X[7, d], select(i64[k] < 2, X[5, d], select(i64[k] < 3, X[3, d], X[1, d])))",
            4,
            "X[7 - 2*k, d]",
        ),
        (
            "select(i64[k] < 2, Y[0, d], select(i64[k] < 3, X[1, d], select(i64[k] < 4, X[2, d], "
            "select(i64[k] < 5, X[3, d], X[4, d]))))",
            6,
            "select(i64[k] < 2, Y[0, d], X[k - 1, d])",
        ),
        (
            "select(i64[k] < 4, select(i64[k] < 2, X[0, k], X[1, k - 2]), select(i64[k] < 6, X[2, k - 4], X[3, k - 6])) + 1.0",
            8,
            "X[k // 2, k % 2] + 1.0",
        ),
        (
            "f32(select(i64[k] < 2, select(i64[k] < 1, exp(X[0, d]) * 2.0, exp(X[1, d]) * 2.0), "
            "select(i64[k] <= 2, exp(X[2, d]) * 2.0, exp(X[3, d]) * 2.0)))",
            4,
            "f32(exp(X[k, d]) * 2.0)",
        ),
    ],
)
def test_alternatives_that_follow_one_rule(expression, extent, joined):
    _, found, bounds = join(expression, extent)
    assert print_expression(simplify_indices(found, bounds)) == joined


@pytest.mark.parametrize(
    ("expression", "extent"),
    [
        ("select(i64[k] < 1, X[0, d], select(i64[k] < 2, X[1, d], X[2, d]))", 3),
        ("select(i64[k] < 1, X[0, d], select(i64[k] < 2, X[1, d], select(i64[k] < 3, X[2, d], X[5, d])))", 4),
        ("select(i64[k] < 1, X[0, d], select(i64[k] < 2, Y[1, d], select(i64[k] < 3, X[2, d], Y[3, d])))", 4),
        ("select(i64[k] < 2, X[0, d], select(i64[k] < 3, X[1, d], select(i64[k] < 5, X[2, d], X[3, d])))", 6),
        ("select(X[k, d] < 1.0, X[0, d], X[1, d])", 4),
        ("X[k, d]", 4),
    ],
)
def test_what_is_not_joined(expression, extent):
    before, after, _ = join(expression, extent)
    assert after is before
