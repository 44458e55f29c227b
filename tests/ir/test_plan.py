"""Plans parse back from their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_strategies import NAMES, TENSORS, indices

from tcomp.ir.cascade import Symbol
from tcomp.ir.errors import ParseError
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.plan import ARENA, Place, Plan, Step

OFFSETS = indices(st.integers(-4096, 4096).map(as_index) | NAMES.map(as_index))
STEPS = st.builds(Step, TENSORS, st.lists(st.builds(Place, TENSORS | st.just(ARENA), OFFSETS), max_size=3).map(tuple))


@given(
    st.builds(
        Plan,
        st.lists(TENSORS, max_size=3).map(tuple),
        OFFSETS,
        st.lists(STEPS, max_size=3).map(tuple),
        st.lists(st.builds(Symbol, NAMES, st.integers(0, 9), st.none() | st.integers(9, 99)), max_size=2).map(tuple),
    )
)
def test_random_plans_parse_back(plan):
    assert parse_plan(str(plan)) == plan


def test_a_plan_reads_like_calls_over_addresses():
    text = """\
plan (X, W, Y) arena 256*N + 4096 for N in 1..128 {
  linear(X + 0, W + 3072, arena + 4096)
  softmax(arena + 4096, Y + 64*N)
}"""
    plan = parse_plan(text)
    assert str(plan) == text
    assert plan.steps[1].places[0] == Place(ARENA, as_index(4096))
    assert plan.symbols == (Symbol("N", 1, 128),)


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("kernel k() {}", "expected 'plan'", 1, 1),
        ("plan X arena 0 {}", "expected '(', found 'X'", 1, 6),
        ("plan (X) 4096 {}", "expected 'arena', found '4096'", 1, 10),
        ("plan (X) arena {}", "expected an index, found '{'", 1, 16),
        ("plan (X) arena 0 {\n  k(X)\n}", "expected '+', found ')'", 2, 6),
        ("plan (X) arena 0 {\n  k(4)\n}", "expected an external tensor or arena, found '4'", 2, 5),
        ("plan (X) arena 0 {\n  k(X + 0)", "expected a kernel, found the end of the text", 2, 11),
        ("plan (X) arena 0 {} {}", "unexpected '{' after the end", 1, 21),
    ],
)
def test_errors_say_where(text, message, line, column):
    with pytest.raises(ParseError) as caught:
        parse_plan(text)
    assert message in caught.value.what
    assert (caught.value.line, caught.value.column) == (line, column)
