"""Products of many factors are contracted in pairs, in the cheaper order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.cascade import Cascade, Einsum, Rank, Tensor
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.dtypes import f32
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import Load, apply, as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade import order as contraction_order
from tcomp.passes.cascade.order import order_contractions
from tcomp.passes.check import describe_difference
from tests.program_runner import random_inputs

INPUTS = "A: f32[8, 64], B: f32[64, 64], C: f32[64, 4], s: f32[64], X: f32[8, 66], H: bf16[64, 64], I: i64[64]"


def ordered(statement):
    before = parse_cascade(f"cascade c({INPUTS}) -> (Y) {{ {statement} }}")
    check_cascade(before)
    after = order_contractions(before)
    check_cascade(after)
    same_values(before, after)
    return [line.strip() for line in str(after).splitlines()[1:-1]]


def same_values(before, after):
    inputs = random_inputs(before)
    want, got = evaluate(before, inputs, float64=True), evaluate(after, inputs, float64=True)
    assert describe_difference(got["Y"].reshape(-1), want["Y"].reshape(-1)) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "Y: f32[i:8, l:4] = sum(j:64, k:64) A[i, j] * B[j, k] * C[k, l]",
            [
                "Y.1: f32[l:4, j:64] = sum(k:64) B[j, k] * C[k, l]",
                "Y: f32[i:8, l:4] = sum(j:64) A[i, j] * Y.1[l, j]",
            ],
        ),
        (
            "Y: f32[i:8, k:64] = sum(j:64) A[i, j] * s[j] * B[j, k]",
            [
                "Y.1: f32[i:8, j:64] = A[i, j] * s[j]",
                "Y: f32[i:8, k:64] = sum(j:64) B[j, k] * Y.1[i, j]",
            ],
        ),
        (
            "Y: f32[i:8, p:64] = sum(r:3, l:4) X[i, p + r] * C[r, l] * C[p, l]",
            [
                "Y.1: f32[p:64, r:3] = sum(l:4) C[r, l] * C[p, l]",
                "Y: f32[i:8, p:64] = sum(r:3) X[i, p + r] * Y.1[p, r]",
            ],
        ),
        (
            "Y: f32[] = sum(i:8, j:64, k:64) A[i, j] * s[k] * s[j]",
            [
                "Y.1: f32[] = sum(k:64) s[k]",
                "Y.2: f32[j:64] = sum(i:8) A[i, j]",
                "Y.3: f32[] = sum(j:64) s[j] * Y.2[j]",
                "Y: f32[] = Y.1[] * Y.3[]",
            ],
        ),
    ],
)
def test_before_and_after(before, after):
    assert ordered(before) == after


@pytest.mark.parametrize(
    "statement",
    [
        "Y: f32[i:8, k:64] = sum(j:64) A[i, j] * B[j, k]",
        "Y: f32[] = sum(j:64) s[j] * s[j] * s[j]",
        "Y: f32[i:8, k:64] = sum(j:64) A[i, j] * 2.0 * B[j, k]",
        "Y: f32[i:8, k:64] = max(j:64) A[i, j] * s[j] * B[j, k]",
        "Y: f32[i:8, k:64] = sum(j:64) A[i, j] * s[j] * B[j, k] where i64[j] < 7",
        "Y: f32[i:8, k:64] = sum(j:64) A[i, j] + s[j] * B[j, k]",
        "Y: f32[i:8, j:64] = A[i, j] * s[j] * B[j, j]",
        "Y: bf16[i:64, l:64] = sum(j:64, k:64) H[i, j] * H[j, k] * H[k, l]",
        "Y: f32[I[i]:64, l:4] = sum(i:64, k:64) s[i] * B[i, k] * C[k, l]",
    ],
)
def test_refusals(statement):
    cascade = parse_cascade(f"cascade c({INPUTS}) -> (Y) {{ {statement} }}")
    check_cascade(cascade)
    assert order_contractions(cascade) is cascade


def test_names_are_new():
    text = f"cascade c({INPUTS}, Y.1: f32[2]) -> (Y) {{ Y: f32[i:8, l:4] = sum(j:64, k:64) A[i, j] * B[j, k] * C[k, l] }}"
    after = order_contractions(parse_cascade(text))
    check_cascade(after)
    assert [e.name for e in after.einsums()] == ["Y.2", "Y"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.sampled_from("ijkl"), min_size=1), min_size=3, max_size=5), st.sets(st.sampled_from("ijkl")))
def test_values_are_kept(factors, free):
    extents = {name: as_index(size) for name, size in zip("ijkl", (2, 3, 4, 5))}
    inputs, product = [], None
    for position, names in enumerate(sorted(sorted(f) for f in factors)):
        inputs.append(Tensor(f"T{position}", f32, tuple(extents[n] for n in names)))
        load = Load(f"T{position}", tuple(as_index(n) for n in names))
        product = load if product is None else apply("mul", product, load)
    kept = tuple(n for n in "ijkl" if n in free)
    reduced = tuple(Rank(n, extents[n]) for n in "ijkl" if n not in free)
    index, shape = tuple(as_index(n) for n in kept), tuple(extents[n] for n in kept)
    einsum = Einsum((("Y", f32),), index, shape, product, "sum", reduced)
    cascade = Cascade("c", tuple(inputs), (einsum,), ("Y",))
    check_cascade(cascade)
    after = order_contractions(cascade)
    check_cascade(after)
    same_values(cascade, after)


def test_without_opt_einsum_products_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(contraction_order, "opt_einsum", None)
    cascade = parse_cascade(
        "cascade c(A: f32[64, 64], B: f32[64, 8], C: f32[8, 64]) -> (Y) "
        "{ Y: f32[i:64, l:64] = sum(j:64, k:8) A[i, j] * B[j, k] * C[k, l] }"
    )
    assert contraction_order.order_contractions(cascade) is cascade
