"""Layouts: lanes adjacent after a contraction, else as the largest input lies."""

import pytest

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.expressions import as_index, print_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.bind.layout import dense_strides, lay_out, permuted_strides
from tcomp.passes.choose import Guess, PartGuess
from tcomp.passes.guess.fuse import fuse
from tests.program_runner import small_target

INPUTS = "X: f32[2, 8, 9], weight W: f32[16, 8], T: f32[8, 6], I: i64[4]"


def layouts(body, strides=None, pinned=()):
    cascade = parse_cascade(f"cascade c({INPUTS}) -> (Z) {{ {body} }}")
    check_cascade(cascade)
    memories = {}
    for name in (*(t.name for t in cascade.inputs), "Z"):
        tensor = cascade.tensors()[name]
        steps = (strides or {}).get(name)
        found = contiguous_strides(tensor.shape) if steps is None else tuple(as_index(s) for s in steps)
        memories[name] = Memory(tensor.dtype, tensor.shape, found)
    chosen = lay_out(fuse(cascade), memories, PartGuess(Guess(small_target()), cascade).choose_order, pinned)
    return chosen, {name: [print_index(s) for s in m.strides] for name, m in memories.items()}


LAST = "Z: f32[b:2, p:9] = max(k:16) Y[b, 15 - k, p]"


def test_lanes_of_a_contraction_lie_adjacent():
    body = f"Y: f32[b:2, k:16, p:9] = sum(c:8) X[b, c, p] * W[k, c] {LAST}"
    chosen, strides = layouts(body)
    assert chosen == {"Y": (0, 2, 1)}
    assert strides["Y"] == ["144", "1", "16"]


def test_a_map_lies_as_its_largest_input():
    body = "Y: f32[j:6, i:8] = exp(T[i, j]) Z: f32[j:6] = sum(i:8) Y[j, 7 - i]"
    chosen, strides = layouts(body)
    assert chosen == {"Y": (1, 0)}
    assert strides["Y"] == ["1", "6"]
    assert layouts(body, {"T": (1, 8)})[0] == {}


def test_pinned_and_external_tensors_keep_their_order():
    body = "Y: f32[j:6, i:8] = exp(T[i, j]) Z: f32[j:6] = sum(i:8) Y[j, 7 - i]"
    assert layouts(body, pinned=["Y"])[0] == {}
    chosen, strides = layouts("Z: f32[j:6, i:8] = exp(T[i, j])", {"Z": (1, 6)})
    assert chosen == {} and strides["Z"] == ["1", "6"]


@pytest.mark.parametrize(
    "body",
    [
        "iterate t:5 { Y: f32[t + 1:6, i:8] = Y[t, i] + T[i, t] from 0.0 } Z: f32[i:8] = Y[5, i]",
        "Y: f32[I[i]:6, j:4] = sum(i:4) T[j, i] Z: f32[i:6] = Y[5 - i, 0]",
        "Y: f32[j:6, i:8] = f32[i - j] * sin(f32[j]) Z: f32[j:6] = sum(i:8) Y[j, 7 - i]",
    ],
)
def test_scans_scatters_and_what_reads_nothing_lie_as_written(body):
    assert layouts(body)[0] == {}


def test_permuted_strides():
    shape = (as_index(2), as_index("N"), as_index(5))
    assert [print_index(s) for s in permuted_strides(shape, (1, 2, 0))] == ["1", "10", "2"]
    assert [print_index(s) for s in permuted_strides(shape, (0, 2, 1))] == ["5*N", "1", "N"]


def test_dense_strides_keep_the_order_and_leave_no_gaps():
    shape = tuple(map(as_index, (2, 3, 5)))
    for strides, dense in [((80, 1, 3), (15, 1, 3)), ((0, 7, 1), (1, 10, 2)), ((15, 5, 1), (15, 5, 1))]:
        assert dense_strides(shape, tuple(map(as_index, strides))) == tuple(map(as_index, dense))
