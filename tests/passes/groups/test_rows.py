"""Long rows with few results are split into parts on a CPU: what becomes of a nest, and which nests stay whole."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tcomp
from tcomp.ir.cascade import print_einsum
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.groups import rows
from tcomp.passes.groups.rows import split_rows
from tcomp.passes.guess import rows as module
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.guess.rows import choose_cut
from tests.cascade_strategies import programs
from tests.compiled import Function
from tests.documentation import find_example
from tests.program_runner import check_compiled, random_inputs

EXAMPLE = find_example(rows.__doc__)
SMALL = {"MOST_INSTANCES": 4, "SHORTEST_PART": 3, "LANES": 2}
"""Parts of rows that tests can afford."""


def set_constants(patch, **constants):
    for name, value in (SMALL | constants).items():
        patch.setattr(module, name, value)


@pytest.fixture
def small(monkeypatch):
    """Whatever has a few elements is split."""
    set_constants(monkeypatch)


def split(body, inputs, outputs="Z", symbols=""):
    cascade = parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{ {body} }}")
    check_cascade(cascade)
    groups = fuse(cascade)
    return groups, split_rows(groups, cascade, choose_cut)


def members(groups):
    return [print_einsum(e) for group in groups for e in group.members]


def test_what_the_docstring_shows(monkeypatch):
    set_constants(monkeypatch, SHORTEST_PART=1 << 15)
    before, after = EXAMPLE.split("\n  =>\n")
    _, groups = split(before, "X: f32[2, 100000]")
    assert members(groups) == [print_einsum(e) for e in parse_cascade(f"cascade c() -> () {{ {after} }}").statements]
    assert [group.stored for group in groups] == [("M.part",), ("M",), ("D.part",), ("D",), ("Z",)]
    assert [[r.name for r in group.inner] for group in groups] == [["m"], ["part"], ["m"], ["part"], []]


@pytest.mark.usefixtures("small")
def test_a_part_of_its_own_takes_what_does_not_divide():
    _, groups = split("Z: f32[] = max(m:11) X[m]", "X: f32[11]")
    assert members(groups) == [
        "Z.part: f32[part:3] = max(m:3) X[m + 3*part]",
        "Z.rest: f32[] = max(m:2) X[m + 9]",
        "Z.max: f32[] = max(part:3) Z.part[part]",
        "Z: f32[] = maximum(Z.max[], Z.rest[])",
    ]


@pytest.mark.usefixtures("small")
def test_the_outermost_rank_that_is_long_enough_is_split():
    """So that a part is one stretch of memory."""
    _, groups = split("Z: f32[] = max(a:2, b:8, c:40) X[a, b, c] where i64[b] < i64[c]", "X: f32[2, 8, 40]")
    assert members(groups)[0] == "Z.part: f32[part:4] = max(a:2, b:2, c:40) X[a, b + 2*part, c] where i64[b + 2*part] < i64[c]"


@pytest.mark.usefixtures("small")
def test_sums_are_kept_in_f64_until_they_are_rounded_once():
    _, groups = split("Z: bf16[p:1] = sum(m:12) X[p, m]", "X: bf16[1, 12]")
    assert members(groups) == [
        "Z.part: f64[part:4, p:1] = sum(m:3) X[p, m + 3*part]",
        "Z.sum: f64[p:1] = sum(part:4) Z.part[part, p]",
        "Z: bf16[p:1] = bf16(Z.sum[p])",
    ]


@pytest.mark.usefixtures("small")
def test_reductions_of_one_phase_share_their_reads():
    body = "A: f32[p:1] = min(m:12) X[p, m] B: f32[p:1] = max(m:12) X[p, m] Z: f32[p:1] = B[p] - A[p]"
    _, groups = split(body, "X: f32[1, 12]")
    assert [group.names for group in groups] == [("A.part", "B.part"), ("A", "B", "Z")]
    assert groups[1].stored == ("Z",)


WHOLE = {
    "a state of several components": ("(A: f32, Z: i64)[p:2] = argmax(m:64) X[p, m]", "X: f32[2, 64]", ""),
    "the last of the elements": ("Z: f32[p:2] = last(m:64) X[p, m]", "X: f32[2, 64]", ""),
    "a symbolic length": ("Z: f32[p:2] = sum(m:N) X[p, m]", "X: f32[2, N]", " for N in 1.."),
    "symbolic results": ("Z: f32[p:N] = sum(m:64) X[p, m]", "X: f32[N, 64]", " for N in 1.."),
    "a map": ("Z: f32[p:2, m:64] = X[p, m] * 2.0", "X: f32[2, 64]", ""),
    "a short row": ("Z: f32[p:2] = sum(m:5) X[p, m]", "X: f32[2, 5]", ""),
    "enough results": ("Z: f32[p:3] = sum(m:64) X[p, m]", "X: f32[3, 64]", ""),
    "enough columns": ("Z: f32[p:5] = sum(m:64) X[m, p]", "X: f32[64, 5]", ""),
    "no results": ("Z: f32[p:0] = sum(m:64) X[m, p]", "X: f32[64, 0]", ""),
    "a contraction": ("Z: f32[m:2, n:2] = sum(k:64) X[m, k] * Y[k, n]", "X: f32[2, 64], Y: f32[64, 2]", ""),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("body", "inputs", "symbols"), WHOLE.values(), ids=WHOLE)
def test_what_stays_whole(body, inputs, symbols):
    groups, after = split(body, inputs, symbols=symbols)
    assert after is groups


FOLDS = {"f32": ("sum", "prod", "max"), "bf16": ("sum", "min"), "i32": ("sum", "xor"), "bool": ("any", "all")}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_parts_give_what_the_whole_gives(data):
    """For every monoid and length, with masks, and what follows along the row."""
    dtype = data.draw(st.sampled_from(list(FOLDS)))
    monoid = data.draw(st.sampled_from(FOLDS[dtype]))
    length, width = data.draw(st.integers(6, 23)), data.draw(st.integers(1, 2))
    where = data.draw(st.sampled_from(["", " where i64[m] < 3", " where i64[m + p] != 2"]))
    slots = data.draw(st.sampled_from(["p, m", "m, p"]))
    shape = f"{width}, {length}" if slots == "p, m" else f"{length}, {width}"
    body = f"A: {dtype}[p:{width}] = {monoid}(m:{length}) X[{slots}]{where}"
    if dtype == "f32":
        body += f" B: f32[p:{width}, m:{length}] = X[{slots}] - A[p] C: f32[p:{width}] = sum(m:{length}) B[p, m] * B[p, m]"
        body += f" D: f32[p:{width}] = C[p] + 1.0 Z: f32[p:{width}, m:{length}] = B[p, m] / D[p]"
    cascade = parse_cascade(f"cascade c(X: {dtype}[{shape}]) -> ({'Z, A' if dtype == 'f32' else 'A'}) {{ {body} }}")
    check_cascade(cascade)
    with pytest.MonkeyPatch.context() as patch:
        set_constants(patch)
        compiled = check_compiled(cascade, random_inputs(cascade), shuffle=1)
    assert len(compiled.main.groups) >= 2


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 3))
def test_random_programs_compute_the_same_in_parts(cascade, seed):
    with pytest.MonkeyPatch.context() as patch:
        set_constants(patch)
        check_compiled(cascade, random_inputs(cascade, seed=seed), shuffle=seed)


def test_parts_do_not_depend_on_the_machine():
    """Nor on how many threads there are: the same bits come from one and from two."""
    x = torch.randn(3, 200_003, generator=torch.Generator().manual_seed(0))
    compiled = tcomp.compile(Function(lambda x: (x.softmax(1), x.var(1), x.sum())), (x,), fallback="error")
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(compiled(x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_a_cut_covers_the_row():
    groups, (parts, rest, _) = split("Z: f32[] = sum(m:1000003) X[m]", "X: f32[1000003]")
    rank, count = choose_cut(groups[0])
    assert rank == "m" and [r.extent.constant for r in parts.outer] == [count]
    ((length,), (left,)) = ([r.extent.constant for r in group.inner] for group in (parts, rest))
    assert count * length + left == 1_000_003
    assert 16 <= count <= 32 and 0 <= left < count
