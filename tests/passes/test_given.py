"""Schedules that are given: from the text of a guessed one follows the same compilation, of every cascade, with every clause."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.passes.pipeline import apply, compile_cascade, digest_of, guess
from tests.cascade_strategies import machines, pairs, products, programs, scatters
from tests.gpu_groups import HOPPER, SMALL
from tests.machines import ALL
from tests.program_runner import random_inputs, run_compiled, small_target
from tests.schedule_cases import CASES

GOLDENS = {path.stem: path.read_text() for path in sorted((Path(__file__).parent.parent / "goldens").glob("*.txt"))}
CASCADES = {name: text for name, text in GOLDENS.items() if text.startswith("cascade ")}
TARGETS = {target.name: target for target in (replace(small_target(), name="small cache", l2=2048), *ALL[::4], HOPPER, SMALL)}
CLAUSES = (
    *("expand", "prologue", "pack", "prelude", "sink", "parts", "apart", "wide", "hold", "again", "|", "steps", "registers", "join"),
    *("tile", "order", "parallel", "lanes", "partial", "prefetch", "instances", "group", "warps", "stages", "library"),
    *("layout", "address", "arena"),
)


def check(cascade, target, strict=False, **options):
    """Assert that what is compiled from the text of its schedule is the compilation itself; the compilation."""
    compiled = compile_cascade(cascade, {}, target, strict=strict, **options)
    read = parse_schedule(str(compiled.schedule))
    assert read == compiled.schedule
    again = apply(cascade, read, target, strict=strict)
    assert again.schedule == compiled.schedule
    assert again == compiled
    return compiled


@pytest.mark.parametrize("name", CASES)
def test_a_text_is_applied_as_it_was_guessed(name):
    case = CASES[name]
    compiled = check(case.cascade, case.target, **case.options)
    assert [clause for clause in case.clauses if clause not in str(compiled.schedule)] == []
    if not case.options:
        assert guess(case.cascade, case.target) == compiled.schedule


def test_the_cases_have_every_clause():
    told = "\n".join(str(case.schedule) for case in CASES.values())
    assert [clause for clause in CLAUSES if f"{clause} " not in told and f" {clause}" not in told] == []


def test_a_result_is_written_over_an_argument():
    case = CASES["backward"]
    addresses = dict(case.schedule.addresses)
    assert addresses["D"] == addresses["B"]
    compiled = apply(case.cascade, parse_schedule(str(case.schedule)), case.target)
    assert [a.role for _, kernel in compiled.main.kernels for a in kernel.arguments].count("inout") == 1


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASCADES)
def test_cascades_of_the_goldens(name, target, strict):
    cascade, target = parse_cascade(CASCADES[name]), TARGETS[target]
    compiled = check(cascade, target, strict)
    assert guess(cascade, target, strict=strict) == compiled.schedule


def test_there_are_goldens_of_cascades():
    assert len(CASCADES) >= 11


anything = st.one_of(programs(), programs(2, (scatters, scatters, pairs)), products())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything, st.one_of(machines(), st.sampled_from([HOPPER, SMALL])), st.booleans())
def test_random_programs(cascade, target, strict):
    compiled = check(cascade, target, strict)
    assert guess(cascade, target, strict=strict) == compiled.schedule


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything, st.sampled_from([HOPPER, SMALL]))
def test_random_programs_whose_scatters_are_atomic(cascade, target):
    assert guess(cascade, target, atomic=True) == check(cascade, target, atomic=True).schedule


@pytest.mark.parametrize("target", [HOPPER, small_target()], ids=["gpu", "cpu"])
def test_a_map_that_waits_joins_by_itself_where_its_reader_cannot(target):
    """t1 comes before t2, which founds the kernel, and t4 has nothing in common with t2."""
    check(
        parse_cascade(
            """cascade c(T: f32[6, 4], X: f32[]) -> (t2, t4) {
              t1: f32[] = T[0, 0] + X[] + T[0, 0]
              t2: f32[] = X[]
              t4: f32[i:1, j:1, k:1] = t1[]
            }"""
        ),
        target,
    )


def test_strides_of_inputs_and_outputs():
    cascade = parse_cascade("cascade c(X: f32[4, 6], Y: f32[6]) -> (Z) { Z: f32[j:6, i:4] = exp(X[i, j]) * Y[j] }")
    steps = {"X": (1, 5), "Y": (3,), "Z": (7, 1)}
    strides = {name: tuple(as_index(step) for step in found) for name, found in steps.items()}
    compiled = compile_cascade(cascade, strides, small_target())
    assert apply(cascade, parse_schedule(str(compiled.schedule)), small_target(), strides) == compiled
    assert guess(cascade, small_target(), strides) == compiled.schedule


def test_a_schedule_without_a_digest_is_for_any_cascade_that_it_fits():
    """The names and ranks of the einsums are what it is about."""
    case = CASES["linear"]
    schedule = replace(case.schedule, cascade="")
    assert apply(case.cascade, schedule, case.target) == case.compiled
    other = parse_cascade(case.text.replace("maximum(Y[m, n] + C[n], 0.0)", "tanh(Y[m, n]) * C[n]"))
    compiled = apply(other, schedule, case.target)
    assert compiled.schedule.cascade == digest_of(other) != case.schedule.cascade
    inputs = random_inputs(other)
    assert run_compiled(compiled, inputs)["Z"].shape == (16, 64)


def test_an_edit_of_the_loops_is_what_is_compiled():
    case = CASES["linear"]
    text = str(case.schedule).replace("order (n, m, k) parallel (n, m)", "order (m, n, k) parallel (m)")
    compiled = apply(case.cascade, parse_schedule(text), case.target)
    kernel = compiled.main.schedule.kernels[0]
    assert (kernel.order, kernel.parallel) == (("m", "n", "k"), ("m",))
    assert compiled.main.kernels != case.compiled.main.kernels
    inputs = random_inputs(case.cascade)
    results = [run_compiled(c, inputs)["Z"] for c in (compiled, case.compiled)]
    assert (results[0] == results[1]).all()


def test_names_of_kernels_are_their_digests_whatever_a_schedule_calls_them():
    case = CASES["softmax"]
    (kernel,) = case.schedule.kernels
    renamed = replace(case.schedule, kernels=(replace(kernel, name="mine"),))
    assert apply(case.cascade, renamed, case.target) == case.compiled
