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
from tcomp.ir.errors import ParseError, VerifyError
from tcomp.ir.expressions import as_index
from tcomp.ir.schedule import KERNEL_KINDS, KernelSchedule, Schedule, check_schedule, parse_schedule

EXAMPLE = textwrap.dedent(module.__doc__[module.__doc__.index('    schedule for "') :]).strip()
RANKS = st.lists(NAMES, max_size=3).map(tuple)
KERNELS = st.builds(
    KernelSchedule,
    TENSORS,
    st.lists(TENSORS, max_size=3).map(tuple),
    st.sampled_from(list(KERNEL_KINDS)),
    st.lists(st.tuples(NAMES, st.integers(1, 512)), max_size=3).map(tuple),
    RANKS,
    RANKS,
    st.none() | NAMES,
    st.lists(TENSORS, max_size=2).map(tuple),
)


@given(
    st.builds(
        Schedule,
        st.lists(KERNELS, max_size=3).map(tuple),
        st.lists(st.tuples(TENSORS, st.permutations(range(3)).map(tuple)), max_size=2).map(tuple),
        st.lists(st.tuples(TENSORS, indices(st.integers(-99, 4096).map(as_index) | NAMES.map(as_index))), max_size=2).map(tuple),
        st.text(),
    )
)
def test_random_schedules_parse_back(schedule):
    assert parse_schedule(str(schedule)) == schedule
    assert hash(parse_schedule(str(schedule))) == hash(schedule)


def test_the_grammars_example_is_its_own_printed_form():
    schedule = parse_schedule(EXAMPLE)
    assert str(schedule) == EXAMPLE
    assert schedule.kernels[0].einsums[-1] == "relu"
    assert schedule.layouts == (("conv1", (0, 2, 3, 1)),)
    check_schedule(schedule)


def test_the_digest_is_that_of_the_text_in_any_process():
    program = f"from tcomp.ir.schedule import parse_schedule; print(parse_schedule({EXAMPLE!r}).digest())"
    root = Path(__file__).resolve().parent.parent
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
        ("contract(", "matmul(", "there is no kind of kernel 'matmul'", 2),
        ("m:12", "m", "expected ':', found ','", 2),
        ("m:12", "m:M", "expected the size of a tile, found 'M'", 2),
        ("lanes n", "lanes 16", "expected a rank, found '16'", 2),
        ("(0, 2, 3, 1)", "(n, c)", "expected a dimension, found 'n'", 3),
        ("address mm 4096", "adress mm 4096", "unexpected 'adress'", 4),
        ("4096\n}", "4096", "unexpected the end of the text", 4),
        ("4096\n}", "4096\n} }", "unexpected '}' after the end", 5),
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
        ("(0, 2, 3, 1)", "(1, 2)", "the layout of conv1 is no permutation: [1, 2]"),
    ],
)
def test_a_planted_fault_is_refused(old, new, message):
    with pytest.raises(VerifyError, match=re.escape(message)):
        check_schedule(parse_schedule(EXAMPLE.replace(old, new)))


@pytest.mark.parametrize("field", ["kernels", "layouts", "addresses"])
def test_nothing_is_given_twice(field):
    schedule = parse_schedule(EXAMPLE)
    with pytest.raises(VerifyError, match="is given twice"):
        check_schedule(replace(schedule, **{field: getattr(schedule, field) * 2}))
