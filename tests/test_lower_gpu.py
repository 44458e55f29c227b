"""Tile programs for GPUs: random cascades, and the loop nests of each kind, against the evaluator of cascades."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.plan_parser import parse_plan
from tcomp.ir.schedule import check_schedule, parse_schedule
from tcomp.ir.target import Gpu
from tcomp.ir.verify import check_cascade
from tcomp.passes import tiles_gpu, tiling_gpu
from tests.cascade_strategies import programs
from tests.program_runner import check_compiled, random_inputs

GPU = Gpu("test", 90, 2, 232448, 65536, 50 << 20, "triton")


SMALL = {
    tiling_gpu: {"ELEMENTS": 8, "ROW_ELEMENTS": 8, "LARGEST_ROW": 4, "SIDE": 4, "LANES": 4, "WARP": 2},
    tiles_gpu: {"SIDES": (2, 4), "DEPTHS": (2, 4), "SMALLEST_SIDE": 2, "VECTOR_DEPTHS": (2, 4)},
}


def shrink_tiles(patch):
    """Make tiles so small that small extents have whole and partial ones."""
    for module, constants in SMALL.items():
        for name, value in constants.items():
            patch.setattr(module, name, value)


@settings(max_examples=150, deadline=None)
@given(cascade=programs(), strict=st.booleans(), seed=st.integers(0, 3), tiny=st.booleans(), atomic=st.booleans())
def test_random_programs(cascade, strict, seed, tiny, atomic):
    check_cascade(cascade)
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            shrink_tiles(patch)
        compiled = check_compiled(
            cascade, random_inputs(cascade, seed=seed), strict=strict, shuffle=seed, target=GPU, atomic=atomic
        )
    for program in (compiled.prelude, compiled.main):
        check_schedule(program.schedule)
        assert parse_schedule(str(program.schedule)) == program.schedule
        assert parse_plan(str(program.plan)) == program.plan
