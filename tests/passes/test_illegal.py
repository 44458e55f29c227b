"""Schedules that do not fit are refused: each clause tells what is wrong with it; an edit at random is refused, or computes the same."""

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcomp.ir.errors import Illegal, Unsupported
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.schedule import parse_schedule, parse_schedules, show_clause
from tcomp.passes.check import describe_difference
from tcomp.passes.choose import Guess
from tcomp.passes.pipeline import apply, guess
from tests.cascade_strategies import machines, pairs, products, programs, scatters
from tests.gpu_groups import HOPPER, SMALL
from tests.program_runner import random_inputs, run_compiled
from tests.schedule_cases import CASES
from tests.schedule_mutations import mutated

KERNEL = ("kernel", 0)
PACK = "kernel {} = nest(W.pack) tile (n.0:8) order (n.1, k, n.0) parallel (n.1, k) lanes n.0"
E_LINE = "  kernel E_df8169 = nest(E) tile (n:8) order (m, n) parallel (m, n) lanes n\n"
FUSED = re.compile(rf"contract\(Y\)(.*\n){re.escape(E_LINE)}")
TWO_LINES = re.compile(rf"(  kernel Y.*\n)({re.escape(E_LINE)})")
E_ADDRESS = re.compile("address E 384(\n.*)768")
D_ADDRESS = re.compile("address D 0(\n.*)1638400")
PRELUDE = re.compile("prelude {[^}]*}")
FILL = "  kernel Z_c4dd43 = fill(Z) tile (_0:64) order (_0) parallel (_0) warps 1 stages 2\n"

WHOLE = {
    "another target": ("linear", 'for "test"', 'for "other"', ("for",), 'the schedule is for "other", and code is made for "test"'),
    "another cascade": (
        "linear", re.compile('of "[0-9a-f]*"'), 'of "000000000000"', ("of",), "the schedule is for another cascade: 000000000000, not",
    ),
}
OPERANDS = {
    "pack of no einsum": ("linear", "pack Y", "pack Q", ("pack", "Q"), "Q is no contraction whose operands are packed"),
    "pack of a map": ("linear", "pack Y", "pack Z", ("pack", "Z"), "Z has no operand that can be packed along n"),
    "pack of a reduction": ("softmax", "again", "pack S (m:8) again", ("pack", "S"), "S has no operand that can be packed along m"),
    "pack along no rank": ("linear", "(n:8)", "(q:8)", ("pack", "Y"), "Y has no operand that can be packed along q"),
    "pack along what is summed": ("linear", "(n:8)", "(k:8)", ("pack", "Y"), "Y has no operand that can be packed along k"),
    "pack for a GPU": (
        "large product", "{", "{ pack Z (n:8)", ("pack", "Z"), "Z is no contraction whose operands are packed for this target",
    ),
    "pack that is gone": ("linear", "pack Y (n:8)", "", ("prelude", *KERNEL), "there is no einsum W.pack"),
    "panels of nothing": ("linear", "(n:8)", "(n:0)", ("pack", "Y"), "the panel of n is 0"),
    "expand of no einsum": ("distances", "(D)", "(Q)", ("expand",), "Q is no constant of positions"),
    "expand of what is read": ("softmax", "again", "expand (A) again", ("expand",), "A is no constant of positions"),
    "expand of a sum": ("distances", "(D)", "(D, R)", ("expand",), "R is no constant of positions"),
    "prologue of no einsum": ("nibbles", "prologue (W)", "prologue (Q)", ("prologue",), "Q is no map of weights"),
    "prologue of a result": ("nibbles", "prologue (W)", "prologue (W, Z)", ("prologue",), "Z is no map of weights"),
    "prologue on a CPU": ("softmax", "again", "prologue (A) again", ("prologue",), "A is no map of weights"),
    "prologue that its kernel has not": ("nibbles", "contract(W, Z)", "contract(Z)", KERNEL, "Z are no kernel"),
    "prelude that is missing": ("linear", PRELUDE, "", ("prelude",), "no kernel computes W.pack"),
    "prelude that is empty": ("linear", PRELUDE, "prelude { }", ("prelude",), "no kernel computes W.pack"),
    "prelude of what is not weights": (
        "softmax", "again", "prelude { kernel k = nest(A) } again", ("prelude", *KERNEL), "there is no einsum A",
    ),
    "prelude with a rank of its own": (
        "linear", "order (n.1, k, n.0)", "order (n.1, k, n.0, q)", ("prelude", *KERNEL, "order"), "no rank q",
    ),
    "prelude in the wrong place": ("linear", "kernel Y", PACK.format("p") + " kernel Y", KERNEL, "there is no einsum W.pack"),
}
GROUPS = {
    "sink on a GPU": ("large product", "{", "{ group (Z) sink", ("group", 0), "the group of Z cannot be so"),
    "sink of what has a kernel": ("strided", "kernel", "kernel a = nest(A) order (i, j) kernel", KERNEL, "there is no einsum A"),
    "parts of a contraction on a CPU": (
        "linear", "kernel Y", "group (Y, Z) parts (k:2) kernel Y", ("group", 0), "the group of Y, Z cannot be so",
    ),
    "no parts": ("long row", "(m:16)", "(m:0)", ("group", 0), "the number of parts of m is 0"),
    "parts of a result": ("long row", "group (Z) parts", "group (Q) parts", ("kernel", 1), "Z cannot be computed in one kernel with Z.sum"),
    "parts that leave a rest": ("long row", "parts (m:16)", "parts (m:17)", (), "no kernel computes Z.rest"),
    "parts that are not made": ("long sum", "group (Z) parts (m:32)", "", KERNEL, "there is no einsum Z.part"),
    "apart on a CPU": ("linear", "kernel Y", "group (Y, Z) apart kernel Y", ("group", 0), "the group of Y, Z cannot be so"),
    "apart and together": ("product", "contract(Y)", "contract(Y, Z)", ("kernel", 1), "the einsum Z is given twice"),
    "wide of no einsum": ("rounded", "wide (A)", "wide (Q)", ("wide",), "Q cannot be wide"),
    "wide of a result": ("rounded", "wide (A)", "wide (Z)", ("wide",), "Z cannot be wide"),
    "wide of what is wide": ("softmax", "again", "wide (A) again", ("wide",), "A cannot be wide"),
    "hold that is gone": ("steps", "hold (S)", "", ("arena",), "the arena has 1664 bytes, and 1792 are used"),
    "a group twice": ("strided", "group (A) sink", "group (A) sink group (A) sink", ("group", 1), "the group of A is given twice"),
}
KERNELS = {
    "no such einsum": ("linear", "(Y, Z)", "(Y, Z, Q)", KERNEL, "there is no einsum Q"),
    "an einsum that is missing": ("linear", "(Y, Z)", "(Y)", (), "no kernel computes Z"),
    "an input": ("softmax", "nest(A", "nest(X, A", KERNEL, "A cannot be computed in one kernel with X"),
    "an einsum twice": ("softmax", "nest(A", "nest(A, A", KERNEL, "the einsum A is given twice"),
    "einsums in another order": ("linear", "(Y, Z)", "(Z, Y)", KERNEL, "Z cannot be computed by a contract"),
    "an unknown kind": ("linear", "contract", "magic", KERNEL, "there is no kind of kernel 'magic'"),
    "a kind that it is not": ("softmax", "nest", "contract", KERNEL, "A cannot be computed by a contract"),
    "a chain that is none": ("linear", "contract(Y, Z)", "chain(Y | Z)", KERNEL, "these are no chain"),
    "a chain cut elsewhere": ("attention", "S | M, E", "S, M | E", ("kernel", 1), "M cannot be computed in one kernel with S"),
    "a chain without parts": ("attention", "S | M, E, D, A | Z", "S, M, E, D, A, Z", ("kernel", 1), "S cannot be computed by a chain"),
    "what cannot be fused": ("transposed", FUSED, r"contract(Y, E)\1", KERNEL, "E cannot be computed in one kernel with Y"),
    "a kernel that is missing": ("transposed", E_LINE, "", (), "no kernel computes E"),
    "a kernel too many": ("transposed", E_LINE, E_LINE * 2, ("kernel", 2), "the einsum E is given twice"),
    "a fill that is missing": ("scatter on a GPU", FILL, "", (), "no kernel computes Z"),
    "two fills": ("scatter on a GPU", FILL, FILL * 2, ("kernel", 1), "the kernel computes what has been computed"),
    "a fill on a CPU": ("scatter", "  kernel", "  kernel f = fill(Z) order (_0) kernel", KERNEL, "Z is a scatter, no fill"),
    "an order that breaks a dependence": ("transposed", TWO_LINES, r"\2\1", KERNEL, "no kernel before computes Y"),
    "steps of what has none": ("softmax", "S, Z)", "S, Z) steps 0 .. 3", (), "no kernel computes A, S, Z"),
    "steps with a gap": ("steps", "steps 8 .. 16", "steps 9 .. 16", ("kernel", 3, "steps"), "the steps 9 .. 16 of P do not follow 8"),
    "steps beyond the last": ("steps", "steps 40 .. 48", "steps 40 .. 56", (), "no kernel computes P in the steps 40 .. 48"),
}
LOOPS = {
    "a tile of no rank": ("linear", "m:6", "q:6", (*KERNEL, "tile"), "rank q is tiled and not in the order"),
    "an empty tile": ("linear", "m:6", "m:0", (*KERNEL, "tile"), "the tile of m is 0"),
    "a tile that does not divide a sum": ("linear", "n:8) order", "n:8, k:7) order", (*KERNEL, "tile"), "k:20 is cut into pieces of 7"),
    "pieces that do not divide": ("rounded", "i:32, i:16", "i:32, i:12", (*KERNEL, "tile"), "pieces of 12 do not divide those of 32 of i"),
    "pieces of pieces": ("rounded", "i:32, i:16", "i:64, i:32, i:16", (*KERNEL, "tile"), "rank i is cut 3 times"),
    "pieces in the wrong order": ("rounded", "i:32, i:16", "i:16, i:32", (*KERNEL, "tile"), "rank i is tiled twice, by 16 and then by 32"),
    "a tile that is no power of two": ("large product", "m:128", "m:96", (*KERNEL, "tile"), "the tile of m is 96"),
    "rows of a chain that do not divide": ("attention", "i:4,", "i:5,", ("kernel", 1, "tile"), "tiles of 5 do not divide i:24"),
    "a chain without a tile of rows": ("attention", "i:4, ", "", ("kernel", 1, "tile"), "a chain is cut otherwise"),
    "an order without a rank": ("linear", "order (n, m, k)", "order (n, m)", (*KERNEL, "order"), "rank k has no place in the order"),
    "an order of no rank": ("linear", "order (n, m, k)", "order (n, m, k, q)", (*KERNEL, "order"), "the kernel has no rank q"),
    "a rank twice": ("linear", "order (n, m, k)", "order (n, m, k, k)", (*KERNEL, "order"), "rank k is ordered twice"),
    "parallel over a sum": ("linear", "parallel (n, m)", "parallel (n, k)", (*KERNEL, "parallel"), "the points of k depend on one another"),
    "parallel over a row": ("softmax", "parallel (p)", "parallel (p, m)", (*KERNEL, "parallel"), "the points of m depend on one another"),
    "serial on a GPU": ("large product", "parallel (m, n)", "parallel (m)", (*KERNEL, "parallel"), "rank n is not parallel"),
    "lanes of no rank": ("linear", "lanes n\n}", "lanes q\n}", (*KERNEL, "lanes"), "rank q is on lanes and not in the order"),
    "partial sums of no rank": ("softmax", "(m:1)", "(q:1)", (*KERNEL, "partial"), "rank q is cut into partial sums and not in the order"),
    "partial sums of nothing": ("softmax", "(m:1)", "(m:0)", (*KERNEL, "partial"), "the partial sum of m is 0"),
    "ranks joined on a CPU": ("linear", "Z) tile", "Z) join nm (n, m) tile", (*KERNEL, "join"), "ranks are joined"),
    "a joint of no rank": ("convolution", "(n, p, q) join", "(n, p, z) join", (*KERNEL, "join"), "the ranks n, p, z cannot be joined"),
    "a joint of one rank": ("convolution", "(n, p, q) join", "(n) join", (*KERNEL, "join"), "the ranks n cannot be joined"),
    "prefetch of no operand": ("linear", "lanes n\n}", "lanes n prefetch (x9)\n}", (*KERNEL, "prefetch"), "x9 is no packed operand"),
    "prefetch of what is not packed": (
        "linear", "lanes n\n}", "lanes n prefetch (x0)\n}", (*KERNEL, "prefetch"), "x0 is no packed operand",
    ),
    "prefetch of what data choose": (
        "chosen by data", "lanes n\n}", "lanes n prefetch (x2)\n}", (*KERNEL, "prefetch"), "x2 is no packed operand whose place is known",
    ),
    "prefetch of one panel": ("panels", "n:16) order", "n:64) order", ("kernel", 1), "x1 is prefetched and has no next panel"),
    "warps on a CPU": ("linear", "lanes n\n}", "lanes n warps 4 stages 2\n}", (*KERNEL, "warps"), "the kernel is scheduled for a GPU"),
    "no warps on a GPU": ("large product", " group 8 warps 8 stages 3", "", (*KERNEL, "warps"), "the kernel is scheduled for a CPU"),
    "three warps": ("large product", "warps 8", "warps 3", KERNEL, "a kernel of 3 warps"),
    "no stages": ("large product", "stages 3", "stages 0", (*KERNEL, "warps"), "the number of stages is 0"),
    "groups that do not divide": ("large product", "group 8", "group 7", KERNEL, "groups of 7 tiles do not divide the rows"),
    "a library for a sum": ("long sum", "warps 16 stages 2", "warps 16 stages 2 library", KERNEL, "no library computes this kernel"),
    "a library for a CPU": ("linear", "lanes n\n}", "lanes n library\n}", (*KERNEL, "library"), "no library computes kernels of a CPU"),
}
MEMORY = {
    "a layout of nothing": ("transposed", "layout E", "layout Q", ("layout", "Q"), "the layout of Q cannot be chosen"),
    "a layout of an input": ("transposed", "layout E", "layout X", ("layout", "X"), "the layout of X cannot be chosen"),
    "a layout of a result": ("transposed", "layout E (1, 0)", "layout Z (0)", ("layout", "Z"), "the layout of Z cannot be chosen"),
    "a layout of what is not stored": ("linear", "\n}", " layout Y (1, 0) }", ("layout", "Y"), "the layout of Y cannot be chosen"),
    "a layout of what is packed": ("panels", "address", "layout W.pack (0, 1, 2, 3) address", ("layout", "W.pack"), "cannot be chosen"),
    "too few dimensions": ("transposed", "layout E (1, 0)", "layout E (0)", ("layout", "E"), "(0,) is no order of the 2 dimensions of E"),
    "too many dimensions": ("transposed", "layout E (1, 0)", "layout E (1, 0, 2)", ("layout", "E"), "is no order of the 2 dimensions of E"),
    "a dimension twice": ("transposed", "layout E (1, 0)", "layout E (1, 1)", ("layout", "E"), "the layout of E is no permutation"),
    "an address that is missing": ("transposed", "address E 384", "", (), "E has no address"),
    "an address of nothing": ("transposed", "address E", "address Q 0 address E", ("address", "Q"), "Q does not lie in the arena"),
    "an address of an input": ("transposed", "address E", "address X 0 address E", ("address", "X"), "X does not lie in the arena"),
    "an address of a result": ("transposed", "address E", "address Z 0 address E", ("address", "Z"), "Z does not lie in the arena"),
    "one address for two": (
        "transposed", E_ADDRESS, r"address E 0\g<1>384", ("address", "E"), "E lies where Y does, over which it may not be written",
    ),
    "addresses that overlap": ("transposed", E_ADDRESS, r"address E 320\g<1>704", ("address", "Y"), "E takes bytes 320 .. 704 at step 1"),
    "a result partly over its argument": ("backward", D_ADDRESS, r"address D 64\g<1>1638464", ("address", "B"), "D takes bytes 64 .."),
    "an address outside": (
        "transposed", "address E 384", "address E 1024", ("arena",), "the arena has 768 bytes, and 1408 are used",
    ),
    "an address before the arena": ("transposed", "address E 384", "address E -64", ("address", "E"), "the address of E is -64"),
    "no arena": ("transposed", "arena 768", "", (), "the size of the arena is missing"),
    "a small arena": ("transposed", "arena 768", "arena 512", ("arena",), "the arena has 512 bytes, and 768 are used"),
}
EDITS = WHOLE | OPERANDS | GROUPS | KERNELS | LOOPS | MEMORY


def edit(text, old, new):
    """The text with the first place that is so, to the letter or by a pattern, replaced; it has to be there."""
    found = old.sub(new, text, count=1) if isinstance(old, re.Pattern) else text.replace(old, new, 1)
    assert found != text
    return found


@pytest.mark.parametrize("name", EDITS)
def test_what_does_not_fit_is_refused_where_it_stands(name):
    case, old, new, clause, what = EDITS[name]
    case = CASES[case]
    text = edit(str(case.schedule), old, new)
    ((schedule, places),) = parse_schedules(text)
    with pytest.raises(Illegal) as caught:
        apply(case.cascade, schedule, case.target)
    assert what in caught.value.what
    assert caught.value.clause == clause
    assert caught.value.help
    # The line is shown with a caret, that of the whole where the clause is not in the text.
    assert "^" in show_clause(text, places, clause)


def test_strict_numerics_keep_nothing_wide():
    case = CASES["rounded"]
    with pytest.raises(Illegal, match="A cannot be wide"):
        apply(case.cascade, replace(case.schedule, cascade=""), case.target, strict=True)


@pytest.mark.parametrize("name", ["linear", "product", "attention"])
def test_a_schedule_of_another_cascade_is_refused_if_it_does_not_fit(name):
    for other in CASES.values():
        if other.target == CASES[name].target and other is not CASES[name]:
            with pytest.raises(Illegal):
                apply(other.cascade, replace(CASES[name].schedule, cascade=""), other.target)


anything = st.one_of(programs(), programs(2, (scatters, scatters, pairs)), products())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), anything, st.one_of(machines(), st.sampled_from([HOPPER, SMALL])), st.booleans())
def test_random_edits_are_refused_or_compute_the_same(data, cascade, target, open):
    schedule = data.draw(mutated(guess(cascade, target)))
    assert parse_schedule(str(schedule)) == schedule
    try:
        compiled = apply(cascade, schedule, target, otherwise=Guess(target) if open else None)
    except (Illegal, Unsupported):
        return
    inputs = random_inputs(cascade)
    results, expected = run_compiled(compiled, inputs, shuffle=1), evaluate(cascade, inputs, float64=True)
    for name in cascade.outputs:
        message = describe_difference(results[name].reshape(-1), expected[name].reshape(-1))
        assert message is None, f"{name}: {message}\n{cascade}\n{schedule}"
