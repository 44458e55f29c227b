"""Scatters on a GPU: a fill of the whole target, then points in order, or all at once where no order can show."""

import inspect
import re

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.cascade import print_einsum
from tcomp.ir.dtypes import DTYPES
from tcomp.ir.tile import Assign, Loop, walk_statements
from tcomp.passes.groups.scatter import can_merge, expand_scatters, is_concurrent, names_points
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.lower.gpu import scatter as lower_gpu_scatter
from tests.documentation import find_example
from tests.gpu_groups import SMALL, bind, lower, read_cascade, read_kernel_schedule, run_kernels
from tests.program_runner import check_compiled, random_inputs, small_target

INPUTS = "I: i64[30], V: f32[30, 6], T: f32[9, 6], N: i32[30, 6], H: bf16[30, 6]"


def read_scatter(body, inputs=INPUTS):
    """A cascade of one scatter, and its einsum."""
    cascade = read_cascade(body, inputs)
    (einsum,) = cascade.einsums()
    return cascade, einsum


def check(body, schedule, inputs=INPUTS, arrays=None):
    """Lower the fill by a plain schedule and the scatter by the given one, run both; the scatter's kernel."""
    cascade = read_cascade(body, inputs)
    fill, scatter = expand_scatters(fuse(cascade))
    ranks = [rank.name for rank in fill.outer]
    order = f"order ({', '.join(ranks)}) parallel ({', '.join(ranks)})" if ranks else ""
    schedules = (f"kernel k = fill(Z) {order} warps 1 stages 2", f"kernel k = scatter(Z) {schedule} warps 1 stages 2")
    found = []
    for group, text in zip((fill, scatter), schedules):
        found.append(lower(bind(cascade, group), read_kernel_schedule(text)))
    run_kernels(cascade, found, inputs=arrays)
    return found[1][0]


def fold_of(kernel):
    (assign,) = [statement for statement in walk_statements(kernel.body) if isinstance(statement, Assign)]
    return assign


def test_what_the_docstring_shows():
    """The fill is a map of the initial value; an instance owns lanes and folds in order, or takes points and merges atomically."""
    example = find_example(inspect.getmodule(lower_gpu_scatter).__doc__).splitlines()
    before = example[0].replace("V,", "9,").replace(":D]", ":6]").replace("i:N", "i:30")
    cascade = read_cascade(before, "Ids: i64[30], G: f32[30, 6], T: f32[9, 6]", "Y")
    fill, scatter = expand_scatters(fuse(cascade))
    assert re.split(r"\s{2,}", example[2])[:2] == ["fill", "Y[_0, d] = T[_0, d]"]
    assert [print_einsum(e) for e in fill.members] == ["Y: f32[_0:9, d:6] = T[_0, d]"]
    assert (fill.kind, fill.stored, [r.name for r in fill.outer]) == ("fill", ("Y",), ["_0", "d"])
    shown = [re.search(r"\{(?: for i in 0 \.\. N \{)? (Y\[.*?) \}", line)[1] for line in example[3:]]
    assert shown == ["Y[Ids[i], d] sum= G[i, d]", "Y[Ids[i], d] atomic sum= G[i, d]"]
    serial, atomic = (
        fold_of(lower(bind(cascade, scatter), read_kernel_schedule(f"kernel k = scatter(Y) {text} warps 1 stages 2"))[0])
        for text in ("tile (d:4) order (d, i) parallel (d)", "order (i, d) parallel (i, d)")
    )
    assert (serial.merge, serial.is_atomic, atomic.merge, atomic.is_atomic) == ("sum", False, "sum", True)


@pytest.mark.parametrize("body", ["Z: f32[I[i]:9] = {}(i:30) V[i, 2]{}", "Z: f32[I[i]:9, d:6] = {}(i:30) V[i, d]{}"])
@pytest.mark.parametrize("monoid", ["sum", "max", "last", "prod"])
@pytest.mark.parametrize("start", ["", " from 0.5"])
@pytest.mark.parametrize("tile", ["", "tile (d:4) "])
def test_points_are_folded_in_order(body, monoid, start, tile):
    has_lanes = "d:6" in body
    schedule = f"{tile}order (d, i) parallel (d)" if has_lanes else "order (i)"
    kernel = check(body.format(monoid, start), schedule)
    assert [loop.kind for loop in walk_statements(kernel.body) if isinstance(loop, Loop)][-1] == "for"
    assert not fold_of(kernel).is_atomic


def test_an_initial_value_may_be_read_from_the_target():
    check("Z: f32[I[i]:9, d:6] = sum(i:30) V[i, d] from T[_0, d] * 2.0", "tile (d:8) order (d, i) parallel (d)")


@pytest.mark.parametrize("tile", ["", "join i_d (i, d) tile (i_d:32) ", "tile (i:8) ", "tile (i:8, d:4) "])
@pytest.mark.parametrize("monoid", ["sum", "max", "min", "xor"])
def test_points_may_meet_in_atomic_merges(monoid, tile):
    kernel = check(f"Z: i32[I[i]:9, d:6] = {monoid}(i:30) N[i, d]", f"{tile}order (i, d) parallel (i, d)")
    assert fold_of(kernel).is_atomic and fold_of(kernel).merge == monoid


@pytest.mark.parametrize("slot", ["2*i + 1", "29 - i", "i + 7"])
@pytest.mark.parametrize("monoid", ["sum", "last", "max"])
def test_points_that_never_meet_need_no_atomic_merge(slot, monoid):
    body = f"Z: f32[{slot}:61, d:6] = {monoid}(i:30) V[i, d] from 1.0"
    kernel = check(body, "join i_d (i, d) tile (i_d:32) order (i, d) parallel (i, d)")
    assert not fold_of(kernel).is_atomic
    assert fold_of(kernel).merge == (None if monoid == "last" else monoid)


@pytest.mark.parametrize("slot", ["I[i]", "2*i", "i - 3"])
def test_points_outside_the_target_are_dropped(slot):
    ids = numpy.arange(30) % 13 - 2
    schedule = "order (d, i) parallel (d)" if slot == "I[i]" else "order (i, d) parallel (i, d)"
    arrays = random_inputs(read_cascade(f"Z: f32[{slot}:9, d:6] = sum(i:30) V[i, d] where V[i, d] < 0.5", INPUTS)) | {"I": ids}
    check(f"Z: f32[{slot}:9, d:6] = sum(i:30) V[i, d] where V[i, d] < 0.5", schedule, arrays=arrays)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("Z: f32[2*i + 1:61] = sum(i:30) V[i, 0]", True),
        ("Z: f32[29 - i:30] = sum(i:30) V[i, 0]", True),
        ("Z: f32[i + 1:31, j + 2:8] = sum(i:30, j:6) V[i, j]", True),
        ("Z: f32[I[i]:9, i + 1:31] = sum(i:30) V[i, 0]", True),
        ("Z: f32[I[i]:9] = sum(i:30) V[i, 0]", False),
        ("Z: f32[i // 2:15] = sum(i:30) V[i, 0]", False),
        ("Z: f32[i % 7:7] = sum(i:30) V[i, 0]", False),
        ("Z: f32[i + j:36] = sum(i:30, j:6) V[i, j]", False),
        ("Z: f32[6*i + j:180] = sum(i:30, j:6) V[i, j]", False),
        ("Z: f32[i + 1:31] = sum(i:30, j:6) V[i, j]", False),
        ("Z: f32[i - i // 2:30] = sum(i:30) V[i, 0]", False),
        ("Z: f32[4:9] = sum(i:30) V[i, 0]", False),
    ],
)
def test_which_slots_name_each_point(body, named):
    """6*i + j does as well, which nothing needs."""
    assert names_points(read_scatter(body)[1]) is named


@pytest.mark.parametrize(
    ("monoid", "dtype", "exact", "loose"),
    [
        ("sum", "f32", False, True),
        ("sum", "f64", False, True),
        ("max", "f32", False, False),
        ("sum", "bf16", False, False),
        ("sum", "f16", False, False),
        ("sum", "i32", True, True),
        ("max", "i64", True, True),
        ("min", "i32", True, True),
        ("xor", "i64", True, True),
        ("prod", "i32", False, False),
        ("last", "i32", False, False),
        (None, "i32", False, False),
        ("sum", "i16", False, False),
        ("sum", "u8", False, False),
        ("any", "bool", False, False),
    ],
)
def test_which_merges_the_hardware_has(monoid, dtype, exact, loose):
    """Those that give the same in any order always, sums of floats where the caller does not mind."""
    assert can_merge(monoid, DTYPES[dtype], is_atomic=False) is exact
    assert can_merge(monoid, DTYPES[dtype], is_atomic=True) is loose


@pytest.mark.parametrize(
    ("body", "exact", "loose"),
    [
        ("Z: f32[2*i:60] = last(i:30) V[i, 0]", True, True),
        ("Z: f32[I[i]:9] = sum(i:30) V[i, 0]", False, True),
        ("Z: f32[I[i]:9] = last(i:30) V[i, 0]", False, False),
        ("Z: i32[I[i]:9] = sum(i:30) N[i, 0]", True, True),
        ("Z: bf16[I[i]:9] = sum(i:30) H[i, 0]", False, False),
    ],
)
def test_when_all_points_are_taken_at_once(body, exact, loose):
    _, einsum = read_scatter(body)
    assert (is_concurrent(einsum, is_atomic=False), is_concurrent(einsum, is_atomic=True)) == (exact, loose)


def test_groups_without_a_scatter_stay_the_same():
    groups = fuse(read_cascade("Z: f32[i:30, d:6] = V[i, d] * 2.0", INPUTS))
    assert expand_scatters(groups) is groups


def test_a_fill_stands_before_its_scatter():
    body = "A: f32[I[i]:9, d:6] = sum(i:30) V[i, d] B: f32[i:30, d:6] = A[I[i], d] Z: f32[I[i]:9, d:6] = max(i:30) B[i, d] from T[_0, d]"
    groups = expand_scatters(fuse(read_cascade(body, INPUTS)))
    assert [(group.kind, group.names) for group in groups] == [
        ("fill", ("A",)),
        ("scatter", ("A",)),
        ("nest", ("B",)),
        ("fill", ("Z",)),
        ("scatter", ("Z",)),
    ]
    assert [print_einsum(e) for group in groups if group.kind == "fill" for e in group.members] == [
        "A: f32[_0:9, d:6] = 0.0",
        "Z: f32[_0:9, d:6] = T[_0, d]",
    ]


def test_what_a_scatter_does_not_reach_is_kept():
    """Its target is read and written: the fill is another kernel."""
    for body, schedule in (
        ("Z: f32[I[i]:9] = last(i:30) V[i, 0] from 2.0", "order (i)"),
        ("Z: f32[2*i:61] = last(i:30) V[i, 0] from 2.0", "order (i) parallel (i)"),
    ):
        kernel = check(body, schedule)
        assert [argument.role for argument in kernel.arguments if argument.name == "Z_out"] == ["inout"]


def test_a_kernel_reads_well(golden):
    body = "Z: f32[I[i]:9, d:6] = sum(i:30) V[i, d] * 2.0 where i64[i] < 28"
    serial = check(body, "tile (d:4) order (d, i) parallel (d)")
    atomic = check(body, "join i_d (i, d) tile (i_d:32) order (i, d) parallel (i, d)")
    golden.check("gpu_scatter.txt", f"{serial}\n\n{atomic}")


@pytest.mark.parametrize("target", [SMALL, small_target()], ids=["gpu", "cpu"])
@pytest.mark.parametrize("monoid", ["sum", "max"])
@pytest.mark.parametrize("dtype", ["bf16", "f16", "e4m3", "f64"])
def test_a_target_of_any_float_is_filled_with_what_nothing_folds_to(dtype, monoid, target):
    cascade = read_cascade(f"Z: {dtype}[I[i]:9] = {monoid}(i:30) V[i]", f"I: i64[30], V: {dtype}[30]")
    check_compiled(cascade, random_inputs(cascade), target=target)


SLOTS = {
    "I[i]:9": "i:12",
    "2*i:24": "i:12",
    "2*i:9": "i:12",
    "i // 2:6": "i:12",
    "I[i] + 1:3": "i:12",
    "I[i]:9, 3 - j:4": "i:12, j:4",
    "I[i]:3, j // 2:2": "i:12, j:4",
    "j:4, I[i]:9": "i:12",
    "i + j:9": "i:12, j:4",
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["f32", "i32", "bf16", "i64"]),
    st.sampled_from(["sum", "max", "min", "last", "prod"]),
    st.sampled_from(list(SLOTS)),
    st.sampled_from(["", " where I[i] != 2"]),
    st.booleans(),
)
def test_any_scatter_computes_what_the_evaluator_does(dtype, monoid, slots, where, atomic):
    value = "V[i, j]" if "j" in slots else "V[i, 0]"
    start = " from T[_0]" if "," not in slots else ""
    inputs = f"I: i64[12], V: {dtype}[12, 4], T: {dtype}[24]"
    cascade = read_cascade(f"Z: {dtype}[{slots}] = {monoid}({SLOTS[slots]}) {value}{where}{start}", inputs)
    check_compiled(cascade, random_inputs(cascade), target=SMALL, shuffle=1, atomic=atomic)
