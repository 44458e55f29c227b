"""Operands are padded and packed once, and only where it pays."""

import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import print_expression
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.operands import prepare_operands
from tcomp.passes.check import describe_difference
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.guess.packing import ROWS_WORTH_PACKING, choose_packing
from tests.program_runner import check_compiled, random_inputs, small_target


def prepared(text):
    before = parse_cascade(text)
    check_cascade(before)
    target = small_target()
    after, pinned, _ = prepare_operands(before, lambda e, static: choose_packing(e, static, before.symbols, target))
    check_cascade(after)
    inputs = random_inputs(before)
    want, got = evaluate(before, inputs, float64=True), evaluate(after, inputs, float64=True)
    for name in before.outputs:
        assert describe_difference(got[name].reshape(-1), want[name].reshape(-1)) is None
    return before, after, pinned


def lines(cascade):
    return [line.strip() for line in str(cascade).splitlines()[1:-1]]


def test_weights_are_packed_in_panels():
    text = "cascade c(X: f32[3, 8], weight W: f32[16, 8]) -> (Y) { Y: f32[m:3, n:16] = sum(k:8) X[m, k] * W[n, k] }"
    _, after, pinned = prepared(text)
    pack, einsum = after.einsums()
    assert pinned == {"W.pack"} == {pack.name}
    assert [str(i) for i in pack.index] == ["n.1", "k", "n.0"]
    width = pack.shape[-1].constant
    assert width % 4 == 0
    assert f"W.pack[n // {width}, k, n % {width}]" in str(lines(after)[1])
    assert einsum.name == "Y"


def test_a_partial_panel_is_filled_with_zeros():
    text = "cascade c(X: f32[3, 8], weight W: f32[13, 8]) -> (Y) { Y: f32[m:3, n:13] = sum(k:8) X[m, k] * W[n, k] }"
    pack, _ = lines(prepared(text)[1])
    assert "else 0.0)" in pack


def test_equal_requests_share_a_pack():
    text = """cascade c(X: f32[3, 8], weight W: f32[16, 8]) -> (Y, Z) {
      Y: f32[m:3, n:16] = sum(k:8) X[m, k] * W[n, k]
      Z: f32[m:3, n:16] = sum(k:8) X[2 - m, k] * W[n, k]
    }"""
    assert [e.name for e in prepared(text)[1].einsums()] == ["W.pack", "Y", "Z"]


def test_conversions_of_weights_happen_in_the_pack():
    text = """cascade c(X: bf16[3, 8], weight W: bf16[16, 8]) -> (Y) {
      Y: f32[m:3, n:16] = sum(k:8) f32(X[m, k]) * f32(W[n, k])
    }"""
    pack, einsum = prepared(text)[1].einsums()
    assert pack.dtype.name == "f32"
    assert print_expression(pack.expression).startswith("f32(W[")
    assert print_expression(einsum.expression).startswith("f32(X[m, k]) * W.pack[")


@pytest.mark.parametrize(("rows", "packs"), [(ROWS_WORTH_PACKING, True), (ROWS_WORTH_PACKING - 1, False)])
def test_a_computed_operand_is_packed_only_if_enough_rows_share_it(rows, packs):
    text = f"cascade c(A: f32[{rows}, 8], B: f32[16, 8]) -> (Y) {{ Y: f32[m:{rows}, n:16] = sum(k:8) A[m, k] * B[n, k] }}"
    before, after, _ = prepared(text)
    assert (after is not before) == packs


MAPPED = """cascade c(A: f32[64, 8], B: f32[{keys}, 8], N: f32[{keys}]) -> ({outputs}) {{
  R: f32[n:{keys}] = sqrt(N[n] * N[n])
  M: f32[n:{keys}, k:8] = {element}
  Y: f32[m:64, n:{keys}] = sum(k:8) A[m, k] * M[n, k]
}}"""


def test_weights_of_which_data_choose_parts_are_packed_whole():
    text = """cascade c(E: i64[5], X: f32[5, 8], weight W: f32[3, 16, 8]) -> (Y) {
      Y: f32[m:5, n:16] = sum(k:8) X[m, k] * W[value(minimum(maximum(E[m], 0), 2)), n, k]
    }"""
    _, after, _ = prepared(text)
    pack, einsum = after.einsums()
    assert [str(i) for i in pack.index] == ["n.d0", "n.1", "k", "n.0"] and pack.shape[0].constant == 3
    assert f"W.pack[value(minimum(maximum(E[m], 0), 2)), n // {pack.shape[-1].constant}, k" in print_expression(einsum.expression)


def test_what_is_computed_and_chosen_from_by_data_stays():
    text = """cascade c(E: i64[40], X: f32[40, 8], V: f32[3, 16, 8]) -> (Y) {
      Y: f32[m:40, r:20, n:16] = sum(k:8) X[m, k] * V[value(minimum(maximum(E[m], 0), 2)), n, k]
    }"""
    before, after, _ = prepared(text)
    assert after is before or str(after) == str(before)


@pytest.mark.parametrize("keys", [96, 90])
@pytest.mark.parametrize("element", ["B[n, k] / R[n]", "exp(B[n, k])", "B[n, 7 - k] + 1.0"])
def test_a_map_of_inputs_is_computed_as_it_is_packed(element, keys):
    """Panels that are not full are padded with zeros, whatever the map makes of a zero."""
    _, after, _ = prepared(MAPPED.format(element=element, keys=keys, outputs="Y"))
    kept = drop_dead(after)
    assert [e.name for e in kept.einsums() if len(e.shape) > 1] == ["M.pack", "Y"]
    check_compiled(parse_cascade(MAPPED.format(element=element, keys=keys, outputs="Y")), random_inputs(after), shuffle=1)


def test_what_is_read_elsewhere_or_made_of_something_computed_is_copied():
    text = MAPPED.format(element="B[n, k] / R[n]", keys=96, outputs="Y, M")
    computed = text.replace(", M)", ")").replace("B[n, k] /", "C[n, k] /")
    computed = computed.replace("M: f32", "C: f32[n:96, k:8] = sum(j:8) B[n, j] * A[j, k]\n  M: f32")
    for body in (text, computed):
        (pack,) = [e for e in prepared(body)[1].einsums() if e.name == "M.pack"]
        assert print_expression(pack.expression).startswith("M[")


@pytest.mark.parametrize(
    "statement",
    [
        "Y: f32[m:64, n:16] = sum(k:8) A[m, k] * C[k, n]",
        "Y: f32[m:64] = sum(k:8) A[m, k]",
        "Y: f32[m:64, n:4] = sum(k:8) A[m, k] * C[k, n % 4]",
        "iterate t:3 { Y: f32[t + 1:4, n:16] = sum(k:8) Y[t, k] * C[k, n] from 0.0 }",
    ],
)
def test_nothing_to_prepare(statement):
    before, after, pinned = prepared(f"cascade c(A: f32[64, 8], C: f32[8, 16]) -> (Y) {{ {statement} }}")
    assert after is before
    assert not pinned


def test_a_window_that_leaves_its_tensor_reads_a_padded_copy():
    text = """cascade c(X: f32[4, 9], weight W: f32[6, 4, 3]) -> (Y) {
      Y: f32[k:6, p:9] = sum(c:4, r:3) (X[c, p + r - 1] else 0.0) * W[k, c, r]
    }"""
    _, after, pinned = prepared(text)
    table = {e.name: e for e in after.einsums()}
    assert pinned == {"X.pad", "W.pack"}
    assert sorted(extent.constant for extent in table["X.pad"].shape) == [4, 11]
    assert "else" not in lines(after)[-1]


@pytest.mark.parametrize(
    "statement",
    [
        "Y: f32[c:4, p:9] = (X[c, p - 1] else 0.0)",
        "Y: f32[c:4, p:9] = max(r:3) (X[c, p + r - 1] else 0.0)",
        "Y: f32[c:4, p:9] = sum(r:3) (X[c, p] else 0.0) * f32[r]",
        "Y: f32[c:4, p:9] = sum(r:3) (X[c, I[p] + r] else 0.0)",
    ],
)
def test_no_padding(statement):
    before, after, _ = prepared(f"cascade c(X: f32[4, 9], I: i64[9]) -> (Y) {{ {statement} }}")
    assert after is before


def test_padding_with_another_value_keeps_it():
    text = "cascade c(X: f32[4, 9]) -> (Y) { Y: f32[c:4, p:9] = sum(r:3) (X[c, p + r - 1] else 2.5) }"
    assert "else 2.5" in lines(prepared(text)[1])[0]


def test_static_tensors():
    text = """cascade c(X: f32[4], weight W: f32[4]) -> (Z) {
      A: f32[i:4] = W[i] * f32[i]
      iterate t:3 { S: f32[t + 1:4] = S[t] + A[t] from 0.0 U: f32[t:3] = S[t] * X[t] }
      B: f32[i:4] = A[i] + X[i]
      Z: f32[i:4] = B[i]
    }"""
    static = static_tensors(parse_cascade(text))
    assert static == {"X": False, "W": True, "A": True, "S": False, "U": False, "B": False, "Z": False}


@pytest.mark.parametrize("lanes", [3, 4, 5, 8, 13, 33])
@pytest.mark.parametrize("rows", [1, 2, 7, 20])
def test_packed_contractions_run(lanes, rows):
    text = f"""cascade c(X: f32[{rows}, 5], weight W: f32[{lanes}, 5]) -> (Y) {{
      Y: f32[m:{rows}, n:{lanes}] = sum(k:5) X[m, k] * W[n, k]
    }}"""
    cascade = parse_cascade(text)
    check_compiled(cascade, random_inputs(cascade))


@pytest.mark.parametrize("blocks", [1, 5])
def test_packed_weights_of_which_data_choose_parts_run(blocks):
    text = f"""cascade c(E: i64[{blocks}], X: f32[{blocks}, 7, 5], weight W: f32[4, 33, 5]) -> (Y) {{
      Y: f32[b:{blocks}, m:7, n:33] = sum(k:5) X[b, m, k] * W[E[b], n, k]
    }}"""
    cascade = parse_cascade(text)
    check_compiled(cascade, random_inputs(cascade))
