"""Indices in Triton: in which width they are computed, how they are split, and what stands before loops."""

import pytest

from tcomp.codegen.names import Names
from tcomp.codegen.triton.index import IndexWriter, Space, is_narrow
from tcomp.codegen.triton.printer import print_triton, print_triton_expression
from tcomp.codegen.triton.scope import State
from tcomp.codegen.triton.tree import Name
from tcomp.codegen.triton.types import Value
from tcomp.ir.dtypes import i32, i64
from tcomp.ir.expressions import as_index
from tcomp.ir.index import Bounds
from tcomp.ir.parse.cascade import parse_index as parse
from tcomp.ir.tile import Loop

SYMBOLS = {"N": (0, 1000), "B": (0, None)}
SPACE = Space((("m", 16), ("n", 32)))


def writer(space=SPACE):
    bounds = Bounds({name: as_index(size) for name, size in space.axes}, SYMBOLS)
    state = State(Names(), bounds, {}, {})
    state.variables = {"N": Value(Name("N"), i32), "B": Value(Name("B"), i64)}
    return state, IndexWriter(state, space, bounds, lambda expression: pytest.fail("no values here"))


def spelled(value):
    return "" if value is None else print_triton_expression(value.code)


@pytest.mark.parametrize(
    ("text", "scalar", "tensor"),
    [
        ("m", "", "m[:, None]"), ("n + 3", "3", "n[None, :]"), ("7", "7", ""), ("2*m - 5*n + N", "N", "m[:, None] * 2 - n[None, :] * 5"),
        ("N*m", "", "N * m[:, None]"), ("20 - m", "20", "0 - m[:, None]"), ("45 - N", "45 - N", ""), ("3*N - 4", "N * 3 - 4", ""),
        ("m // 3 + n % 5", "", "quotient_1 + rest_1"), ("N // 3", "N_quotient", ""),
    ],
)  # fmt: skip
def test_an_index_is_a_scalar_and_a_tensor(text, scalar, tensor):
    _, index = writer()
    found = index.split(parse(text))
    assert (spelled(found[0]).replace("quotient_1", "N_quotient"), spelled(found[1])) == (scalar, tensor)


@pytest.mark.parametrize(
    ("text", "narrow"),
    [
        ("m + n", True), ("100000000*m", True), ("1000000000*m", False), ("N*m", True), ("B", False), ("10000*N*n", True),
        ("100000*N*n", False), ("(1000000000*m) // 99", False), ("2147483647", True), ("2147483648", False),
        ("2000000000*m - 2000000000*m", True),
    ],
)  # fmt: skip
def test_32_bits_are_taken_where_they_suffice(text, narrow):
    _, index = writer()
    assert is_narrow(parse(text), index.bounds) is narrow
    assert index.value(parse(text)).dtype == (i32 if narrow else i64)


def test_wide_parts_are_widened_before_they_are_multiplied():
    _, index = writer()
    assert spelled(index.value(parse("1000000000*m"))) == "m[:, None].to(tl.int64) * 1000000000"
    assert spelled(index.value(parse("B*m"))) == "B * m[:, None].to(tl.int64)"
    assert spelled(index.value(parse("10000000*N"))) == "tl.cast(N, tl.int64) * 10000000"


def test_division_rounds_down_also_below_zero():
    state, index = writer()
    index.value(parse("(m - 3) // 4 + (n - N) % 5 + m // 4"))
    text = print_triton(tuple(state.body.statements))
    assert "floor_divide(m[:, None] - 3, 4)" in text.replace("place_1", "m[:, None] - 3")
    assert "remainder(" in text and "// 4" in text


def test_parts_stand_in_the_outermost_body_in_which_they_do_not_change():
    state, index = writer()
    with state.enter(Loop("for", "k", as_index(9), ()), Value(Name("k"), i32), runs=True):
        index = IndexWriter(state, SPACE, Bounds({**state.bounds.extents, **index.bounds.extents}, SYMBOLS), index.evaluate)
        value = index.value(parse("3*m + n + 7*k + k*m"))
        again = index.value(parse("3*m + n"))
        assert value.depth == 1 and again.depth == 0
        assert spelled(again) == "offset_1" and spelled(value) == "offset_1 + k * m[:, None] + k * 7"
        assert not state.body.statements
    assert [s.name for s in state.body.statements] == ["m", "n", "offset_1"]


def test_steps_of_loops_over_constant_ranges_are_known():
    state, index = writer()
    with state.enter(Loop("for", "k", as_index(64), (), step=16), Value(Name("k"), i32), runs=True):
        inside = IndexWriter(state, SPACE, Bounds({**state.bounds.extents, "m": as_index(16)}, SYMBOLS), index.evaluate)
        assert inside.is_inside(parse("k + m"), as_index(64)) and not inside.is_inside(parse("k + m + 1"), as_index(64))
        assert inside.is_natural(parse("k - 0")) and not inside.is_natural(parse("k - 1"))
        assert inside.is_below(parse("k"), as_index(49)) and not inside.is_below(parse("k"), as_index(48))
    with state.enter(Loop("for", "k", as_index(50), (), step=16), Value(Name("k"), i32), runs=True):
        inside = IndexWriter(state, SPACE, Bounds({**state.bounds.extents, "m": as_index(16)}, SYMBOLS), index.evaluate)
        assert not inside.is_inside(parse("k + m"), as_index(50))
