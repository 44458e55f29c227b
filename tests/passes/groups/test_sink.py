"""Maps that sink into the only map that reads them, and those that stay."""

import inspect

import pytest
from program_runner import check_compiled, random_inputs

from tcomp.ir.expressions import print_expression
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.groups import sink
from tcomp.passes.groups.sink import sink_maps
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.guess.sink import choose_sinking, peak_bytes

INPUTS = "X: f32[6, 24], W: f32[8], V: f32[8]"


def cascade_of(body, outputs="Z", inputs=INPUTS):
    return parse_cascade(f"cascade c({inputs}) -> ({outputs}) {{\n{body}\n}}")


def sunk(cascade):
    """The groups of a cascade, and what is left of them after all that can and should sink did."""
    groups = fuse(cascade)
    names = choose_sinking(groups, cascade)
    left, gone = sink_maps(groups, cascade, names)
    assert names == {name for group in gone for name in group.stored}
    return groups, left


PAIR = """A: f32[i:6, j:8] = W[j] * X[i, 3*j]
B: f32[i:6, j:8] = V[j] * X[i, 3*j + 1]
"""


def test_what_the_docstring_shows():
    assert "Z: f32[i:N, j:M] = W[j] * X[i, 3*j] + V[j] * X[i, 3*j + 1]" in inspect.getdoc(sink)
    cascade = cascade_of(PAIR + "Z: f32[i:6, j:8] = A[i, j] + B[i, j]")
    before, after = sunk(cascade)
    assert (len(before), len(after)) == (2, 1)
    kept = after[0].members
    assert [print_expression(e.expression) for e in kept] == ["V[j] * X[i, 3*j + 1]", "W[j] * X[i, 3*j] + B[i, j]"]
    check_compiled(cascade, random_inputs(cascade))


@pytest.mark.parametrize(
    ("last", "expression"),
    [
        pytest.param("Z: f32[i:3, j:8] = A[2*i, j]", "W[j] * X[2*i, 3*j]", id="a slice"),
        pytest.param("Z: f32[j:2, k:3] = A[2*j + 1, k + 2]", "W[k + 2] * X[2*j + 1, 3*k + 6]", id="a part"),
    ],
)
def test_a_map_is_computed_where_it_is_read(last, expression):
    cascade = cascade_of(PAIR.splitlines()[0] + "\n" + last)
    (group,) = sunk(cascade)[1]
    assert print_expression(group.members[-1].expression) == expression
    check_compiled(cascade, random_inputs(cascade))


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[i:6, j:8] = A[5 - i, j] + A[i, j]", "Z", id="read twice"),
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[i:6, j:8] = A[5 - i, j]", "A, Z", id="an output"),
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[i:12, j:8] = A[i // 2, j]", "Z", id="computed twice"),
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[k:2, i:6, j:8] = A[5 - i, j] + X[i, k]", "Z", id="for another rank"),
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[i:6, j:8] = A[5 - i, 7 - j]", "Z", id="neighbours turned"),
        pytest.param("A: f32[i:6] = sum(j:8) W[j] * X[i, 3*j]\nZ: f32[i:6] = A[5 - i]", "Z", id="no map"),
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[k:48] = A[k // 8, k % 8]", "Z", id="neighbours cut apart"),
        pytest.param("A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nZ: f32[i:6, j:8] = (A[i - 1, j] else 0.5)", "Z", id="beyond its edge"),
        pytest.param(
            "A: f32[i:6, j:8] = W[j] * X[i, 3*j]\nB: f32[i:6, j:8] = exp(A[i, j]) * A[i, j]\nZ: f32[i:6, j:8] = B[5 - i, j]",
            "Z",
            id="a map in it that is read twice",
        ),
    ],
)
def test_other_maps_stay(body, outputs):
    cascade = cascade_of(body, outputs)
    before, after = sunk(cascade)
    assert after == before
    assert sink_maps(before, cascade) == (before, ())
    check_compiled(cascade, random_inputs(cascade))


def test_nothing_sinks_if_more_would_live_at_once():
    body = """P: f32[i:6, j:64] = max(k:16) X[i, k] + X[j % 6, k]
    A: f32[i:3, j:8] = P[2*i, j] * P[5 - i, j + 8]
    T: f32[i:6, j:64] = max(k:16) X[i, k] * X[j % 6, k]
    U: f32[i:3, j:8] = T[2 - i, j] + T[i, j + 5]
    Z: f32[i:3, j:8] = A[2 - i, j] + U[2 - i, j]"""
    cascade = cascade_of(body)
    before, after = sunk(cascade)
    assert after == before and peak_bytes(before, cascade) > 0
    assert sink_maps(before, cascade)[1]
    check_compiled(cascade, random_inputs(cascade))


def test_peak_bytes():
    body = """A: f32[i:6, j:8] = W[j] * X[i, 3*j]
    B: f32[i:6, j:8] = A[5 - i, j]
    C: f32[i:6] = B[5 - i, 7]
    Z: f32[i:6] = C[5 - i]"""
    cascade = cascade_of(body)
    assert peak_bytes(fuse(cascade), cascade) == 2 * 6 * 8 * 4
