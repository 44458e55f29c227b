"""Packed weights are expanded where they are multiplied, if that spares memory traffic, and only there."""

import inspect
from dataclasses import replace

import pytest

from tcomp.ir.cascade import print_einsum
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.fold import fold_weights
from tcomp.passes.groups import prologue
from tcomp.passes.groups.prologue import attach_prologues, find_prologues, without
from tcomp.passes.guess.expand import is_worth_expanding
from tcomp.passes.guess.fuse import fuse
from tests.documentation import find_example
from tests.gpu_groups import read_cascade
from tests.passes.lower.gpu.test_lower_gpu import GPU
from tests.program_runner import check_compiled, random_inputs

INPUTS = "X: f32[6, 64], weight P: u8[8, 32], weight s: f32[8, 2], weight F: f32[8, 64], weight t: f32[64]"
WIDE = "W: f32[n:8, k:64] = f32(and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32)) * s[n, k // 32] "
PRODUCT = "Z: f32[m:6, n:8] = sum(k:64) X[m, k] * W[n, k]"


def find(body, inputs=INPUTS, outputs="Z"):
    return find_prologues(read_cascade(body, inputs, outputs), is_worth_expanding)


def attach(cascade):
    """The groups of a cascade with its prologues in them."""
    found = find_prologues(cascade, is_worth_expanding)
    return attach_prologues(fuse(without(cascade, found)), found)


def test_what_the_docstring_shows():
    """Its names of sizes stand for numbers; the literal's type is that of what it meets."""
    before, after = find_example(inspect.getmodule(prologue).__doc__).split("\n  =>\n")
    assert after == "one group (W, Y): W is an expression of the products, and P is what memory is read of"
    body = before.replace("f32((P[n, k // 2] >> 4 * (k % 2)) & 15)", "f32(and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32))")
    for name, size in (("N", 8), ("K", 64), ("M", 6)):
        body = body.replace(f":{name}", f":{size}")
    inputs = "X: f32[6, 64], weight P: u8[8, 32], weight scale: f32[8, 2]"
    cascade = read_cascade(body, inputs, "Y")
    (group,) = attach(cascade)
    assert group.names == ("W", "Y")
    assert group.stored == ("Y",)
    assert group.root.name == "Y"
    assert "P" in group.reads() and "W" not in group.reads()


EXPANDED = {
    "through maps over weights": (
        "U: i32[n:8, k:64] = and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32) "
        "W: f32[n:8, k:64] = (f32(U[n, k]) - 8.0) * s[n, k // 32] " + PRODUCT,
        "W: f32[n:8, k:64] = (f32(shr(i32(P[n, k // 2]), i32[4*(k % 2)]) & 15:i32) - 8.0) * s[n, k // 32]",
    ),
    "through a map read at another place": (
        "U: f32[n:8, k:32] = f32(P[n, 31 - k]) W: f32[n:8, k:64] = U[n, k // 2] * s[n, k // 32] " + PRODUCT,
        "W: f32[n:8, k:64] = f32(P[n, 31 - k // 2]) * s[n, k // 32]",
    ),
    "as the other operand": (
        WIDE + "Z: f32[n:8, m:6] = sum(k:64) W[n, k] * X[m, k]",
        "W: f32[n:8, k:64] = f32(shr(i32(P[n, k // 2]), i32[4*(k % 2)]) & 15:i32) * s[n, k // 32]",
    ),
    "for several contractions": (
        WIDE + PRODUCT + " Y: f32[n:8, m:6] = sum(k:64) W[n, k] * X[m, 63 - k]",
        "W: f32[n:8, k:64] = f32(shr(i32(P[n, k // 2]), i32[4*(k % 2)]) & 15:i32) * s[n, k // 32]",
    ),
}


@pytest.mark.parametrize(("body", "whole"), EXPANDED.values(), ids=EXPANDED)
def test_what_is_expanded(body, whole):
    found = find(body, outputs="Y, Z" if "Y:" in body else "Z")
    assert {name: print_einsum(einsum) for name, einsum in found.items()} == {"W": whole}


FOLDED = {
    "an output": (WIDE + PRODUCT, "Z, W"),
    "what depends on no weight alone": ("V: f32[m:6, k:64] = X[m, k] * t[k] Z: f32[m:6, n:8] = sum(k:64) V[m, k] * F[n, k]", "Z"),
    "what takes no more than it is made of": ("W: f32[n:8, k:64] = F[n, k] * t[k] " + PRODUCT, "Z"),
    "what a map reads": (WIDE + "Z: f32[m:6, n:8, k:64] = X[m, k] * W[n, k]", "Z"),
    "what a map reads as well": (WIDE + PRODUCT + " A: f32[n:8, k:64] = W[n, k] * 2.0", "Z, A"),
    "what another reduction reads": (WIDE + "Z: f32[m:6, n:8] = max(k:64) X[m, k] * W[n, k]", "Z"),
    "what is read at other places": (WIDE + "Z: f32[m:6, n:8] = sum(k:64) X[m, k] * W[n, 63 - k]", "Z"),
    "what is read along a diagonal": (WIDE + "Z: f32[m:6] = sum(k:8) W[k, k] * X[m, k]", "Z"),
    "what is read beyond its edge": (WIDE + "Z: f32[m:6, n:8] = sum(k:64) X[m, k] * (W[n, k] else 0.0)", "Z"),
    "what is looked up": ("W: f32[n:8, k:64] = F[P[n, k // 2], k] " + PRODUCT, "Z"),
    "what takes long to compute": ("W: f32[n:8, k:64] = " + "exp(" * 8 + "f32(P[n, k // 2])" + ")" * 8 + " " + PRODUCT, "Z"),
    "what nothing is read for": ("W: f32[n:8, k:64] = f32[n + k] " + PRODUCT, "Z"),
    "what nobody reads": (WIDE + "Z: f32[m:6, k:64] = X[m, k] * 2.0", "Z"),
    "what a contraction of weights reads": (
        WIDE + "B: f32[n:8, l:8] = sum(k:64) W[n, k] * F[l, k] Z: f32[m:8, l:8] = B[m, l] * X[0, l]",
        "Z",
    ),
    "what an iteration reads": (WIDE + "iterate i:7 { Z: f32[i + 1:8] = Z[i] * W[i, i] + X[0, i] from 0.0 }", "Z"),
}


@pytest.mark.parametrize(("body", "outputs"), FOLDED.values(), ids=FOLDED)
def test_what_is_folded_instead(body, outputs):
    assert find(body, outputs=outputs) == {}


def test_a_cascade_without_prologues_and_its_groups_stay_the_same():
    cascade = read_cascade("Z: f32[m:6, n:8] = sum(k:64) X[m, k] * F[n, k]", INPUTS)
    groups = fuse(cascade)
    assert without(cascade, {}) is cascade
    assert attach_prologues(groups, {}) is groups


def test_the_maps_become_weights_of_the_cascade():
    cascade = read_cascade(WIDE + PRODUCT, INPUTS)
    rest = without(cascade, find_prologues(cascade, is_worth_expanding))
    check_cascade(rest)
    assert [e.name for e in rest.einsums()] == ["Z"]
    assert rest.inputs[-1] == replace(cascade.tensors()["W"], weight=True)


@pytest.mark.parametrize("product", [PRODUCT, "Z: f32[n:8, m:6] = sum(k:64) W[n, k] * X[m, k]"])
def test_products_in_either_order_compute_the_same(product):
    cascade = read_cascade(WIDE + product, INPUTS)
    compiled = check_compiled(cascade, random_inputs(cascade), target=GPU)
    assert [group.names for group in compiled.main.groups] == [("W", "Z")]
    assert not compiled.prelude.kernels


def test_an_expanded_map_has_the_ranks_of_its_reader():
    """Also where they cross: the map's n is the reader's k, and the other way round."""
    body = WIDE.replace("n:8, k:64", "k:8, n:64").replace("[n, k //", "[k, n //").replace("(k % 2)", "(n % 2)")
    cascade = read_cascade(body + PRODUCT, INPUTS)
    (group,) = attach(cascade)
    assert [print_einsum(e) for e in group.members] == [
        "W: f32[n:8, k:64] = f32(shr(i32(P[n, k // 2]), i32[4*(k % 2)]) & 15:i32) * s[n, k // 32]",
        "Z: f32[m:6, n:8] = sum(k:64) X[m, k] * W[n, k]",
    ]


def test_groups_of_other_kinds_are_left_as_they_are():
    cascade = read_cascade(WIDE + PRODUCT + " A: f32[m:6] = max(k:64) X[m, k]", INPUTS, "Z, A")
    found = find_prologues(cascade, is_worth_expanding)
    before = fuse(without(cascade, found))
    after = attach_prologues(before, found)
    assert [group.names for group in after] == [("W", "Z"), ("A",)]
    assert after[1] is before[1]


def test_what_is_expanded_late_is_no_part_of_the_prelude():
    cascade = read_cascade(WIDE + PRODUCT, INPUTS)
    prelude, main = fold_weights(cascade, find_prologues(cascade, is_worth_expanding))
    assert list(prelude.einsums()) == []
    assert [e.name for e in main.einsums()] == ["W", "Z"]


STATIC = "cascade c(X: f32[70, 20], weight A: f32[20, 32], weight P: u8[48, 16], weight s: f32[48]) -> (Z) {{ {} }}"
UNPACK = "W: f32[n:48, k:32] = (f32(and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32)) - 8.0) * s[n] "


@pytest.mark.parametrize(
    "body",
    [
        "B: f32[m:20, n:48] = sum(k:32) A[m, k] * W[n, k] Z: f32[i:70, n:48] = sum(m:20) X[i, m] * B[m, n]",
        "B: f32[m:48, n:48] = sum(k:32) W[m, k] * W[n, k] Z: f32[m:20, n:48] = sum(k:48) f32(P[k, 0] + P[m, 1]) * B[k, n]",
    ],
)
def test_products_of_weights_alone_are_computed_once(body):
    """A packed weight that another weight is multiplied with is unpacked there, in the prelude."""
    cascade = parse_cascade(STATIC.format(UNPACK + body))
    compiled = check_compiled(cascade, random_inputs(cascade), target=GPU)
    assert "contract" in [schedule.kind for schedule in compiled.prelude.schedule.kernels]
    assert all("W" not in group.names for group in compiled.main.groups)


def test_packed_scores_of_a_chain_stay_three_kernels():
    """A chain holds the rows of its operands: what is expanded has none."""
    cascade = parse_cascade(
        "cascade c(X: f32[70, 32], weight P: u8[90, 16], weight s: f32[90], V: f32[90, 8]) -> (Z) {"
        + UNPACK.replace("48", "90")
        + """S: f32[i:70, j:90] = sum(e:32) X[i, e] * W[j, e] G: f32[i:70] = max(j:90) S[i, j]
        E: f32[i:70, j:90] = exp(S[i, j] - G[i]) D: f32[i:70] = sum(j:90) E[i, j] A: f32[i:70, j:90] = E[i, j] / D[i]
        Z: f32[i:70, d:8] = sum(j:90) A[i, j] * V[j, d] }"""
    )
    compiled = check_compiled(cascade, random_inputs(cascade), target=GPU)
    assert [schedule.kind for schedule in compiled.main.schedule.kernels] == ["contract", "nest", "contract"]
