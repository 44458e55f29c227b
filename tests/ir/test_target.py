"""The description of a machine: its text, what it answers, and what leaves its cache key alone."""

import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir import target as module
from tcomp.ir.dtypes import bf16, f32, f64, i8
from tcomp.ir.errors import ParseError
from tcomp.ir.parse.target import parse_target
from tcomp.ir.target import Cpu, Gpu

EXAMPLE, GPU = (
    textwrap.dedent(text).strip().replace("3.1e+11", "310000000000.0")
    for text in module.__doc__[module.__doc__.index('    target "') :].split("\n\n")
)
SIZES = st.integers(0, 2**40)
RATES = st.none() | st.floats(0, 1e16)


@given(
    st.builds(Cpu, st.text(), st.text(), SIZES, SIZES, SIZES, SIZES, SIZES, SIZES, st.text(), RATES, RATES)
    | st.builds(Gpu, st.text(), SIZES, SIZES, SIZES, SIZES, SIZES, st.text(), RATES, RATES)
)
def test_random_targets_parse_back(target):
    assert parse_target(str(target)) == target


def test_the_grammars_examples_are_their_own_printed_form():
    assert str(parse_target(EXAMPLE)) == EXAMPLE
    assert str(parse_target(GPU)) == GPU
    assert parse_target(GPU).multiprocessors == 132


def test_a_vector_holds_what_one_computes_with():
    target = parse_target(EXAMPLE)
    assert [target.lanes(dtype) for dtype in (f64, f32, bf16, i8)] == [8, 16, 16, 64]


def test_it_knows_its_instruction_sets():
    target = parse_target(EXAMPLE)
    assert target.has("avx512f")
    assert not target.has("avx512")


def test_measurements_are_no_part_of_the_key():
    target = parse_target(EXAMPLE)
    assert replace(target, float_peak=2.9e11, bandwidth=1e10).key == target.key
    assert replace(target, cores=4).key != target.key
    gpu = parse_target(GPU)
    assert replace(gpu, float_peak=9e14, bandwidth=4e12).key == gpu.key
    assert replace(gpu, shared=1).key != gpu.key
    assert replace(target, compiler="gcc 13").key != target.key


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("target", "machine", "expected 'target'", 1),
        ('"gcc 12.2.0"', "gcc", "expected the compiler in double quotes, found 'gcc'", 6),
        ("512 bits", "wide", "expected the bits of a vector, found 'wide'", 3),
        ("cores 2", "cores 2.5", "expected the number of cores", 4),
        ("49152, 2097152", "49152", "expected ',', found 'compiler'", 6),
        ("310000000000.0", "fast", "expected a rate, found 'fast'", 7),
        ("cores 2", "course 2", "expected 'cores', found 'course'", 4),
    ],
)
def test_errors_say_where(old, new, message, line):
    with pytest.raises(ParseError) as caught:
        parse_target(EXAMPLE.replace(old, new))
    assert message in caught.value.what
    assert caught.value.line == line
