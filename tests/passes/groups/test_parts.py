"""Long reductions with few results are split into parts: what becomes of a group, and which groups stay whole."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.cascade import print_einsum
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.bind.arguments import bind_arguments
from tcomp.passes.bind.layout import lay_out
from tcomp.passes.choose import Guess, PartGuess
from tcomp.passes.groups.parts import split_groups
from tcomp.passes.groups.prologue import attach_prologues, find_prologues, without
from tcomp.passes.guess import parts as module
from tcomp.passes.guess.expand import is_worth_expanding
from tcomp.passes.guess.fuse import fuse
from tests.cascade_strategies import programs
from tests.documentation import find_example
from tests.gpu_groups import HOPPER, SMALL, lower, place_tensors, read_cascade, read_kernel_schedule
from tests.program_runner import check_compiled, random_inputs

EAGER = {"SHORTEST_PART": 1, "FOLD_CYCLES": 0.0, "FOLD_BYTES": 1e12, "LONG_ROW": 1, "LONG_COLUMN": 1, "FEW_POINTS": 1}
"""Parts that cost nothing."""


@pytest.fixture
def eager(monkeypatch):
    """Whatever can be split is."""
    set_constants(monkeypatch)


def set_constants(patch, **constants):
    for name, value in (EAGER | constants).items():
        patch.setattr(module, name, value)


def split_for(groups, cascade, target=HOPPER, is_atomic=False):
    """The groups with reductions in as many parts as are best for a GPU."""
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    return split_groups(groups, cascade, lambda group, e: module.choose_parts(group, e, dtypes, target, is_atomic=is_atomic))


def split(body, inputs, outputs="Z", target=HOPPER, symbols="", **options):
    cascade = read_cascade(body, inputs, outputs, symbols)
    groups = fuse(cascade)
    return groups, split_for(groups, cascade, target, **options)


def describe(groups):
    """Each group as its kind, its members, and what it stores."""
    return [(group.kind, [print_einsum(e) for e in group.members], group.stored) for group in groups]


EXAMPLES = find_example(inspect.getmodule(split_groups).__doc__).split("\n\n")


@pytest.mark.parametrize(
    ("example", "inputs", "parts", "kinds"),
    [
        (EXAMPLES[0], "X: bf16[64, 4096], W: bf16[4096, 64]", 8, ["contract", "nest"]),
        (EXAMPLES[1], "V: f32[8192], Ids: i64[8192], B: f32[100]", 32, ["scatter", "nest"]),
    ],
    ids=["contraction", "scatter"],
)
def test_what_the_docstring_shows(monkeypatch, example, inputs, parts, kinds):
    set_constants(monkeypatch, PARTS=(parts,))
    before, after = example.split("\n  =>\n")
    _, groups = split(before, inputs, "Y")
    assert [group.kind for group in groups] == kinds
    expected = parse_cascade(f"cascade c() -> () {{ {after} }}").statements
    assert [print_einsum(e) for group in groups for e in group.members] == [print_einsum(e) for e in expected]
    assert [group.stored for group in groups] == [("Y.part",), ("Y",)]


def test_there_are_two_examples():
    assert len(EXAMPLES) == 2


@pytest.mark.usefixtures("eager")
def test_what_follows_a_reduction_follows_the_fold():
    body = "Y: f32[p:2] = sum(m:64) X[p, m] * X[p, m] R: f32[p:2] = rsqrt(Y[p] + 1.0) Z: f32[p:2] = R[p] * 2.0"
    _, groups = split(body, "X: f32[2, 64]", "Z, Y")
    assert describe(groups) == [
        ("nest", ["Y.part: f32[part:32, p:2] = sum(m:2) X[p, m + 2*part] * X[p, m + 2*part]"], ("Y.part",)),
        (
            "nest",
            ["Y: f32[p:2] = sum(part:32) Y.part[part, p]", "R: f32[p:2] = rsqrt(Y[p] + 1.0)", "Z: f32[p:2] = R[p] * 2.0"],
            ("Y", "Z"),
        ),
    ]
    assert [[r.name for r in (*group.outer, *group.inner)] for group in groups] == [["part", "p", "m"], ["p", "part"]]


@pytest.mark.usefixtures("eager")
def test_an_epilogue_follows_the_fold():
    body = "Y: f32[m:4, n:5] = sum(k:64) X[m, k] * W[k, n] Z: f32[m:4, n:5] = maximum(Y[m, n], 0.0)"
    _, (first, second) = split(body, "X: f32[4, 64], W: f32[64, 5]")
    assert (first.kind, first.names, [r.name for r in first.outer]) == ("contract", ("Y.part",), ["part", "m", "n"])
    assert (second.kind, second.names, second.stored) == ("nest", ("Y", "Z"), ("Z",))


def test_the_kernels_read_well(golden, monkeypatch):
    set_constants(monkeypatch, PARTS=(4,))
    body = "Y: f32[m:4, n:5] = sum(k:64) X[m, k] * W[k, n] Z: f32[m:4, n:5] = maximum(Y[m, n] + C[n], 0.0)"
    cascade = read_cascade(body, "X: f32[4, 64], W: f32[64, 5], C: f32[5]")
    groups = split_for(fuse(cascade), cascade)
    memories = place_tensors(cascade)
    lay_out(groups, memories, PartGuess(Guess(HOPPER), cascade).choose_order, ())
    schedules = (
        "contract(Y.part) tile (m:4, n:8, k:2) order (part, m, n, k) parallel (part, m, n) lanes n",
        "nest(Y, Z) tile (m:4, part:32) order (m, n, part) parallel (m, n)",
    )
    found = []
    for group, schedule in zip(groups, schedules):
        bound = bind_arguments(group, memories)
        found.append(lower(bound, read_kernel_schedule(f"kernel k = {schedule} warps 4 stages 2"))[0])
    golden.check("gpu_split_sum.txt", "\n\n".join(map(str, found)))


@pytest.mark.usefixtures("eager")
def test_maps_before_a_reduction_are_made_part_of_it():
    body = "A: f32[p:2, m:64] = exp(X[p, m]) B: f32[p:2, m:64] = A[p, m] * A[p, m] Z: f32[p:2] = max(m:64) B[p, m] - A[p, m]"
    _, groups = split(body, "X: f32[2, 64]")
    part = "exp(X[p, m + 2*part])"
    assert describe(groups)[0] == ("nest", [f"Z.part: f32[part:32, p:2] = max(m:2) {part} * {part} - {part}"], ("Z.part",))


@pytest.mark.usefixtures("eager")
def test_the_longest_rank_is_split():
    _, groups = split("Z: f32[p:2] = sum(a:3, b:40, c:5) X[p, a, b, c] where i64[b] < i64[c]", "X: f32[2, 3, 40, 5]")
    assert describe(groups)[0][1] == [
        "Z.part: f32[part:8, p:2] = sum(a:3, b:5, c:5) X[p, a, b + 5*part, c] where i64[b + 5*part] < i64[c]"
    ]


@pytest.mark.usefixtures("eager")
def test_parts_of_narrow_floats_are_kept_wide():
    """And rounded once, as the sum was."""
    _, groups = split("Z: bf16[] = sum(m:64) X[m]", "X: bf16[64]")
    assert describe(groups)[0][1] == ["Z.part: f32[part:32] = sum(m:2) X[m + 2*part]"]
    assert describe(groups)[1][1] == ["Z: bf16[] = sum(part:32) Z.part[part]"]


@pytest.mark.usefixtures("eager")
def test_names_are_fresh():
    body = "A: f32[part:2, m:64] = X[part, m] Z: f32[part:2] = sum(m:64) A[part, m] B: f32[part:2] = Z[part]"
    renamed = body.replace("A:", "Z.part:").replace("A[", "Z.part[")
    _, groups = split(renamed, "X: f32[2, 64]", "Z.part, B, Z")
    # The map leaves the kernel, so the group stays; without that its name is taken nevertheless.
    assert len(groups) == 1
    _, groups = split(renamed, "X: f32[2, 64]", "B, Z")
    assert groups[0].names == ("Z.part2",)
    assert [r.name for r in groups[0].outer] == ["part2", "part"]


@pytest.mark.usefixtures("eager")
def test_a_scatter_without_an_initial_value_is_its_fold():
    _, groups = split("Z: f32[I[i]:9, d:2] = max(i:64) V[i, d]", "I: i64[64], V: f32[64, 2]")
    assert describe(groups) == [
        ("scatter", ["Z.part: f32[part:32, I[i + 2*part]:9, d:2] = max(i:2) V[i + 2*part, d]"], ("Z.part",)),
        ("nest", ["Z: f32[_0:9, d:2] = max(part:32) Z.part[part, _0, d]"], ("Z",)),
    ]


WHOLE = {
    "a state of several components": ("(A: f32, Z: i64)[p:2] = argmax(m:64) X[p, m]", "X: f32[2, 64]", {}),
    "the last of the elements": ("Z: f32[p:2] = last(m:64) X[p, m]", "X: f32[2, 64]", {}),
    "a scatter of the last": ("Z: f32[I[i]:9] = last(i:64) V[i]", "I: i64[64], V: f32[64]", {}),
    "a length that nothing divides": ("Z: f32[p:2] = sum(m:67) X[p, m]", "X: f32[2, 67]", {}),
    "a symbolic length": ("Z: f32[p:2] = sum(m:N) X[p, m]", "X: f32[2, N]", {"symbols": " for N in 1.."}),
    "symbolic results": ("Z: f32[p:N] = sum(m:64) X[p, m]", "X: f32[N, 64]", {"symbols": " for N in 1.."}),
    "a map": ("Z: f32[p:2, m:64] = X[p, m] * 2.0", "X: f32[2, 64]", {}),
    "two reductions": ("A: f32[p:2] = sum(m:64) X[p, m] Z: f32[p:2] = max(m:64) X[p, m] - A[p]", "X: f32[2, 64]", {}),
    "a map along the rank afterwards": ("A: f32[p:2] = sum(m:64) X[p, m] Z: f32[p:2, m:64] = X[p, m] / A[p]", "X: f32[2, 64]", {}),
    "a map before that is stored": (
        "A: f32[p:2, m:64] = exp(X[p, m]) Z: f32[p:2] = sum(m:64) A[p, m]",
        "X: f32[2, 64]",
        {"outputs": "Z, A"},
    ),
    "a scatter whose slots name the points": ("Z: f32[2*i:128] = sum(i:64) V[i]", "V: f32[64]", {}),
    "a scatter of whole numbers": ("Z: i64[I[i]:9] = sum(i:64) V[i]", "I: i64[64], V: i64[64]", {}),
    "an atomic scatter": ("Z: f32[I[i]:9] = sum(i:64) V[i]", "I: i64[64], V: f32[64]", {"is_atomic": True}),
    "a recurrence": ("iterate t:64 { Z: f32[t + 1:65] = Z[t] * 0.5 + X[t] from 0.0 }", "X: f32[64]", {}),
    "a large target": ("Z: f32[I[i]:9, d:1000000] = sum(i:64) V[i, d]", "I: i64[64], V: f32[64, 1000000]", {}),
}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("body", "inputs", "options"), WHOLE.values(), ids=WHOLE)
def test_what_stays_whole(body, inputs, options):
    groups, after = split(body, inputs, **options)
    assert after is groups


@pytest.mark.parametrize(
    ("body", "inputs", "target"),
    [
        ("Z: f32[m:512, n:512] = sum(k:4096) X[m, k] * W[k, n]", "X: f32[512, 4096], W: f32[4096, 512]", SMALL),
        ("Z: f32[m:16, n:16] = sum(k:64) X[m, k] * W[k, n]", "X: f32[16, 64], W: f32[64, 16]", HOPPER),
        ("Z: f32[p:4096] = sum(m:8192) X[p, m]", "X: f32[4096, 8192]", HOPPER),
        ("Z: f32[p:2] = sum(m:512) X[p, m]", "X: f32[2, 512]", HOPPER),
        ("Z: f32[I[i]:9] = sum(i:64) V[i]", "I: i64[64], V: f32[64]", HOPPER),
        ("Z: f32[I[i]:9, d:8192] = sum(i:4096) V[i, d]", "I: i64[4096], V: f32[4096, 8192]", HOPPER),
    ],
)
def test_parts_that_do_not_pay_are_not_made(body, inputs, target):
    """Where there are results enough for the machine, or too little to add up."""
    groups, after = split(body, inputs, target=target)
    assert after is groups


def test_long_sums_with_few_results_are_split():
    for body, inputs in (
        ("Z: f32[m:16, n:64] = sum(k:16384) X[m, k] * W[k, n]", "X: f32[16, 16384], W: f32[16384, 64]"),
        ("Z: f32[] = sum(k:1048576) X[k]", "X: f32[1048576]"),
        ("Z: f32[I[i]:9] = sum(i:65536) V[i]", "I: i64[65536], V: f32[65536]"),
    ):
        _, groups = split(body, inputs)
        assert len(groups) == 2


@pytest.mark.usefixtures("eager")
def test_a_product_with_packed_weights_stays_whole():
    body = "W: f32[n:4, k:64] = f32(P[n, k // 2]) * 0.5 Z: f32[m:4, n:4] = sum(k:64) X[m, k] * W[n, k]"
    cascade = read_cascade(body, "X: f32[4, 64], weight P: u8[4, 32]")
    found = find_prologues(cascade, is_worth_expanding)
    groups = attach_prologues(fuse(without(cascade, found)), found)
    assert groups[0].names == ("W", "Z")
    assert split_for(groups, cascade) is groups


FOLDS = {
    "f32": ("sum", "prod", "max", "min"),
    "bf16": ("sum", "max"),
    "i32": ("sum", "prod", "min", "xor"),
    "bool": ("any", "all", "max"),
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_give_what_the_whole_gives(data):
    """For every monoid, with masks and initial values, in a reduction or a scatter."""
    dtype = data.draw(st.sampled_from(list(FOLDS)))
    monoid = data.draw(st.sampled_from(FOLDS[dtype]))
    length, width = data.draw(st.sampled_from([4, 6, 16, 36])), data.draw(st.integers(1, 3))
    where = data.draw(st.sampled_from(["", " where i64[m] < 3", " where i64[m + p] != 2"]))
    if data.draw(st.booleans()):
        slots, start = f"I[m]:4, p:{width}", data.draw(st.sampled_from(["", " from T[_0]"]))
    else:
        slots, start = f"p:{width}", ""
    inputs = f"X: {dtype}[{width}, {length}], I: i64[{length}], T: {dtype}[4]"
    cascade = read_cascade(f"Z: {dtype}[{slots}] = {monoid}(m:{length}) X[p, m]{where}{start}", inputs)
    with pytest.MonkeyPatch.context() as patch:
        set_constants(patch)
        compiled = check_compiled(cascade, random_inputs(cascade), target=HOPPER, shuffle=1)
    is_exact = dtype == "i32" and monoid != "prod"
    assert len(compiled.main.groups) == (3 if "I[m]" in slots and not is_exact else 2)


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 3), st.booleans())
def test_random_programs_compute_the_same_in_parts(cascade, seed, atomic):
    with pytest.MonkeyPatch.context() as patch:
        set_constants(patch)
        check_compiled(cascade, random_inputs(cascade, seed=seed), target=HOPPER, shuffle=seed, atomic=atomic)
