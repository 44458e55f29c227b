"""Groups: what joins, what refuses, and that order respects dependences."""

import pytest
from hypothesis import given, settings

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.traverse import rename_ranks, statement_einsums
from tcomp.passes.einsums.group import Group
from tcomp.passes.guess.fuse import LARGEST_GROUP, fuse
from tests.cascade_strategies import programs

INPUTS = "X: f32[4, 8], W: f32[16, 8], V: f32[8], I: i64[4]"


def fused(body, outputs="Z"):
    parsed = parse_cascade(f"cascade c({INPUTS}) -> ({outputs}) {{\n{body}\n}}")
    check_cascade(parsed)
    return fuse(parsed)


def names(body, outputs="Z"):
    return [(group.kind, *group.names) for group in fused(body, outputs)]


SOFTMAX = """G: f32[p:4] = max(m:8) X[p, m]
E: f32[p:4, m:8] = exp(X[p, m] - G[p])
D: f32[p:4] = sum(m:8) E[p, m]
Z: f32[p:4, m:8] = E[p, m] / D[p]"""


@pytest.mark.parametrize(
    ("body", "groups"),
    [
        ("A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:4, b:8] = A[a, b] * V[b]", [("nest", "A", "Z")]),
        ("A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[b:8, a:4] = A[a, b] * V[b]", [("nest", "A", "Z")]),
        (SOFTMAX, [("nest", "G", "E", "D", "Z")]),
        (
            "A: f32[i:4, j:4] = exp(X[i, 2*j])\nB: f32[i:4, j:4] = -X[i, 2*j + 1]\n"
            "Z: f32[i:4, j:4, c:2] = select(i64[c] == 0, A[i, j], B[i, j])",
            [("nest", "A", "B", "Z")],
        ),
        (
            "A: f32[i:4] = exp(X[i, 0])\nB: f32[i:4] = -X[i, 1]\nZ: f32[c:2, i:4] = A[i] * B[i] + f32[c]",
            [("nest", "A", "B", "Z")],
        ),
        ("A: f32[i:4] = exp(X[i, 0])\nZ: f32[i:4, j:3] = A[i] * X[i, j]", [("nest", "A"), ("nest", "Z")]),
        ("A: f32[i:4] = exp(X[i, 0])\nZ: f32[i:4] = sum(c:2) A[i] * X[i, c]", [("nest", "A"), ("nest", "Z")]),
        (
            "Y: f32[m:4, n:16] = sum(k:8) X[m, k] * W[n, k]\nZ: f32[i:4, j:16] = maximum(Y[i, j], 0.0)",
            [("contract", "Y", "Z")],
        ),
        (
            "A: f32[m:4, k:8] = exp(X[m, k])\nZ: f32[m:4, n:16] = sum(k:8) A[m, k] * W[n, k]",
            [("nest", "A"), ("contract", "Z")],
        ),
        (
            "Y: f32[m:4, n:16] = sum(k:8) X[m, k] * W[n, k]\nZ: f32[m:4] = sum(n:16) Y[m, n]",
            [("contract", "Y"), ("nest", "Z")],
        ),
        (
            "A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:4, b:8] = A[3 - a, b] * V[b]",
            [("nest", "A"), ("nest", "Z")],
        ),
        (
            "A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:4, b:4] = A[a, b]",
            [("nest", "A"), ("nest", "Z")],
        ),
        (
            "A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:4, b:8] = A[a, b] * A[a, 7 - b]",
            [("nest", "A"), ("nest", "Z")],
        ),
        (
            "A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:4, b:8] = (A[a, b] else 0.0)",
            [("nest", "A"), ("nest", "Z")],
        ),
        (
            "A: f32[i:4] = sum(j:8) X[i, j]\nZ: f32[j:8] = sum(i:4) X[i, j]",
            [("nest", "A"), ("nest", "Z")],
        ),
        (
            "A: f32[i:4] = sum(j:8) X[i, j]\nB: f32[i:4] = max(j:8) X[i, j]\nZ: f32[i:4] = A[i] * B[i]",
            [("nest", "A", "B", "Z")],
        ),
        (
            "(A: f32, P: i64)[i:4] = argmax(j:8) X[i, j]\nZ: f32[i:4] = A[i] + f32(P[i])",
            [("nest", "A", "P", "Z")],
        ),
        (
            "A: f32[i:4] = exp(X[i, 0])\nZ: f32[I[i]:4] = sum(i:4) A[i]",
            [("nest", "A"), ("scatter", "Z")],
        ),
        (
            "iterate t:4 { S: f32[t + 1:5, j:8] = S[t, j] + X[t, j] from 0.0 }\nZ: f32[t:4, j:8] = S[t + 1, j]",
            [("scan", "S"), ("nest", "Z")],
        ),
    ],
)
def test_groups(body, groups):
    assert names(body) == groups


def test_what_leaves_a_kernel_is_stored():
    (group,) = fused(SOFTMAX, "D, Z")
    assert group.stored == ("D", "Z")
    first, second = fused("A: f32[i:4, j:8] = exp(X[i, j])\nZ: f32[a:4, b:8] = A[3 - a, b]")
    assert first.stored == ("A",) and second.stored == ("Z",)


def test_reductions_make_the_reduced_ranks_inner():
    (group,) = fused(SOFTMAX)
    assert [r.name for r in group.outer] == ["p"]
    assert [r.name for r in group.inner] == ["m"]
    assert group.root.name == "G"
    assert group.reads() == ("X",)


@pytest.mark.parametrize(
    ("body", "outer"),
    [
        ("iterate t:4 { Z: f32[t + 1:5, j:8] = Z[t, j] + X[t, j] from 0.0 }", ["j"]),
        ("iterate t:4 { Z: f32[t + 1:5, j:8] = Z[t, 7 - j] + X[t, j] from 0.0 }", []),
        ("iterate t:4 { Z: f32[t + 1:5, j:8] = sum(k:8) Z[t, k] + X[t, j] from 0.0 }", []),
        ("iterate t:4 { S: f32[t + 1:5, j:8] = S[t, j] from 0.0 Z: f32[t:4, j:8, k:2] = S[t + 1, j] * f32[k] }", ["j"]),
        ("iterate t:4 { S: f32[t + 1:5, j:8] = S[t, j] from 0.0 Z: f32[t:4, k:8] = S[t + 1, 0] * f32[k] }", []),
    ],
)
def test_ranks_of_a_scan_that_are_independent(body, outer):
    (group,) = fused(body)
    assert [r.name for r in group.outer] == outer


def test_a_long_chain_is_cut():
    count = LARGEST_GROUP + 5
    body = "\n".join(f"A{k}: f32[i:8] = exp({f'A{k - 1}' if k else 'V'}[i])" for k in range(count))
    groups = fused(body, f"A{count - 1}")
    assert [len(group.members) for group in groups] == [LARGEST_GROUP, 5]


def test_rename_ranks():
    (einsum,) = parse_cascade("cascade c(X: f32[4, 8]) -> (Y) { Y: f32[i:4] = sum(j:8) X[i, j] where i64[j] > i64[i] }").statements
    renamed = rename_ranks(einsum, {"i": "j", "j": "i"})
    (want,) = parse_cascade("cascade c(X: f32[4, 8]) -> (Y) { Y: f32[j:4] = sum(i:8) X[j, i] where i64[i] > i64[j] }").statements
    assert renamed == want
    assert rename_ranks(einsum, {"i": "i"}) is einsum


@settings(max_examples=150, deadline=None)
@given(programs(largest=9))
def test_order_respects_dependences_and_every_tensor_has_one_home(cascade):
    groups = fuse(cascade)
    defined = {tensor.name for tensor in cascade.inputs}
    outside = set(defined)
    for group in groups:
        assert isinstance(group, Group)
        assert set(group.reads()) <= outside
        seen = set(defined)
        own = {name for e in group.members for name, _ in e.targets}
        for member in group.members:
            assert set(member.reads()) <= seen | (own if group.kind == "scan" else set())
            seen |= {name for name, _ in member.targets}
        assert not own & defined
        defined |= own
        assert set(group.stored) <= own
        outside |= set(group.stored)
    assert defined - {t.name for t in cascade.inputs} == {
        name for s in cascade.statements for e in statement_einsums(s) for name, _ in e.targets
    }
    assert set(cascade.outputs) <= outside


SUMS = "S: f32[i:4] = sum(j:8) X[i, j] * V[j]\n"


@pytest.mark.parametrize(
    ("body", "groups"),
    [
        pytest.param(
            "S: f32[i:4] = sum(j:8) exp(X[i, j])\nA: f32[a:8, b:4] = abs(X[b, a])\nB: f32[i:4, j:8] = A[j, i] * 2.0\n"
            "Z: f32[i:4, j:8] = B[i, j] * S[i]",
            [("nest", "S", "A", "B", "Z")],
            id="maps join the kernel of their reader",
        ),
        pytest.param(
            "Y: f32[m:4, n:16] = sum(k:8) X[m, k] * W[n, k]\nA: f32[n:16, k:4] = W[n, k] * 2.0\nZ: f32[i:4, j:16] = Y[i, j] + A[j, i]",
            [("contract", "Y", "A", "Z")],
            id="in an epilogue too",
        ),
        pytest.param(
            "Y: f32[m:4, n:16] = sum(k:8) X[m, k] * W[n, k]\nA: f32[i:16] = W[i, 0] * 2.0\nZ: f32[i:4, j:16] = Y[i, j] + A[j]",
            [("contract", "Y"), ("nest", "A"), ("nest", "Z")],
            id="not over other ranks",
        ),
        pytest.param(
            "S: f32[i:4] = sum(j:8) exp(X[i, j])\nA: f32[i:4, j:8] = abs(X[i, j])\nZ: f32[i:4, j:8] = A[i, j] * S[i] * A[i, 7 - j]",
            [("nest", "S", "A"), ("nest", "Z")],
            id="read two ways",
        ),
        pytest.param(
            "A: f32[i:4, j:8] = abs(X[i, j])\nY: f32[m:4, n:16] = sum(k:8) A[m, k] * W[n, k]\nZ: f32[i:4, j:16] = exp(Y[i, j])",
            [("nest", "A"), ("contract", "Y", "Z")],
            id="not into a contraction",
        ),
        pytest.param(
            "A: f32[i:4, j:8] = abs(X[i, j])\nS: f32[j:8] = max(i:4) A[i, j]\nZ: f32[j:8] = S[j] + 1.0",
            [("nest", "A", "S", "Z")],
            id="what waits founds a group if its reader reads no other",
        ),
    ],
)
def test_maps_of_inputs_wait_for_their_reader(body, groups):
    assert names(body) == groups
