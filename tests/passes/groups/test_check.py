"""The checker of groups sees what passes may break."""

from dataclasses import replace

import pytest
from program_runner import small_target

from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import apply
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.bind import arguments
from tcomp.passes.bind.windows import open_windows
from tcomp.passes.check import verifying_observer
from tcomp.passes.einsums.group import Form, OnePass, Prefix, Product
from tcomp.passes.groups.chain import chain_groups
from tcomp.passes.groups.check import check_fact, check_groups
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.guess.windows import choose_window
from tcomp.passes.pipeline import compile_cascade
from tests.gpu_targets import HOPPER

CASCADE = parse_cascade("""cascade c(X: f32[40, 64], W: f32[64, 8], I: i64[40]) -> (Z, S) {
  Y: f32[i:40, j:8] = sum(k:64) X[i, k] * W[k, j]
  M: f32[i:40] = max(j:8) Y[i, j]
  Z: f32[i:40, j:8] = exp(Y[i, j] - M[i])
  iterate t:40 { S: f32[t + 1:41, j:8] = tanh(S[t, j] + Y[t, j]) from 0.0 }
}""")


def test_what_fuse_makes_is_right():
    check_groups(fuse(CASCADE), CASCADE)


def forget(groups, name):
    return tuple(replace(g, stored=tuple(n for n in g.stored if n != name)) for g in groups)


BROKEN = {
    "Y is read, and no group before stores it": lambda groups: forget(groups, "Y"),
    "is read, and no group before": lambda groups: groups[::-1],
    "no group stores the output Z": lambda groups: forget(groups, "Z"),
    "Z is stored twice": lambda groups: (*groups, groups[1]),
    "Q is stored, and no member defines it": lambda groups: (replace(groups[0], stored=("Y", "Q")), *groups[1:]),
}


@pytest.mark.parametrize(("told", "change"), BROKEN.items(), ids=BROKEN)
def test_faults_are_seen(told, change):
    with pytest.raises(VerifyError, match=told):
        check_groups(change(fuse(CASCADE)), CASCADE)


def test_a_window_has_one_iteration():
    cascade = parse_cascade("""cascade c(X: f32[40, 64], W: f32[64, 8]) -> (S) {
      Y: f32[i:40, j:8] = sum(k:64) X[i, k] * W[k, j]
      iterate t:40 { S: f32[t + 1:41, j:8] = tanh(S[t, j] + Y[t, j]) from 0.0 }
    }""")
    target = replace(small_target(), l2=128)
    groups = open_windows(fuse(cascade), cascade.outputs, lambda group, need: choose_window(group, need, target))
    assert [g.window is None for g in groups] == [False, False]
    check_groups(groups, cascade)
    with pytest.raises(VerifyError, match="the window of S has groups contract"):
        check_groups((groups[0], replace(groups[1], window=None)), cascade)


FOUND = parse_cascade("""cascade c(X: f32[40, 64], W: f32[64, 32], P: f32[4, 64, 8], A: f32[40, 32]) -> (Y, Z, S, T) {
  Y: f32[i:40, j:32] = sum(k:64) X[i, k] * W[k, j]
  Z: f32[i:40, j:32] = sum(k:64) X[i, k] * P[j // 8, k, j % 8]
  iterate t:40 { S: f32[t + 1:41, j:32] = S[t, j] * A[t, j] from 1.0 }
  iterate t:40 { T: f32[t + 1:41, j:32] = tanh(T[t, j] + A[t, j]) from 0.0 }
}""")

CHAIN = parse_cascade("""cascade attention(Q: f32[64, 16], K: f32[128, 16], V: f32[128, 32]) -> (Z) {
  S: f32[i:64, j:128] = sum(e:16) Q[i, e] * K[j, e]
  G: f32[i:64] = max(j:128) S[i, j]
  E: f32[i:64, j:128] = exp(S[i, j] - G[i])
  D: f32[i:64] = sum(j:128) E[i, j]
  A: f32[i:64, j:128] = E[i, j] / D[i]
  Z: f32[i:64, d:32] = sum(j:128) A[i, j] * V[j, d]
}""")


def test_what_is_found():
    groups = {group.names[0]: group for group in fuse(FOUND)}
    facts = {name: group.fact for name, group in groups.items()}
    assert facts == {"Y": Product(1, "j"), "Z": Product(1, "j", 8), "S": Prefix("S", "prod", 1), "T": None}
    assert [group.fact for group in fuse(CHAIN)] == [Product(1, "j"), None, Product(1, "d")]


FALSE_FACTS = [
    ("Y", None, "nobody knows which operand gives the lanes"),
    ("Y", Prefix("Y", "sum", 1), "a contract is said to be a Prefix"),
    ("Y", Product(2, "j"), "Y is no sum of products of two operands, of which number 2 would be the right one"),
    ("Y", Product(0, "j"), "j is no free rank of Y that X has and W has not"),
    ("Y", Product(1, "k"), "k is no free rank of Y that W has and X has not"),
    ("Y", Product(1, "j", 8), "W is not packed in panels of 8 along j"),
    ("Z", Product(1, "j", 16), "P is not packed in panels of 16 along j"),
    ("Z", Product(1, "j"), "P is packed in panels of 8 along j, which nobody knows"),
    ("S", Product(1, "j"), "a scan is said to be a Product"),
    ("S", Prefix("A", "prod", 1), "A is not all that is carried"),
    ("S", Prefix("S", "sum", 1), "S is no fold by sum of its argument number 1"),
    ("S", Prefix("S", "prod", 0), "S is no fold by prod of its argument number 0"),
    ("T", Prefix("T", "sum", 1), "T is no fold by sum"),
]


@pytest.mark.parametrize(("name", "fact", "told"), FALSE_FACTS)
def test_facts_that_are_not_so_are_seen(name, fact, told):
    groups = fuse(FOUND)
    changed = tuple(replace(group, fact=fact) if group.names[0] == name else group for group in groups)
    with pytest.raises(VerifyError, match=told) as caught:
        check_groups(changed, FOUND)
    assert f" of {name}" in caught.value.where


def test_a_factor_that_became_an_expression_is_seen():
    (group, *_) = fuse(FOUND)
    root = group.root
    first, second = root.expression.arguments
    changed = replace(root, expression=replace(root.expression, arguments=(apply("exp", first), second)))
    with pytest.raises(VerifyError, match="a factor of Y is no operand"):
        check_fact(replace(group, members=(changed,)))


SUBTRACTED = (Form("G"), Form("D", "G"), Form("Z", "G", (1,)))


@pytest.mark.parametrize(
    ("forms", "told"),
    [
        (SUBTRACTED[1:], "not D, Z are reduced, but G, D, Z"),
        ((SUBTRACTED[0], Form("D", "Z"), SUBTRACTED[2]), "D subtracts Z, which is no maximum before it"),
        ((*SUBTRACTED[:2], Form("Z", "D", (1,))), "Z subtracts D, which is no maximum before it"),
        ((*SUBTRACTED[:2], Form("Z", None, (1,), is_guarded=True)), "Z is 0 where a maximum is -inf, and subtracts none"),
        ((*SUBTRACTED[:2], Form("Z", "G", (2,))), "Z has no factors number 2 that are multiplied in at the end"),
        ((*SUBTRACTED[:2], Form("Z", "G", (0,))), "Z has no factors number 0 that are multiplied in at the end"),
    ],
)
def test_forms_that_are_not_so_are_seen(forms, told):
    (chain,) = chain_groups(fuse(CHAIN), CHAIN, HOPPER, lambda chain: True)
    assert chain.fact == OnePass(SUBTRACTED)
    check_fact(chain)
    with pytest.raises(VerifyError, match=told):
        check_fact(replace(chain, fact=OnePass(forms)))


def test_the_parts_of_a_chain_are_looked_at():
    (chain,) = chain_groups(fuse(CHAIN), CHAIN, HOPPER, lambda chain: True)
    first = replace(chain.parts[0], fact=Product(0, "j"))
    with pytest.raises(VerifyError, match="j is no free rank of S that Q has"):
        check_fact(replace(chain, parts=(first, *chain.parts[1:])))


def test_bound_groups_are_looked_at(monkeypatch):
    """A fault that arises where groups are bound, after the last pass on groups."""
    monkeypatch.setattr(arguments, "turn_lanes", lambda einsum, fact: replace(fact, right=1 - fact.right))
    with pytest.raises(VerifyError, match=r"choose_kernels broke a rule: .* is no free rank"):
        compile_cascade(FOUND, {}, HOPPER, verifying_observer())
