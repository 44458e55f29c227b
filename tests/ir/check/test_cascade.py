"""The verifier: every rule refuses a fault planted for it, and names the einsum and its source."""

from dataclasses import replace

import pytest

from tcomp.ir.cascade import Cascade, Rank, Source, Symbol, Tensor
from tcomp.ir.check.cascade import check_cascade, find_point_outside
from tcomp.ir.dtypes import bf16, f32
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Apply, Constant, as_index, constant, load
from tcomp.ir.index import Bounds
from tcomp.ir.parse.cascade import parse_cascade, parse_einsum, parse_index

INPUTS = "X: f32[4, N], Y: f32[N], I: i64[4], H: bf16[4], M: bool[4], B: i8[4]"


def make(body, outputs="", symbols="N in 1..", inputs=INPUTS):
    return parse_cascade(f"cascade c({inputs}) -> ({outputs}) for {symbols} {{\n{body}\n}}")


GOOD = [
    "A: f32[i:4] = sum(n:N) X[i, n] * Y[n]",
    "A: f32[n:N] = (Y[n - 1] else 0)",
    "A: f32[n:N] = (Y[n - 1] else -0.5)",
    "A: f32[i:4] = X[i, I[i]]",
    "A: f32[i:4] = X[i, i]",
    "A: f32[n:2*N] = Y[n % N]",
    "A: f32[n:2*N] = Y[n // 2]",
    "A: f32[n:N] = sum(k:3) Y[n + k] where i64[n + k] < i64[N]",
    "A: f32[I[i]:4] = sum(i:4) X[i, 0] from 1.0",
    "A: f32[I[i]:4, n:N] = max(i:4) X[i, n] from Y[n] * f32[_0]",
    "A: f32[2*n - 1:N] = last(n:N) Y[n]",
    "A: f32[i:9, value((I[i] else 0)):4] = last() X[i, 0] where i64[i] < 4",
    "A: f32[I[i]:4, i:4] = sum() X[i, 0] from f32[_0 + i]",
    "A: f32[] = sum(n:N) Y[n]",
    "A: bf16[] = sum(i:4) H[i]",
    "A: f32[] = sum(i:4) H[i]",
    "A: i8[] = sum(i:4) B[i]",
    "A: bool[] = any(i:4) M[i]",
    "(A: f32, P: i64)[i:4] = argmax(n:N) X[i, n]",
    "(A: bf16, P: i64)[] = argmin(i:4) H[i]",
    "(A: f32, S: f32, C: f32)[i:4] = welford(n:N) X[i, n]",
    "iterate t:4 {\n A: f32[t + 1:5] = A[t] * X[t, 0] from 1.0\n}",
    "iterate t:N {\n A: f32[t:N] = Y[t] + S[t]\n S: f32[t + 1:N + 1] = S[t] + A[t] from 0.0\n Z: f32[t:N] = S[t + 1]\n}",
    "A: f32[i:4] = select(M[i], X[i, 0], 0.0)",
]


@pytest.mark.parametrize("body", GOOD)
def test_what_is_right_passes(body):
    check_cascade(make(body))


FAULTS = [
    # names
    ("Y: f32[i:4] = X[i, 0]", "Y is defined twice"),
    ("A: f32[i:4] = X[i, 0]\nA: f32[i:4] = X[i, 0]", "A is defined twice"),
    ("f32: f32[i:4] = X[i, 0]", "a tensor is named f32, which is a dtype"),
    # defined before use
    ("A: f32[i:4] = Z[i]", "Z is read but never defined"),
    ("A: f32[i:4] = Z[i]\nZ: f32[i:4] = X[i, 0]", "Z is read but never defined"),
    ("A: f32[i:4] = A[i]", "A is read but never defined"),
    # ranks and extents
    ("A: f32[i:4, i:4] = X[i, 0]", "the rank i is declared twice, or has the name of a symbol"),
    ("A: f32[i:4] = sum(i:4) X[i, 0]", "the rank i is declared twice, or has the name of a symbol"),
    # A slot that names a rank walks its dimension: it is no place to store to.
    ("A: f32[i:9, I[i]:4] = last(i:4) X[i, 0]", "the rank i is declared twice, or has the name of a symbol"),
    ("A: f32[i:4, i:9, I[i]:4] = last() X[i, 0]", "the rank i is declared twice, or has the name of a symbol"),
    ("A: f32[N:9, I[i]:4] = last(i:4) X[i, 0]", "the rank N is declared twice, or has the name of a symbol"),
    ("A: f32[N:4] = X[N, 0]", "the rank N is declared twice, or has the name of a symbol"),
    ("A: f32[i:K] = X[i, 0]", "the extent K uses K"),
    ("A: f32[i:4, j:i] = X[i, j]", "the extent i uses i"),
    ("A: f32[i:I[0]] = X[i, 0]", "the extent I[0] uses a value"),
    ("A: f32[i:-2] = 1.0", "the extent -2 is negative"),
    ("A: f32[i:4] = sum(n:M) X[i, n]", "the extent M uses M"),
    # variables
    ("A: f32[i:4] = X[i, n]", "n is no rank of this einsum"),
    ("A: f32[i:4] = f32[k]", "k is no rank of this einsum"),
    ("A: f32[i:4] = sum(n:N) X[i, n] where M[k]", "k is no rank of this einsum"),
    ("A: f32[I[k]:4] = sum(n:N) Y[n]", "k is no rank of this einsum"),
    ("A: f32[I[i]:4] = sum(i:4) X[i, 0] from f32[i]", "i is no slot of this einsum, and `from` is read at the slots alone"),
    # slots and clauses
    ("A: f32[I[i]:4] = 1.0", "A scatters without a monoid"),
    ("A: f32[Y[n]:4] = sum(n:N) 1.0", "Y[n] is f32 and used as an index"),
    ("A: f32[i:4] = X[i, 0] where M[i]", "`where` without a reduction leaves points undefined"),
    ("A: f32[i:4] = X[i, 0] from 1.0", "`from` belongs to a scatter or to a carried slot"),
    ("A: f32[i:4] = sum(n:N) X[i, n] from 1.0", "`from` belongs to a scatter or to a carried slot"),
    ("(A: f32, P: i64)[I[i]:4] = argmax(i:4) X[i, 0] from 1.0", "`from` gives one component, and the state here has several"),
    # dtypes
    ("A: f32[i:4] = X[i, 0] + H[i]", "X[i, 0] + H[i] joins f32 and bf16"),
    ("A: f32[i:4] = X[i, 0] + 1", "X[i, 0] + 1 joins f32 and i64"),
    ("A: i8[i:4] = exp(B[i])", "exp does not take i8, in exp(B[i])"),
    ("A: bool[i:4] = M[i] + M[i]", "add does not take bool, in M[i] + M[i]"),
    ("A: f32[i:4] = select(X[i, 0], 1.0, 2.0)", "the condition of select(X[i, 0], 1.0, 2.0) is f32"),
    ("A: f32[i:4] = select(M[i], 1.0, 2)", "select(M[i], 1.0, 2) joins f32 and i64"),
    ("A: bool[i:4] = bool[i]", "bool[i] makes a bool of an index"),
    ("A: i8[i:4] = 300:i8", "the literal 300 does not fit i8"),
    ("A: f32[i:4] = (X[i, n - 1] else true)", "n is no rank of this einsum"),
    ("A: f32[i:4] = (X[i, 0] else true)", "the outside value true of X is not a f32"),
    ("A: i8[i:4] = (B[i] else 0.5)", "the outside value 0.5 of B is not a i8"),
    ("A: bool[i:4] = (M[i] else 0)", "the outside value 0 of M is not a bool"),
    ("A: bf16[i:4] = X[i, 0]", "A is bf16 and stores f32"),
    ("A: i32[] = sum(i:4) B[i]", "A is i32 and stores i8"),
    ("A: bool[] = sum(i:4) M[i]", "sum does not reduce bool"),
    ("A: f32[] = any(i:4) H[i]", "any does not reduce bf16"),
    ("A: f32[i:4] = argmax(n:N) X[i, n]", "argmax gives 2 components, and there are 1 targets"),
    ("(A: f32, P: i64)[i:4] = X[i, 0]", "a map gives 1 components, and there are 2 targets"),
    ("(A: f32, P: i32)[i:4] = argmax(n:N) X[i, n]", "P is i32 and stores i64"),
    ("A: f32[] = sum(i:4) X[i, 0] where B[i]", "the `where` is not bool"),
    ("A: f32[I[i]:4] = sum(i:4) X[i, 0] from 1", "`from` is i64 and A is f32"),
    # loads
    ("A: f32[i:4] = X[i]", "X[i] has 1 indices, and X has 2 axes"),
    ("A: f32[i:5] = X[i, 0]", "X[i, 0] reads index 4 of an axis of 4"),
    ("A: f32[i:4] = X[i - 1, 0]", "X[i - 1, 0] reads index -1 of an axis of 4"),
    ("A: f32[i:4] = X[2*i, 0]", "X[2*i, 0] reads index 6 of an axis of 4"),
    ("A: f32[n:N] = Y[n + 1]", "Y[n + 1] reads index N of an axis of N"),
    ("A: f32[n:N] = Y[2*n + N]", "Y[N + 2*n] reads index 3*N - 2 of an axis of N"),
    ("A: f32[n:N] = Y[N]", "Y[N] reads index N of an axis of N"),
    ("A: f32[i:4] = X[i, I[i + 1]]", "I[i + 1] reads index 4 of an axis of 4"),
    ("A: f32[I[i + 1]:4] = sum(i:4) 1.0", "I[i + 1] reads index 4 of an axis of 4"),
    ("A: f32[i:4] = sum(n:N) X[i, n] where M[i + 1]", "M[i + 1] reads index 4 of an axis of 4"),
    ("A: f32[I[i]:9] = sum(i:4) 1.0 from X[_0, 0]", "X[_0, 0] reads index 8 of an axis of 4"),
    # iterations
    ("iterate t:4 {\n}", "an iteration has no einsums"),
    ("iterate N:4 {\n A: f32[N:4] = 1.0\n}", "the rank N has the name of a symbol"),
    ("iterate t:K {\n A: f32[t:K] = 1.0\n}", "the extent K uses K"),
    ("iterate t:4 {\n A: f32[i:4] = X[i, 0]\n}", "in an iteration over t, one slot is t or t + 1 and the others are bare ranks"),
    (
        "iterate t:4 {\n A: f32[t + 2:6] = X[t, 0] from 0.0\n}",
        "in an iteration over t, one slot is t or t + 1 and the others are bare ranks",
    ),
    (
        "iterate t:4 {\n A: f32[t:4, I[t]:4] = sum(n:N) X[t, n]\n}",
        "in an iteration over t, one slot is t or t + 1 and the others are bare ranks",
    ),
    ("iterate t:4 {\n A: f32[t + 1:5] = A[t]\n}", "A carries state and has no `from`"),
    ("iterate t:4 {\n A: f32[t + 1:4] = A[t] from 0.0\n}", "the slot t + 1 has extent 4"),
    ("iterate t:4 {\n A: f32[t:5] = 1.0\n}", "the slot t has extent 5"),
    ("iterate t:4 {\n A: f32[t + 1:5] = A[t + 1] from 0.0\n}", "A[t + 1] is not computed yet, or no longer held, at step t"),
    ("iterate t:4 {\n A: f32[t:4] = Z[t]\n Z: f32[t:4] = 1.0\n}", "Z[t] is not computed yet, or no longer held, at step t"),
    (
        "iterate t:4 {\n A: f32[t + 1:5] = (A[t - 1] else 0) from 0.0\n}",
        "(A[t - 1] else 0) is not computed yet, or no longer held, at step t",
    ),
    (
        "iterate t:4 {\n A: f32[t + 1:5] = A[t] from 0.0\n Z: f32[t:4] = A[i]\n}",
        "i is no rank of this einsum",
    ),
    ("iterate t:4 {\n A: f32[t:4] = sum(t:4) X[t, 0]\n}", "the rank t is declared twice, or has the name of a symbol"),
    ("iterate t:4 {\n A: f32[t + 1:5] = sum(t:4) X[t, 0] from 0.0\n}", "the iterative rank t is reduced"),
    ("iterate t:4 {\n Z: f32[t:4] = 1.0\n A: f32[t + 1:5] = A[t] from Z[0]\n}", "`from` reads Z, which the iteration computes"),
]


@pytest.mark.parametrize(("body", "what"), FAULTS, ids=range(len(FAULTS)))
def test_a_planted_fault_is_refused(body, what):
    with pytest.raises(VerifyError) as caught:
        check_cascade(make(body))
    assert caught.value.what == what
    assert caught.value.where


@pytest.mark.parametrize(
    ("cascade", "what"),
    [
        (make("", "Q"), "the output Q is never defined"),
        (make("", "Y, Y"), "the output Y is named twice"),
        (make("", symbols="N in 1.., N in 2.."), "the symbol N is declared twice"),
        (make("", symbols="N in 5..2"), "N in 5..2 is no range of sizes"),
        (make("", inputs="X: f32[K]"), "the extent K uses K"),
        (make("", inputs="X: f32[4], X: f32[4]"), "X is defined twice"),
        (Cascade("a b", (), (), ()), "'a b' cannot be written as a name"),
        (Cascade("a", (Tensor("where", f32, ()),), (), ()), "'where' cannot be written as a name"),
        (Cascade("a", (), (), (), (Symbol("2N"),)), "'2N' cannot be written as a name"),
    ],
)
def test_a_fault_of_the_whole_cascade_is_refused(cascade, what):
    with pytest.raises(VerifyError) as caught:
        check_cascade(cascade)
    assert caught.value.what == what


EINSUM = parse_einsum("A: f32[i:4] = sum(n:3) X[i, n]")


@pytest.mark.parametrize(
    ("einsum", "what"),
    [
        (replace(EINSUM, shape=()), "A has 1 slots and 0 extents"),
        (replace(EINSUM, reduce=None), "ranks are reduced without a monoid"),
        (replace(EINSUM, reduce="median"), "there is no monoid 'median'"),
        (replace(EINSUM, expression=Apply("quux", ())), "there is no operator 'quux'"),
        (replace(EINSUM, expression=Apply("exp", ())), "exp takes 1 arguments, not 0"),
        (replace(EINSUM, expression=Constant(1, f32)), "the literal 1 is no f32"),
        (replace(EINSUM, reduced=(Rank("n m", as_index(3)),)), "'n m' cannot be written as a name"),
    ],
)
def test_a_fault_that_no_text_can_have_is_refused(einsum, what):
    with pytest.raises(VerifyError) as caught:
        check_cascade(Cascade("c", (Tensor("X", f32, (as_index(4), as_index(3))),), (einsum,), ("A",)))
    assert caught.value.what == what


def test_an_error_shows_the_einsum_and_its_source():
    einsum = replace(parse_einsum("A: f32[i:4] = H[i]"), source=Source("encoder.layer", "model.py:12"))
    with pytest.raises(VerifyError) as caught:
        check_cascade(Cascade("c", (Tensor("H", bf16, (as_index(4),)),), (einsum,), ()))
    assert str(caught.value).splitlines() == [
        "A is f32 and stores bf16",
        "  where: encoder.layer model.py:12",
        "    A: f32[i:4] = H[i]",
        "  help: convert: f32(...)",
    ]


@pytest.mark.parametrize(
    ("index", "extent", "point"),
    [
        ("i", "4", None),
        ("i", "3", "3"),
        ("3 - i", "4", None),
        ("2 - i", "4", "-1"),
        ("n", "N", None),
        ("N - n", "N", "N"),
        ("N - n - 1", "N", None),
        ("N*i + n", "4*N", None),
        ("N*i + n", "3*N", "4*N - 1"),
        ("N*n - n", "N", None),  # the ranks of two terms do not reach their extremes at one point
        ("i*n", "1", None),
        ("i // 2", "1", None),
        ("n", "7", None),  # N may be small
    ],
)
def test_a_point_outside_is_found_when_it_is_certain(index, extent, point):
    bounds = Bounds({"i": as_index(4), "n": as_index("N")}, {"N": (1, None)})
    found = find_point_outside(parse_index(index), parse_index(extent), bounds)
    assert (None if found is None else str(found)) == point


def test_an_empty_rank_reads_nothing():
    check_cascade(make("A: f32[i:0] = X[i + 9, 0]"))
    check_cascade(make("A: f32[n:N] = Y[n + 1]", symbols="N in 0.."))


def test_a_load_made_by_hand_is_checked_like_one_read():
    einsum = replace(EINSUM, expression=Apply("add", (load("X", "i", "n"), constant(1, f32))))
    check_cascade(Cascade("c", (Tensor("X", f32, (as_index(4), as_index(3))),), (einsum,), ("A",)))
