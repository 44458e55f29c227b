"""The observers find planted faults and name the pass."""

from dataclasses import replace

import numpy
import pytest

from tcomp.ir.errors import VerifyError
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Place
from tcomp.passes import pipeline
from tcomp.passes.check import describe_difference, evaluating_observer, verifying_observer
from tests.program_runner import small_target

GOOD = parse_cascade(
    "cascade c(X: f32[N, 1, 8], weight W: f32[8]) -> (Y) for N in 1.. { Y: f32[n:N, i:8] = X[n, 0, i] * (W[i] * 2.0) }"
)
BROKEN = parse_cascade("cascade c(X: f32[N, 1, 8]) -> (Y) for N in 1.. { Y: f32[n:N, i:8] = Z[n, 0, i] }")
WRONG = parse_cascade(str(GOOD).replace("2.0", "2.0000001"))
INPUTS = {"X": numpy.ones((3, 1, 8)), "W": numpy.arange(8.0)}


def test_a_broken_cascade_names_the_stage_and_shows_both_texts():
    observe = verifying_observer()
    observe("first", GOOD)
    with pytest.raises(VerifyError, match="second broke a rule: Z is read but never defined") as caught:
        observe("second", BROKEN)
    text = str(caught.value)
    assert text.index("before:") < text.index("X[n, 0, i]") < text.index("after:") < text.rindex("Z[n, 0, i]")


def test_a_broken_kernel_names_the_stage():
    kernel = parse_kernel("kernel k(in x: f32[8], out y: f32[8]) { y[i.0] over (i.0:8) = x[i.0 + 1] }")
    with pytest.raises(VerifyError, match=r"kernel broke a rule: .* is outside"):
        verifying_observer()("kernel", kernel)


def test_a_plan_that_leaves_its_memory_names_the_stage():
    program = pipeline.compile_cascade(GOOD, {}, small_target()).main
    observe = verifying_observer()
    observe("memory", program)
    step, *_ = program.plan.steps
    shifted = replace(step, places=tuple(Place(place.base, place.offset + 4) for place in step.places))
    with pytest.raises(VerifyError, match=r"memory broke a rule: .* reaches over bytes"):
        observe("memory", replace(program, plan=replace(program.plan, steps=(shifted,))))


def test_what_cannot_be_proved_of_fixed_sizes_is_refused_here():
    cascade = parse_cascade("cascade c(X: f32[8]) -> (Y) { Y: f32[i:8] = X[i] }")
    program = pipeline.compile_cascade(cascade, {}, small_target()).main
    name = program.steps[0]
    # Never outside, which takes more than the ends of ranges to see.
    odd = parse_kernel(f"kernel {name}(in x0: f32[8], out y: f32[8]) {{ y[i] over (i:8) = x0[(7*i - i*i) // 2] }}")
    with pytest.raises(VerifyError, match="it cannot be proved that kernel"):
        verifying_observer()("memory", replace(program, kernels=((name, odd),)))


def test_a_changed_value_names_the_stage_and_shows_both_texts():
    observe = evaluating_observer(INPUTS)
    observe("cascade", GOOD)
    with pytest.raises(VerifyError, match=r"worse changed the output Y: element 1 is 2.0000001, and was 2.0") as caught:
        observe("worse", WRONG)
    assert "before:" in str(caught.value) and "2.0000001" in caught.value.where


def test_a_changed_shape_is_an_error():
    observe = evaluating_observer(INPUTS)
    observe("cascade", GOOD)
    with pytest.raises(VerifyError, match=r"cut made the shape \[3, 1, 4\] of X"):
        observe("cut", parse_cascade(str(GOOD).replace("X: f32[N, 1, 8]", "X: f32[N, 1, 4]")))


def test_both_watch_a_whole_compilation(monkeypatch):
    pipeline.compile_cascade(GOOD, {}, small_target(), verifying_observer())
    pipeline.compile_cascade(GOOD, {}, small_target(), evaluating_observer(INPUTS))

    def guilty(cascade):
        return cascade if "2.0" not in str(cascade) else parse_cascade(str(cascade).replace("2.0", "3.0"))

    row = pipeline.Pass("cascade", guilty, "to be found out")
    monkeypatch.setattr(pipeline, "PIPELINE", (*pipeline.PIPELINE, row))
    with pytest.raises(VerifyError, match="guilty changed the output Y"):
        pipeline.compile_cascade(GOOD, {}, small_target(), evaluating_observer(INPUTS))


@pytest.mark.parametrize(
    ("got", "want", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0], None),
        ([1.0, 2.0 + 1e-12], [1.0, 2.0], None),
        ([1.0, 2.1], [1.0, 2.0], "element 1 is 2.1, and was 2.0"),
        ([1.0, numpy.nan], [1.0, 2.0], "element 1 is nan, and was 2.0"),
        ([1.0, 2.0], [1.0, numpy.nan], "element 1 is 2.0, and was nan"),
        ([numpy.nan, -numpy.inf], [numpy.nan, -numpy.inf], None),
        ([numpy.inf], [-numpy.inf], "element 0 is inf, and was -inf"),
        ([1, 2], [1, 3], "element 1 is 2, and was 3"),
        ([1], [1, 3], "it has 1 elements, and had 2"),
    ],
)
def test_differences(got, want, message):
    assert describe_difference(numpy.asarray(got), numpy.asarray(want)) == message
