"""Lanes of iterations whose steps share no long rank."""

import pytest
from program_runner import check_compiled, random_inputs, small_target

from tcomp.ir.parse.cascade import parse_cascade


def schedule_of(body, inputs):
    cascade = parse_cascade(f"cascade c({inputs}) -> (Z) {{\n{body}\nZ: f32[d:24] = S[3, 0, d]\n}}")
    compiled = check_compiled(cascade, random_inputs(cascade), target=small_target())
    (schedule,) = [s for s in compiled.main.schedule.kernels if s.kind == "scan"]
    return schedule


@pytest.mark.parametrize(
    ("weight", "shape", "tiles"),
    [
        # Along the rows of W lie neighbours: few rows at a time, and lanes along the sum.
        ("W[d, k]", "24, 24", {"d": 4, "k": 8, "k_2": 8}),
        # Along its columns: lanes along the result.
        ("W[k, d]", "24, 24", {"d": 8, "k_2": 8}),
    ],
)
def test_a_product_takes_lanes_where_its_matrix_has_neighbours(weight, shape, tiles):
    body = f"""iterate t:3 {{
      P: f32[t:3, b:2, d:24] = sum(k:24) S[t, b, k] * {weight}
      S: f32[t + 1:4, b:2, k:24] = tanh(P[t, b, 23 - k]) + X[t, k] from 0.0
    }}"""
    schedule = schedule_of(body, f"W: f32[{shape}], X: f32[3, 24]")
    assert dict(schedule.tiles) == tiles
    assert schedule.lanes is None and schedule.parallel == ("b",)


def test_a_long_rank_that_all_steps_share_has_the_lanes():
    body = "iterate t:3 { S: f32[t + 1:4, b:2, d:24] = S[t, 1 - b, d] * W[b, d] from 1.0 }"
    schedule = schedule_of(body, "W: f32[2, 24]")
    assert (schedule.lanes, schedule.tiles) == ("d", (("d", 4),))
