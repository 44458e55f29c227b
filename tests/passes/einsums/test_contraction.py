"""Which einsums are contractions, and how they split."""

import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade, parse_expression
from tcomp.passes.einsums.contraction import (
    contraction_along,
    contraction_of,
    find_contraction,
    is_contraction,
    lane_position,
    panel_of,
    read_contraction,
    turn_lanes,
)
from tcomp.passes.einsums.group import Group, Product

INPUTS = """A: f32[4, 16, 8], B: f32[4, 8, 32], W: f32[32, 8], K: f32[8, 32], X: f32[2, 8, 34], F: f32[16, 8, 3], H: bf16[16, 8],
G: bf16[32, 8], D: f32[8, 3], P: f32[2, 8, 16], I: i64[8]"""


def contraction(statement, static=(), lanes=None):
    parsed = parse_cascade(f"cascade c({INPUTS}) -> (Y) {{ {statement} }}")
    check_cascade(parsed)
    (einsum,) = parsed.statements
    weights = {name: name in static for name in parsed.tensors()}
    found = find_contraction(einsum, weights) if lanes is None else contraction_along(einsum, lanes)
    assert is_contraction(einsum) or found is None
    if found is None:
        return None
    assert read_contraction(einsum, found.fact) == found
    names = [" ".join(rank.name for rank in ranks) for ranks in (found.rows, (found.lanes,), found.shared)]
    return (found.left.tensor, found.right.tensor, *names)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("Y: f32[b:4, m:16, n:32] = sum(k:8) A[b, m, k] * B[b, k, n]", ("A", "B", "m", "n", "b")),
        ("Y: f32[b:4, m:16, n:32] = sum(k:8) B[b, k, n] * A[b, m, k]", ("A", "B", "m", "n", "b")),
        ("Y: f32[m:16, n:32] = sum(k:8) f32(H[m, k]) * f32(G[n, k])", ("H", "G", "m", "n", "")),
        ("Y: f32[n:2, k:16, p:32] = sum(c:8, r:3) X[n, c, p + r] * F[k, c, r]", ("X", "F", "n p", "k", "")),
        ("Y: f32[n:32] = sum(k:8) A[0, 0, k] * W[n, k]", ("A", "W", "", "n", "")),
        ("Y: f32[m:16, n:32] = sum(k:8) A[0, m, I[k]] * W[n, k]", ("A", "W", "m", "n", "")),
        ("Y: f32[m:3, n:32] = sum(k:8) K[k, n] * D[k, m]", ("D", "K", "m", "n", "")),
        ("Y: f32[m:16, n:32] = sum(k:8) A[0, m, k] * P[n // 16, k, n % 16]", ("A", "P", "m", "n", "")),
    ],
)
def test_splits(statement, found):
    assert contraction(statement) == found


def test_a_rank_that_has_to_give_the_lanes_does_if_it_can():
    statement = "Y: f32[b:4, m:16, n:32] = sum(k:8) A[b, m, k] * W[n, k]"
    assert contraction(statement, lanes="n") == ("A", "W", "b m", "n", "")
    assert contraction(statement, lanes="m") == ("W", "A", "n", "m", "b")
    assert contraction(statement, lanes="b") == ("W", "A", "n", "b", "m")
    assert contraction(statement, lanes="k") is None
    assert contraction("Y: f32[b:4, m:16, n:32] = sum(k:8) A[b, m, k] * B[b, k, n]", lanes="b") is None


def test_lanes_of_panels_lie_side_by_side_in_the_result_if_they_are_many():
    """Neither operand has its lanes side by side; a short rank is no reason to leave the long one."""
    inputs = "Q: f32[4096, 8], L: f32[64, 8], S: f32[63, 8]"
    for right, lanes in (("L", "j"), ("S", "i")):
        text = f"cascade c({inputs}) -> (Y) {{ Y: f32[i:4096, j:{64 if right == 'L' else 63}] = sum(k:8) Q[i, k] * {right}[j, k] }}"
        (einsum,) = parse_cascade(text).statements
        assert find_contraction(einsum, {}, packs=True).lanes.name == lanes
        assert find_contraction(einsum, {}).lanes.name == "i"


def test_static_operands_give_the_lanes():
    statement = "Y: f32[m:16, n:32] = sum(k:8) A[0, m, k] * W[n, k]"
    assert contraction(statement, static=["A"]) == ("W", "A", "n", "m", "")
    assert contraction(statement, static=["W"]) == ("A", "W", "m", "n", "")


@pytest.mark.parametrize(
    "statement",
    [
        "Y: f32[m:16] = sum(k:8) A[0, m, k]",
        "Y: f32[m:16, n:32] = max(k:8) A[0, m, k] * W[n, k]",
        "Y: f32[m:16, n:32] = sum(k:8) A[0, m, k] + W[n, k]",
        "Y: f32[m:16, n:32] = sum(k:8) exp(A[0, m, k]) * W[n, k]",
        "Y: f32[m:16, n:32] = sum(k:8) A[0, m, k] * W[n, k] where i64[k] < 3",
        "Y: f32[] = sum(m:16, k:8) A[0, m, k] * A[1, m, k]",
        "Y: f32[m:16, n:32] = sum(k:8, j:3) A[0, m, k] * K[j, n]",
        "Y: f32[m:16, n:32] = A[0, m, 0] * W[n, 0]",
        "Y: f32[I[k]:8, m:16, n:32] = sum(k:8) A[0, m, k] * W[n, k]",
        "Y: f32[c:8, p:32] = sum(r:3) X[0, c, p + r] * D[c, r]",
    ],
)
def test_refusals(statement):
    assert contraction(statement) is None


@pytest.mark.parametrize(
    ("load", "position"),
    [("K[k, n]", 1), ("K[n, k]", 0), ("K[k, n + 2]", 1), ("K[k, n + m]", 1), ("K[k, 2*n]", None), ("K[n, n]", None), ("K[k, m]", None)],
)
def test_lane_position(load, position):
    assert lane_position(parse_expression(load), "n") == position


def test_a_rank_that_slides_with_a_reduced_one_is_no_lane():
    (einsum,) = parse_cascade("cascade c(X: f32[9]) -> (Y) { Y: f32[p:8] = sum(r:2) X[p + r] }").statements
    assert lane_position(einsum.expression, "p") == 0
    assert lane_position(einsum.expression, "p", einsum.reduced) is None


@pytest.mark.parametrize(
    ("load", "panel"),
    [
        ("P[n // 16, k, n % 16]", ("n", 16)),
        ("P[k, n]", None),
        ("P[n % 16, k]", None),
        ("P[k, n % 16 + 1]", None),
        ("P[k, 2*(n % 16)]", None),
        ("P[k, n % N]", None),
        ("P[]", None),
    ],
)
def test_panels(load, panel):
    assert panel_of(parse_expression(load)) == panel


def read(statement):
    (einsum,) = parse_cascade(f"cascade c({INPUTS}) -> (Y) {{ {statement} }}").statements
    return einsum


@pytest.mark.parametrize(
    ("statement", "fact"),
    [
        ("Y: f32[b:4, m:16, n:32] = sum(k:8) A[b, m, k] * B[b, k, n]", Product(1, "n")),
        ("Y: f32[b:4, m:16, n:32] = sum(k:8) f32(B[b, k, n]) * A[b, m, k]", Product(0, "n")),
        ("Y: f32[m:16, n:32] = sum(k:8) A[0, m, k] * P[n // 16, k, n % 16]", Product(1, "n", 16)),
    ],
)
def test_what_is_found_names_a_factor_and_a_rank(statement, fact):
    assert find_contraction(read(statement), {}).fact == fact
    assert turn_lanes(read(statement), fact) == fact


def test_lanes_turn_where_the_other_operand_has_neighbours_or_longer_ones():
    neighbours = read("Y: f32[m:16, n:32] = sum(k:8) W[n, k] * K[k, m]")
    assert turn_lanes(neighbours, Product(0, "n")) == turn_lanes(neighbours, Product(1, "m")) == Product(1, "m")
    longer = read("Y: f32[m:16, n:32] = sum(k:8) W[n, k] * A[0, m, k]")
    assert turn_lanes(longer, Product(1, "m")) == turn_lanes(longer, Product(0, "n")) == Product(0, "n")
    short = read("Y: f32[m:3, n:32] = sum(k:8) K[k, n] * D[k, m]")
    assert turn_lanes(short, Product(1, "m")) == Product(0, "n")
    alone = read("Y: f32[n:32] = sum(k:8) A[0, 0, k] * W[n, k]")
    assert turn_lanes(alone, Product(1, "n")) == Product(1, "n")


def test_a_contraction_is_read_off_the_group_that_holds_it():
    einsum = read("Y: f32[m:16, n:32] = sum(k:8) A[0, m, k] * W[n, k]")
    found = contraction_of(Group("contract", (einsum,), einsum.free, fact=Product(0, "m")))
    assert (found.left.tensor, found.right.tensor, found.lanes, found.rows) == ("W", "A", einsum.free[0], einsum.free[1:])
    with pytest.raises(AssertionError, match="the nest of Y is no contraction"):
        contraction_of(Group("nest", (einsum,), einsum.free))
