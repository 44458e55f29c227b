"""What depends on weights alone is computed once."""

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.fold import fold_weights

INPUTS = "X: f32[8], weight W: f32[8], weight V: f32[8], weight N: f32[8]"


def split(body, outputs="Z", inputs=INPUTS, symbols=""):
    parsed = parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{ {body} }}")
    check_cascade(parsed)
    parts = fold_weights(parsed)
    for part in parts:
        check_cascade(part)
    return [str(part) for part in parts]


def test_static_einsums_move_to_the_prelude():
    prelude, main = split("A: f32[i:8] = exp(W[i]) B: f32[i:8] = A[i] + V[i] Z: f32[i:8] = X[i] * B[i] + W[i]")
    assert prelude.splitlines() == [
        "cascade c_prelude(weight W: f32[8], weight V: f32[8]) -> (B) {",
        "  A: f32[i:8] = exp(W[i])",
        "  B: f32[i:8] = A[i] + V[i]",
        "}",
    ]
    assert main.splitlines() == [
        "cascade c(X: f32[8], weight W: f32[8], weight B: f32[8]) -> (Z) {",
        "  Z: f32[i:8] = X[i] * B[i] + W[i]",
        "}",
    ]


def test_what_depends_on_nothing_is_static():
    prelude, main = split("A: f32[i:8] = sin(f32[i]) Z: f32[i:8] = X[i] * A[i]")
    assert "A: f32[i:8] = sin(f32[i])" in prelude
    assert "weight A: f32[8]" in main


def test_a_static_output_is_copied_on_every_run():
    prelude, main = split("A: f32[i:8] = exp(W[i]) Z: f32[i:8] = X[i] * A[i]", "A, Z")
    assert "-> (A)" in prelude
    assert "-> (A.out, Z)" in main
    assert "A.out: f32[d0:8] = A[d0]" in main


def test_static_iterations_and_states_move_whole():
    body = """iterate t:7 { S: f32[t + 1:8] = S[t] + W[t] from 0.0 } (M: f32, P: i64)[] = argmax(i:8) S[i]
    Z: f32[i:8] = X[i] * S[i] + f32(P[])"""
    prelude, main = split(body)
    assert "-> (S, P)" in prelude
    assert main.count("=") == 1


def test_what_is_named_late_stays_with_all_that_is_made_of_it():
    parsed = parse_cascade(
        f"cascade c({INPUTS}) -> (Z) {{ A: f32[i:8] = exp(W[i]) B: f32[i:8] = A[i] + V[i] C: f32[i:8] = V[i] * V[i] "
        "F: f32[i:8] = B[i] * B[i] Z: f32[i:8] = X[i] * F[i] + C[i] }"
    )
    prelude, main = fold_weights(parsed, {"A"})
    for part in (prelude, main):
        check_cascade(part)
    assert [e.name for e in prelude.einsums()] == ["C"]
    assert [e.name for e in main.einsums()] == ["A", "B", "F", "Z"]
    assert [t.name for t in main.inputs] == ["X", "W", "V", "C"]
    prelude, main = fold_weights(parsed, {"A", "C"})
    assert list(prelude.einsums()) == []


def test_symbolic_statements_stay():
    body = "A: f32[i:8] = exp(W[i]) B: f32[n:K] = f32[n] Z: f32[n:K, i:8] = B[n] * A[i]"
    prelude, main = split(body, symbols=" for K in 1..")
    assert "B" not in prelude and "A" in prelude
    assert "B: f32[n:K] = f32[n]" in main


def test_statements_that_use_a_symbol_beyond_their_extents_stay():
    body = """A: i64[i:8] = i64[K] B: f32[i:4] = W[i + K] C: f32[i:8] = sum(j:8) V[j] where i64[i] + i64[j] < i64[K]
    D: f32[i:8] = exp(f32(A[i])) Z: f32[i:4] = X[i] * B[i] * C[i] * D[i]"""
    prelude, main = split(body, symbols=" for K in 0..4")
    assert prelude.splitlines() == ["cascade c_prelude() -> () {", "}"]
    assert main.count("=") == 5


def test_nothing_static_leaves_an_empty_prelude():
    prelude, main = split("Z: f32[i:8] = X[i] * W[i]")
    assert prelude.splitlines() == ["cascade c_prelude() -> () {", "}"]
    assert "weight V" not in main
