"""Schedules parse back from their text, have a digest that is the same everywhere, and obey their rules."""

import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_strategies import NAMES, TENSORS, indices

from tcomp.ir import schedule as module
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.errors import ParseError, VerifyError
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.schedule import CpuLaunch, GpuLaunch, GroupSchedule, KernelSchedule, Packing, Schedule

EXAMPLE = textwrap.dedent(module.__doc__[module.__doc__.index('    schedule for "') :]).strip()
GPU_EXAMPLE = """\
schedule for "sm_90 132 multiprocessors" {
  kernel conv_relu = contract(conv, relu) join n_p_q (n, p, q) join c_r (c, r) tile (n_p_q:128, k:64, c_r:32) order (n, p, q, k, c, r) \
parallel (n, p, q, k) lanes k instances 132 group 8 warps 4 stages 3
  kernel mm = contract(mm) tile (m:64, n:128, k:64) order (m, n, k) parallel (m, n) lanes n warps 8 stages 4 library
  kernel fill = fill(scatter) tile (i:32) order (i) parallel (i) warps 1 stages 2
  kernel scatter = scatter(scatter) tile (i:32) order (i) parallel (i) warps 1 stages 2
}"""
RANKS = st.lists(NAMES, max_size=3).map(tuple)
COUNTS = st.integers(0, 300)


@st.composite
def kernels(draw):
    cpu = st.builds(CpuLaunch, st.lists(TENSORS, max_size=2).map(tuple))
    gpu = st.builds(GpuLaunch, st.integers(1, 32), COUNTS, COUNTS, COUNTS)
    parts = draw(st.just(()) | st.lists(st.integers(1, 2), min_size=2, max_size=3).map(tuple))
    count = sum(parts)
    return KernelSchedule(
        draw(TENSORS),
        draw(st.lists(TENSORS, min_size=count, max_size=count if parts else 3).map(tuple)),
        draw(NAMES),
        draw(st.lists(st.tuples(NAMES, st.integers(1, 512)), max_size=3).map(tuple)),
        draw(RANKS),
        draw(RANKS),
        draw(st.none() | NAMES),
        draw(cpu | gpu),
        draw(st.lists(st.tuples(NAMES, RANKS), max_size=2).map(tuple)),
        draw(st.booleans()),
        draw(st.lists(st.tuples(NAMES, st.integers(1, 512)), max_size=2).map(tuple)),
        draw(st.none() | st.tuples(COUNTS, COUNTS)),
        parts,
    )


@st.composite
def groups(draw):
    einsums = draw(st.lists(TENSORS, min_size=1, max_size=3).map(tuple))
    fate = draw(st.sampled_from(["sink", "parts", "apart"]))
    return GroupSchedule(einsums, fate, draw(st.tuples(NAMES, COUNTS)) if fate == "parts" else None)


SIZES = indices(st.integers(-99, 4096).map(as_index) | NAMES.map(as_index))
LINES = {
    "kernels": st.lists(kernels(), max_size=3).map(tuple),
    "layouts": st.lists(st.tuples(TENSORS, st.permutations(range(3)).map(tuple)), max_size=2).map(tuple),
    "addresses": st.lists(st.tuples(TENSORS, SIZES), max_size=2).map(tuple),
    "groups": st.lists(groups(), max_size=2).map(tuple),
    "wide": st.lists(TENSORS, max_size=2).map(tuple),
    "held": st.lists(TENSORS, max_size=2).map(tuple),
    "again": st.lists(TENSORS, max_size=2).map(tuple),
    "arena": st.none() | SIZES,
}


@st.composite
def schedules(draw):
    target = draw(st.text())
    parts = {
        "expanded": st.lists(TENSORS, max_size=2).map(tuple),
        "prologues": st.lists(TENSORS, max_size=2).map(tuple),
        "packings": st.lists(st.builds(Packing, TENSORS, NAMES, COUNTS), max_size=2).map(tuple),
        "prelude": st.none() | st.builds(Schedule, **{**LINES, "kernels": st.lists(kernels(), min_size=1, max_size=2).map(tuple)}),
    }
    found = draw(st.builds(Schedule, **LINES, **parts, target=st.just(target), cascade=st.text(max_size=4)))
    return replace(found, prelude=found.prelude and replace(found.prelude, target=target))


@given(schedules())
def test_random_schedules_parse_back(schedule):
    assert parse_schedule(str(schedule)) == schedule
    assert hash(parse_schedule(str(schedule))) == hash(schedule)


def test_the_grammars_example_is_its_own_printed_form():
    schedule = parse_schedule(EXAMPLE)
    assert str(schedule) == EXAMPLE
    assert schedule.kernels[0].einsums[-1] == "relu"
    assert schedule.layouts == (("conv1", (0, 2, 3, 1)),)
    check_schedule(schedule)


def test_a_schedule_of_a_gpu_is_its_own_printed_form():
    schedule = parse_schedule(GPU_EXAMPLE)
    assert str(schedule) == GPU_EXAMPLE
    check_schedule(schedule)
    first, second, *_ = schedule.kernels
    assert first.joined == (("n_p_q", ("n", "p", "q")), ("c_r", ("c", "r")))
    assert (first.launch, first.is_library) == (GpuLaunch(4, 3, instances=132, group=8), False)
    assert (second.launch, second.is_library) == (GpuLaunch(8, 4), True)


TURNS = """schedule for "avx512 2 cores" {
  kernel product = contract(P) steps 0 .. 32 tile (t:8, j:32) order (j, t) parallel (j) lanes j
  kernel first = scan(S) steps 0 .. 32 order (i) parallel (i)
  kernel product = contract(P) steps 32 .. 40 tile (t:8, j:32) order (j, t) parallel (j) lanes j
  kernel rest = scan(S) steps 32 .. 40 order (i) parallel (i)
}"""


def test_kernels_take_turns_at_an_iteration():
    schedule = parse_schedule(TURNS)
    assert str(schedule) == TURNS
    assert [kernel.steps for kernel in schedule.kernels] == [(0, 32), (0, 32), (32, 40), (32, 40)]
    check_schedule(schedule)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steps 32 .. 40 order", "steps 33 .. 40 order"),
        ("scan(S) steps 0", "scan(S) steps 1"),
        (" steps 32 .. 40 order", " order"),
        ("32 .. 40", "32 .. 32"),
    ],
)
def test_turns_follow_each_other(old, new):
    with pytest.raises(VerifyError, match="do not follow"):
        check_schedule(parse_schedule(TURNS.replace(old, new)))


def test_the_digest_is_that_of_the_text_in_any_process():
    program = f"from tcomp.ir.parse.schedule import parse_schedule; print(parse_schedule({EXAMPLE!r}).digest())"
    root = Path(__file__).resolve().parents[2]
    for seed in "01":
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, cwd=root, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == parse_schedule(EXAMPLE).digest()
    assert parse_schedule(EXAMPLE.replace("m:12", "m:14")).digest() != parse_schedule(EXAMPLE).digest()


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("schedule for", "plan for", "expected 'schedule'", 1),
        ('"avx512 2 cores"', "avx512", "expected the target in double quotes, found 'avx512'", 1),
        ('"avx512 2 cores"', '"avx512 2 cores', "unexpected character '\"'", 1),
        ('"avx512 2 cores"', '"\\q"', "is no string", 1),
        ("pack mm (n:32)", "pack mm n:32", "expected '(', found 'n'", 2),
        ("pack mm", "prelude { pack mm", "unexpected 'pack'", 2),
        ("contract(", "7(", "expected a kind of kernel, found '7'", 3),
        ("(mm, add, relu)", "(mm, add |)", "expected an einsum, found ')'", 3),
        ("m:12", "m", "expected ':', found ','", 3),
        ("m:12", "m:M", "expected the size of a tile, found 'M'", 3),
        ("lanes n", "lanes 16", "expected a rank, found '16'", 3),
        ("prefetch (x1)", "instances 2", "expected 'warps', found 'layout'", 4),
        ("(0, 2, 3, 1)", "(n, c)", "expected a dimension, found 'n'", 4),
        ("address mm 4096", "adress mm 4096", "unexpected 'adress'", 5),
        ("arena", "group (mm) left arena", "unexpected 'left'", 6),
        ("8192\n}", "8192", "unexpected the end of the text", 6),
        ("8192\n}", "8192\n} }", "expected 'schedule', found '}'", 7),
        ("8192\n}", f"8192\n}}\n{EXAMPLE}", "there is a second schedule", 8),
    ],
)
def test_errors_say_where(old, new, message, line):
    with pytest.raises(ParseError) as caught:
        parse_schedule(EXAMPLE.replace(old, new))
    assert message in caught.value.what
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(mm, add, relu)", "()", "the kernel computes no einsum"),
        ("k:1)", "k:1, j:4)", "rank j is tiled and not in the order"),
        ("m:12", "n:12", "rank n is tiled twice"),
        ("m:12", "m:0", "the tile of m is 0"),
        ("order (n, m, k)", "order (n, m, k, n)", "rank n is ordered twice"),
        ("parallel (n, m)", "parallel (n, j)", "rank j is parallel and not in the order"),
        ("lanes n", "lanes j", "rank j is on lanes and not in the order"),
        ("(0, 2, 3, 1)", "(0, 2, 3, 3)", "the layout of conv1 is no permutation: [0, 2, 3, 3]"),
        ("pack mm (n:32)", "pack mm (n:0)", "the panel of n is 0"),
        ("arena", "group (s) parts (i:0) arena", "the number of parts of i is 0"),
        ("(0, 2, 3, 1)", "(1, 2)", "the layout of conv1 is no permutation: [1, 2]"),
    ],
)
def test_a_planted_fault_is_refused(old, new, message):
    with pytest.raises(VerifyError, match=re.escape(message)):
        check_schedule(parse_schedule(EXAMPLE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("join n_p_q (", "join (", "expected the joint rank, found '('"),
        ("(c, r) tile", "c, r tile", "expected '(', found 'c'"),
        ("instances 132", "instances many", "expected the number of instances, found 'many'"),
        ("group 8", "group of", "expected the tiles of a group, found 'of'"),
        ("warps 4", "warps", "expected the number of warps, found 'stages'"),
        ("warps 4 stages", "warps 4", "expected 'stages', found '3'"),
        ("stages 4 library", "library stages 4", "expected 'stages', found 'library'"),
        ("stages 3", "stages", "expected the number of stages"),
    ],
)
def test_errors_in_clauses_of_gpus_say_what(old, new, message):
    with pytest.raises(ParseError) as caught:
        parse_schedule(GPU_EXAMPLE.replace(old, new))
    assert message in caught.value.what


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(c, r) tile", "(c) tile", "the ranks c cannot be joined"),
        ("(c, r) tile", "(c, p) tile", "cannot be joined"),
        ("(c, r) tile", "(c, s) tile", "the ranks c, s cannot be joined"),
        ("(c, r) tile", "(c, c) tile", "the ranks c, c cannot be joined"),
        ("join c_r", "join k", "the joint rank k has the name of another rank"),
        ("join c_r", "join n_p_q", "the joint rank n_p_q has the name of another rank"),
        ("c_r:32", "c_s:32", "rank c_s is tiled and not in the order"),
        ("conv_relu = contract(conv, relu)", "conv_relu = contract(conv, mm)", "the einsum mm is given twice"),
    ],
)
def test_a_planted_fault_in_a_schedule_of_a_gpu_is_refused(old, new, message):
    assert GPU_EXAMPLE.count(old) == 1
    with pytest.raises(VerifyError, match=re.escape(message)):
        check_schedule(parse_schedule(GPU_EXAMPLE.replace(old, new)))


def test_a_tensor_may_be_filled_and_scattered_into():
    """The fill of a scatter computes what the scatter's name says, and is no second definition."""
    check_schedule(parse_schedule(GPU_EXAMPLE))
    with pytest.raises(VerifyError, match="the einsum scatter is given twice"):
        check_schedule(parse_schedule(GPU_EXAMPLE.replace("fill(scatter)", "nest(scatter)")))


@pytest.mark.parametrize("field", ["kernels", "layouts", "addresses", "packings"])
def test_nothing_is_given_twice(field):
    schedule = parse_schedule(EXAMPLE)
    with pytest.raises(VerifyError, match="is given twice"):
        check_schedule(replace(schedule, **{field: getattr(schedule, field) * 2}))
