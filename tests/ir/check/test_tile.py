"""The verifier of tile programs: it accepts the programs written by hand, and refuses a program with one planted fault a rule."""

import re
from dataclasses import replace

import pytest
from tile_programs import NAMES, read_kernel

from tcomp.ir.cascade import Symbol
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.dtypes import f32
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import as_index, constant, load
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Argument, Assign, Axis, Buffer, Kernel, Loop

ARGUMENTS = "in X: f32[8], in I: i64[8], in M: bool[8], in B: bf16[8], out Y: f32[8], out Z: f32[8, 8], out H: bf16[8]"


def check(body, arguments=ARGUMENTS, symbols=""):
    check_kernel(parse_kernel(f"kernel k({arguments}){symbols} {{ {body} }}"))


@pytest.mark.parametrize("name", NAMES)
def test_programs_written_by_hand_are_accepted(name):
    check_kernel(read_kernel(name))


ACCEPTED = [
    "Y[i] over (i:8) = X[i]",
    "Y[7 - i] over (i:8) = X[i]",
    "Z[i, j] over (i:8, j:8) = X[i] + X[j]",
    "block b: f32[i:8, j:8] b[i, j] over (j:8, i:8) = X[i] Z[j, i] over (i:8, j:8) = b[i, j]",
    "block b: f32[i:8] b[i] over (i:8) = X[i] Y[i] over (i:8) = sum(j:8) b[i] * X[j]",
    "block b: f32[i:8] b[i] over (i:8 < 4) = X[i] Y[i] over (i:8 < 2) = b[i]",
    "parallel n in 0 .. 2 { parallel m in 0 .. 8 step 4 { Z[n, i + m] over (i:4) = X[i + m] } }",
    "parallel n in 0 .. 4 step 4 { Y[i] over (i:4) = X[i + n] }",
    "for n in 0 .. 2 { Y[n] over () = X[n] } for n in 0 .. 2 { block b: f32[] b[] over () = X[n] Y[n] over () = b[] }",
    "Y[0] over () sum= sum(i:8) X[i]",
    "Y[I[i]] over (i:8) = X[i] where I[i] < 8",
    "Y[0] over (i:8) sum= X[i]",
    "Y[0] over () = sum(i:8) B[i]",
    "H[0] over () = sum(i:8) B[i]",
    "H[i] over (i:8) sum= B[i]",
    "Y[0] over () = max(i:8) X[i] where M[i]",
    "H[0] over () = sum(i:8) X[i]",
    "parallel n in 0 .. 8 { Y[0] over () atomic sum= X[n] }",
    "parallel n in 0 .. 8 { Z[n, 0] over () atomic max= sum(i:8) X[i] }",
    "parallel n in 0 .. 2 { for m in n .. 8 step 2 { Y[m] over () = X[m] } }",
    "parallel n in 0 .. 4 { for m in 2*n .. 2*n + 2 { Y[m] over () = X[m] } }",
    "parallel n in 0 .. 2 { for m in n .. 8 step 2 { for l in m .. 8 step 8 { Y[l] over () = X[l] } } }",
    "parallel n in 0 .. 2 { for m in 0 .. 8 { Y[m] over () atomic sum= X[m] } }",
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_correct_programs_are_accepted(body):
    check(body)


REFUSED = [
    # check_names
    ("for n in 0 .. 8 { for n in 0 .. 8 { Y[n] over () = X[n] } }", "loop n has the name of loop n"),
    ("for n in 0 .. 8 { Y[n] over (n:8) = X[n] }", "axis n has the name of loop n"),
    ("block X: f32[i:8] X[i] over (i:8) = 0.0", "block X has the name of argument X"),
    ("buffer b: f32[8] block b: f32[i:8] Y[i] over (i:8) = X[i]", "block b has the name of buffer b"),
    ("buffer i: f32[8] Y[i] over (i:8) = X[i]", "axis i has the name of buffer i"),
    ("block b: f32[i:8, i:8] Y[i] over (i:8) = X[i]", "axis i has the name of axis i"),
    ("Y[i] over (i:8) = sum(i:8) X[i]", "axis i has the name of axis i"),
    ("buffer bool: f32[8]", "buffer 'bool' cannot be named so"),
    # check_parallel_loops
    ("for n in 0 .. 8 { parallel m in 0 .. 8 { Z[n, m] over () = X[n] } }", "the parallel loop m is not outermost"),
    ("parallel n in 0 .. 8 { Y[n] over () = 0.0 } parallel m in 0 .. 8 { Y[m] over () = 0.0 }", "the parallel loop n is not"),
    ("buffer b: f32[8] parallel n in 0 .. 8 { Y[n] over () = 0.0 }", "the parallel loop n is not outermost"),
    ("parallel n in 0 .. 8 { block b: f32[] parallel m in 0 .. 8 { Z[n, m] over () = 0.0 } }", "the parallel loop m is not"),
    # check_extents
    ("for n in 0 .. N { Y[n] over () = 0.0 }", "the stop of loop n N uses N"),
    ("for n in m .. 8 { Y[n] over () = 0.0 }", "the start of loop n m uses m"),
    ("for n in 0 .. 8 step 0 { Y[n] over () = 0.0 }", "the step of loop n is 0"),
    ("for n in 0 .. I[0] { Y[n] over () = 0.0 }", "uses a value that was loaded"),
    ("for n in 0 .. I[0] // 2 { Y[n] over () = 0.0 }", "uses a value that was loaded"),
    ("buffer b: f32[0]", "an extent of buffer b is 0"),
    ("Y[i] over (i:0) = X[i]", "the size of axis i is 0"),
    ("Y[i] over (i:8 < I[0]) = X[i]", "the limit of axis i I[0] uses a value that was loaded"),
    ("Z[i, j] over (i:8, j:8 < i) = X[i]", "the limit of axis j i uses i"),
    ("block b: f32[i:8 < n] Y[i] over (i:8) = X[i]", "the limit of axis i n uses n"),
    # check_declared
    ("Y[i] over (i:8) = X[j]", "the variable j is unknown"),
    ("Y[i] over (i:8) = X[i] where i64[j] < 3", "the variable j is unknown"),
    ("Y[i] over (i:8) = sum(j:8) X[j] Y[i] over (i:8) = X[j]", "the variable j is unknown"),
    ("for n in 0 .. 8 { Y[n] over () = 0.0 } Y[n] over () = 0.0", "the variable n is unknown"),
    ("Y[j] over (i:8) = sum(j:8) X[j]", "j is reduced and used where the result is written"),
    ("Y[i] over (i:8) = U[i]", "U is not declared"),
    ("U[i] over (i:8) = X[i]", "U is not declared"),
    ("Y[i] over (i:8) = X[U[i]]", "U is not declared"),
    ("for n in 0 .. 2 { block b: f32[] b[] over () = 0.0 } Y[0] over () = b[]", "b is not declared"),
    ("Y[i] over (i:8) = b[i] block b: f32[i:8]", "b is not declared"),
    ("Y[i] over (i:8) = X[i, i]", "X has 1 extents and X[i, i] 2 indices"),
    ("Z[i] over (i:8) = X[i]", "Z has 2 extents and Z[i] 1 indices"),
    # check_role
    ("X[i] over (i:8) = 0.0", "X is an `in` argument and is written"),
    # check_monoids
    ("Y[0] over () = argmax(i:8) X[i]", "the state of argmax has 2 components"),
    ("Y[i] over (i:8) welford= X[i]", "the state of welford has 3 components"),
    # check_dtypes
    ("Y[i] over (i:8) = B[i]", "Y is f32 and the expression bf16"),
    ("H[i] over (i:8) = X[i]", "H is bf16 and the expression f32"),
    ("Y[0] over () = sum(i:8) I[i]", "Y is f32 and the expression i64"),
    ("Y[i] over (i:8) sum= I[i]", "Y is f32 and the expression i64"),
    ("Y[i] over (i:8) = X[i] + B[i]", "X[i] + B[i] joins f32 and bf16"),
    ("Y[i] over (i:8) = X[i] where X[i]", "the predicate is not bool"),
    ("Y[0] over () = any(i:8) X[i]", "any does not take f32"),
    ("Y[value(X[i])] over (i:8) = X[i]", "X[i] is f32 and used as an index"),
    # check_blocks
    ("block b: f32[i:8] b[i + 0] over (i:8) = X[i] Y[i] over (i:8) = b[7 - i]", "is indexed by 7 - i, not by its axis i"),
    ("block b: f32[i:8] b[j] over (j:8) = X[j]", "b[j] is indexed by j, not by its axis i"),
    ("block b: f32[i:8] for i in 0 .. 8 { b[i] over () = X[i] }", "the statement does not run over the axis i of b"),
    ("block b: f32[i:8] b[i] over (i:4) = X[i]", "axis i:4 is not the axis i:8 of b"),
    ("block b: f32[i:8 < 4] b[i] over (i:8) = X[i]", "axis i:8 is not the axis i:8 < 4 of b"),
    ("block b: f32[i:8 < 4] b[i] over (i:8 < 5) = X[i]", "axis i:8 < 5 is not the axis i:8 < 4 of b"),
    # check_points_distinct
    ("Y[i] over (i:8, j:8) = X[j]", "all points of j:8 write one element of Y"),
    ("block b: f32[] b[] over (i:8) = X[i]", "all points of i:8 write one element of b"),
    # check_instances_distinct
    ("parallel n in 0 .. 2 { Y[i] over (i:8) = X[i] }", "all instances of the parallel loop n write one element of Y"),
    ("parallel n in 0 .. 2 { Y[i] over (i:8) sum= X[i] }", "all instances of the parallel loop n write one element of Y"),
    ("parallel n in 0 .. 2 { parallel m in 0 .. 8 { Y[m] over () = X[n] } }", "all instances of the parallel loop n write"),
    ("parallel n in 0 .. 2 { for m in n .. 8 step 2 { Y[0] over () = X[m] } }", "all instances of the parallel loop n write"),
    ("parallel n in 0 .. 2 { for m in n .. 8 step 2 { Y[i] over (i:8) = X[i] } }", "all instances of the parallel loop n write"),
    ("parallel n in 0 .. 2 { for m in 0 .. 8 step 2 { Y[m] over () = X[n] } }", "all instances of the parallel loop n write"),
    # check_atomic
    ("parallel n in 0 .. 8 { Y[n] over () atomic = X[n] }", "an atomic assign does not merge into an argument"),
    ("block b: f32[] b[] over () = 0.0 b[] over () atomic sum= X[0] Y[0] over () = b[]", "an atomic assign does not merge into"),
    ("buffer b: f32[1] b[0] over () atomic sum= X[0]", "an atomic assign does not merge into an argument"),
    # check_bounds, whose own tests are in test_tile_bounds
    ("Y[i] over (i:8) = X[i + 1]", "X[i + 1] is outside: 8 is not in 0 .. 8, at i = 7"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_a_planted_fault_is_refused(body, message):
    with pytest.raises(VerifyError, match=re.escape(message)):
        check(body)


LAUNCHES = [(0, 0, True), (1, 1, True), (8, 4, True), (32, 1, True), (3, 2, False), (64, 2, False), (4, 0, False), (0, 2, False)]


@pytest.mark.parametrize(("warps", "stages", "legal"), LAUNCHES)
def test_warps_are_a_power_of_two_and_come_with_stages(warps, stages, legal):
    kernel = replace(make_kernel(ZERO_AT_I), warps=warps, stages=stages)
    if legal:
        check_kernel(kernel)
        return
    with pytest.raises(VerifyError, match=f"a kernel of {warps} warps and {stages} stages"):
        check_kernel(kernel)


def make_kernel(*body):
    shape = (as_index(8),)
    return Kernel("k", (Argument("Y", f32, shape, shape, "out"),), body)


ZERO_AT_I = Assign("Y", (as_index("i"),), (Axis("i", 8),), constant(0.0, f32))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (make_kernel(Assign("Y", (as_index(0),), (), constant(0.0, f32), "plus")), "there is no monoid 'plus'"),
        (make_kernel(Assign("Y", (as_index(0),), (), load("Y", 0), None, "sum", ())), "write both or none"),
        (make_kernel(Assign("Y", (as_index(0),), (), load("Y", 0), None, None, (Axis("i", 8),))), "write both or none"),
        (make_kernel(Buffer("b", f32, (4, -1))), "an extent of buffer b is -1"),
        (make_kernel(Loop("for", "n", as_index(8), (), step=-1)), "the step of loop n is -1"),
        (Kernel("k", (Argument("Y", f32, (as_index("N"),), (as_index(1),), "out"),), ()), "an extent of Y N uses N"),
        (Kernel("k", (Argument("Y", f32, (as_index(8),), (as_index("S"),), "out"),), ()), "a stride of Y S uses S"),
        (Kernel("k", (Argument("Y", f32, (as_index(8),), (), "out"),), ()), "Y has 1 extents and 0 strides"),
        (Kernel("k", make_kernel().arguments * 2, ()), "argument Y has the name of argument Y"),
        (make_kernel(Buffer("b c", f32, (4,))), "buffer 'b c' cannot be named so"),
        (make_kernel(Buffer("where", f32, (4,))), "buffer 'where' cannot be named so"),
        (Kernel("k", (), (), (Symbol("N", 3, 2),)), "N in 3..2 is no range of sizes"),
    ],
)
def test_what_cannot_be_written_as_text_is_refused(kernel, message):
    check_kernel(make_kernel(ZERO_AT_I))
    with pytest.raises(VerifyError, match=re.escape(message)):
        check_kernel(kernel)


def test_symbols_are_in_scope():
    check("Y[i] over (i:8 < N) = X[i]", symbols=" for N in 1..")
    with pytest.raises(VerifyError, match="argument X has the name of symbol X"):
        check("Y[i] over (i:8) = X[i]", symbols=" for X in 1..")


def test_a_prefetch_names_an_argument_with_all_its_indices():
    text = """kernel k(in X: f32[8, 8], out Y: f32[8]) {{
      for i in 0 .. 8 {{
        prefetch {hint}
        Y[i] over () = X[i, 0]
      }}
    }}"""
    check_kernel(parse_kernel(text.format(hint="X[i + 100, 3]")))
    with pytest.raises(VerifyError, match="with 1 indices"):
        check_kernel(parse_kernel(text.format(hint="X[i]")))
    with pytest.raises(VerifyError, match="uses j"):
        check_kernel(parse_kernel(text.format(hint="X[j, 0]")))
