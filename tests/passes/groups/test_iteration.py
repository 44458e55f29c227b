"""Groups of iterations: which ranks are one, which are shared by all, what can be held, and which maps merge into their readers."""

import pytest

from tcomp.ir.expressions import print_expression
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.groups.iteration import is_held, may_hold, merge_maps, own_ranks, scan_group
from tcomp.passes.guess.hold import hold_steps


def group(body, stored=(), inputs="X: f32[4, 8], W: f32[8, 8]", symbols=""):
    cascade = parse_cascade(f"cascade c({inputs}) -> (S){symbols} {{ iterate t:4 {{\n{body}\n}} }}")
    found = scan_group(cascade.statements[0], cascade.symbols)
    return type(found)(found.kind, found.members, found.outer, found.inner, found.iterative, stored)


STATE = "S: f32[t + 1:5, d:8, n:2] = S[t, d, n] + X[t, d] from 0.0\n"


@pytest.mark.parametrize(
    ("body", "outer", "ranks"),
    [
        (STATE + "Y: f32[t:4, a:8] = sum(r:2) S[t + 1, a, r]", ["d"], [["d", "n"], ["d", "n"]]),
        (STATE + "Y: f32[t:4, a:2, b:8] = S[t + 1, b, a]", ["d", "n"], [["d", "n"], ["n", "d"]]),
        (STATE + "Y: f32[t:4, a:8, n:3] = S[t + 1, a, 0]", ["d"], [["d", "n"], ["d", "n_2"]]),
        (STATE + "Y: f32[t:4, d:8, e:2] = S[t + 1, 7 - d, e]", ["n"], [["d", "n"], ["d_2", "n"]]),
        (STATE + "Y: f32[t:4, d:9, e:2] = (S[t + 1, d, e] else 0.0)", ["n"], [["d", "n"], ["d_2", "n"]]),
        ("S: f32[t + 1:5, d:8] = sum(k:8) S[t, k] * W[d, k] from 0.0", [], [["d", "k"]]),
        ("S: f32[t + 1:5, d:8, e:8] = S[t, e, d] from 0.0", [], [["d", "e"]]),
    ],
)
def test_ranks_that_are_one_bear_one_name(body, outer, ranks):
    found = group(body)
    assert [rank.name for rank in found.outer] == outer
    assert [[rank.name for rank in einsum.ranks if rank.name != "t"] for einsum in found.members] == ranks


def test_names_of_symbols_are_not_taken():
    found = group("S: f32[t + 1:5, n:N] = S[t, N - 1 - n] from 0.0\nY: f32[t:4, n:2] = S[t + 1, 0] * f32[n]", symbols=" for N in 1..")
    assert [rank.name for einsum in found.members for rank in einsum.free if rank.name != "t"] == ["n", "n_2"]


def test_what_can_be_held():
    def held(extent, symbols=""):
        found = group(f"S: f32[t + 1:5, n:{extent}] = S[t, {extent} - 1 - n] from 0.0", symbols=symbols)
        assert len(own_ranks(found, found.members[0])) == 1
        return may_hold(found, found.members[0]), is_held(hold_steps(found), found.members[0])

    assert held("64") == (True, True) and held("100000") == (True, False) and held("N", " for N in 1..") == (False, False)


BODY = """P: f32[t:4, d:8] = X[t, d] * 2.0
Q: f32[t:4, d:8] = P[t, d] + S[t, d]
S: f32[t + 1:5, d:8] = tanh(Q[t, d]) from 0.0
R: f32[t:4, d:8] = exp(S[t + 1, d])
Y: f32[t:4, d:8] = sum(k:8) R[t, k] * W[d, k]"""


def test_maps_that_are_read_once_merge_into_their_reader():
    merged = {e.name: print_expression(e.expression) for e in merge_maps(group(BODY, ("S", "Y")))}
    # R would be computed again for each d.
    assert merged == {"S": "tanh(X[t, d] * 2.0 + S[t, d])", "R": "exp(S[t + 1, d])", "Y": "R[t, d] * W[d_2, d]"}
    assert [e.name for e in merge_maps(group(BODY, ("P", "S", "Y")))] == ["P", "S", "R", "Y"]
