"""The evaluator: what a cascade means where it matters, and the errors of inputs that do not fit."""

import itertools
import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate import einsum as evaluate_einsum
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.parse.cascade import parse_cascade

F32 = numpy.float32
NAN, INF = numpy.nan, numpy.inf


def run(statements, inputs, parameters, *, outputs="Y", sizes="", symbols=None, **options):
    cascade = parse_cascade(f"cascade c({parameters}) -> ({outputs}){sizes} {{\n{statements}\n}}")
    check_cascade(cascade)
    found = evaluate(cascade, inputs, symbols, **options)
    return found.get(outputs, found)


def vector(*values, dtype=F32):
    return {"X": numpy.array(values, dtype)}


@pytest.mark.parametrize(
    ("expression", "dtype", "values", "expected"),
    [
        ("maximum(X[i], 0.0)", "f32", [NAN, -1.0, 2.0], [NAN, 0.0, 2.0]),
        ("minimum(0.0, X[i])", "f32", [NAN, -1.0, 2.0], [NAN, -1.0, 0.0]),
        ("-X[i]", "f32", [0.0, -0.0], [-0.0, 0.0]),
        ("X[i] + -0.0", "f32", [-0.0, 0.0], [-0.0, 0.0]),
        ("round(X[i])", "f32", [0.5, 1.5, 2.5, -0.5], [0.0, 2.0, 2.0, -0.0]),
        ("floordiv(X[i], -2)", "i64", [7, -7], [-4, 3]),
        ("truncdiv(X[i], -2)", "i64", [7, -7], [-3, 3]),
        ("mod(X[i], -3)", "i64", [7, -7], [-2, -1]),
        ("fmod(X[i], -3)", "i64", [7, -7], [1, -1]),
        ("X[i] + 100:i8", "i8", [100, 27], [-56, 127]),
        ("X[i] * X[i]", "i32", [2**16, 2**15], [0, 2**30]),
        ("-X[i]", "u8", [1, 0], [255, 0]),
        ("abs(X[i])", "i8", [-128, -3], [-128, 3]),
        ("X[i] / 0.0", "f32", [1.0, -1.0, 0.0], [INF, -INF, NAN]),
        ("sqrt(X[i])", "f32", [-1.0, 4.0], [NAN, 2.0]),
        ("select(X[i] < 0.0, -1.0, X[i])", "f32", [NAN, -2.0], [NAN, -1.0]),
        ("pow(X[i], -1)", "i64", [1, -1, 2], [1, -1, 0]),
    ],
)
def test_scalar_corner_cases(expression, dtype, values, expected):
    kind = {"f32": F32, "i64": numpy.int64, "i32": numpy.int32, "i8": numpy.int8, "u8": numpy.uint8}[dtype]
    found = run(f"Y: {dtype}[i:{len(values)}] = {expression}", vector(*values, dtype=kind), f"X: {dtype}[{len(values)}]")
    assert found.dtype == kind
    expected = numpy.array(expected, kind)
    numpy.testing.assert_array_equal(found, expected)
    if kind == F32:
        is_number = ~numpy.isnan(expected)
        numpy.testing.assert_array_equal(numpy.signbit(found)[is_number], numpy.signbit(expected)[is_number])


@pytest.mark.parametrize(
    ("cast", "values", "expected"),
    [
        ("i32", [2.9, -2.9, -0.1], [2, -2, 0]),
        ("bool", [0.0, -0.0, 0.1, NAN], [False, False, True, True]),
        ("bf16", [1.00390625, 1.01171875, 3.4e38], [1.0, 1.015625, INF]),
        ("f16", [65504.0, 65520.0, 1e-8], [65504.0, INF, 0.0]),
    ],
)
def test_conversions(cast, values, expected):
    found = run(f"Y: {cast}[i:{len(values)}] = {cast}(X[i])", vector(*values), f"X: f32[{len(values)}]")
    numpy.testing.assert_array_equal(found, expected)


def test_an_operator_on_a_narrow_float_rounds_once_and_a_sum_folds_wide():
    half = vector(256.0, 1.0, 1.0)
    assert run("Y: bf16[] = X[0] + X[1]", half, "X: bf16[3]") == 256.0
    assert run("Y: bf16[] = sum(i:3) X[i]", half, "X: bf16[3]") == 258.0
    assert run("Y: f32[] = sum(i:3) X[i] * X[i]", vector(256.0, 1.5, 0.0), "X: bf16[3]") == 65536.0 + 2.25
    assert run("Y: f32[] = sum(i:1) X[i] * X[i]", vector(1.0078125), "X: bf16[1]") == 1.015625  # the product is rounded
    assert run("Y: f32[] = sum(i:1) f32(X[i]) * f32(X[i])", vector(1.0078125), "X: bf16[1]") == F32(1.0078125) ** 2
    assert run("Y: bf16[] = X[0] + X[1]", half, "X: bf16[3]", float64=True) == 257.0


def test_float64_rounds_nothing():
    third = {"X": numpy.array([1 / 3])}
    found = run("Y: bf16[i:1] = bf16(X[i]) * 0.1:bf16", third, "X: f32[1]", float64=True)
    assert found.dtype == numpy.float64
    assert found[0] == 1 / 3 * 0.1


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("sum", 0.0), ("prod", 1.0), ("max", -INF), ("min", INF), ("last", 0.0)],
)
def test_an_empty_reduction_is_the_identity(reduction, expected):
    inputs = {"X": numpy.zeros((2, 0), F32)}
    assert run(f"Y: f32[i:2] = {reduction}(n:N) X[i, n]", inputs, "X: f32[2, N]", sizes=" for N in 0..").tolist() == [expected] * 2
    assert run(f"Y: f32[i:2] = {reduction}(n:3) f32[n] where i64[n] > 5", {}, "").tolist() == [expected] * 2


def test_an_empty_contraction_and_an_empty_result():
    inputs = {"X": numpy.zeros((2, 0), F32)}
    text = "Y: f32[i:2, j:2] = sum(n:N) X[i, n] * X[j, n]"
    assert run(text, inputs, "X: f32[2, N]", sizes=" for N in 0..").tolist() == [[0.0, 0.0], [0.0, 0.0]]
    text = "Y: f32[n:N, m:N] = sum(i:2) X[i, n] * X[i, m]"
    assert run(text, inputs, "X: f32[2, N]", sizes=" for N in 0..").shape == (0, 0)
    inputs = {"X": numpy.zeros((0,), F32)}
    assert run("Y: f32[i:3] = (X[i] else 7.0)", inputs, "X: f32[N]", sizes=" for N in 0..").tolist() == [7.0] * 3
    assert run("Y: f32[value(i64(X[n])):3] = sum(n:N) X[n] from 2.0", inputs, "X: f32[N]", sizes=" for N in 0..").tolist() == [2.0] * 3


def test_nan_wins_in_max_min_and_argmax():
    inputs = vector(1.0, NAN, 3.0, NAN)
    assert math.isnan(run("Y: f32[] = max(i:4) X[i]", inputs, "X: f32[4]"))
    assert math.isnan(run("Y: f32[] = min(i:4) X[i]", inputs, "X: f32[4]"))
    assert run("(V: f32, Y: i64)[] = argmax(i:4) X[i]", inputs, "X: f32[4]") == 1


def test_a_product_with_infinity_and_zero_is_not_lost_in_a_contraction():
    inputs = {"X": numpy.array([[INF, 1.0]], F32), "W": numpy.array([[0.0], [1.0]], F32)}
    assert math.isnan(run("Y: f32[i:1, j:1] = sum(k:2) X[i, k] * W[k, j]", inputs, "X: f32[1, 2], W: f32[2, 1]")[0, 0])
    inputs = {"X": numpy.array([3e38, 3e38], F32), "W": numpy.array([0.0], F32)}
    assert run("Y: f32[j:1] = sum(k:2) X[k] * W[j]", inputs, "X: f32[2], W: f32[1]")[0] == 0.0  # not inf * 0


def test_where_hides_points_even_from_the_bounds():
    inputs = vector(1.0, 2.0, NAN)
    assert run("Y: f32[] = sum(i:9) X[i] where i64[i] < 2", inputs, "X: f32[3]") == 3.0
    assert run("(V: f32, Y: i64)[] = argmin(i:9) X[i] where i64[i] < 2 & i64[i] > 0", inputs, "X: f32[3]") == 1


def test_reads_outside_give_the_stated_value():
    inputs = vector(1.0, 2.0, 3.0)
    assert run("Y: f32[i:5] = (X[i - 1] else -0.5)", inputs, "X: f32[3]").tolist() == [-0.5, 1.0, 2.0, 3.0, -0.5]
    assert run("Y: f32[i:3] = (X[I[i]] else nan)", inputs | {"I": numpy.array([2, -1, 3])}, "X: f32[3], I: i64[3]").tolist()[0] == 3.0


def test_a_read_outside_without_a_value_is_an_error_that_names_the_einsum():
    with pytest.raises(VerifyError) as caught:
        run("Y: f32[i:2] = X[I[i]]", vector(1.0, 2.0) | {"I": numpy.array([0, -1])}, "X: f32[2], I: i64[2]")
    assert caught.value.what == "Y reads [-1] of a tensor of shape [2]"
    assert caught.value.where == "line 2\nY: f32[i:2] = X[I[i]]"


def test_a_read_outside_along_one_rank_tells_a_point_of_all():
    cascade = parse_cascade("cascade c(W: f32[2, 3], I: i64[2]) -> (Y) { Y: f32[i:2, j:3] = W[I[i], j] }")
    with pytest.raises(VerifyError) as caught:
        evaluate(cascade, {"W": numpy.zeros((2, 3)), "I": numpy.array([0, 5])})
    assert caught.value.what == "Y reads [5, 0] of a tensor of shape [2, 3]"


def test_a_scatter_drops_what_falls_outside_and_merges_into_from():
    inputs = {"X": numpy.array([1.0, 2.0, 4.0, 8.0], F32), "I": numpy.array([0, 2, 0, 9])}
    parameters = "X: f32[4], I: i64[4]"
    assert run("Y: f32[I[i]:3] = sum(i:4) X[i]", inputs, parameters).tolist() == [5.0, 0.0, 2.0]
    assert run("Y: f32[I[i]:3] = sum(i:4) X[i] from f32[_0]", inputs, parameters).tolist() == [5.0, 1.0, 4.0]
    assert run("Y: f32[I[i]:3] = last(i:4) X[i] from 7.0", inputs, parameters).tolist() == [4.0, 7.0, 2.0]
    assert run("Y: f32[I[i]:3] = max(i:4) X[i] where X[i] < 3.0", inputs, parameters).tolist() == [1.0, -INF, 2.0]
    assert run("Y: f32[-1 - i:3] = sum(i:4) X[i]", inputs, parameters).tolist() == [0.0, 0.0, 0.0]
    assert run("(V: f32, Y: i64)[I[i]:3] = argmax(i:4) X[i]", inputs, parameters).tolist() == [2, 2**63 - 1, 1]
    # What `from` gives may repeat along a dimension, be it the first or the last.
    for start, row in (("f32[_1]", [[0, 1], [0, 3], [0, 1]]), ("f32[_0]", [[0, 0], [1, 3], [2, 2]])):
        found = run(f"Y: f32[I[i] - 1:3, 3 - I[i]:2] = sum(i:4) X[i] from {start}", inputs, parameters).tolist()
        assert found == row
    # A free rank walks its dimension, here farther than what is read.
    found = run("Y: f32[i:5, 2 - i:3] = sum() X[i] where i64[i] < 4 from f32[i]", inputs, parameters)
    assert found.tolist() == [[0, 0, 1], [1, 3, 1], [6, 2, 2], [3, 3, 3], [4, 4, 4]]


def test_last_is_in_row_major_order():
    inputs = {"I": numpy.array([[0, 1, 0], [1, 1, 2]])}
    found = run("Y: i64[I[a, b]:3] = last(a:2, b:3) i64[3*a + b]", inputs, "I: i64[2, 3]")
    assert found.tolist() == [2, 4, 5]
    assert run("Y: i64[] = last(a:2, b:3) i64[3*a + b] where I[a, b] == 0", inputs, "I: i64[2, 3]") == 2


def test_an_iteration_carries_state_and_its_einsums_see_each_other():
    found = run(
        "iterate t:4 {\n A: f32[t:4] = S[t] * 2.0\n S: f32[t + 1:5] = A[t] + X[t] from 1.0\n B: f32[t:4] = S[t + 1] - S[t]\n}",
        vector(1.0, 0.0, 0.0, 1.0),
        "X: f32[4]",
        outputs="A, S, B",
    )
    assert found["S"].tolist() == [1.0, 3.0, 6.0, 12.0, 25.0]
    assert found["A"].tolist() == [2.0, 6.0, 12.0, 24.0]
    assert found["B"].tolist() == [2.0, 3.0, 6.0, 13.0]


def test_an_iteration_with_the_step_in_the_last_slot_and_no_steps():
    text = "iterate t:T {\n Y: f32[i:2, t + 1:T + 1] = Y[i, t] + X[t] * f32[t + i] from f32[i]\n}"
    found = run(text, vector(1.0, 2.0), "X: f32[T]", sizes=" for T in 0..")
    assert found.tolist() == [[0.0, 0.0, 2.0], [1.0, 2.0, 6.0]]
    assert run(text, vector(), "X: f32[T]", sizes=" for T in 0..").tolist() == [[0.0], [1.0]]


def test_keep_returns_every_tensor():
    cascade = parse_cascade("cascade c(X: f32[2]) -> (Y) {\n A: f32[i:2] = -X[i]\n Y: f32[] = sum(i:2) A[i]\n}")
    assert list(evaluate(cascade, vector(1.0, 2.0), keep=True)) == ["X", "A", "Y"]
    assert list(evaluate(cascade, vector(1.0, 2.0))) == ["Y"]


def test_large_spaces_are_evaluated_in_pieces(monkeypatch):
    inputs = {"X": numpy.arange(60, dtype=F32).reshape(3, 4, 5), "W": numpy.arange(20, dtype=F32).reshape(5, 4)}
    parameters = "X: f32[3, 4, 5], W: f32[5, 4]"
    bodies = [
        "Y: f32[a:3, b:4] = max(c:5) X[a, b, c] + W[c, b]",
        "Y: f32[a:3, b:4] = sum(c:5) X[a, b, c] * W[c, b]",
        "Y: f32[a:3, b:4] = sum(c:5) (X[a, b + c - 1, c] else 0) * W[c, b]",
        "(V: f32, Y: i64)[a:3, b:4] = argmin(c:5) X[a, b, c] * W[c, b]",
        "Y: f32[b:4, a:3, c:5] = X[a, b, c] - f32[a + b]",
    ]
    whole = [run(body, inputs, parameters) for body in bodies]
    monkeypatch.setattr(evaluate_einsum, "LARGEST_SPACE", 7)
    for body, expected in zip(bodies, whole):
        numpy.testing.assert_array_equal(run(body, inputs, parameters), expected)


@pytest.mark.parametrize(
    ("parameters", "sizes", "inputs", "symbols", "what"),
    [
        ("X: f32[2]", "", {}, None, "input X is missing"),
        ("X: f32[2]", "", {"X": numpy.zeros((2, 1), F32)}, None, "X has 2 axes, not 1"),
        ("X: f32[2]", "", {"X": numpy.zeros(3, F32)}, None, "X has shape [3], not [2]"),
        ("X: f32[N], W: f32[N]", " for N in 1..", {"X": numpy.zeros(3, F32), "W": numpy.zeros(4, F32)}, None, "W has shape [4], not [3]"),
        ("X: f32[2*N]", " for N in 1..", {"X": numpy.zeros(4, F32)}, None, "the size N is unknown"),
        ("X: f32[N]", " for N in 4..8", {"X": numpy.zeros(3, F32)}, None, "N = 3 is not in 4..8"),
        ("X: f32[2*N]", " for N in 1..", {"X": numpy.zeros(4, F32)}, {"N": 3}, "X has shape [4], not [6]"),
        ("X: f32[2]", "", {"X": numpy.zeros(2, numpy.int64)}, None, "X holds int64, not f32"),
        ("X: bool[2]", "", {"X": numpy.zeros(2, numpy.int64)}, None, "X holds int64, not bool"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(parameters, sizes, inputs, symbols, what):
    with pytest.raises(VerifyError) as caught:
        run("Y: f32[] = 0.0", inputs, parameters, sizes=sizes, symbols=symbols)
    assert caught.value.what == what


AXIS = st.sampled_from(["a", "b", "c", "2*a", "a + b", "b - 1", "2*b - c", "3 - c", "a // 2", "(a + c) % 3", "1", "I[a]", "I[b] - I[c]"])


@settings(max_examples=150, deadline=None)
@given(st.tuples(AXIS, AXIS), st.sampled_from(["", "sum(c:3) ", "max(c:3) ", "argmax(c:3) "]), st.booleans(), st.booleans())
def test_an_einsum_is_what_plain_loops_compute(index, reduction, product, restricted):
    sizes = {"a": 2, "b": 4, "c": 3}
    generator = numpy.random.default_rng(1)
    x, w = generator.integers(-9, 9, (3, 4)).astype(F32), generator.integers(-3, 4, (4, 3)).astype(F32)
    ids = numpy.array([2, 0, 1, 3])
    element = f"(X[{', '.join(index)}] else 0.5)" + (" * W[b, c]" if product else "")
    where = " where X[a, c] > 0.0" if restricted and reduction else ""
    free = "ab" if reduction else "abc"
    targets = "(V: f32, Y: i64)" if "arg" in reduction else "Y: f32"
    slots = ", ".join(f"{name}:{sizes[name]}" for name in free)
    inputs = {"X": x, "W": w, "I": ids}
    found = run(f"{targets}[{slots}] = {reduction}{element}{where}", inputs, "X: f32[3, 4], W: f32[4, 3], I: i64[4]")
    for point in itertools.product(*(range(sizes[name]) for name in free)):
        values = []
        for c in range(3) if reduction else [point[2]]:
            names = dict(zip("abc", (*point[:2], c)), I=ids)
            place = tuple(int(eval(text, {}, names)) for text in index)
            inside = 0 <= place[0] < 3 and 0 <= place[1] < 4
            value = (x[place] if inside else F32(0.5)) * (w[point[1], c] if product else 1)
            if not where or x[point[0], c] > 0:
                values.append((c, value))
        if "argmax" in reduction:
            best = max((v for _, v in values), default=None)
            expected = 2**63 - 1 if best is None else next(c for c, v in values if v == best)
        elif "max" in reduction:
            expected = max((v for _, v in values), default=-INF)
        else:
            expected = sum(v for _, v in values)
        assert found[point] == expected
