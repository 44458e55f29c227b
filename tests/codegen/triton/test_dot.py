"""Matrix products: as dots in Triton's interpreter against the evaluator, and as instructions of tensor cores when compiled."""

import numpy
import pytest
from triton_statements import check

from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.parse.tile import parse_kernel
from tests.triton_programs import compile_ahead

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

TYPES = [
    ("f32", "f32", "f32", "f32"), ("bf16", "bf16", "f32", "bf16"), ("f16", "f16", "f32", "f16"), ("e4m3", "e4m3", "f32", "e4m3"),
    ("e5m2", "e5m2", "f32", "e5m2"), ("bf16", "i8", "f32", "bf16"), ("u8", "f16", "f32", "f16"), ("bf16", "e4m3", "f32", "bf16"),
    ("i8", "u8", "f32", "bf16"), ("bf16", "f16", "f32", "f32 exact"), ("f32", "bf16", "f32", "f32"), ("e4m3", "e5m2", "f32", "bf16"),
    ("f64", "f64", "f64", "f64"), ("f32", "f64", "f64", "f64"), ("i8", "i8", "i32", "i8"), ("i8", "i8", "i64", "i8"),
    ("i8", "bool", "i32", "i8"),
]  # fmt: skip
"""Types of two factors, the type in which they are multiplied and added, and what tensor cores take them as."""

TRITON = {"f32": "tl.float32", "f64": "tl.float64", "bf16": "tl.bfloat16", "f16": "tl.float16", "i8": "tl.int8"}


def product(left, right, wide):
    a, b = ("X" if left == wide else f"{wide}(X"), ("W" if right == wide else f"{wide}(W")
    return f"{a}[m + m.0, k.0]{'' if left == wide else ')'} * {b}[k.0, n.0]{'' if right == wide else ')'}"


def source(text):
    return triton_unit(parse_kernel(text), TritonOptions()).source


@pytest.mark.parametrize(("left", "right", "wide", "held"), TYPES)
def test_types(left, right, wide, held, tmp_path):
    """Sizes that divide nothing, rows and columns beyond limits, and a sum over steps of a loop."""
    text = f"""kernel k(in X: {left}[13, K], in W: {right}[K, 5], out Y: {wide}[13, 5]) for K in 0..1000 {{
      parallel m in 0 .. 13 step 8 {{
        block acc: {wide}[m.0:8, n.0:5]
        acc[m.0, n.0] over (m.0:8, n.0:5) = {"0.0" if "f" in wide else "0"}:{wide}
        for k in 0 .. K step 12 {{
          acc[m.0, n.0] over (m.0:8 < 13 - m, n.0:5) sum= sum(k.0:12 < K - k) {product(left, right, wide).replace("k.0", "k + k.0")}
        }}
        Y[m + m.0, n.0] over (m.0:8 < 13 - m, n.0:5) = acc[m.0, n.0]
      }}
    }}"""
    check(text, tmp_path, {"K": 29}, rounding=16)
    written = source(text)
    assert "tl.dot(" in written
    operand = held.split()[0]
    if operand != wide and operand not in ("e4m3", "e5m2") and operand != left:
        assert f".to({TRITON[operand]})" in written
    assert ('"tf32")' in written) == (held == "f32 exact")
    assert ('"tf32x3")' in written) == (held == "f32")
    assert ("max_num_imprecise_acc=32" in written) == (held in ("e4m3", "e5m2"))


FORMS = {
    "a plain assign": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[m.0, k.0] * B[k.0, n.0]",
    "a merge into memory": "Z[m.0, n.0] over (m.0:6, n.0:10) sum= sum(k.0:7) A[m.0, k.0] * B[k.0, n.0]",
    "columns before rows": "Z[m.0, n.0] over (n.0:10, m.0:6) = sum(k.0:7) A[m.0, k.0] * B[k.0, n.0]",
    "transposed factors": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:6) A[k.0, m.0] * B[n.0 % 7, k.0]",
    "three factors": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[m.0, k.0] * C[k.0] * B[k.0, n.0]",
    "a scale": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) 0.5 * A[m.0, k.0] * B[k.0, n.0] * C[0]",
    "expressions": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) exp(A[m.0, k.0]) * select(B[k.0, n.0] > 0.0, C[k.0], -1.0)",
    "a batch": "V[b.0, m.0, n.0] over (b.0:3, m.0:6, n.0:10) = sum(k.0:7) D[b.0, m.0, k.0] * F[b.0, k.0, n.0]",
    "a batch between": "V[b.0, m.0, n.0] over (m.0:6, b.0:3, n.0:10) = sum(k.0:7) D[b.0, m.0, k.0] * F[b.0, k.0, n.0]",
    "several axes each": "V[b.0, m.0, n.0] over (b.0:3, m.0:6, n.0:10) = sum(k.0:7, l.0:2) D[b.0, m.0, k.0] * G[k.0, l.0, n.0]",
    "joined batches": "U[a.0, b.0, m.0, n.0] over (a.0:2, b.0:3, m.0:6, n.0:10) = sum(k.0:7) D[b.0, m.0, k.0] * H[a.0, b.0, k.0, n.0]",
    "an outer axis of each factor beside a batch":
        "U[a.0, b.0, m.0, n.0] over (a.0:2, b.0:3, m.0:6, n.0:10) = sum(k.0:7) (D[b.0, m.0, k.0] else 0.0) * H[a.0, b.0, k.0, n.0]",
    "a sum with an axis in one factor only": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7, l.0:2) A[m.0, k.0] * G[k.0, l.0, n.0]",
    "single points": "Z[m.0, n.0] over (m.0:6, u.0:1, n.0:10) = sum(k.0:7, v.0:1) A[m.0, k.0 + v.0] * B[k.0, n.0 + u.0]",
    "data": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[I[m.0], k.0] * (B[I[k.0 % 6] + 3, n.0] else 2.0)",
    "an inner limit": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7 < 4) (A[m.0, k.0] - 1.0) * exp(B[k.0, n.0])",
    "an inner limit of nothing": "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7 < 0) A[m.0, k.0] * B[k.0, n.0]",
}  # fmt: skip

ARGUMENTS = """in A: f32[6, 7], in B: f32[7, 10], in C: f32[7], in D: f32[3, 6, 7], in F: f32[3, 7, 10], in G: f32[7, 2, 10],
in H: f32[2, 3, 7, 10], in I: i64[6], inout Z: f32[6, 10], inout V: f32[3, 6, 10], inout U: f32[2, 3, 6, 10]"""


@pytest.mark.parametrize("statement", FORMS.values(), ids=FORMS)
def test_forms(statement, tmp_path):
    text = f"kernel k({ARGUMENTS}) {{ {statement} }}"
    assert "tl.dot(" in source(text)
    check(text, tmp_path, rounding=32)


@pytest.mark.parametrize(
    "statement",
    [
        "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[m.0, k.0] + B[k.0, n.0]",
        "Z[m.0, n.0] over (m.0:6, n.0:10) = max(k.0:7) A[m.0, k.0] * B[k.0, n.0]",
        "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[m.0, k.0] * B[k.0, n.0] where A[m.0, k.0] > 0.0",
        "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[m.0, k.0] * B[k.0, n.0] * f32[m.0 + n.0]",
        "Z[m.0, 0] over (m.0:6) = sum(k.0:7) A[m.0, k.0] * C[k.0]",
        "Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) A[m.0, 0] * B[k.0, n.0]",
    ],
)
def test_what_is_no_product_of_matrices(statement, tmp_path):
    text = f"kernel k({ARGUMENTS}) {{ {statement} }}"
    assert "tl.dot(" not in source(text)
    check(text, tmp_path, rounding=32)


def test_products_that_round_are_no_dots(tmp_path):
    text = """kernel k(in X: bf16[6, 7], in W: bf16[7, 8], out Y: f32[6, 8]) {
      Y[m.0, n.0] over (m.0:6, n.0:8) = sum(k.0:7) X[m.0, k.0] * W[k.0, n.0]
    }"""
    assert "tl.dot(" not in source(text)
    check(text, tmp_path, rounding=32)


def test_elements_beyond_an_inner_limit_add_nothing_even_if_they_are_infinite(tmp_path):
    a, b = numpy.full((6, 7), numpy.inf, numpy.float32), numpy.full((7, 10), numpy.nan, numpy.float32)
    a[:, :4], b[:4] = 2.0, 3.0
    text = f"kernel k({ARGUMENTS}) {{ Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7 < 4) A[m.0, k.0] * B[k.0, n.0] }}"
    made = check(text, tmp_path, arrays={"A": a, "B": b})
    assert (made["Z"] == 24).all()


def test_rows_beyond_a_limit_keep_their_sum_where_somebody_looks(tmp_path):
    text = f"""kernel k({ARGUMENTS}, out S: f32[]) {{
      block acc: f32[m.0:6, n.0:10]
      acc[m.0, n.0] over (m.0:6, n.0:10) = 1.0
      acc[m.0, n.0] over (m.0:6 < 4, n.0:10) sum= sum(k.0:7) A[m.0, k.0] * B[k.0, n.0]
      S[] over () = sum(m.0:6, n.0:10) acc[m.0, n.0]
    }}"""
    a = numpy.ones((6, 7), numpy.float32)
    a[4:] = numpy.nan
    assert numpy.isfinite(check(text, tmp_path, arrays={"A": a}, rounding=32)["S"])


def test_blocks_as_factors_in_any_order_of_axes(tmp_path):
    text = """kernel k(in A: f32[6, 7], in B: f32[7, 10], out Z: f32[6, 10]) {
      block a: f32[k.0:7, m.0:6]
      block z: f32[n.0:10, m.0:6]
      a[k.0, m.0] over (k.0:7, m.0:6) = exp(A[m.0, k.0])
      z[n.0, m.0] over (n.0:10, m.0:6) = 0.0
      for t in 0 .. 2 {
        z[n.0, m.0] over (m.0:6, n.0:10) sum= sum(k.0:7 < 5 + t) a[k.0, m.0] * B[k.0, n.0]
      }
      Z[m.0, n.0] over (m.0:6, n.0:10) = z[n.0, m.0]
    }"""
    check(text, tmp_path, rounding=32)


def test_inner_axes_are_as_long_as_tensor_cores_need_in_the_whole_kernel(tmp_path):
    text = """kernel k(in A: e4m3[6, 7], in B: e4m3[7, 10], out Z: f32[6, 10]) {
      block a: e4m3[m.0:6, k.0:7]
      a[m.0, k.0] over (m.0:6, k.0:7) = A[m.0, k.0]
      Z[m.0, n.0] over (m.0:6, n.0:10) = sum(k.0:7) f32(a[m.0, k.0]) * f32(B[k.0, n.0])
    }"""
    assert "k_0 = tl.arange(0, 32)" in source(text)
    check(text, tmp_path, rounding=32)


LINEAR = """kernel linear(in X: {dtype}[512, 256], in W: {dtype}[256, 512], out Y: {dtype}[512, 512]) warps 4 stages 3 {{
  parallel m in 0 .. 512 step 128 {{
    parallel n in 0 .. 512 step 128 {{
      block acc: {wide}[m.0:128, n.0:128]
      acc[m.0, n.0] over (m.0:128, n.0:128) = {zero}
      for k in 0 .. 256 step 32 {{ acc[m.0, n.0] over (m.0:128, n.0:128) sum= sum(k.0:32) {product} }}
      Y[m + m.0, n + n.0] over (m.0:128, n.0:128) = {result}
    }}
  }}
}}"""


def linear(dtype):
    wide = "i32" if dtype == "i8" else "f64" if dtype == "f64" else "f32"
    factors = "X[m + m.0, k + k.0]", "W[k + k.0, n + n.0]"
    product = " * ".join(f if dtype == wide else f"{wide}({f})" for f in factors)
    result = "acc[m.0, n.0]" if dtype == wide else f"{dtype}(acc[m.0, n.0])"
    return parse_kernel(
        LINEAR.format(dtype=dtype, wide=wide, zero="0:i32" if wide == "i32" else f"0.0:{wide}", product=product, result=result)
    )


@pytest.mark.parametrize(
    ("dtype", "architecture", "instruction"), [("bf16", 90, "wgmma"), ("f32", 90, "wgmma"), ("i8", 80, "mma.sync"), ("f16", 80, "mma.sync")]
)
def test_tensor_cores_are_used(dtype, architecture, instruction, tmp_path):
    assert instruction in compile_ahead(linear(dtype), tmp_path, architecture).asm["ptx"]
