"""Which statements are products of matrices, and in which types their factors are multiplied."""

import pytest

from tcomp.codegen.triton.contraction import find_dot
from tcomp.codegen.triton.padding import plan_padding
from tcomp.ir.expressions import print_expression
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile_scope import find_sites


def dot_of(statement, types="A: f32[9, 9], B: f32[9, 9], C: f32[9, 9, 9], V: f32[9]", wide="f32"):
    arguments = ", ".join(f"in {part}" for part in types.replace("],", "];").split("; "))
    (site,) = find_sites(parse_kernel(f"kernel k({arguments}, out Z: {wide}[9, 9, 9]) {{ {statement} }}"))
    return find_dot(site.assign, site.dtypes())


def names(axes):
    return "".join(axis.name for axis in axes)


@pytest.mark.parametrize(
    ("factors", "roles"),
    [
        ("A[m, k] * B[k, n]", ("", "m", "n", "k")),
        ("B[k, n] * A[m, k]", ("", "m", "n", "k")),
        ("A[m, k] * B[k, n] * V[k]", ("", "m", "n", "k")),
        ("V[m] * A[m, k] * B[k, n] * V[n]", ("", "m", "n", "k")),
        ("C[b, m, k] * B[k, n]", ("", "bm", "n", "k")),
        ("C[b, m, k] * C[b, k, n]", ("b", "m", "n", "k")),
        ("A[b, k] * C[m, k, n]", ("", "b", "mn", "k")),
        ("A[b, k] * A[m, k] * A[n, k]", ("", "b", "mn", "k")),
    ],
)
def test_axes_have_roles(factors, roles):
    axes = "b:3, m:4, n:5" if "b" in factors else "m:4, n:5"
    index = "b, m, n" if "b" in factors else "m, n, 0"
    found = dot_of(f"Z[{index}] over ({axes}) = sum(k:6) {factors}")
    assert found is not None and tuple(map(names, (found.batch, found.rows, found.columns, found.inner))) == roles


def test_factors_go_to_the_side_that_has_their_axes():
    found = dot_of("Z[m, n, 0] over (m:4, n:5) = sum(k:6) V[n] * A[m, k] * V[k] * B[k, n]")
    assert print_expression(found.left) == "A[m, k] * V[k]"
    assert print_expression(found.right) == "V[n] * B[k, n]"


@pytest.mark.parametrize(
    ("left", "right", "wide", "operand", "is_exact"),
    [
        ("bf16", "bf16", "f32", "bf16", True), ("f16", "f16", "f32", "f16", True), ("e4m3", "e4m3", "f32", "e4m3", True),
        ("e5m2", "e5m2", "f32", "e5m2", True), ("e4m3", "e5m2", "f32", "bf16", True), ("bf16", "i8", "f32", "bf16", True),
        ("bool", "f16", "f32", "f16", True), ("u8", "i8", "f32", "bf16", True), ("bf16", "f16", "f32", "f32", True),
        ("f32", "bf16", "f32", "f32", False), ("i16", "bf16", "f32", "f32", False), ("f64", "f64", "f64", "f64", False),
        ("f32", "f64", "f64", "f64", False), ("i8", "i8", "i32", "i8", True), ("i8", "bool", "i64", "i8", True),
    ],
)  # fmt: skip
def test_types(left, right, wide, operand, is_exact):
    sides = [
        f"{name}[{index}]" if t == wide else f"{wide}({name}[{index}])" for name, index, t in (("A", "m, k", left), ("B", "k, n", right))
    ]
    found = dot_of(f"Z[m, n, 0] over (m:4, n:5) = sum(k:6) {' * '.join(sides)}", f"A: {left}[9, 9], B: {right}[9, 9]", wide)
    assert (found.operand.name, found.is_exact) == (operand, is_exact)
    assert found.total.name == ("i32" if operand == "i8" else wide)
    assert found.smallest_inner == (32 if operand in ("i8", "e4m3", "e5m2") else 16)


@pytest.mark.parametrize(
    ("statement", "types", "wide"),
    [
        ("sum(k:6) A[m, k] * B[k, n]", "A: i32[9, 9], B: i32[9, 9]", "i32"),
        ("sum(k:6) i32(A[m, k]) * i32(B[k, n])", "A: u8[9, 9], B: u8[9, 9]", "i32"),
        ("sum(k:6) A[m, k] * B[k, n]", "A: bf16[9, 9], B: bf16[9, 9]", "f32"),
    ],
)
def test_types_that_tensor_cores_do_not_multiply(statement, types, wide):
    assert dot_of(f"Z[m, n, 0] over (m:4, n:5) = {statement}", types, wide) is None


@pytest.mark.parametrize(
    "statement",
    [
        "over (m:4, n:5) = sum(k:6) A[m, k] + B[k, n]", "over (m:4, n:5) = max(k:6) A[m, k] * B[k, n]",
        "over (m:4, n:5) = sum(k:6) A[m, k] * B[k, n] where V[k] > 0.0", "over (m:4, n:5) = A[m, 0] * B[0, n]",
        "over (m:4, n:5) = sum(k:6) A[m, 0] * B[k, n]", "over (m:4, n:5) = sum(k:6) C[m, k, n] * V[k]",
        "over (m:4, n:1) = sum(k:6) A[m, k] * B[k, n]", "over (m:4, n:5) = sum(k:1) A[m, k] * B[k, n]",
    ],
)  # fmt: skip
def test_what_is_no_product(statement):
    assert dot_of(f"Z[m, n, 0] {statement}") is None


def test_inner_axes_are_padded_for_the_whole_kernel():
    text = """kernel k(in A: i8[9, 9], in B: i8[9, 9], out Z: i32[9, 9]) {
      Z[m, n] over (m:4, n:5) = sum(j:2, k:6 < 5) i32(A[m, j + k]) * i32(B[k, n])
      Z[m, n] over (m:4, n:5) sum= sum(k:3) i32(A[m, k]) * i32(B[k, n])
    }"""
    assert {(axis.name, axis.size, axis.limit): size for axis, size in plan_padding(parse_kernel(text)).items()} == {
        ("k", 6, None): 16,
        ("k", 3, None): 32,
    }
