"""Tensors that live together never share memory, however they are placed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import as_index
from tcomp.passes.plan.greedy import place_tensors, try_placements
from tcomp.passes.plan.lifetimes import ALIGNMENT, Lifetime, align, live_bytes

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
    tried = list(try_placements(tensors))
    assert tried[0] == place_tensors(tensors)
    for offsets, arena in tried:
        check_disjoint(tensors, offsets, arena, {"N": n, "M": m})


def check_disjoint(tensors, offsets, arena, symbols):
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


@given(lifetimes())
def test_no_placement_takes_less_than_what_is_alive_at_once(tensors):
    static = tuple(t for t in tensors if t.size.is_constant)
    alive = max(live_bytes(static, 16), default=0)
    assert all(arena.constant >= alive for _, arena in try_placements(static))


def read_lives(text):
    """Tensors of so many units of 64 bytes, alive from one step to another: `3:0-1 2:1-4`."""
    parts = [(size, *life.split("-")) for size, life in (part.split(":") for part in text.split())]
    return tuple(Lifetime(f"t{n}", as_index(64 * int(size)), int(first), int(last)) for n, (size, first, last) in enumerate(parts))


@pytest.mark.parametrize(
    ("lives", "by_size", "best"),
    [
        pytest.param("4:0-1 4:1-3 2:2-2 3:2-5", 10, (9, 1), id="alive where most is"),
        pytest.param("4:2-4 4:1-3 3:4-6 4:5-6", 11, (8, 2), id="of most bytes times steps"),
        pytest.param("3:4-6 3:1-2 2:3-4 1:0-3", 6, (5, 3), id="of the longest life"),
        pytest.param("5:5-5 4:2-4 2:3-6 5:1-2", 11, (9, 4), id="the earliest"),
        pytest.param("2:3-4 4:5-6 3:0-3 2:2-5", 8, (7, 5), id="that lay highest"),
        pytest.param("4:0-1 4:1-2 3:4-5 2:0-2 2:0-3 5:3-6 3:2-4", 15, (12, 9), id="that lay highest, five times over"),
    ],
)
def test_other_placements_take_less_where_the_first_leaves_holes(lives, by_size, best):
    """What goes first in the placement that takes least, and how much that is, in units, and which placement it is."""
    tried = [arena.constant // 64 for _, arena in try_placements(read_lives(lives))]
    assert tried[0] == by_size
    assert (min(tried), tried.index(min(tried))) == best


def test_symbolic_tensors_of_one_size_take_turns():
    size = as_index("N") * 4
    tensors = (Lifetime("a", size, 0, 1), Lifetime("b", size, 1, 2), Lifetime("c", size, 2, 3))
    offsets, arena = place_tensors(tensors)
    assert offsets["a"] == offsets["c"] != offsets["b"]
    assert extent_value(arena, {"N": 17}) == 2 * align(68)


def test_alignment():
    assert [align(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]
