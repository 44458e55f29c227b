"""Tensors that live together never share memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import as_index
from tcomp.passes.plan.greedy import place_tensors
from tcomp.passes.plan.lifetimes import ALIGNMENT, Lifetime, align

SIZES = st.integers(0, 1000).map(as_index) | st.integers(1, 9).map(lambda n: as_index("N") * n) | st.just(as_index("N") * as_index("M"))


@st.composite
def lifetimes(draw):
    found = []
    for position in range(draw(st.integers(0, 12))):
        first = draw(st.integers(0, 10))
        found.append(Lifetime(f"t{position}", draw(SIZES), first, first + draw(st.integers(0, 5))))
    return tuple(found)


@given(lifetimes(), st.integers(1, 40), st.integers(1, 40))
def test_live_tensors_are_disjoint_and_inside_the_arena(tensors, n, m):
    symbols = {"N": n, "M": m}
    offsets, arena = place_tensors(tensors)
    assert set(offsets) == {t.name for t in tensors}
    ranges = {}
    for tensor in tensors:
        start = extent_value(offsets[tensor.name], symbols)
        ranges[tensor.name] = start, start + extent_value(tensor.size, symbols)
        assert start % ALIGNMENT == 0
        assert start >= 0 and ranges[tensor.name][1] <= extent_value(arena, symbols)
    for a in tensors:
        for b in tensors:
            if a is not b and a.first <= b.last and b.first <= a.last and ranges[a.name][0] < ranges[b.name][1]:
                assert ranges[b.name][0] >= ranges[a.name][1] or ranges[b.name][0] == ranges[b.name][1]


def place(*tensors):
    offsets, arena = place_tensors(tuple(Lifetime(name, as_index(size), *life) for name, size, life in tensors))
    return {name: str(offset) for name, offset in offsets.items()}, str(arena)


@pytest.mark.parametrize(
    ("tensors", "offsets", "arena"),
    [
        ((), {}, "0"),
        ((("a", 100, (0, 1)),), {"a": "0"}, "128"),
        ((("a", 64, (0, 1)), ("b", 64, (1, 2)), ("c", 64, (2, 3))), {"a": "0", "b": "64", "c": "0"}, "128"),
        ((("a", 64, (0, 0)), ("b", 256, (1, 1))), {"a": "0", "b": "0"}, "256"),
        # A small tensor goes into the hole between two large ones.
        ((("a", 256, (0, 9)), ("b", 128, (0, 1)), ("c", 128, (0, 9)), ("d", 64, (2, 9))), None, "512"),
    ],
)
def test_small_examples(tensors, offsets, arena):
    got, total = place(*tensors)
    assert total == arena
    if offsets is not None:
        assert got == offsets


def test_symbolic_tensors_of_one_size_take_turns():
    size = as_index("N") * 4
    tensors = (Lifetime("a", size, 0, 1), Lifetime("b", size, 1, 2), Lifetime("c", size, 2, 3))
    offsets, arena = place_tensors(tensors)
    assert offsets["a"] == offsets["c"] != offsets["b"]
    assert extent_value(arena, {"N": 17}) == 2 * align(68)


def test_alignment():
    assert [align(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]
