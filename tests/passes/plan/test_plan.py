"""Plans under a budget: the cheapest that fits, the same values, and a refusal that says what is needed where nothing fits."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import tcomp
from tcomp.ir.errors import BudgetError
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.check import verifying_observer
from tcomp.passes.pipeline import apply, compile_cascade
from tcomp.passes.plan.plan import plan_memory
from tcomp.settings import override_environment
from tests.cascade_strategies import programs
from tests.compiled import check, random
from tests.passes.bind.test_windows import LAST, RECURRENT, TINY, cascade_of
from tests.passes.lower.gpu.test_lower_gpu import GPU
from tests.passes.plan.test_in_place import SOFTMAX_BACKWARD
from tests.program_runner import check_compiled, random_inputs, small_target

BRANCHES = """cascade branches(X: f32[32, 8], U: f32[8, 64], V: f32[64, 8]) -> (Z) {
  A: f32[i:32, j:64] = sum(k:8) X[i, k] * U[k, j]
  B: f32[i:32, j:64] = sum(k:8) X[i, 7 - k] * U[k, j]
  C: f32[i:32, k:8] = sum(j:64) A[i, j] * V[j, k]
  D: f32[i:32, k:8] = sum(j:64) B[i, j] * V[j, k]
  Z: f32[i:32, l:32] = sum(k:8) C[i, k] * D[l, k]
}"""
WIDE, NARROW = 32 * 64 * 4, 32 * 8 * 4


def arena_of(cascade, target, **options):
    return compile_cascade(cascade, {}, target, verifying_observer(), **options).main.plan.arena


def least_of(cascade, target):
    """The bytes that a refusal says are needed."""
    with pytest.raises(BudgetError) as caught:
        compile_cascade(cascade, {}, target, verifying_observer(), budget=1)
    return int(re.search(r"need (\d+) bytes", caught.value.what)[1])


def stored(program):
    return [name for group in program.groups for name in group.stored]


def is_in_place(program):
    return any(argument.role == "inout" for _, kernel in program.kernels for argument in kernel.arguments)


def test_a_budget_that_is_met_anyway_changes_nothing():
    for text in (BRANCHES, SOFTMAX_BACKWARD.replace("N", "64")):
        free = compile_cascade(parse_cascade(text), {}, small_target()).main
        assert compile_cascade(parse_cascade(text), {}, small_target(), budget=free.plan.arena.constant).main == free


def test_branches_run_one_after_the_other_where_memory_is_short():
    cascade = parse_cascade(BRANCHES)
    free = compile_cascade(cascade, {}, small_target()).main
    assert (stored(free)[:2], free.plan.arena) == (["A", "B"], as_index(2 * WIDE + NARROW))
    tight = check_compiled(cascade, random_inputs(cascade), budget=2 * WIDE).main
    assert sorted(stored(tight)) == sorted(stored(free))
    names = [name for name in stored(tight) if name in "ABCD"]
    assert names in (["A", "C", "B", "D"], ["B", "D", "A", "C"])
    assert tight.plan.arena.constant < WIDE + 4 * NARROW


def test_the_order_may_change_on_a_gpu():
    cascade = parse_cascade(BRANCHES)
    free = arena_of(cascade, GPU).constant
    tight = check_compiled(cascade, random_inputs(cascade), target=GPU, budget=free - 1).main
    assert tight.plan.arena.constant <= free - WIDE + 4 * NARROW
    assert not is_in_place(tight)


def test_little_is_saved_in_place_only_where_the_budget_asks_for_it():
    cascade = parse_cascade(SOFTMAX_BACKWARD.replace("N", "64"))
    square = 64 * 64 * 4
    free = compile_cascade(cascade, {}, small_target()).main
    assert (free.plan.arena, is_in_place(free)) == (as_index(2 * square), False)
    tight = check_compiled(cascade, random_inputs(cascade), budget=square).main
    assert (tight.plan.arena, is_in_place(tight)) == (as_index(square), True)
    addresses = dict(tight.schedule.addresses)
    assert addresses["D"] == addresses["B"]


def test_a_plan_says_what_is_where_and_how_little_it_might_be(monkeypatch):
    plans = []
    monkeypatch.setattr("tcomp.passes.choose.plan_memory", lambda *given: plans.append(plan_memory(*given)) or plans[-1])
    square = 64 * 64 * 4
    compile_cascade(parse_cascade(SOFTMAX_BACKWARD.replace("N", "64")), {}, small_target(), budget=square)
    free, tight = plans
    assert (free.candidates, free.addresses, free.need, free.alive) == ((), {}, 0, 0)
    assert (dict(tight.homes), tight.arena, tight.need, tight.alive) == ({"D": "B"}, as_index(square), square, square)
    assert [(life.name, life.last - life.first) for life in tight.lives] == [("B", len(tight.candidates) - 1)]


BOTH = """cascade both(G: f32[32, 8], K: f32[8, 32], P: f32[32, 32], V: f32[32, 8]) -> (Y, Z) {
  A: f32[i:32, j:32] = sum(k:8) G[i, k] * K[k, j]
  B: f32[i:32, j:32] = A[i, j] * P[i, j]
  L: f32[i:32, j:32] = sum(k:8) K[k, i] * G[j, k]
  M: f32[i:32, j:32] = L[i, j] * P[j, i]
  S: f32[i:32] = sum(j:32) B[i, j]
  D: f32[i:32, j:32] = B[i, j] - P[i, j] * S[i]
  T: f32[i:32] = sum(j:32) M[i, j]
  E: f32[i:32, j:32] = M[i, j] - P[i, j] * T[i]
  Q: f32[i:32, k:8] = sum(j:32) D[j, i] * V[j, k]
  R: f32[i:32, k:8] = sum(j:32) E[j, i] * V[j, k]
  Y: f32[i:32, k:8] = sum(j:32) D[i, j] * Q[j, k]
  Z: f32[i:32, k:8] = sum(j:32) E[i, j] * R[j, k]
}"""


def test_order_and_results_in_place_go_together():
    cascade = parse_cascade(BOTH)
    square = 32 * 32 * 4
    least = least_of(cascade, small_target())
    assert arena_of(cascade, small_target()).constant > 2 * square > least > square
    tight = check_compiled(cascade, random_inputs(cascade), budget=least)
    assert is_in_place(tight.main)
    addresses = dict(tight.main.schedule.addresses)
    assert (addresses["D"], addresses["E"]) == (addresses["B"], addresses["M"])


SIDES = {"P": (3, 20), "Q": (20, 9), "R": (9, 3)}


@st.composite
def products(draw):
    """Products of products, and what a softmax makes of some, in any order that their operands allow."""
    shapes, lines, unread = dict(SIDES), [], []
    for number in range(draw(st.integers(3, 9))):
        name = f"T{number}"
        if number and not draw(st.integers(0, 3)):
            source = draw(st.sampled_from(list(shapes)[3:]))
            used, (rows, columns) = [source], shapes[source]
            lines.append(f"{name}.sum: f32[i:{rows}] = sum(j:{columns}) {source}[i, j]")
            lines.append(f"{name}: f32[i:{rows}, j:{columns}] = {source}[i, j] - 0.1 * {name}.sum[i]")
            shapes[name] = rows, columns
        else:
            used = [draw(st.sampled_from(list(shapes))) for _ in range(2)]
            ways = [(p, q) for p in range(2) for q in range(2) if shapes[used[0]][p] == shapes[used[1]][q]]
            p, q = draw(st.sampled_from(ways)) if ways else (0, 0)
            used = used if ways else [used[0], used[0]]
            free = shapes[used[0]][1 - p], shapes[used[1]][1 - q]
            left, right = ("k, i" if p == 0 else "i, k"), ("k, j" if q == 0 else "j, k")
            head = f"{name}: f32[i:{free[0]}, j:{free[1]}] = sum(k:{shapes[used[0]][p]})"
            lines.append(f"{head} 0.3 * {used[0]}[{left}] * {used[1]}[{right}]")
            shapes[name] = free
        unread = [other for other in unread if other not in used] + [name]
    inputs = ", ".join(f"{name}: f32[{rows}, {columns}]" for name, (rows, columns) in SIDES.items())
    return parse_cascade(f"cascade c({inputs}) -> ({', '.join(unread)}) {{ {' '.join(lines)} }}")


@pytest.mark.parametrize("target", [small_target(), GPU], ids=["cpu", "gpu"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(cascade=products() | programs(), part=st.floats(0, 1), seed=st.integers(0, 3))
def test_random_programs_keep_their_values_under_any_budget(target, cascade, part, seed):
    most = arena_of(cascade, target).constant
    if most:
        least = least_of(cascade, target)
        assert 0 < least <= most
        budget = least + int(part * (most - least))
        compiled = check_compiled(cascade, random_inputs(cascade), shuffle=seed, target=target, budget=budget)
        assert compiled.main.plan.arena.constant <= budget
        check_applied(compiled, target)


def check_applied(compiled, target):
    """The schedule says the order, the addresses, and so what is in place."""
    again = apply(compiled.source, compiled.schedule, target).main
    assert (str(again.plan), dict(again.kernels)) == (str(compiled.main.plan), dict(compiled.main.kernels))


def test_windows_keep_their_values():
    cascade = cascade_of(RECURRENT, LAST)
    least = least_of(cascade, TINY)
    check_applied(check_compiled(cascade, random_inputs(cascade), target=TINY, budget=least), TINY)


SYMBOLIC = """cascade branches(X: f32[N, 8], U: f32[8, 40], V: f32[40, 8]) -> (Z) for N in 8..64 {
  A: f32[i:N, j:40] = sum(k:8) X[i, k] * U[k, j]
  B: f32[i:N, j:40] = sum(k:8) X[i, 7 - k] * U[k, j]
  C: f32[i:N, k:8] = sum(j:40) A[i, j] * V[j, k]
  D: f32[i:N, k:8] = sum(j:40) B[N - 1 - i, j] * V[j, k]
  Z: f32[i:N, l:N] = sum(k:8) C[i, k] * D[l, k]
}"""


def test_symbolic_sizes_are_ordered_by_the_smallest_and_right_for_all():
    cascade = parse_cascade(SYMBOLIC)
    free, least = arena_of(cascade, small_target()), least_of(cascade, small_target())
    assert extent_value(free, {"N": 8}) - least >= 8 * 40 * 4 - 2 * 8 * 8 * 4
    for n in (8, 9, 24):
        program = check_compiled(cascade, random_inputs(cascade, {"N": n}), {"N": n}, budget=least).main
        assert extent_value(program.plan.arena, {"N": 8}) == least
        assert extent_value(program.plan.arena, {"N": n}) < extent_value(free, {"N": n})


def test_a_refusal_says_what_is_needed_and_why():
    with pytest.raises(BudgetError) as caught:
        compile_cascade(parse_cascade(BRANCHES), {}, small_target(), budget=WIDE)
    text = str(caught.value)
    least = least_of(parse_cascade(BRANCHES), small_target())
    assert caught.value.what == f"intermediate tensors need {least} bytes, the budget is {WIDE}"
    assert caught.value.help == f"raise memory_budget to {least}, or compile for smaller inputs"
    where = caught.value.where.splitlines()
    assert where[0] == "the arena of branches"
    assert re.fullmatch(r"step \d of \d, which makes [CD] \(line \d\)", where[1]), text
    assert re.fullmatch(r"\d+ bytes are alive then, wherever they lie, and \d+ in any order: what the step itself needs", where[2]), text
    assert re.fullmatch(rf"[AB] {WIDE}(, [CD](\.pack)? {NARROW})+", where[3]), text
    assert arena_of(parse_cascade(BRANCHES), small_target(), budget=least).constant == least


def test_a_refusal_names_a_few_tensors():
    rows = " ".join(f"T{k}: f32[i:64, j:64] = sum(k:64) X[i, (k + {k}) % 64] * X[k, j]" for k in range(12))
    total = " + ".join(f"T{k}[j, i]" for k in range(12))
    text = f"cascade f(X: f32[64, 64]) -> (Z) {{ {rows} Z: f32[i:64, j:64] = {total} }}"
    with pytest.raises(BudgetError) as caught:
        compile_cascade(parse_cascade(text), {}, small_target(), budget=1)
    assert re.fullmatch(r"(T\d+ 16384(, )?){8} and 3 more", caught.value.where.splitlines()[-1])


class Branches(nn.Module):
    """Two branches, each of which needs a large tensor for a while."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.wide = nn.ParameterList(nn.Parameter(torch.randn(32, 1024, generator=generator) / 8, requires_grad=False) for _ in range(2))
        self.narrow = nn.ParameterList(nn.Parameter(torch.randn(1024, 8, generator=generator) / 32, requires_grad=False) for _ in range(2))

    def forward(self, x):
        wide = [x @ weight for weight in self.wide]
        left, right = (w.softmax(0) @ weight for w, weight in zip(wide, self.narrow))
        return left @ right.mT


def test_a_module_keeps_to_a_budget_that_the_order_of_its_code_exceeds():
    module, x = Branches(), random(256, 32)
    with override_environment({"TCOMP_TARGET": str(small_target())}):
        free = check(module, x)
        wide = 256 * 1024 * 4
        assert free.memory.extra >= 2 * wide
        tight = check(module, x, memory_budget=3 * wide // 2)
        assert tight.memory.extra <= free.memory.extra - wide // 2
        with pytest.raises(tcomp.BudgetError, match=f"need \\d+ bytes, the budget is {wide // 2}") as caught:
            tcomp.compile(module, (x,), memory_budget=wide // 2)
    assert "test_plan.py" in caught.value.where
    assert "raise memory_budget to" in caught.value.help


def test_a_schedule_keeps_to_a_budget_or_is_refused():
    """The text of a program that was planned for a budget is that program; of another one nothing is planned anew."""
    module, x = Branches(), random(256, 32)
    budget = 3 * 256 * 1024 * 2
    with override_environment({"TCOMP_TARGET": str(small_target())}):
        free, tight = (tcomp.compile(module, (x,), memory_budget=given) for given in (None, budget))
        check(module, x, schedule=str(tight.schedule), memory_budget=budget)
        with pytest.raises(tcomp.BudgetError, match=f"the schedule has an arena of \\d+ bytes, the budget is {budget}") as caught:
            tcomp.compile(module, (x,), schedule=str(free.schedule), memory_budget=budget)
    assert "leave addresses and arena out" in caught.value.help


FOLDED = """cascade f(weight A: f32[32, 32], X: f32[32, 32]) -> (Z) {
  B: f32[i:32, j:32] = sum(k:32) A[i, k] * A[k, j]
  C: f32[i:32, j:32] = sum(k:32) B[i, k] * B[k, j]
  Z: f32[i:32, j:32] = C[i, j] * X[i, j]
}"""


def test_the_budget_is_that_of_the_main_program():
    """Weights are folded once, in an arena that is not kept."""
    compiled = compile_cascade(parse_cascade(FOLDED), {}, small_target(), verifying_observer(), budget=1)
    assert compiled.prelude.plan.arena.constant > 1
    assert compiled.main.plan.arena.constant == 0
