"""States of several components: one for each result, or one for each lane, which become one after the loop."""

import inspect
import re

import numpy
import pytest

from tcomp.passes.lower import states as lower_states
from tests.documentation import find_example
from tests.gpu_groups import bind, lower, read_cascade, read_kernel_schedule, run_kernels

TARGETS = {
    "argmax": "(A: {t}, P: i64)[i:6]",
    "argmin": "(A: {t}, P: i64)[i:6]",
    "welford": "(A: {t}, B: {t}, C: {t})[i:6]",
    "logsumexp": "(A: {t}, B: {t})[i:6]",
}
OUTPUTS = {"argmax": "A, P", "argmin": "A, P", "welford": "A, B, C", "logsumexp": "A, B"}
SCHEDULES = {
    "step by step": "order (i, j) parallel (i)",
    "rows side by side": "tile (i:4) order (i, j) parallel (i)",
    "lanes": "tile (j:32) order (i, j) parallel (i)",
    "lanes of several steps": "tile (j:4) order (i, j) parallel (i)",
    "more lanes than elements in the last step": "tile (i:4, j:8) order (i, j) parallel (i)",
}


def check(body, inputs, outputs, schedule, arrays=None):
    """Lower a reduction as a GPU does and as a CPU does, compare both with the evaluator; the GPU's kernel."""
    cascade = read_cascade(body, inputs, outputs)
    names = ", ".join(name for e in cascade.einsums() for name, _ in e.targets)
    found = []
    for launch in ("warps 1 stages 2", "lanes j" if "j:" in schedule else ""):
        bound = bind(cascade)
        parts = (f"lanes j {launch}" if "stages" in launch and "j:" in schedule else launch).strip()
        kernel, operands = lower(bound, read_kernel_schedule(f"kernel k = nest({names}) {schedule} {parts}"))
        run_kernels(cascade, [(kernel, operands)], inputs=arrays)
        found.append(kernel)
    return found[0]


def values(dtype, rows=5, columns=11):
    """Rows with ties, NaN and infinities."""
    x = numpy.round(numpy.random.default_rng(0).standard_normal((rows, columns)) * 2)
    if dtype == "i64":
        return x.astype(numpy.int64)
    x[1, 5:7] = numpy.nan
    x[2] = -numpy.inf
    x[3, 7] = numpy.inf
    x[4, :8] = -numpy.inf
    return x


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("where", ["", " where i64[j] < 3 + i64[i]"])
@pytest.mark.parametrize(
    ("monoid", "dtype"),
    [("argmax", "f32"), ("argmin", "bf16"), ("argmax", "i64"), ("welford", "f32"), ("logsumexp", "f64")],
)
def test_states_fold_what_the_evaluator_folds(monoid, dtype, where, schedule):
    body = f"{TARGETS[monoid].format(t=dtype)} = {monoid}(j:11) X[i, j]{where}".replace("i:6", "i:5")
    check(body, f"X: {dtype}[5, 11]", OUTPUTS[monoid], schedule, {"X": values(dtype)})


@pytest.mark.parametrize("order", ["(i, j, l)", "(i, l, j)"])
@pytest.mark.parametrize("tile", ["", "tile (j:4)", "tile (l:8)", "tile (i:4, j:2, l:2)"])
def test_positions_are_row_major_whatever_the_order_of_loops(order, tile):
    body = "(A: f32, P: i64)[i:5] = argmax(j:5, l:4) X[i, j, l]"
    x = values("f32", columns=20).reshape(5, 5, 4)
    cascade = read_cascade(body, "X: f32[5, 5, 4]", "A, P")
    for launch in ("warps 1 stages 2", ""):
        schedule = read_kernel_schedule(f"kernel k = nest(A, P) {tile} order {order} parallel (i) {launch}")
        run_kernels(cascade, [lower(bind(cascade), schedule)], inputs={"X": x})


def test_what_the_docstring_shows():
    """Its statements are those of the kernel of which a tile holds all rows."""
    before, after = find_example(inspect.getmodule(lower_states).__doc__).split("\n  =>\n")
    kernel = check(before, "X: f32[6, 20]", "A, P", "tile (i:6) order (i, j) parallel (i)")
    shown = [line.strip() for line in re.split(r"\n|;|\{|\}", after) if line.strip()]
    text = str(kernel).replace("i.0", "i")
    statements = [re.sub(r" over \([^)]*\)", "", line.strip()) for line in text.splitlines()]
    assert shown == [
        "A_state[i] = -inf",
        "P_state[i] = largest",
        "for j",
        "element = X[i, j]",
        "element_2 = i64[j]",
        "merged = ...",
        "A_state[i] = merged",
        "P_state[i] = merged_2",
    ]
    expected = [
        "A_state[i] = -inf",
        "P_state[i] = 9223372036854775807",
        "for j in 0 .. 20 {",
        "element[i] = x0[i, j]",
        "element_2[i] = i64[j]",
        "A_state[i] = merged[i]",
        "P_state[i] = merged_2[i]",
    ]
    places = [statements.index(line) for line in expected]
    assert places == sorted(places)


def test_lanes_become_one_after_the_loop():
    body = "(A: f32, P: i64)[i:6] = argmax(j:20) X[i, j]"
    kernel = check(body, "X: f32[6, 20]", "A, P", "tile (j:4) order (i, j) parallel (i)")
    lines = [line.strip() for line in str(kernel).splitlines()]
    loop = lines.index("for j.1 in 0 .. 5 {")
    end = lines.index("}", loop)
    assert "block A_state: f32[j.0:4]" in lines[:loop]
    assert "A_2[] over () = max(j.0:4) A_state[j.0]" in lines[end:]
    assert not any("A_out" in line for line in lines[1:end])


def test_a_narrow_state_is_held_wide_and_rounded_where_it_is_stored():
    kernel = check(TARGETS["argmin"].format(t="bf16") + " = argmin(j:20) X[i, j]", "X: bf16[6, 20]", "A, P", SCHEDULES["lanes"])
    text = str(kernel)
    assert "block A_state: f32[" in text
    assert "A_out[i] over () = bf16(A_2[])" in text


@pytest.mark.parametrize("outputs", ["A", "P"])
def test_components_that_nobody_reads_are_not_stored(outputs):
    kernel = check("(A: f32, P: i64)[i:6] = argmax(j:20) X[i, j]", "X: f32[6, 20]", outputs, SCHEDULES["lanes"])
    assert [argument.name for argument in kernel.arguments if argument.role == "out"] == [f"{outputs}_out"]


def test_what_follows_reads_a_component_from_its_block():
    body = "(A: f32, B: f32, C: f32)[i:6] = welford(j:20) X[i, j] Z: f32[i:6] = A[i] / (B[i] + 1.0)"
    cascade = read_cascade(body, "X: f32[6, 20]")
    for tile in ("", "tile (j:8)", "tile (i:4)"):
        schedule = read_kernel_schedule(f"kernel k = nest(A, B, C, Z) {tile} order (i, j) parallel (i) warps 1 stages 2")
        kernel, operands = lower(bind(cascade), schedule)
        run_kernels(cascade, [(kernel, operands)])
        assert [argument.name for argument in kernel.arguments] == ["x0", "Z_out"]
