"""First schedules: lanes where memory is adjacent, every schedule legal."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.errors import Illegal
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.schedule import Schedule
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.schedule import cpu as tiling
from tests.cascade_strategies import machines, programs
from tests.machines import ALL
from tests.measures import by_hash
from tests.program_runner import check_compiled, random_inputs, small_target
from tests.schedule_cases import CHOSEN

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


COMPLEX = "A: f32[40, 64, 2], B: f32[64, 2], M: bool[64]"
PRODUCT = """R: f32[i:40, j:64] = A[i, j, 0] * B[j, 0] - A[i, j, 1] * B[j, 1]
    S: f32[i:40, j:64] = A[i, j, 0] * B[j, 1] + A[i, j, 1] * B[j, 0]
    Z: f32[i:40, j:64, c:2] = select(i64[c] == 0, R[i, j], S[i, j])"""


@pytest.mark.parametrize(
    ("body", "lanes", "first"),
    [
        (PRODUCT, "j", "j"),
        ("Z: f32[i:40, j:64, c:2] = select(M[j], A[i, j, c], 0.0)", "j", "c"),
        ("Z: f32[i:40, c:2] = sum(j:64) A[i, j, c]", "j", "c"),
        ("Z: f32[j:64, i:40, c:2] = A[i, j, c] * f32[i]", "i", "j"),
    ],
)
def test_pairs_lie_along_the_lanes_and_their_parts_side_by_side(body, lanes, first):
    schedule = only(body, inputs=COMPLEX)
    assert schedule.lanes == lanes
    assert next(name for name, _ in schedule.tiles) == first
    assert dict(schedule.tiles).get("c", 2) == 2


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


def test_of_an_operand_that_data_choose_nobody_knows_the_next_panel():
    cascade = parse_cascade(CHOSEN)
    compiled = check_compiled(cascade, random_inputs(cascade), target=replace(small_target(), l2=4096))
    assert compiled.main.schedule.kernels[-1].launch.prefetch == ()


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


TENSORS = "X: f32[4, 6, 8], T: f32[18, 20], W: f32[20, 24], I: i64[4]"
CANDIDATES = {
    "a contraction": ("Z: f32[i:18, n:24] = sum(j:20) T[i, j] * W[j, n]", TENSORS),
    "of batches": ("Z: f32[b:4, i:6, n:40] = sum(k:8) X[b, i, k] * U[b, k, n]", f"{TENSORS}, U: f32[4, 8, 40]"),
    "with a long sum": ("Z: f32[i:5, n:12] = sum(k:256) A[i, k] * B[k, n]", "A: f32[5, 256], B: f32[256, 12]"),
    "with what follows": ("Y: f32[i:18, n:24] = sum(j:20) T[i, j] * W[j, n] Z: f32[i:18, n:24] = tanh(Y[i, n] + W[0, n])", TENSORS),
    "a map": ("Z: f32[i:18, j:20] = exp(T[i, j])", TENSORS),
    "a transposed map": ("Z: f32[j:20, i:18] = exp(T[i, j])", TENSORS),
    "a long map": ("Z: f32[i:1024] = exp(X[i]) + f32[i]", "X: f32[1024]"),
    "a sum of rows": ("Z: f32[i:18] = sum(j:20) T[i, j]", TENSORS),
    "a sum of columns": ("Z: f32[j:20] = sum(i:18) T[i, j]", TENSORS),
    "a place": ("(A: f32, P: i64)[i:18] = argmax(j:20) T[i, j] Z: f32[i:18] = A[i] + f32[P[i]]", TENSORS),
    "a softmax": (
        "S: f32[i:18] = max(j:20) T[i, j] E: f32[i:18, j:20] = exp(T[i, j] - S[i]) "
        "D: f32[i:18] = sum(j:20) E[i, j] Z: f32[i:18, j:20] = E[i, j] / D[i]",
        TENSORS,
    ),
    "an iteration": ("iterate t:17 { Z: f32[t + 1:18, j:20] = Z[t, j] * 0.5 + T[t, j] from 0.0 }", TENSORS),
    "a recurrent product": ("iterate t:5 { Z: f32[t + 1:6, j:20] = sum(k:20) Z[t, k] * V[k, j] from 1.0 }", "V: f32[20, 20]"),
    "a scatter": ("Z: f32[I[i]:4, j:20] = sum(i:4) T[i, j]", TENSORS),
    "a symbolic size": ("Z: f32[i:N, n:24] = sum(j:20) R[i, j] * W[j, n]", "R: f32[N, 20], W: f32[20, 24]"),
}
CHAIN = """cascade c(Q: f32[2, 24, 8], K: f32[2, 48, 8], V: f32[2, 48, 16]) -> (Z) {
  S: f32[h:2, i:24, j:48] = sum(e:8) Q[h, i, e] * K[h, j, e]
  M: f32[h:2, i:24] = max(j:48) S[h, i, j]
  E: f32[h:2, i:24, j:48] = exp(S[h, i, j] - M[h, i])
  D: f32[h:2, i:24] = sum(j:48) E[h, i, j]
  A: f32[h:2, i:24, j:48] = E[h, i, j] / D[h, i]
  Z: f32[h:2, i:24, d:16] = sum(j:48) A[h, i, j] * V[h, j, d]
}"""
SMALL = replace(small_target(), vector_bits=256, cores=8, l1=1 << 13, l2=1 << 14)
TARGETS = {"four lanes": small_target(), "small caches": SMALL} | {cpu.name: cpu for cpu in (ALL[3], ALL[8])}


class Take:
    """A measurement that finds the candidate of one number fastest, and remembers how many there were."""

    def __init__(self, number):
        self.number = number
        self.counts = []

    def __call__(self, trials):
        self.counts.append(len(trials))
        return [0.0 if place == self.number % len(trials) else 1.0 for place in range(len(trials))]


def check_candidates(cascade, target, symbols=None):
    """Check every candidate of a cascade's kernels against the evaluator; what they are, without those that none differs from."""
    found, count = [], 1
    while len(found) < count:
        take = Take(len(found))
        compiled = check_compiled(cascade, random_inputs(cascade, symbols), symbols, target=target, measure=take, shuffle=len(found))
        check_schedule(compiled.main.schedule)
        found.append(tuple(schedule.loops for schedule in compiled.main.schedule.kernels))
        count = max(take.counts, default=1)
    return found


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("case", CANDIDATES)
def test_every_candidate_computes_the_same(case, target):
    body, inputs = CANDIDATES[case]
    cascade = parse_cascade(f"cascade c({inputs}) -> (Z){' for N in 1..' if 'symbolic' in case else ''} {{ {body} }}")
    found = check_candidates(cascade, target, {"N": 11} if "symbolic" in case else None)
    assert len(set(found)) == len(found)
    # Twenty lanes are two whole vectors of sixteen, one way or another.
    assert len(found) > 1 or target.vector_bits == 512


def test_every_candidate_of_a_chain_computes_the_same():
    cascade = parse_cascade(CHAIN)
    target = replace(small_target(), l2=1 << 14)
    assert [schedule.kind for schedule in compile_cascade(cascade, {}, target).main.schedule.kernels][-1] == "chain"
    found = check_candidates(cascade, target)
    tiles = [dict(parse_kernel_tiles(loops[-1])) for loops in found]
    assert len({tile["i"] for tile in tiles}) > 1
    assert len({tuple(tile.values()) for tile in tiles}) > 2


def parse_kernel_tiles(loops):
    """The tiles in the text of a kernel's loops."""
    inside = loops.split("tile (")[1].split(")")[0]
    return [(rank, int(size)) for rank, size in (part.split(":") for part in inside.split(", "))]


def test_the_first_candidate_is_what_is_chosen_without_a_measurement():
    for body, inputs in CANDIDATES.values():
        cascade = parse_cascade(f"cascade c({inputs}) -> (Z){' for N in 1..' if 'N' in inputs else ''} {{ {body} }}")
        measured = compile_cascade(cascade, {}, SMALL, measure=Take(0))
        assert str(measured.main.schedule) == str(compile_cascade(cascade, {}, SMALL).main.schedule)


def test_of_a_contraction_other_orders_and_prefetches_are_tried():
    target = replace(small_target(), vector_bits=256, l2=4096)
    measures = [Take(number) for number in range(6)]
    found = [compile_cascade(product(64), {}, target, measure=take).main.schedule.kernels[-1].loops for take in measures]
    assert "prefetch" in found[0] and any("prefetch" not in loops for loops in found)
    orders = {loops.split("order (")[1].split(")")[0] for loops in found}
    assert len(orders) == 2
    # A packed operand fixes the width of its panels.
    assert len({dict(parse_kernel_tiles(loops))["n"] for loops in found}) == 1


@settings(max_examples=60, deadline=None)
@given(programs(), strategies.integers(0, 99), machines())
def test_random_programs_compute_the_same_whatever_is_fastest(cascade, seed, target):
    compiled = check_compiled(cascade, random_inputs(cascade), target=target, shuffle=seed, measure=by_hash(seed))
    for program in (compiled.prelude, compiled.main):
        check_schedule(program.schedule)
