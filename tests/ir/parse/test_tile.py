"""Tile programs parse back from their text; what is no tile program is refused where it goes wrong."""

import textwrap
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_strategies import NAMES, TENSORS, expressions, indices
from tile_programs import NAMES as GOLDEN_NAMES
from tile_programs import read_kernel

from tcomp.ir import tile
from tcomp.ir.cascade import Symbol
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.errors import ParseError
from tcomp.ir.expressions import as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Argument, Assign, Axis, Block, Buffer, Kernel, Loop, contiguous_strides

DTYPE = st.sampled_from(list(DTYPES.values()))
INDEX = indices(st.integers(-5, 5).map(as_index) | NAMES.map(as_index))
SHAPE = st.lists(INDEX, max_size=3).map(tuple)
AXES = st.lists(st.builds(Axis, NAMES, st.integers(1, 64), st.none() | INDEX), max_size=3).map(tuple)
PLACES = TENSORS | st.sampled_from(["block", "for", "buffer", "parallel", "atomic", "warps"])


def arguments():
    def build(name, dtype, shape, strides, role):
        return Argument(name, dtype, shape, contiguous_strides(shape) if strides is None else strides, role)

    return st.builds(build, PLACES, DTYPE, SHAPE, st.none() | SHAPE, st.sampled_from(["in", "out", "inout"]))


def assigns():
    monoids = st.sampled_from(list(MONOIDS))
    # Axes reduced by nothing, or a monoid over no axes, have no text: the verifier refuses them.
    reductions = st.just((None, ())) | st.tuples(monoids, AXES.filter(bool))

    def build(target, index, axes, expression, merge, reduction, where, is_atomic):
        return Assign(target, index, axes, expression, merge, *reduction, where, is_atomic)

    optional = st.none() | expressions()
    return st.builds(build, PLACES, SHAPE, AXES, expressions(), st.none() | monoids, reductions, optional, st.booleans())


def bodies():
    simple = st.one_of(
        assigns(),
        st.builds(Buffer, PLACES, DTYPE, st.lists(st.integers(1, 99), max_size=3).map(tuple)),
        st.builds(Block, PLACES, DTYPE, AXES),
    )

    def nest(inner):
        body = st.lists(inner, max_size=3).map(tuple)
        return st.builds(Loop, st.sampled_from(["for", "parallel"]), NAMES, INDEX, body, INDEX, st.integers(1, 32))

    return st.lists(st.recursive(simple, nest, max_leaves=4), max_size=3).map(tuple)


def kernels():
    symbols = st.builds(Symbol, NAMES, st.integers(0, 9), st.none() | st.integers(9, 99))
    listed = [st.lists(items, max_size=2).map(tuple) for items in (arguments(), symbols)]
    launch = st.just((0, 0)) | st.tuples(st.integers(1, 64), st.integers(0, 9))
    made = st.builds(Kernel, TENSORS, listed[0], bodies(), listed[1])
    return st.builds(lambda kernel, pair: replace(kernel, warps=pair[0], stages=pair[1]), made, launch)


@given(kernels())
@settings(deadline=None)
def test_random_programs_parse_back(kernel):
    text = str(kernel)
    assert parse_kernel(text) == kernel
    assert str(parse_kernel(text)) == text


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_programs_written_by_hand_are_their_own_printed_form(name, golden):
    golden.check(name, str(read_kernel(name)))


def test_the_grammars_example_is_its_own_printed_form():
    example = textwrap.dedent(tile.__doc__[tile.__doc__.index("    kernel linear") :]).strip()
    assert str(parse_kernel(example)) == example
    check_kernel(parse_kernel(example))


def test_warps_stages_and_atomic_merges_have_a_text():
    text = """\
kernel k(in X: f32[8], inout Y: f32[1]) for N in 1..8 warps 4 stages 3 {
  parallel n in 0 .. N {
    Y[0] over () atomic sum= X[n]
  }
}"""
    kernel = parse_kernel(text)
    check_kernel(kernel)
    assert str(kernel) == text
    assert (kernel.warps, kernel.stages) == (4, 3)
    assert kernel != parse_kernel(text.replace("stages 3", "stages 2"))
    assert kernel != parse_kernel(text.replace("atomic ", ""))
    assert parse_kernel("kernel k() {}").warps == 0


def test_contiguous_strides_are_left_out():
    assert str(parse_kernel("kernel k(in X: f32[2, N] strides (N, 1)) for N in 1.. {}")).startswith("kernel k(in X: f32[2, N]) for")


def test_literals_with_a_dtype_are_no_reduction():
    text = "kernel k(out Y: f64[1]) {\n  Y[i] over (i:1) = exp(inf:f64)\n}"
    assert str(parse_kernel(text)) == text


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("cascade k() {}", "expected 'kernel'", 1, 1),
        ("kernel k(X: f32[8]) {}", "expected an argument, found 'X'", 1, 10),
        ("kernel k(in X f32[8]) {}", "expected ':', found 'f32'", 1, 15),
        ("kernel k(in X: f33[8]) {}", "there is no dtype 'f33'", 1, 16),
        ("kernel k(in X: f32[8] out Y: f32[8]) {}", "expected ',', found 'out'", 1, 23),
        ("kernel k(in X: f32[8]) {", "expected a statement, found the end of the text", 1, 25),
        ("kernel k() {} {}", "unexpected '{' after the end", 1, 15),
        ("kernel k() warps {}", "expected the number of warps, found '{'", 1, 18),
        ("kernel k() warps 4 {}", "expected 'stages', found '{'", 1, 20),
        ("kernel k() warps 4 stages {}", "expected the number of stages, found '{'", 1, 27),
        ("kernel k() stages 4 warps 4 {}", "expected '{', found 'stages'", 1, 12),
        ("kernel k() {\n  Y[i] over (i:8) atomic 0.0\n}", "there is no monoid '0.0'", 2, 26),
        ("kernel k() {\n  Y[i] over (i:8) sum atomic= 0.0\n}", "expected '=', found 'atomic'", 2, 23),
        ("kernel k() {\n  for n = 0 .. 8 {}\n}", "expected 'in', found '='", 2, 9),
        ("kernel k() {\n  for n in 0 .. 8 step m {}\n}", "expected a step, found 'm'", 2, 24),
        ("kernel k() {\n  buffer b: f32[N]\n}", "expected a buffer's extent, found 'N'", 2, 17),
        ("kernel k() {\n  block b: f32[i]\n}", "expected ':', found ']'", 2, 17),
        ("kernel k() {\n  block b: f32[i:N]\n}", "expected the size of an axis, found 'N'", 2, 18),
        ("kernel k() {\n  Y[i] = 0.0\n}", "expected 'over', found '='", 2, 8),
        ("kernel k() {\n  Y[i] over (i:8) 0.0\n}", "there is no monoid '0.0'", 2, 19),
        ("kernel k() {\n  Y[i] over (i:8) sun= 0.0\n}", "there is no monoid 'sun'", 2, 19),
        ("kernel k() {\n  Y[i] over (i:8) = summ(j:8) X[j]\n}", "there is no monoid 'summ'", 2, 21),
        ("kernel k() {\n  Y[i] over (i:8) = X[i] +\n}", "expected an expression, found '}'", 3, 1),
        ("kernel k() {\n  Y[i] over (i:8) = X[i] where\n}", "expected an expression, found '}'", 3, 1),
    ],
)
def test_errors_say_where(text, message, line, column):
    with pytest.raises(ParseError) as caught:
        parse_kernel(text)
    assert message in caught.value.what
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_misspelt_monoid_is_corrected():
    with pytest.raises(ParseError, match=r"did you mean sum\?"):
        parse_kernel("kernel k() { Y[i] over (i:8) summ= 0.0 }")
