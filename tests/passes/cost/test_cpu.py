"""Register tiles: they fit, cover, and balance loads against multiply-adds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.cascade import Rank
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cost.cpu import (
    FMA_LATENCY,
    PANEL_CYCLES,
    choose_tile,
    fits_registers,
    lane_tile,
    partial_sum_tile,
    row_extent,
    step_cycles,
    sweep_cycles,
)
from tcomp.passes.cost.sizes import UNKNOWN_EXTENT, typical
from tcomp.passes.einsums.contraction import find_contraction
from tests.program_runner import small_target


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([4, 8, 16]))
def test_a_tile_fits_registers_and_extents(rows, lanes, width):
    target = small_target()
    height, vectors = choose_tile(rows, lanes, width, target)
    assert 1 <= height <= rows
    assert 1 <= vectors <= -(-lanes // width)
    assert fits_registers(height, vectors, target)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.integers(1, 4))
def test_a_sweep_takes_at_least_the_multiply_adds(row_count, vector_count, rows, vectors):
    assert sweep_cycles(rows, vectors, row_count, vector_count) >= row_count * vector_count / 2


def test_one_accumulator_waits_for_itself():
    assert step_cycles(1, 1) == FMA_LATENCY + PANEL_CYCLES
    assert step_cycles(6, 2) == 6 + 2 * PANEL_CYCLES


def test_a_given_width_is_kept_even_if_nothing_fits():
    assert choose_tile(8, 64, 4, small_target(), vectors=40) == (1, 40)


def test_a_tile_that_divides_is_preferred():
    height, _ = choose_tile(12, 1024, 4, small_target())
    assert 12 % height == 0


@pytest.mark.parametrize(
    ("extent", "size"),
    [("5", 5), ("N", UNKNOWN_EXTENT)],
)
def test_typical(extent, size):
    assert typical(as_index(int(extent) if extent.isdecimal() else extent)) == size


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("Y: f32[a:3, m:5, n:8] = sum(k:4) X[a, m, k] * W[k, n]", 15),
        ("Y: f32[a:3, m:5, n:8] = sum(k:4) X[a, 4 - m, k] * W[k, n]", 5),
        ("Y: f32[m:5, n:8] = sum(k:4) X[0, m, k] * W[k, n]", 5),
        ("Y: f32[n:8] = sum(k:4) X[0, 0, k] * W[k, n]", 1),
    ],
)
def test_rows_of_a_tile(statement, rows):
    (einsum,) = parse_cascade(f"cascade c(X: f32[3, 5, 4], W: f32[4, 8]) -> (Y) {{ {statement} }}").statements
    contraction = find_contraction(einsum, {})
    assert contraction is not None
    assert contraction.lanes == Rank("n", as_index(8))
    assert row_extent(contraction) == rows
    assert lane_tile(contraction, einsum, small_target()) in (4, 8)


@pytest.mark.parametrize(
    ("extents", "tile"),
    [
        ((("k", 64),), None),
        ((("k", 768),), ("k", 128)),
        ((("k", 1376),), ("k", 86)),
        ((("r", 3), ("s", 3), ("c", 64)), ("s", 1)),
        ((("r", 7), ("s", 7), ("c", 3)), None),
        ((("r", 7), ("s", 7), ("c", 16)), ("r", 1)),
        ((("k", 1009),), None),
    ],
)
def test_long_sums_are_cut_where_they_divide(extents, tile):
    assert partial_sum_tile(tuple(Rank(name, as_index(extent)) for name, extent in extents)) == tile
