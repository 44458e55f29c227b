"""Tiles of contractions on a GPU: they fit the machine for any problem, and estimates are in the order that they must be in."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tcomp.ir.dtypes import DTYPES, bf16, f32
from tcomp.ir.target import Gpu
from tcomp.passes.cost import gpu as tiles_gpu
from tcomp.passes.cost.gpu import (
    ACCUMULATORS,
    GROUP,
    MOST_ALIKE,
    MOST_CANDIDATES,
    SMALLEST_SIDE,
    SPLIT_ACCUMULATORS,
    VECTOR_PRODUCTS,
    WARP,
    Problem,
    Tile,
    choose_tiles,
    count_tiles,
    cycles,
    group_of,
    instances_at_once,
    power_above,
    shared_bytes,
)
from tests.gpu_groups import HOPPER, SMALL

OLD = Gpu("old", 75, 40, 65536, 65536, 4 << 20, "triton")
TARGETS = st.sampled_from([HOPPER, SMALL, OLD])
SIZES = st.integers(1, 40) | st.sampled_from([64, 100, 128, 500, 1024, 4096, 50257])
PROBLEMS = st.builds(
    Problem,
    SIZES,
    SIZES,
    SIZES,
    st.integers(1, 300),
    st.integers(1, 9),
    st.sampled_from(list(DTYPES.values())),
    st.booleans(),
)
FALLBACK = Tile(16, 16, 16, 4, 2)


def is_vector(tile):
    """Whether a tile is one row or one column, which tensor cores have nothing to do for."""
    return 1 in (tile.rows, tile.lanes)


@given(PROBLEMS, TARGETS)
def test_there_are_candidates_and_they_are_always_the_same(problem, target):
    tiles = choose_tiles(problem, target)
    assert 1 <= len(tiles) <= MOST_CANDIDATES
    assert len(set(tiles)) == len(tiles)
    assert all(sum((t.rows, t.lanes) == (tile.rows, tile.lanes) for t in tiles) <= MOST_ALIKE for tile in tiles)
    assert choose_tiles(replace(problem), target) == tiles


@settings(max_examples=300)
@given(PROBLEMS, TARGETS)
def test_tiles_fit_shared_memory_and_registers(problem, target):
    for tile in choose_tiles(problem, target):
        threads = tile.warps * WARP
        results = tile.rows * tile.lanes / threads
        if is_vector(tile):
            assert results * tile.depth <= VECTOR_PRODUCTS
            continue
        assert shared_bytes(tile, problem) <= target.shared
        assert results <= (SPLIT_ACCUMULATORS if problem.operand.bits >= 32 else ACCUMULATORS)
        # Every warp has a product of tensor cores to compute.
        assert tile == FALLBACK or (tile.rows // 16) * (tile.lanes // 8) >= tile.warps


@given(PROBLEMS, TARGETS)
def test_tiles_are_powers_of_two_and_not_mostly_empty(problem, target):
    for tile in choose_tiles(problem, target):
        for side, extent in ((tile.rows, problem.rows), (tile.lanes, problem.lanes)):
            assert side == power_above(side) <= max(SMALLEST_SIDE, power_above(extent))
        assert tile.depth == power_above(tile.depth)
        assert tile.stages >= 1
        assert tile.warps in (1, 2, 4, 8, 16, 32)


@given(PROBLEMS, TARGETS)
def test_a_single_row_or_column_is_no_tile_for_tensor_cores(problem, target):
    for tile in choose_tiles(problem, target):
        if tile != FALLBACK:
            assert (tile.rows == 1, tile.lanes == 1) == (problem.rows == 1, problem.lanes == 1)


@given(PROBLEMS, TARGETS)
def test_the_best_comes_first(problem, target):
    estimates = [cycles(tile, problem, target) for tile in choose_tiles(problem, target)]
    assert estimates == sorted(estimates)


@given(PROBLEMS, TARGETS, st.sampled_from(["rows", "lanes", "depth", "batch", "steps"]), st.integers(1, 5))
def test_more_work_is_never_estimated_to_take_less(problem, target, field, factor):
    more = replace(problem, **{field: getattr(problem, field) * factor})
    for tile in choose_tiles(problem, target):
        assert cycles(tile, more, target) >= cycles(tile, problem, target) > 0


@given(PROBLEMS, st.sampled_from([HOPPER, SMALL, OLD]))
def test_more_multiprocessors_never_take_longer(problem, target):
    twice = replace(target, multiprocessors=2 * target.multiprocessors)
    for tile in choose_tiles(problem, target):
        if instances_at_once(tile, problem, target) == 1:
            assert cycles(tile, problem, twice) <= cycles(tile, problem, target)


@given(PROBLEMS, TARGETS)
def test_instances_that_share_a_multiprocessor_fit_it(problem, target):
    for tile in choose_tiles(problem, target):
        together = instances_at_once(tile, problem, target)
        assert together >= 1
        if together > 1:
            assert together * shared_bytes(tile, problem) <= target.shared
            assert together * tile.warps * WARP * 64 <= target.registers


@given(PROBLEMS, TARGETS)
def test_tiles_cover_all_results(problem, target):
    for tile in choose_tiles(problem, target):
        count = count_tiles(problem, tile)
        assert count * tile.rows * tile.lanes >= problem.rows * problem.lanes * problem.batch
        assert count % problem.batch == 0


@given(PROBLEMS, TARGETS)
def test_a_group_divides_the_tiles_of_rows(problem, target):
    for tile in choose_tiles(problem, target):
        group = group_of(problem, tile)
        rows, lanes = -(-problem.rows // tile.rows), -(-problem.lanes // tile.lanes)
        if rows == 1 or lanes == 1:
            assert group == 0
        else:
            assert 0 <= group <= GROUP and group != 1
            assert group == 0 or rows % group == 0


@pytest.mark.parametrize(
    ("rows", "lanes", "group"),
    [(128 * 16, 512, 8), (128 * 12, 512, 6), (128 * 7, 512, 7), (128 * 11, 512, 0), (128, 512, 0), (128 * 16, 100, 0), (1000, 512, 8)],
)
def test_groups(rows, lanes, group):
    assert group_of(Problem(rows, lanes, 64, 1, 1, bf16), Tile(128, 128, 64, 8, 3)) == group


@given(st.sampled_from([Tile(128, 128, 64, 8, 3), Tile(64, 64, 32, 4, 4), Tile(64, 256, 64, 8, 3)]), st.integers(1, 4))
def test_the_last_wave_takes_as_long_as_the_others(tile, waves):
    """One tile more than whole waves of them costs what a whole wave more does, and less than a wave as much as a whole one."""
    one = Problem(tile.rows, tile.lanes, 4096, 1, 1, bf16)
    full = HOPPER.multiprocessors * instances_at_once(tile, one, HOPPER)

    def estimate(count):
        return cycles(tile, replace(one, batch=count), HOPPER)

    assert estimate(waves * full) < estimate(waves * full + 1) == pytest.approx(estimate((waves + 1) * full))
    assert estimate(waves * full + 1) / estimate(waves * full) == pytest.approx((waves + 1) / waves)


@pytest.mark.parametrize("operand", [bf16, f32])
@pytest.mark.parametrize(("size", "batch", "side"), [(128, 132, 128), (128, 4 * 132, 128), (512, 1, 64), (256, 4, 64)])
def test_fewer_waves_are_preferred(monkeypatch, operand, size, batch, side):
    """Large tiles where they fill the machine, small ones where those would leave most of it idle."""
    monkeypatch.setattr(tiles_gpu, "SIDES", (64, 128))
    best = choose_tiles(Problem(size, size, 4096, batch, 1, operand), HOPPER)[0]
    assert (best.rows, best.lanes) == (side, side)


def test_large_products_have_larger_tiles_than_small_ones():
    large, small = (choose_tiles(Problem(size, size, 4096, 1, 1, bf16), HOPPER)[0] for size in (8192, 512))
    assert large.rows * large.lanes > small.rows * small.lanes


@given(PROBLEMS, TARGETS)
def test_heavy_problems_leave_registers_free(problem, target):
    assume(not problem.is_heavy)
    light, heavy = (
        [tile.rows * tile.lanes // tile.warps for tile in choose_tiles(replace(problem, is_heavy=flag), target) if not is_vector(tile)]
        for flag in (False, True)
    )
    if light and heavy:
        limit = (SPLIT_ACCUMULATORS if problem.operand.bits >= 32 else ACCUMULATORS) * WARP
        assert max(heavy) <= limit // 2


@given(st.integers(1, 100000))
def test_the_power_of_two_above(size):
    power = power_above(size)
    assert power >= size > power // 2
    assert power & (power - 1) == 0
