"""First schedules: lanes where memory is adjacent, every schedule legal."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.errors import Illegal
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.schedule import Schedule
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.schedule import cpu as tiling
from tests.cascade_strategies import machines, programs
from tests.program_runner import check_compiled, random_inputs, small_target

INPUTS = "X: f32[4, 6, 8], T: f32[64, 40], W: f32[40, 32], I: i64[4], B: bf16[64, 40]"


def schedules(body, outputs="Z", symbols="", inputs=INPUTS):
    cascade = parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{ {body} }}")
    check_cascade(cascade)
    return compile_cascade(cascade, {}, small_target()).main.schedule.kernels


def only(body, **options):
    (schedule,) = schedules(body, **options)
    return schedule


@pytest.mark.parametrize(
    ("body", "lanes"),
    [
        ("Z: f32[i:64, j:40] = T[i, j] * f32[j]", "j"),
        ("Z: f32[j:40, i:64] = T[i, j] * f32[j]", "i"),
        ("Z: f32[i:64] = sum(j:40) T[i, j]", "j"),
        ("Z: f32[j:40] = sum(i:64) T[i, j]", "j"),
        ("Z: f32[i:64] = T[i, 3] * f32[i]", "i"),
        ("Z: f32[i:64, n:32] = sum(j:40) T[i, j] * W[j, n]", "n"),
        ("(A: f32, Z: i64)[i:64] = argmax(j:40) T[i, j]", "i"),
        ("iterate t:63 { Z: f32[t + 1:64, j:40] = Z[t, j] * 0.5 + T[t, j] from 0.0 }", "j"),
    ],
)
def test_lanes(body, lanes):
    assert only(body).lanes == lanes


@pytest.mark.parametrize(
    "body",
    [
        "Z: f32[] = 2.0 * T[0, 0]",
        "iterate t:63 { Z: f32[t + 1:64] = Z[t] * 0.5 + T[t, 0] from 0.0 }",
    ],
)
def test_no_lanes(body):
    schedule = only(body)
    assert schedule.lanes is None and not schedule.tiles and not schedule.parallel


def test_lanes_never_exceed_a_short_rank_and_come_in_whole_vectors():
    assert dict(only("Z: f32[i:3] = sin(T[0, i]) * f32[i]").tiles) == {"i": 3}
    ((_, width),) = only("Z: f32[i:64, j:37] = T[i, j] * f32[j]").tiles[-1:]
    assert width % 4 == 0


def test_a_contraction_runs_its_reduced_rank_inside_every_other():
    schedule = only("Z: f32[i:64, n:32] = sum(j:40) T[i, j] * W[j, n]")
    assert schedule.kind == "contract"
    assert schedule.order[-1] == "j"
    assert set(schedule.parallel) == {"i", "n"}
    assert {rank for rank, _ in schedule.tiles} == {"i", "n"}


def test_reduced_ranks_are_never_parallel():
    for schedule in schedules("S: f32[i:64] = sum(j:40) T[i, j] Z: f32[i:64, j:40] = T[i, j] / S[i]"):
        assert "j" not in schedule.parallel


def test_a_long_map_is_cut_for_threads_and_for_registers():
    schedule = only("Z: f32[i:4096] = exp(X[i]) + f32[i]", inputs="X: f32[4096]")
    (outer, inner) = schedule.tiles
    assert outer[0] == inner[0] == "i"
    assert outer[1] > inner[1] and outer[1] % inner[1] == 0


def test_symbolic_extents_have_static_tiles():
    schedule = only("Z: f32[i:N] = exp(X[i]) + f32[i]", inputs="X: f32[N]", symbols=" for N in 1..")
    assert all(isinstance(size, int) and size > 0 for _, size in schedule.tiles)


def test_a_scatter_is_parallel_over_whole_slots_only():
    schedule = schedules("Z: f32[I[i]:4, j:40] = sum(i:4) T[i, j]")[-1]
    assert schedule.kind == "scatter"
    assert schedule.parallel == ("j",)


def product(lanes):
    """A product of many matrices whose right operand is packed in panels of lanes."""
    inputs = f"X: f32[6, 16, 40], W: f32[6, {lanes}, 40]"
    body = f"Z: f32[b:6, i:16, n:{lanes}] = sum(j:40) X[b, i, j] * W[b, n, j]"
    return parse_cascade(f"cascade c({inputs}) -> (Z) {{ {body} }}")


def prefetched(lanes, cache):
    cascade = product(lanes)
    compiled = check_compiled(cascade, random_inputs(cascade), target=replace(small_target(), vector_bits=256, l2=cache))
    return compiled.main.schedule.kernels[-1].launch.prefetch


def test_a_large_packed_operand_is_prefetched_a_panel_ahead():
    assert prefetched(64, 4096) != ()
    assert prefetched(64, 1 << 20) == ()


def test_an_operand_of_one_panel_has_no_next_one_to_prefetch():
    assert prefetched(16, 4096) == ()


def test_a_schedule_may_not_prefetch_a_panel_that_is_not_there(monkeypatch):
    monkeypatch.setattr(tiling, "_worth_prefetching", lambda *arguments: ("x1",))
    with pytest.raises(Illegal, match="x1 is prefetched and has no next panel: 16 lanes are all of n"):
        compile_cascade(product(16), {}, replace(small_target(), vector_bits=256))


@settings(max_examples=100, deadline=None)
@given(programs(), machines())
def test_every_schedule_is_legal(cascade, target):
    compiled = compile_cascade(cascade, {}, target)
    for program in (compiled.prelude, compiled.main):
        check_schedule(program.schedule)
        assert isinstance(program.schedule, Schedule)
