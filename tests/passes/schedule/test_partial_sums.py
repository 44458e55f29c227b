"""Long sums are cut into even parts: where, and that every step is in one of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.tile_bounds import evaluate_at
from tcomp.ir.expressions import as_index
from tcomp.ir.tile import Loop, walk_statements
from tcomp.passes.lower.partial_sums import nest_parts
from tcomp.passes.schedule.partial_sums import find_part
from tests.passes.schedule.test_cpu import only


def loops(*trips):
    return [(name, as_index(count)) for name, count in zip("abc", trips)]


@pytest.mark.parametrize(
    ("trips", "part"),
    [
        ((96,), None),
        ((97,), ("a", 16)),
        ((1000, 3), ("a", 5)),
        ((1000, 16), ("a", 1)),
        ((2, 1000), ("b", 16)),
        ((4, 5, 4), None),
        ((1000, "N"), ("b", 16)),
        (("N", 4), ("a", 4)),
    ],
)
def test_where_sums_are_cut(trips, part):
    assert find_part(loops(*trips), 16, 96) == part


@pytest.mark.parametrize(
    ("body", "inputs", "partial"),
    [
        ("Z: f32[p:64] = sum(m:256) X[m, p]", "X: f32[256, 64]", (("m", 16),)),
        ("Z: f32[p:64] = sum(m:64) X[m, p]", "X: f32[64, 64]", ()),
        ("Z: f32[p:2] = sum(m:128) X[p, m]", "X: f32[2, 128]", (("m", 1),)),
        ("Z: f32[p:2] = sum(m:8192) X[p, m]", "X: f32[2, 8192]", (("m", 4),)),
        ("Z: f32[p:2] = max(m:8192) X[p, m]", "X: f32[2, 8192]", ()),
        ("Z: i64[p:2] = sum(m:8192) X[p, m]", "X: i64[2, 8192]", ()),
    ],
)
def test_what_the_schedule_says(body, inputs, partial):
    assert only(body, inputs=inputs).partial == partial


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 70))
def test_parts_are_even_and_cover_the_loop(trips, steps):
    (outer,) = nest_parts("k", as_index(trips), steps, ((), (), ()))
    (inner,) = [s for s in walk_statements(outer.body) if isinstance(s, Loop)]
    seen = []
    lengths = set()
    for number in range(outer.stop.constant):
        first, last = (evaluate_at(i, {"k.part": number}) for i in (inner.start, inner.stop))
        seen += range(first, last)
        lengths.add(last - first)
    assert seen == list(range(trips))
    assert max(lengths) <= steps and max(lengths) - min(lengths) <= 1
