"""Statements that no output needs go."""

from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.dead import drop_dead


def names(body, outputs):
    return [e.name for e in drop_dead(parse_cascade(f"cascade c(X: f32[8]) -> ({outputs}) {{ {body} }}")).einsums()]


CHAIN = "A: f32[i:8] = exp(X[i]) B: f32[i:8] = sin(X[i]) C: f32[i:8] = B[i] D: f32[i:8] = A[i]"


def test_only_what_outputs_need_stays():
    assert names(CHAIN, "D") == ["A", "D"]
    assert names(CHAIN, "C, A") == ["A", "B", "C"]


def test_reads_inside_indices_and_slots_count():
    body = "I: i64[i:8] = i64[i] J: i64[i:8] = i64[i] Z: f32[I[i]:8] = sum(i:8) X[J[i]]"
    assert names(body, "Z") == ["I", "J", "Z"]


def test_an_iteration_keeps_what_is_needed_of_it():
    body = "iterate t:8 { S: f32[t + 1:9] = S[t] + X[t] from 0.0 U: f32[t:8] = S[t + 1] * 2.0 }"
    assert names(body, "U") == ["S", "U"]
    assert names(body, "S") == ["S"], "a map that is read through, such as the end of a cumulative sum, left no reader"
    assert names(f"{body} Z: f32[i:8] = X[i]", "Z") == ["Z"]


def test_steps_that_read_each_other_stay_together():
    body = "iterate t:8 { S: f32[t + 1:9] = T[t] + X[t] from 0.0 T: f32[t + 1:9] = S[t] from 0.0 U: f32[t:8] = X[t] }"
    assert names(body, "S") == ["S", "T"]


def test_one_component_of_a_state_keeps_all():
    body = "(V: f32, P: i64)[] = argmax(i:8) X[i] Z: f32[] = X[P[]]"
    assert names(body, "Z") == ["V", "Z"]


def test_the_same_object_if_all_is_needed():
    cascade = parse_cascade("cascade c(X: f32[8], U: f32[8]) -> (Z) { A: f32[i:8] = exp(X[i]) Z: f32[i:8] = A[i] }")
    assert drop_dead(cascade) is cascade
    assert len(drop_dead(cascade).inputs) == 2
