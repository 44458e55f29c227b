"""Which kernels may write over what they read: those that give the same, whatever the order of their instances."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.check.tile import check_kernel
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.tile import parse_kernel
from tcomp.passes.plan.tile_reuse import may_overwrite, overwrite

ROWS = "in x: f32[6, 8], out y: f32[6, 8]"
TALL = "in x: f32[12, 8], out y: f32[12, 8]"


def read(arguments, body):
    kernel = parse_kernel(f"kernel k({arguments}) {{ {body} }}")
    check_kernel(kernel)
    return kernel


def run_both(kernel, seed):
    """What the kernel writes with memory of its own for the result, and over its argument, instances in some order."""
    arrays = {}
    for argument in kernel.arguments:
        shape = [extent.constant for extent in argument.shape]
        is_number = argument.dtype.kind == "float"
        values = numpy.arange(numpy.prod(shape)).reshape(shape) * 7 % 11
        arrays[argument.name] = values.astype(numpy.float32) if is_number else values % shape[0]
    apart = {name: array.copy() for name, array in arrays.items()}
    evaluate_kernel(kernel, apart, {}, shuffle=seed)
    joined = {name: array.copy() for name, array in arrays.items() if name != "y"}
    evaluate_kernel(overwrite(kernel, "x", "y"), joined, {}, shuffle=seed)
    # What is not written holds garbage in a result, and what was there before in an argument.
    written = numpy.isfinite(apart["y"])
    return apart["y"][written], joined["x"][written]


RIGHT = [
    (ROWS, "parallel j in 0 .. 6 { for i in 0 .. 2 { y[j, 4*i + l] over (l:4) = exp(x[j, 4*i + l]) } }"),
    (ROWS, "parallel j in 0 .. 6 { block s: f32[] s[] over () = sum(i:8) x[j, i] y[j, i] over (i:8) = x[j, i] - s[] }"),
    (ROWS, "parallel j in 0 .. 6 { block b: f32[i:8] b[i] over (i:8) = x[j, 7 - i] y[j, i] over (i:8) = b[i] }"),
    # Tiles of rows: whichever row of the tile is read, it is the instance's own.
    (TALL, "parallel j in 0 .. 3 { block b: f32[r:4] b[r] over (r:4) = x[3 - r + 4*j, 0] y[r + 4*j, i] over (r:4, i:8) = b[r] }"),
    (ROWS, "parallel j in 0 .. 6 step 4 { y[j + r, i] over (r:4 < 6 - j, i:8) = x[j + r, i] * 2.0 }"),
    (ROWS, "for n in 0 .. 48 { y[n // 8, n % 8] over () = 1.0 }"),
    ("in x: f32[48], out y: f32[48]", "parallel j in 0 .. 6 { for i in 0 .. 2 { y[8*j + 4*i + l] over (l:4) = exp(x[8*j + 4*i + l]) } }"),
    (ROWS, "parallel j in 0 .. 6 { y[j, i] over (i:8) = exp(x[j, i]) where x[j, i] > 3.0 }"),
    ("in x: f32[6, 8] strides (1, 6), out y: f32[6, 8] strides (1, 6)", "parallel j in 0 .. 6 { y[j, i] over (i:8) = x[j, i] }"),
]

WRONG = [
    # The first element is read after it was written, by the same instance or by others.
    (ROWS, "parallel j in 0 .. 6 { for i in 0 .. 8 { y[j, i] over () = x[j, i] - x[j, 0] } }"),
    (ROWS, "parallel j in 0 .. 6 { y[j, i] over (i:8) = x[5 - j, i] }"),
    (ROWS, "for j in 0 .. 6 { y[j, i] over (i:8) = (x[j - 1, i] else 0.0) }"),
    (ROWS, "parallel j in 0 .. 6 { y[j, i] over (i:8) = x[j, 7 - i] }"),
    # Read again behind the store, into what is never used.
    (ROWS, "parallel j in 0 .. 6 { block s: f32[] y[j, i] over (i:8) = x[j, i] + 1.0 s[] over () = sum(i:8) x[j, i] }"),
    # Two stores, the second of what the first was made from.
    (ROWS, "parallel j in 0 .. 6 { y[j, i] over (i:8) = x[j, i] + 1.0 y[j, i] over (i:8) = x[j, i] * 3.0 }"),
    # Two stores, of which one writes what the other will be made from.
    (ROWS, "for j in 0 .. 5 { y[j, i] over (i:8) = x[j, i] y[j + 1, i] over (i:8) = 1.0 }"),
    # An element written by several points, by several steps, and where a value that is no constant says.
    (ROWS, "parallel j in 0 .. 6 { y[j, i // 2] over (i:8) = x[j, i // 2] * 2.0 }"),
    ("in x: f32[48], out y: f32[48]", "for j in 0 .. 6 { for i in 0 .. 8 { y[4*j + i] over () = x[4*j + i] + 1.0 } }"),
    (ROWS, "for j in 0 .. 6 { block s: i64[] s[] over () = i64[-j] y[j + s[], i] over (i:8) = x[j + s[], i] + 1.0 }"),
    # Written in other places than it is read.
    (ROWS, "parallel j in 0 .. 3 { block b: f32[i:8] b[i] over (i:8) = x[j, i] y[2*j, i] over (i:8) = b[i] }"),
    # These never meet, which is more than those who write code can see.
    ("in x: f32[16], out y: f32[16]", "y[2*i + 1] over (i:8) = x[2*i]"),
    # Written anew at each step of a loop around both.
    (ROWS, "parallel j in 0 .. 6 { for n in 0 .. 2 { y[j, i] over (i:8) = x[j, i] + 1.0 } }"),
    # Tiles that reach into the next.
    (TALL, "parallel j in 0 .. 3 { block s: f32[] s[] over () = sum(r:5 < 12 - 4*j) x[r + 4*j, 0] y[r + 4*j, i] over (r:4, i:8) = s[] }"),
    # Other strides, or an element that is many.
    ("in x: f32[6, 8], out y: f32[6, 8] strides (1, 6)", "parallel j in 0 .. 6 { y[j, i] over (i:8) = x[j, i] }"),
    ("in x: f32[6, 8], in n: i64[6], out y: f32[6, 8]", "parallel j in 0 .. 6 { y[j, i] over (i:8) = x[n[j], i] }"),
    ("in x: f32[6, 8], inout y: f32[6, 8]", "parallel j in 0 .. 6 { y[j, i] over (i:8) sum= x[j, i] }"),
]


@pytest.mark.parametrize(("arguments", "body"), RIGHT)
def test_what_is_read_before_it_is_written_may_be_overwritten(arguments, body):
    kernel = read(arguments, body)
    assert may_overwrite(kernel, "x", "y")
    check_kernel(overwrite(kernel, "x", "y"))
    for seed in range(4):
        apart, joined = run_both(kernel, seed)
        numpy.testing.assert_array_equal(apart, joined)


@pytest.mark.parametrize(("arguments", "body"), WRONG)
def test_what_is_read_after_it_is_written_may_not(arguments, body):
    assert not may_overwrite(read(arguments, body), "x", "y")


def test_an_element_that_lies_at_several_indices_is_kept():
    arguments = "in x: f32[6, 8] strides (4, 1), out y: f32[6, 8] strides (4, 1)"
    assert not may_overwrite(read(arguments, "for j in 0 .. 6 { y[j, i] over (i:8) = x[j, i] }"), "x", "y")


def test_steps_whose_number_is_unknown_may_reach_into_others():
    for index, is_right in [("8*j + n", False), ("n", False), ("j", False)]:
        body = f"for j in 0 .. 6 {{ for n in 0 .. N {{ y[{index}] over () = x[{index}] }} }}"
        kernel = parse_kernel(f"kernel k(in x: f32[N + 48], out y: f32[N + 48]) for N in 1.. {{ {body} }}")
        assert may_overwrite(kernel, "x", "y") == is_right
    kernel = parse_kernel("kernel k(in x: f32[N, 8], out y: f32[N, 8]) for N in 1.. { for n in 0 .. N { y[n, i] over (i:8) = x[n, i] } }")
    assert may_overwrite(kernel, "x", "y")


PLAIN = ["j", "a", "4*j", "2*j", "7 - a", "3"]
PARTS = st.sampled_from([*PLAIN, "4*j + a", "4*j + b", "2*a + j", "j + a", "a + b", "2*a + b", "4*j + 2*a + b"])
LOADS = st.builds("x[{}, {}]".format, PARTS, PARTS)


@st.composite
def kernels(draw):
    """A store of two indices, and loads in the same statement and in one before."""
    stored = draw(st.builds("{}, {}".format, PARTS, PARTS))
    beside = draw(st.sampled_from([f"x[{stored}]", "1.0"]) | LOADS)
    order = draw(st.sampled_from(["parallel", "for"]))
    first = draw(LOADS).replace("a", "c").replace("b", "d")
    body = f"for c in 0 .. 2 {{ for d in 0 .. 2 {{ s[] over () sum= {first} }} }}"
    store = draw(st.sampled_from(["for a in 0 .. 2 { for b in 0 .. 2 { STORE } }", "for b in 0 .. 2 { for a in 0 .. 2 { STORE } }"]))
    store = store.replace("STORE", f"y[{stored}] over () = s[] * 3.0 + {beside}")
    body = f"{order} j in 0 .. 3 {{ block s: f32[] s[] over () = 0.0 {body if draw(st.booleans()) else ''} {store} }}"
    return parse_kernel(f"kernel k(in x: f32[16, 16], out y: f32[16, 16]) {{ {body} }}")


@given(kernels(), st.integers(0, 3))
def test_what_is_proved_gives_the_same(kernel, seed):
    try:
        check_kernel(kernel)
        evaluate_kernel(kernel, {"x": numpy.zeros((16, 16), numpy.float32), "y": numpy.zeros((16, 16), numpy.float32)}, {})
    except VerifyError:
        return  # it writes an element twice, with memory of its own for the result too
    if may_overwrite(kernel, "x", "y"):
        apart, joined = run_both(kernel, seed)
        numpy.testing.assert_array_equal(apart, joined)
