"""Plans that leave their memory, or mix up what lies in it, are refused: each fault planted into plans that are right."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcomp.ir.check.plan import Allotment, PlanMemory, check_plan
from tcomp.ir.dtypes import f32
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade, parse_index
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import ARENA, Matrix, MatrixProduct, Place
from tcomp.ir.tile import span_bytes
from tcomp.passes.check import check_program
from tcomp.passes.pipeline import compile_cascade
from tests.cascade_strategies import programs
from tests.program_runner import small_target

COPY = "kernel copy(in x0: f32[16], out y: f32[16]) { for i in 0 .. 16 { y[i] over () = x0[i] } }"
TEXT = """\
plan (X, Y) arena 128 {
  copy(X + 0, arena + 0)
  copy(arena + 0, arena + 64)
  copy(arena + 64, Y + 0)
}"""
TENSORS = (("X", "A"), ("A", "B"), ("B", "Y"))
MEMORY = {"X": ("X", 0, 64), "A": (ARENA, 0, 64), "B": (ARENA, 64, 128), "Y": ("Y", 0, 64)}


def check(text=TEXT, kernel=COPY, tensors=TENSORS, memory=MEMORY, results=("Y",), **products):
    allotments = {name: Allotment(base, as_index(start), as_index(stop)) for name, (base, start, stop) in memory.items()}
    return check_plan(parse_plan(text), {"copy": parse_kernel(kernel)}, PlanMemory(allotments, tensors, results, products))


def test_a_plan_that_is_right_is_proved():
    assert check() == ()


def product(strides):
    shape, plain, given = (tuple(map(as_index, sizes)) for sizes in ((1, 4, 4), (0, 4, 1), strides))
    return {"copy": MatrixProduct(f32, Matrix(0, shape, given), Matrix(0, shape, plain), Matrix(1, shape, plain))}


def test_a_library_may_take_no_more_than_the_kernel():
    assert check(**product((0, 4, 1))) == ()
    with pytest.raises(VerifyError, match="the library takes 76 bytes for x0, which has 64"):
        check(**product((0, 5, 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": TEXT.replace("copy(X + 0", "copy(X + 4")}, "x0 reaches over bytes 4 .. 68 of X, which was given 64"),
        ({"text": TEXT.replace("Y + 0", "Y + -4")}, "y reaches over bytes -4 .. 60 of Y, which was given 64"),
        ({"text": TEXT.replace("arena 128", "arena 124")}, "B has bytes 64 .. 128 of the arena, which has 124"),
        ({"memory": MEMORY | {"Y": ("Y", 0, 60)}}, "y reaches over bytes 0 .. 64 of Y, which was given 60"),
        ({"memory": MEMORY | {"X": ("X", 0, 32)}}, "x0 reaches over bytes 0 .. 64 of X, which was given 32"),
        (
            {"text": TEXT.replace("arena + 64", "arena + 32"), "memory": MEMORY | {"B": (ARENA, 32, 96)}},
            "A has bytes 0 .. 64 of the arena until step 1, and B takes bytes 32 .. 96 at step 1",
        ),
        ({"memory": {name: memory for name, memory in MEMORY.items() if name != "B"}}, "B has no memory in arena"),
        ({"kernel": COPY.replace("x0[i] }", "x0[i + 1] }")}, "x0[i + 1] is outside x0: 16 is not in 0 .. 16, at i = 15"),
        ({"kernel": COPY.replace("y[i]", "y[2*i - 1]")}, "y[2*i - 1] is outside y: -1 is not in 0 .. 16, at i = 0"),
        ({"kernel": COPY.replace("0 .. 16 {", "0 .. 17 {")}, "x0[i] is outside x0: 16 is not in 0 .. 16, at i = 16"),
        ({"kernel": COPY.replace("{ for", "{ buffer b: f32[8] for").replace("y[i]", "b[i]")}, "b[i] is outside b: 15 is not in 0 .. 8"),
        ({"kernel": COPY.replace("x0: f32[16]", "x0: f32[16] strides (2)")}, "x0 reaches over bytes 0 .. 124 of X"),
        ({"tensors": (("X", "A"), ("B", "A"), ("B", "Y"))}, "x0 reaches over bytes -64 .. 0 of B"),
        ({"text": TEXT.replace("copy(", "other(")}, "there is no kernel other"),
        ({"text": TEXT.replace("(X + 0, ", "(")}, "copy has 2 arguments, and is given 1 places of 2 tensors"),
        ({"results": ("Y", "X")}, "X is read before it is written"),
        ({"results": ("Y", "Z")}, "the result Z is never written"),
    ],
)
def test_planted_faults_are_refused(changes, message):
    with pytest.raises(VerifyError) as caught:
        check(**changes)
    assert message in caught.value.what


def test_steps_in_another_order_read_what_is_not_there():
    head, *steps, tail = TEXT.splitlines()
    for order in itertools.permutations(range(3)):
        text = "\n".join([head, *(steps[n] for n in order), tail])
        tensors = tuple(TENSORS[n] for n in order)
        if order == (0, 1, 2):
            assert check(text, tensors=tensors) == ()
        else:
            with pytest.raises(VerifyError, match="is read before it is written"):
                check(text, tensors=tensors)


def test_what_is_written_meets_nothing_else_of_its_kernel():
    kernel = "kernel copy(in x0: f32[8], out y: f32[8]) { for i in 0 .. 8 { y[i] over () = x0[i] } }"
    text = "plan (X) arena 0 { copy(X + 0, X + START) }"
    for start, is_right in [(32, True), (28, False), (0, False)]:
        arguments = {"text": text.replace("START", str(start)), "kernel": kernel, "tensors": (("X", "X"),), "results": ()}
        if is_right:
            assert check(**arguments) == ()
        else:
            with pytest.raises(VerifyError, match=r"x0 and y, of which one is written, are bytes 0 \.\. 32 and"):
                check(**arguments)


@pytest.mark.parametrize(
    ("body", "is_right"),
    [
        ("for i in 0 .. 16 { y[i] over () = 0.0 } y[0] over () sum= x0[0]", True),
        ("for i in 0 .. 16 { y[i] over () sum= x0[i] }", False),
        ("for i in 0 .. 16 { y[i] over () = y[i] + x0[i] }", False),
    ],
)
def test_a_kernel_may_add_to_what_it_began(body, is_right):
    kernel = f"kernel copy(in x0: f32[16], inout y: f32[16]) {{ {body} }}"
    if is_right:
        assert check(kernel=kernel) == ()
    else:
        with pytest.raises(VerifyError, match="A is read before it is written"):
            check(kernel=kernel)


def test_what_never_runs_touches_nothing():
    kernel = COPY.replace("16", "0").replace("x0: f32[0]", "x0: f32[]").replace("x0[i]", "x0[]")
    memory = {name: (base, 0, 0) for name, (base, _, _) in MEMORY.items()}
    text = TEXT.replace("+ 64", "+ 0")
    assert check(text, kernel, memory=memory) == ()
    with pytest.raises(VerifyError, match="is outside y"):
        check(text, kernel.replace("0 .. 0", "0 .. 1"), memory=memory)


SYMBOLIC = "cascade c(X: f32[N, 6], weight W: f32[6, 6]) -> (Y) for N in LOW..HIGH { BODY }"
BODY = """A: f32[i:N, j:6] = sum(k:6) X[i, k] * W[k, j]
B: f32[i:N, j:6] = sum(k:N) A[k, j] * A[N - 1 - i, j]
C: f32[i:N, j:6] = sum(k:N) B[k, j] * A[i, j]
Y: f32[i:N, j:6] = sum(k:N) C[k, j] * B[i, j]"""


def given_bytes(program):
    return {name: memory.bytes for name, memory in program.memories}


def test_symbolic_sizes_are_proved_and_faults_in_them_refused():
    cascade = parse_cascade(SYMBOLIC.replace("LOW..HIGH", "1..").replace("BODY", BODY))
    program = compile_cascade(cascade, {}, small_target()).main
    given = given_bytes(program)
    assert check_program(program, given) == ()
    for name, less in [("X", as_index(4)), ("Y", as_index("N")), ("Y", as_index("N") * 24)]:
        with pytest.raises(VerifyError, match=f"of {name}, which was given"):
            check_program(program, given | {name: given[name] - less})
    arena = program.plan.arena
    assert sum(place.base == ARENA and bool(place.offset.terms) for step in program.plan.steps for place in step.places) > 2
    slot = parse_index("64*((24*N + 63) // 64)")
    assert arena == 3 * slot
    # For few N there is room in what slots are rounded up to.
    small, smaller = (replace(program, plan=replace(program.plan, arena=arena - less)) for less in (24 * as_index("N"), slot))
    assert "of the arena, which has" in check_program(small, given)[0]
    with pytest.raises(VerifyError, match="of the arena, which has"):
        check_program(smaller, given)


def test_what_is_right_for_some_sizes_only_is_assumed():
    """The caller may keep to a condition that the program does not know: here that N is at most 2."""
    body = "Y: f32[i:N, j:6] = X[i, j] + T[i, j]"
    cascade = parse_cascade(SYMBOLIC.replace("LOW..HIGH", "1..").replace("BODY", body).replace("weight W: f32[6, 6]", "T: f32[2, 6]"))
    (assumed,) = check_program(compile_cascade(cascade, {}, small_target()).main)
    assert "is inside x1" in assumed
    with pytest.raises(VerifyError, match="is outside x1"):
        check_program(compile_cascade(replace(cascade, symbols=(replace(cascade.symbols[0], low=10),)), {}, small_target()).main)


def shift(program, step, place, distance):
    steps = list(program.plan.steps)
    places = list(steps[step].places)
    places[place] = Place(places[place].base, places[place].offset + distance)
    steps[step] = replace(steps[step], places=tuple(places))
    return replace(program, plan=replace(program.plan, steps=tuple(steps)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(programs(), st.data())
def test_faults_in_random_programs_are_refused(cascade, data):
    compiled = compile_cascade(cascade, {}, small_target())
    for program in (compiled.prelude, compiled.main):
        assert check_program(program) == ()
        given = given_bytes(program)
        places = [(s, p) for s, step in enumerate(program.plan.steps) for p in range(len(step.places))]
        whole = [(s, p) for s, p in places if given[program.operands[s][p]] == _span(program, s, p)]
        if not whole:
            continue
        step, place = data.draw(st.sampled_from(whole))
        tensor = program.operands[step][place]
        with pytest.raises(VerifyError):
            check_program(shift(program, step, place, data.draw(st.sampled_from((-64, -4, 4, 64)))))
        if tensor in program.plan.externals:
            with pytest.raises(VerifyError, match="was given"):
                check_program(program, given | {tensor: given[tensor] - 1})
        elif program.plan.arena.constant:
            with pytest.raises(VerifyError):
                check_program(replace(program, plan=replace(program.plan, arena=as_index(0))))


def _span(program, step, place):
    argument = dict(program.kernels)[program.plan.steps[step].kernel].arguments[place]
    return span_bytes(argument.dtype, argument.shape, argument.strides)
