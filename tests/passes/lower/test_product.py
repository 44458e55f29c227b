"""Products for a library: what is one, by strides alone, and what only looks like one."""

import inspect
from dataclasses import astuple, replace

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import as_index
from tcomp.ir.plan import Matrix, MatrixProduct
from tcomp.passes.lower import product
from tcomp.passes.lower.product import find_product
from tests.documentation import find_example
from tests.gpu_groups import bind, make_candidate, read_cascade
from tests.program_runner import random_inputs

INPUTS = "X: f32[6, 3, 8], W: f32[3, 8, 5], A: f32[6, 8], B: f32[8, 5], H: bf16[6, 8], L: bf16[8, 5], I: i64[6, 8], J: i64[8, 5]"
PLAIN = "Z: f32[m:6, n:5] = sum(k:8) A[m, k] * B[k, n]"


def find(body, inputs=INPUTS, outputs="Z", strides=None):
    """The product of a cascade's only group, whose arguments are numbered in the order in which they are bound."""
    return find_product(candidate_of(read_cascade(body, inputs, outputs), strides))


def candidate_of(cascade, strides=None):
    """The only group of a cascade with the operands that it is bound to, none of whose ranks are joined."""
    bound = bind(cascade, strides=strides)
    return replace(make_candidate(bound, symbols=cascade.symbols), operands=tuple(bound.operands.values()))


def numbers(matrix):
    """(argument, shape, strides) of a matrix of constant sizes."""
    argument, *parts = astuple(matrix)
    assert isinstance(matrix, Matrix)
    return argument, *(tuple(extent.constant for extent in part) for part in (matrix.shape, matrix.strides)), *parts[2:]


def test_what_the_docstring_shows():
    before, after = find_example(inspect.getmodule(product).__doc__).split("     =>     ")
    assert after == "out[b, m, n] = left[b, m, k] @ right[b, k, n], by strides alone"
    assert before == "Y[b, m, n] = sum(k) X[m, b, k] * W[b, k, n]"
    found = find("Y: f32[b:3, m:6, n:5] = sum(k:8) X[m, b, k] * W[b, k, n]", outputs="Y")
    assert str(found.dtype) == "f32"
    assert numbers(found.left) == (0, (3, 6, 8), (8, 24, 1))
    assert numbers(found.right) == (1, (3, 8, 5), (40, 5, 1))
    assert numbers(found.out) == (2, (3, 6, 5), (30, 5, 1))


FOUND = {
    "a plain product": (PLAIN, (0, (1, 6, 8), (0, 8, 1)), (1, (1, 8, 5), (0, 5, 1)), (2, (1, 6, 5), (0, 5, 1))),
    "the right operand first": (
        "Z: f32[m:6, n:5] = sum(k:8) B[k, n] * A[m, k]",
        (1, (1, 6, 8), (0, 8, 1)),
        (0, (1, 8, 5), (0, 5, 1)),
        (2, (1, 6, 5), (0, 5, 1)),
    ),
    "a transposed result": (
        "Z: f32[n:5, m:6] = sum(k:8) A[m, k] * B[k, n]",
        (0, (1, 6, 8), (0, 8, 1)),
        (1, (1, 8, 5), (0, 5, 1)),
        (2, (1, 6, 5), (0, 1, 6)),
    ),
    "narrow operands added in f32": (
        "Z: bf16[m:6, n:5] = sum(k:8) f32(H[m, k]) * f32(L[k, n])",
        (0, (1, 6, 8), (0, 8, 1)),
        (1, (1, 8, 5), (0, 5, 1)),
        (2, (1, 6, 5), (0, 5, 1)),
    ),
    "narrow operands as they are": (
        "Z: bf16[m:6, n:5] = sum(k:8) H[m, k] * L[k, n]",
        (0, (1, 6, 8), (0, 8, 1)),
        (1, (1, 8, 5), (0, 5, 1)),
        (2, (1, 6, 5), (0, 5, 1)),
    ),
}


@pytest.mark.parametrize(("body", "left", "right", "out"), FOUND.values(), ids=FOUND)
def test_products(body, left, right, out):
    found = find(body)
    assert isinstance(found, MatrixProduct)
    assert (numbers(found.left), numbers(found.right), numbers(found.out)) == (left, right, out)


def test_ranks_that_memory_walks_as_one_are_one():
    """Merged before, a batch of rows over one matrix is rows."""
    found = find("Z: f32[b:6, m:3, n:5] = sum(k:8) X[b, m, k] * B[k, n]")
    assert numbers(found.left) == (0, (1, 18, 8), (0, 8, 1))


def test_symbolic_sizes_stay_symbols():
    cascade = read_cascade("Z: f32[m:M, n:5] = sum(k:8) A[m, k] * B[k, n]", "A: f32[M, 8], B: f32[8, 5]", symbols=" for M in 1..")
    found = find_product(candidate_of(cascade))
    assert found.left.shape == (as_index(1), as_index("M"), as_index(8))


NONE = {
    "another monoid": "Z: f32[m:6, n:5] = max(k:8) A[m, k] * B[k, n]",
    "another operation": "Z: f32[m:6, n:5] = sum(k:8) A[m, k] + B[k, n]",
    "three factors": "Z: f32[m:6, n:5] = sum(k:8) A[m, k] * B[k, n] * A[m, k]",
    "a predicate": "Z: f32[m:6, n:5] = sum(k:8) A[m, k] * B[k, n] where i64[k] < 5",
    "no rows": "Z: f32[n:5] = sum(k:8) A[0, k] * B[k, n]",
    "two row ranks apart in memory": "Z: f32[b:3, m:6, n:5] = sum(k:8) X[m, b, k] * B[k, n]",
    "two reduced ranks": "Z: f32[m:6, n:8] = sum(b:3, k:5) X[m, b, k] * W[b, n, k]",
    "an index that is no bare rank": "Z: f32[m:6, n:5] = sum(k:8) A[5 - m, k] * B[k, n]",
    "a window": "Z: f32[m:4, n:5] = sum(k:3) A[m + k, 0] * B[k, n]",
    "a diagonal": "Z: f32[m:6, n:5] = sum(k:6) A[k, k] * B[k, n] * A[m, k]",
    "a value outside": "Z: f32[m:6, n:5] = sum(k:8) (A[m, k - 1] else 0.0) * B[k, n]",
    "looked up rows": "Z: f32[m:6, n:5] = sum(k:8) A[I[m, 0], k] * B[k, n]",
    "whole numbers": "Z: i64[m:6, n:5] = sum(k:8) I[m, k] * J[k, n]",
    "a wider result": "Z: f32[m:6, n:5] = sum(k:8) f32(H[m, k]) * f32(L[k, n])",
    "operands of two types": "Z: f32[m:6, n:5] = sum(k:8) f32(H[m, k]) * B[k, n]",
    "an operand that is rounded": "Z: f32[m:6, n:5] = sum(k:8) f32(bf16(A[m, k])) * B[k, n]",
    "an operand that is rounded to as many bits": "Z: bf16[m:6, n:5] = sum(k:8) f32(f16(H[m, k])) * f32(L[k, n])",
    "an operand that is cut to integers": "Z: f32[m:6, n:5] = sum(k:8) f32(i32(A[m, k])) * B[k, n]",
    "an epilogue": PLAIN.replace("Z", "Y") + " Z: f32[m:6, n:5] = maximum(Y[m, n], 0.0)",
    "a map": "Z: f32[m:6, k:8] = A[m, k] * 2.0",
    "a square": "Z: f32[m:6, n:6] = sum(k:8) A[m, k] * A[n, k] * A[0, k]",
}


@pytest.mark.parametrize("body", NONE.values(), ids=NONE)
def test_what_is_none(body):
    assert find(body) is None


def batch_of(matrix, array):
    """A matrix as an array (batch, rows, columns) over the elements that its strides reach."""
    _, shape, strides = numbers(matrix)
    return numpy.lib.stride_tricks.as_strided(array, shape, [step * array.itemsize for step in strides])


@settings(max_examples=100, deadline=None)
@given(st.permutations("bmk"), st.permutations("bkn"), st.permutations("bmn"), st.booleans(), st.booleans())
def test_the_library_computes_what_the_cascade_says(left, right, out, is_left_shared, is_right_shared):
    """All orders of dimensions, either operand in the batch or not: numpy multiplies along the strides."""
    sizes = {"b": 3, "m": 4, "k": 5, "n": 6}
    left, right = ([r for r in ranks if r != "b" or not shared] for ranks, shared in ((left, is_left_shared), (right, is_right_shared)))
    if is_left_shared and is_right_shared:
        out = [rank for rank in out if rank != "b"]
    shapes = [", ".join(str(sizes[r]) for r in ranks) for ranks in (left, right)]
    ranks = ", ".join(f"{r}:{sizes[r]}" for r in out)
    body = f"Z: f64[{ranks}] = sum(k:5) X[{', '.join(left)}] * W[{', '.join(right)}]"
    cascade = read_cascade(body, f"X: f64[{shapes[0]}], W: f64[{shapes[1]}]")
    candidate = candidate_of(cascade)
    found = find_product(candidate)
    if found is None:
        # The batch belongs to one side alone: two row ranks, or two lanes, that are apart in memory.
        assert is_left_shared != is_right_shared
        return
    inputs = random_inputs(cascade)
    arrays = {"X": inputs["X"], "W": inputs["W"], "Z": numpy.zeros([sizes[r] for r in out])}
    by_number = [arrays[operand.tensor] for operand in candidate.operands]
    a, b, z = (batch_of(matrix, by_number[matrix.argument]) for matrix in (found.left, found.right, found.out))
    z[...] = a @ b
    numpy.testing.assert_allclose(arrays["Z"], evaluate(cascade, inputs, float64=True)["Z"], rtol=1e-12)
