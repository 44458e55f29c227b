"""Chains on a GPU: which groups become one, and that one pass over the rank between two contractions gives what three give."""

import inspect
import re

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.tile import Assign, Block, Loop, walk_statements
from tcomp.passes.groups.chain import chain_groups
from tcomp.passes.guess.chain import LARGEST_HEAD, wants_chain
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.lower.gpu import chain as lower_gpu_chain
from tests.documentation import find_example
from tests.gpu_groups import HOPPER, SMALL, bind, lower, read_cascade, read_kernel_schedule, run_kernels
from tests.passes.lower.gpu.test_lower_gpu import shrink_tiles
from tests.program_runner import check_compiled, random_inputs

INPUTS = "Q: f32[3, 20, 8], K: f32[3, 30, 8], V: f32[3, 30, 4], M: f32[20, 30], B: f32[30]"
SCORES = "S: f32[h:3, i:20, j:30] = sum(e:8) Q[h, i, e] * K[h, j, e] "
MASKED = "T: f32[h:3, i:20, j:30] = S[h, i, j] * 0.5 + M[i, j] "
WEIGHTS = """G: f32[h:3, i:20] = max(j:30) T[h, i, j] E: f32[h:3, i:20, j:30] = exp(T[h, i, j] - G[h, i])
D: f32[h:3, i:20] = sum(j:30) E[h, i, j] P: f32[h:3, i:20, j:30] = E[h, i, j] / D[h, i] """
VALUES = "Z: f32[h:3, i:20, d:4] = sum(j:30) P[h, i, j] * V[h, j, d] "
ATTENTION = SCORES + MASKED + WEIGHTS + VALUES
SAFE = ATTENTION.replace("P: f32[h:3, i:20, j:30] = E[h, i, j] / D[h, i]", "O: bool[h:3, i:20] = G[h, i] != -inf "
    "P: f32[h:3, i:20, j:30] = select(!O[h, i], 0.0, E[h, i, j] / D[h, i])")
BARE = (SCORES + WEIGHTS.replace("T[", "S[") + VALUES).replace("h:3, ", "").replace("h, ", "")
BARE_INPUTS = "Q: f32[20, 8], K: f32[30, 8], V: f32[30, 4]"


def chain(body, inputs=INPUTS, outputs="Z", symbols="", target=HOPPER, **options):
    """The groups of a cascade with its chains."""
    cascade = read_cascade(body, inputs, outputs, symbols)
    return cascade, chain_groups(fuse(cascade), cascade, target, lambda chain: wants_chain(chain, target), **options)


def kinds(*arguments, **options):
    return [group.kind for group in chain(*arguments, **options)[1]]


def check(body, tiles, inputs=INPUTS, arrays=None):
    """Lower the only chain of a cascade by tiles of (rows, steps, reduced, lanes), run it; its kernel."""
    cascade, (group,) = chain(body, inputs)
    bound = bind(cascade, group)
    outer = [rank.name for rank in bound.group.outer]
    names = [name for name, _ in tiles]
    order = ", ".join([*outer, *(name for name in names if name not in outer)])
    cut = ", ".join(f"{name}:{size}" for name, size in tiles)
    text = f"kernel k = chain({', '.join(bound.group.names)}) tile ({cut}) order ({order}) parallel ({', '.join(outer)}) warps 4 stages 2"
    found = lower(bound, read_kernel_schedule(text))
    run_kernels(cascade, [found], inputs=arrays)
    return found[0]


def assigns(kernel):
    return [statement for statement in walk_statements(kernel.body) if isinstance(statement, Assign)]


TILES = [("i", 8), ("j", 16), ("e", 8), ("d", 4)]


def test_what_the_docstring_shows():
    """Blocks get their last values of a step in the order in which the docstring names them."""
    example = find_example(inspect.getmodule(lower_gpu_chain).__doc__)
    assert re.findall(r"(\w+)(?:\[[^\]]*\])? = ", example) == ["G", "D", "Z", "S", "G_next", "scale", "E", "D", "Z", "G", "Z_out"]
    kernel = check(BARE, TILES, BARE_INPUTS)
    (walk,) = [loop for loop in walk_statements(kernel.body) if isinstance(loop, Loop) and loop.kind == "for"]
    step = [statement.target for statement in walk.body if isinstance(statement, Assign)]
    last = sorted(set(step), key=lambda name: len(step) - step[::-1].index(name))
    assert last == ["S", "G_next", "G_base", "G_scale", "term", "D", "Z_2", "G"]
    targets = [statement.target for statement in assigns(kernel)]
    assert targets[:3] == ["G", "D", "Z_2"] and targets[-1] == "Z_out"


def test_a_kernel_reads_well(golden):
    golden.check("gpu_attention.txt", str(check(BARE, TILES, BARE_INPUTS)))


@pytest.mark.parametrize("rows", [4, 8, 16, 32])
@pytest.mark.parametrize("steps", [4, 16, 32])
def test_any_tile_computes_the_same(rows, steps):
    kernel = check(ATTENTION, [("i", rows), ("j", steps), ("e", 8), ("d", 4)])
    assert [loop.variable for loop in walk_statements(kernel.body) if isinstance(loop, Loop) and loop.kind == "for"] in (["j.1"], [])


def test_no_row_of_scores_is_held():
    """Blocks have a tile of rows, and of steps, reduced elements or lanes at most."""
    kernel = check(ATTENTION, TILES)
    axes = {tuple(axis.name for axis in s.axes) for s in walk_statements(kernel.body) if isinstance(s, Block)}
    assert axes <= {("i.0",), ("i.0", "j.0"), ("i.0", "d.0")}
    assert [argument.role for argument in kernel.arguments].count("out") == 1


def test_exponentials_that_several_sums_share_are_computed_once():
    for body in (ATTENTION, ATTENTION.replace("E[h, i, j] / D[h, i]", "exp(B[j]) * E[h, i, j] / D[h, i]")):
        text = str(check(body, TILES))
        assert text.count("exp(T[i.0, j.0] - G_base[i.0])") == 1


def test_the_exponential_of_the_weights_is_a_block_whatever_else_has_one():
    """What is multiplied first, in a tail that is the only sum, is no reason to compute it with every product."""
    body = ATTENTION.replace("E[h, i, j] / D[h, i]", "exp(B[j]) * E[h, i, j]").replace("D: f32[h:3, i:20] = sum(j:30) E[h, i, j]", "")
    text = str(check(body, TILES))
    assert "term[i.0, j.0] over (i.0:8 < 20 - 8*i.1, j.0:16 < 30 - 16*j.1) = exp(T[i.0, j.0] - G_base[i.0])" in text


def masks():
    """Masks of keys that are dead for some rows: at first, at the end, all of them; and NaN."""
    none = numpy.zeros((20, 30))
    first, last, every, holes, nan = (none.copy() for _ in range(5))
    first[3:15, :20] = -numpy.inf
    last[::2, 5:] = -numpy.inf
    every[4:9] = -numpy.inf
    holes[:, 3::2] = -numpy.inf
    nan[7, 3] = numpy.nan
    nan[8, 4] = numpy.inf
    return {"none": none, "first": first, "last": last, "every": every, "holes": holes, "nan": nan}


@pytest.mark.parametrize("mask", masks().values(), ids=masks())
@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("body", [ATTENTION, SAFE], ids=["plain", "safe"])
def test_masked_keys_infinities_and_nan_are_as_in_three_passes(body, mask, infinite):
    cascade = read_cascade(body, INPUTS)
    arrays = random_inputs(cascade) | {"M": mask}
    if infinite:
        arrays["V"][1, 2, 3] = numpy.inf
        arrays["V"][2, 25, 0] = -numpy.inf
    check(body, [("i", 8), ("j", 4), ("e", 8), ("d", 4)], arrays=arrays)


FORMED = {
    "attention": (ATTENTION, INPUTS),
    "without a mask": (BARE, BARE_INPUTS),
    "more rows than keys": (ATTENTION.replace("i:20", "i:50"), INPUTS.replace("3, 20, 8", "3, 50, 8").replace("20, 30", "50, 30")),
    "keys that lie along their heads": (
        ATTENTION.replace("K[h, j, e]", "K[e, j, h]"),
        INPUTS.replace("K: f32[3, 30, 8]", "K: f32[8, 30, 3]"),
    ),
    "heads that share keys": (ATTENTION.replace("K[h, j, e]", "K[h // 2, j, e]").replace("V[h, j, d]", "V[h // 2, j, d]"), INPUTS),
    "keys for all heads": (ATTENTION.replace("K[h, j, e]", "K[0, j, e]").replace("V[h, j, d]", "V[0, j, d]"), INPUTS),
    "the values first": (ATTENTION.replace("P[h, i, j] * V[h, j, d]", "V[h, j, d] * P[h, i, j]"), INPUTS),
    "weights in another order": (
        ATTENTION.replace("P: f32[h:3, i:20, j:30]", "P: f32[j:30, h:3, i:20]").replace("P[h, i, j]", "P[j, h, i]"),
        INPUTS,
    ),
    "an epilogue": (ATTENTION.replace("Z:", "Y:") + "Z: f32[h:3, i:20, d:4] = maximum(Y[h, i, d], 0.0)", INPUTS),
    "keys for all heads, more heads than rows": (
        ATTENTION.replace("K[h, j, e]", "K[0, j, e]").replace("h:3", "h:40"),
        INPUTS.replace("[3,", "[40,"),
    ),
    "a norm in place of the exponential": (
        SCORES
        + "N: f32[h:3, i:20] = sum(j:30) S[h, i, j] * S[h, i, j] P: f32[h:3, i:20, j:30] = S[h, i, j] * rsqrt(N[h, i] + 1.0) "
        + VALUES,
        INPUTS,
    ),
}


@pytest.mark.parametrize(("body", "inputs"), FORMED.values(), ids=FORMED)
def test_which_groups_become_one(body, inputs):
    cascade, groups = chain(body, inputs)
    assert [group.kind for group in groups] == ["chain"]
    assert [part.kind for part in groups[0].parts] == ["contract", "nest", "contract"]
    compiled = check_compiled(cascade, random_inputs(cascade), target=SMALL, shuffle=1)
    assert [schedule.kind for schedule in compiled.main.schedule.kernels] == ["chain"]


NARROW = (
    ATTENTION.replace("E: f32", "E: bf16").replace("exp(T[h, i, j] - G[h, i])", "bf16(exp(T[h, i, j] - G[h, i]))").replace("E[", "f32(E[")
).replace("f32(E[h, i, j]", "f32(E[h, i, j])")

APART = {
    "a nest that one pass does not compute": (ATTENTION.replace("exp(T", "abs(T"), INPUTS, {}),
    "weights that leave": (ATTENTION, INPUTS, {"outputs": "Z, P"}),
    "scores that leave": (ATTENTION, INPUTS, {"outputs": "Z, T"}),
    "a sum that leaves": (ATTENTION, INPUTS, {"outputs": "Z, D"}),
    "weights that another contraction reads": (ATTENTION + VALUES.replace("Z:", "Y:"), INPUTS, {"outputs": "Z, Y"}),
    "no keys": (ATTENTION.replace("j:30", "j:0"), INPUTS.replace("30", "0"), {}),
    "an unknown number of keys": (ATTENTION.replace("j:30", "j:N"), INPUTS.replace("30", "N"), {"symbols": " for N in 1.."}),
    "long heads": (ATTENTION.replace("e:8", f"e:{LARGEST_HEAD + 1}"), INPUTS.replace(", 8]", f", {LARGEST_HEAD + 1}]"), {}),
    "long values": (ATTENTION.replace("d:4", f"d:{LARGEST_HEAD + 1}"), INPUTS.replace(", 4]", f", {LARGEST_HEAD + 1}]"), {}),
    "values that have the rows": (ATTENTION.replace("V[h, j, d]", "V[h, j + i, d]"), INPUTS.replace("V: f32[3, 30", "V: f32[3, 60"), {}),
    "weights read at other places": (ATTENTION.replace("P[h, i, j] *", "P[h, i, 29 - j] *"), INPUTS, {}),
    "scores of a single row": (
        BARE.replace("i:20, ", "").replace("[i:20]", "[]").replace("i, ", "").replace("[i]", "[]"),
        "Q: f32[8], K: f32[30, 8], V: f32[30, 4]",
        {},
    ),
    "two free ranks of the values": (
        ATTENTION.replace("d:4", "c:2, d:4").replace("V[h, j, d]", "V[h, j, c, d]"),
        INPUTS.replace("V: f32[3, 30, 4]", "V: f32[3, 30, 2, 4]"),
        {},
    ),
}


@pytest.mark.parametrize(("body", "inputs", "options"), APART.values(), ids=APART)
def test_which_stay_apart(body, inputs, options):
    assert "chain" not in kinds(body, inputs, **options)


def test_a_chain_is_formed_for_unknown_rows_and_computes_any_number_of_them():
    cascade, groups = chain(ATTENTION.replace("i:20", "i:N"), INPUTS.replace("20", "N"), symbols=" for N in 1..")
    assert [group.kind for group in groups] == ["chain"]
    for rows in (1, 16, 37):
        check_compiled(cascade, random_inputs(cascade, {"N": rows}), {"N": rows}, target=SMALL)


def test_a_group_that_ends_a_chain_starts_no_other():
    """What attends, is normed and multiplied again is a chain and what follows it."""
    body = ATTENTION.replace("Z:", "A:") + """N: f32[h:3, i:20] = sum(d:4) A[h, i, d] * A[h, i, d]
    R: f32[h:3, i:20, d:4] = A[h, i, d] * rsqrt(N[h, i] + 1.0) Z: f32[h:3, i:20, f:5] = sum(d:4) R[h, i, d] * W[d, f]"""
    cascade, groups = chain(body, INPUTS + ", W: f32[4, 5]")
    assert [group.kind for group in groups] == ["chain", "nest", "contract"]
    check_compiled(cascade, random_inputs(cascade), target=SMALL)


def test_strict_numerics_keep_roundings_between_the_contractions():
    assert kinds(NARROW) == ["chain"]
    assert kinds(NARROW, strict=True) == ["contract", "nest", "contract"]
    assert kinds(ATTENTION, strict=True) == ["chain"]
    cascade = read_cascade(NARROW, INPUTS)
    for strict in (False, True):
        check_compiled(cascade, random_inputs(cascade), target=SMALL, strict=strict)


def test_weights_are_multiplied_as_they_would_have_been_stored():
    """So that tensor cores take them, with the division left to the end."""
    body = ATTENTION.replace("P: f32", "P: bf16").replace("E[h, i, j] / D[h, i]", "bf16(E[h, i, j] / D[h, i])")
    body = body.replace("P[h, i, j] * V[h, j, d]", "f32(P[h, i, j]) * f32(V[h, j, d])")
    text = str(check(body, TILES, INPUTS.replace("V: f32", "V: bf16")))
    assert "f32(bf16(term[i.0, j.0])) * f32(" in text


@st.composite
def attentions(draw):
    """Attention whose tensors have their dimensions in any order, heads shared or not, narrow or wide, masked or not."""
    extents = {"h": draw(st.integers(1, 3)), **{rank: draw(st.sampled_from([1, 3, 8, 13])) for rank in "ijde"}}

    def order(ranks):
        return draw(st.permutations(ranks))

    shared = draw(st.booleans())
    places = {"Q": order("hie"), "K": order("je" if shared else "hje"), "V": order("jd" if shared else "hjd"), "M": order("ij")}
    places |= {"S": order("hij"), "P": order("hij"), "G": order("hi"), "D": order("hi"), "Z": order("hid")}
    low = draw(st.sampled_from(["f32", "bf16"]))

    def read(name):
        return f"{name}[{', '.join(places[name])}]"

    def wide(name):
        return f"f32({read(name)})" if low == "bf16" else read(name)

    def target(name, dtype="f32"):
        return f"{name}: {dtype}[{', '.join(f'{rank}:{extents[rank]}' for rank in places[name])}]"

    places |= {"T": places["S"], "E": places["P"]}
    mask = draw(st.sampled_from(["", " + M[i, j]"])).replace("M[i, j]", read("M"))
    scale = draw(st.sampled_from(["", " * 2.0", " * G2"])).replace(" * G2", f" * abs({read('G')})")
    result = f"{read('E')} / {read('D')}{scale}"
    factors = order([wide("P"), wide("V")])
    body = f"""{target('S')} = sum(e:{extents['e']}) {' * '.join(order([wide('Q'), wide('K')]))}
    {target('T')} = {read('S')} * 0.25{mask} {target('G')} = max(j:{extents['j']}) {read('T')}
    {target('E')} = exp({read('T')} - {read('G')}) {target('D')} = sum(j:{extents['j']}) {read('E')}
    {target('P', low)} = {low + '(' + result + ')' if low == 'bf16' else result}
    {target('Z', draw(st.sampled_from(['f32', low])))} = sum(j:{extents['j']}) {' * '.join(factors)}"""
    shapes = {name: ", ".join(str(extents[rank]) for rank in places[name]) for name in "QKVM"}
    inputs = ", ".join(f"{name}: {'f32' if name == 'M' else low}[{shape}]" for name, shape in shapes.items())
    return parse_cascade(f"cascade c({inputs}) -> (Z) {{ {body} }}")


@settings(max_examples=50, deadline=None)
@given(attentions(), st.booleans(), st.booleans(), st.integers(0, 3))
def test_any_attention_computes_what_three_passes_do(cascade, tiny, dead, seed):
    inputs = random_inputs(cascade, seed=seed)
    if dead:
        inputs["M"][..., ::2] = -numpy.inf
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            shrink_tiles(patch)
        check_compiled(cascade, inputs, target=SMALL, shuffle=seed)
