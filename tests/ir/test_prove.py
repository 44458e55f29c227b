"""What is proved holds at every point; what kernels and plans need is proved."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.cascade import Symbol
from tcomp.ir.check.tile_bounds import evaluate_at
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_index
from tcomp.ir.prove import Ends, Prover, symbol_ends

BOX = {"a": (0, 3), "b": (1, 4), "c": (-2, 2)}


def box(table):
    return tuple(Ends(name, as_index(low), (as_index(high),)) for name, (low, high) in table.items())


@st.composite
def indices(draw, depth=2):
    total = as_index(draw(st.integers(-8, 12)))
    for _ in range(draw(st.integers(0, 3))):
        factor = as_index(draw(st.integers(-4, 4)))
        for _ in range(draw(st.integers(1, 2))):
            atom = as_index(draw(st.sampled_from(sorted(BOX))))
            if depth and draw(st.booleans()):
                divisor = draw(st.integers(1, 5).map(as_index) | st.just(as_index("b")))
                atom = draw(indices(depth=depth - 1))
                atom = atom // divisor if draw(st.booleans()) else atom % divisor
            factor = factor * atom
        total = total + factor
    return total


@given(indices())
def test_what_is_proved_holds_at_every_point(index):
    points = itertools.product(*(range(low, high + 1) for low, high in BOX.values()))
    lowest = min(evaluate_at(index, dict(zip(BOX, point))) for point in points)
    assert lowest >= 0 or not Prover(box(BOX)).is_never_negative(index)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(-3, 3))
def test_a_tile_with_a_limit_is_decided_exactly(extent, tile, beyond):
    ends = (
        Ends("o", as_index(0), (as_index(-(-extent // tile) - 1),)),
        Ends("i", as_index(0), (extent - 1 - tile * as_index("o"), as_index(tile - 1))),
    )
    slack = extent + beyond - 1 - (tile * as_index("o") + as_index("i"))
    assert Prover(ends).is_never_negative(slack) == (beyond >= 0)


SYMBOLS = symbol_ends((Symbol("N", 1, None), Symbol("M", 2, None), Symbol("K", 0, 7)))
TILED = (
    *SYMBOLS,
    Ends("o", as_index(0), (parse_index("(N + 31) // 32 - 1"),)),
    Ends("i", as_index(0), (parse_index("N - 1 - 32*o"), as_index(31))),
    Ends("j", as_index(0), (parse_index("N*M - 1"),)),
)


@pytest.mark.parametrize(
    "text",
    [
        "N - 1",
        "7 - K",
        "N*M - N",
        "N*M - N - M + 1",
        "N*N - N",
        "N - 1 - 32*o - i",
        "32*((N + 31) // 32) - 1 - 32*o - i",
        "N - 1 - j // M",
        "M - 1 - j % M",
        "64*((256*N + 63) // 64) - 256*N",
        "64*((256*N + 63) // 64) + 64*((12*N*M + 63) // 64) - 12*N*M",
        "64*((8192*((N + 31) // 32) + 63) // 64) - 8192*((N + 31) // 32)",
        "(M // 2)*(N // 2)",
        "63 - 16*(i // 8) - i % 8",
    ],
)
def test_what_kernels_and_plans_need_is_proved(text):
    assert Prover(TILED).is_never_negative(parse_index(text))


@pytest.mark.parametrize(
    "text",
    ["N - 2", "6 - K", "N*M - 2*N - 1", "N - 2 - 32*o - i", "N - 2 - j // M", "64*((256*N + 63) // 64) - 256*N - 1", "X[i]", "u", "0 - N"],
)
def test_what_is_wrong_or_unknown_is_not_proved(text):
    assert not Prover(TILED).is_never_negative(parse_index(text))
