"""What is taken out of einsums is put back, and stretches of equal keys are found."""

from cascade_strategies import programs
from hypothesis import given
from hypothesis import strategies as st

from tcomp.ir.cascade import Einsum
from tcomp.ir.expressions import Load, as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.cascade.reroll.repeats import FEWEST_ALIKE, fill_einsum, find_stretches, trace_einsum


@given(programs(largest=6))
def test_filling_with_what_was_taken_out_changes_nothing(cascade):
    fixed = {tensor.name for tensor in cascade.inputs}
    for einsum in cascade.statements:
        if isinstance(einsum, Einsum):
            holes = trace_einsum(einsum, fixed).holes
            fillings = [(hole, ()) if isinstance(hole, str) else as_index(hole) for hole in holes]
            assert fill_einsum(einsum, fixed, fillings) == einsum


def test_names_and_constants_are_no_part_of_the_structure():
    text = "cascade c(X: f32[9]) -> (Z) { A: f32[] = X[1] + f32[3]\nB: f32[] = A[] * 2.0\nZ: f32[] = X[4] + f32[7] }"
    first, other, last = (trace_einsum(e, {"X"}) for e in parse_cascade(text).statements)
    assert first.key == last.key != other.key
    assert (first.holes, last.holes, other.holes) == ((1, 3), (4, 7), ("A",))
    assert trace_einsum(parse_cascade(text).statements[0], set()).holes == ("X", 1, 3)
    filled = fill_einsum(parse_cascade(text).statements[1], {"X"}, [("S", (as_index("t"),))])
    assert filled.expression.arguments[0] == Load("S", (as_index("t"),))


def found(keys):
    return [(s.start, s.stop, s.period) for s in find_stretches(keys)]


def test_stretches():
    assert found([7, 1, 2, 1, 2, 1, 2, 1, 8])[0] == (1, 8, 2)
    assert found([1, 1, 1, 1]) == [(0, 4, 1)]
    assert found([1, 2, 3, 4, 1, 2, 3, 4]) == []
    assert (0, 12, 4) in found([1, 1, 1, 2] * 3)


@given(st.lists(st.integers(0, 3), max_size=40))
def test_stretches_repeat_and_are_maximal(keys):
    seen = set()
    for start, stop, period in found(keys):
        assert stop - start >= FEWEST_ALIKE * period
        assert all(keys[k] == keys[k + period] for k in range(start, stop - period))
        assert stop == len(keys) or keys[stop] != keys[stop - period]
        assert (stop, period) not in seen
        seen.add((stop, period))
