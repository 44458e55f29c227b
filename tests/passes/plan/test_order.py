"""Steps follow what they depend on, and the order found keeps as little alive as any, where all can be looked at."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.bind.arguments import Bound, Operand
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.plan import order
from tcomp.passes.plan.order import find_dependences, order_steps
from tests.passes.bind.test_windows import LAST, RECURRENT, TINY, cascade_of
from tests.passes.lower.gpu.test_lower_gpu import GPU
from tests.passes.plan.test_in_place import SOFTMAX_BACKWARD, SQUARE
from tests.program_runner import small_target


def peak_of(steps, touched, sizes):
    """The most bytes alive at once, counted step by step."""
    most = 0
    for now in range(len(steps)):
        begun = {name for step in steps[: now + 1] for name in touched[step]}
        needed = {name for step in steps[now:] for name in touched[step]}
        most = max(most, sum(sizes.get(name, 0) for name in begun & needed))
    return most


def respects(steps, dependences):
    return all(steps.index(before) < place for place, step in enumerate(steps) for before in dependences[step])


@st.composite
def problems(draw, most):
    """Steps that touch some of a few tensors, each after some of those before it."""
    steps = draw(st.integers(0, most))
    names = [f"t{k}" for k in range(draw(st.integers(1, 8)))]
    touched = [draw(st.lists(st.sampled_from(names), max_size=4)) for _ in range(steps)]
    dependences = [tuple(draw(st.sets(st.integers(0, step - 1), max_size=2))) if step else () for step in range(steps)]
    sizes = {name: draw(st.integers(0, 9)) for name in names if draw(st.integers(0, 5))}
    return touched, dependences, sizes


def check(problem):
    """The order found for a problem, which keeps to it and is no worse than the order given."""
    touched, dependences, sizes = problem
    found = order_steps(*problem)
    assert sorted(found) == list(range(len(touched)))
    assert respects(found, dependences)
    given = tuple(range(len(touched)))
    assert found == given or peak_of(found, touched, sizes) < peak_of(given, touched, sizes)
    return found


@given(problems(6))
def test_the_best_order_of_few_steps_is_found(problem):
    touched, dependences, sizes = problem
    orders = (steps for steps in permutations(range(len(touched))) if respects(steps, dependences))
    best = min(peak_of(steps, touched, sizes) for steps in orders)
    assert peak_of(check(problem), touched, sizes) == best


@given(problems(30))
def test_orders_of_many_steps_keep_to_dependences_and_are_never_worse(problem):
    assert check(problem) == order_steps(*problem)


@given(problems(12))
def test_so_they_are_where_few_sets_are_followed(problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "WIDEST", 2)
        patch.setattr(order, "MOST_TRIED", 40)
        check(problem)


BRANCHES = [["A"], ["B"], ["A", "a"], ["B", "b"], ["a", "b"]]
AFTER = [(), (), (0,), (1,), (2, 3)]


def test_a_branch_is_finished_before_the_next_begins():
    assert order_steps(BRANCHES, AFTER, {"A": 100, "B": 100, "a": 1, "b": 1}) == (0, 2, 1, 3, 4)


def test_what_cannot_be_better_stays_as_it_is():
    assert order_steps(BRANCHES, AFTER, {"a": 1, "b": 1}) == (0, 1, 2, 3, 4)
    assert order_steps(BRANCHES, [(), (0,), (1,), (2,), (3,)], {"A": 100, "B": 100}) == (0, 1, 2, 3, 4)
    assert order_steps([], [], {}) == ()


def test_the_best_order_may_begin_with_what_takes_most_at_first():
    """Step 2 is the largest, and best run while nothing else is alive."""
    touched = [["p"], ["p", "q"], ["s", "large"], ["q", "s"]]
    sizes = {"p": 1, "q": 9, "s": 1, "large": 50}
    assert order_steps(touched, [(), (0,), (), (1, 2)], sizes) == (2, 0, 1, 3)


def dependences_of(program):
    """The dependences of a program, by the tensors of its steps in their order."""
    kernels = dict(program.kernels)
    memories = dict(program.memories)
    candidates = [
        Candidate(group, Bound(group, {}), schedule, kernels[name], tuple(Operand(tensor, memories[tensor]) for tensor in tensors))
        for name, group, schedule, tensors in zip(program.steps, program.groups, program.schedule.kernels, program.operands)
    ]
    return find_dependences(candidates)


def test_readers_follow_writers_and_writers_in_place_follow_readers():
    program = compile_cascade(parse_cascade(SOFTMAX_BACKWARD.replace("N", "640")), {}, small_target()).main
    assert program.plan.arena.constant == SQUARE
    stored = [group.stored for group in program.groups]
    found = dependences_of(program)
    made = next(step for step, names in enumerate(stored) if "B" in names)
    over = next(step for step, names in enumerate(stored) if "D" in names)
    assert made in found[over]
    for name in ("Y", "Z"):
        reader = next(step for step, names in enumerate(stored) if name in names)
        assert over in found[reader] and made not in found[reader]


def test_windows_stay_in_their_order():
    program = compile_cascade(cascade_of(RECURRENT, LAST), {}, TINY).main
    found = dependences_of(program)
    windows = [step for step, group in enumerate(program.groups) if group.kind == "scan"]
    ahead = [step for step, group in enumerate(program.groups) if "P" in group.stored]
    assert len(windows) == len(ahead) == 6
    for number in range(6):
        assert ahead[number] in found[windows[number]]
        assert number == 0 or {windows[number - 1]} <= set(found[windows[number]]) | set(found[ahead[number]])
        assert number == 0 or windows[number - 1] in found[ahead[number]]


def test_a_scatter_follows_the_fill_of_its_target():
    text = "cascade f(X: f32[8], I: i64[8]) -> (Z) { Y: f32[I[k]:4] = sum(k:8) X[k] Z: f32[i:4, j:4] = Y[i] * Y[j] }"
    program = compile_cascade(parse_cascade(text), {}, GPU).main
    kinds = [group.kind for group in program.groups]
    fill, scatter = kinds.index("fill"), kinds.index("scatter")
    found = dependences_of(program)
    assert found[scatter] == (fill,)
    assert found[-1] == (scatter,)
