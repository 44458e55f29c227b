"""Maps and reductions on a GPU: rows that are held whole, rows that are walked, and what lies side by side."""

import inspect
import itertools
import re

import pytest

from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Assign, Block, Buffer, Loop, walk_statements
from tcomp.passes.lower.gpu import nest as lower_gpu_nest
from tests.documentation import find_example
from tests.gpu_groups import check_group, read_cascade

SOFTMAX = """G: f32[p:6] = max(m:20) X[p, m] E: f32[p:6, m:20] = exp(X[p, m] - G[p])
D: f32[p:6] = sum(m:20) E[p, m] Z: f32[p:6, m:20] = E[p, m] / D[p]"""
NORM = """M: f32[p:6] = sum(m:20) X[p, m] A: f32[p:6] = M[p] / 20.0 B: f32[p:6, m:20] = X[p, m] - A[p]
V: f32[p:6] = sum(m:20) B[p, m] * B[p, m] R: f32[p:6] = rsqrt(V[p] / 20.0 + 0.1) Z: f32[p:6, m:20] = B[p, m] * R[p]"""
BODIES = {
    "softmax": (SOFTMAX, "Z"),
    "softmax with its parts": (SOFTMAX, "G, E, D, Z"),
    "norm": (NORM, "Z"),
    "norm with a factor": (NORM, "R, Z"),
    "a sum": ("Z: f32[p:6] = sum(m:20) X[p, m]", "Z"),
    "a masked sum": ("Z: f32[p:6] = sum(m:20) X[p, m] where i64[m] < 3 + i64[p]", "Z"),
    "maps before and after": ("A: f32[p:6, m:20] = abs(X[p, m]) B: f32[p:6] = prod(m:20) A[p, m] Z: f32[p:6] = tanh(B[p])", "Z"),
    "a map along the row that few read": ("M: f32[p:6] = min(m:20) X[p, m] Z: f32[p:6, m:20] = select(X[p, m] == M[p], 1.0, 0.0)", "Z"),
    "two sums side by side": ("A: f32[p:6] = sum(m:20) X[p, m] Z: f32[p:6] = max(m:20) X[p, m] * 2.0", "A, Z"),
}
TILES = ["p:4, m:32", "p:1, m:32", "p:8, m:32", "m:32", "p:4, m:8", "p:2, m:4", "m:8", "p:4", ""]


def names_of(body):
    return ", ".join(re.findall(r"(\w+): \w+\[", body))


def statements(kernel, kind):
    return [statement for statement in walk_statements(kernel.body) if isinstance(statement, kind)]


def check(body, outputs, tiles, inputs="X: f32[6, 20]"):
    """The kernel of a nest over rows p and places m, which computes what the evaluator does."""
    tile = f"tile ({tiles})" if tiles else ""
    cascade = read_cascade(body, inputs, outputs)
    return check_group(cascade, f"kernel k = nest({names_of(body)}) {tile} order (p, m) parallel (p) warps 4 stages 2")


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize(("body", "outputs"), BODIES.values(), ids=BODIES)
def test_any_tile_computes_the_same(body, outputs, tiles):
    check(body, outputs, tiles)


def test_what_the_docstring_shows():
    """Left out of an assign is over which axes it runs; a row of 512, four of them in a tile."""
    example = find_example(inspect.getmodule(lower_gpu_nest).__doc__)
    shown = [line.strip() for line in example.splitlines()[1:-1]]
    axes = [f"over ({'p.0:4' if line[0] in 'GD' else 'p.0:4, m.0:512'})" for line in shown]
    written = [re.sub(r"\] = ", f"] {text} = ", line, count=1).replace("S[", "x0[") for line, text in zip(shown, axes)]
    body = SOFTMAX.replace("m:20", "m:512").replace("p:6", "p:8")
    kernel = check(body, "Z", "p:4, m:512", inputs="X: f32[8, 512]")
    declared = "in x0: f32[8, 512], out Z_out: f32[8, 512]"
    assert statements(kernel, Assign) == list(parse_kernel(f"kernel k({declared}) {{ {' '.join(written)} }}").body)
    (loop,) = statements(kernel, Loop)
    assert (loop.kind, loop.variable) == ("parallel", "p.1")


def test_a_whole_row_has_no_loop_and_a_longer_one_is_walked_in_each_phase():
    whole, walked = (check(SOFTMAX, "Z", tiles) for tiles in ("p:4, m:32", "p:4, m:8"))
    assert [loop.variable for loop in statements(whole, Loop)] == ["p.1"]
    assert [loop.variable for loop in statements(walked, Loop)] == ["p.1", "m.1", "m.1", "m.1"]


@pytest.mark.parametrize(("outputs", "tiles"), list(itertools.product(["Z", "E, Z"], TILES)))
def test_no_instance_has_memory_of_its_own_and_nothing_that_was_stored_is_read_back(outputs, tiles):
    """A block is spread over threads: what one stored, another could read too early."""
    kernel = check(SOFTMAX, outputs, tiles)
    assert not statements(kernel, Buffer)
    assert {argument.role for argument in kernel.arguments} == {"in", "out"}


def test_a_map_that_several_read_is_a_block_and_one_that_one_reads_is_part_of_it():
    text = str(check(SOFTMAX, "Z", "p:4, m:32"))
    assert "block E: f32[p.0:4, m.0:20]" in text
    single = str(check("A: f32[p:6, m:20] = exp(X[p, m]) Z: f32[p:6] = sum(m:20) A[p, m]", "Z", "p:4, m:32"))
    assert "block A" not in single and "sum(m.0:20) exp(x0[p.0 + 4*p.1, m.0])" in single


def test_a_narrow_sum_is_held_wide_rounded_once_and_read_rounded():
    body = "D: bf16[p:6] = sum(m:20) f32(X[p, m]) Z: bf16[p:6, m:20] = bf16(f32(X[p, m]) / f32(D[p]))"
    text = str(check(body, "D, Z", "p:4, m:32", inputs="X: bf16[6, 20]"))
    assert "block D_2: f32[p.0:4]" in text or "block D: f32[p.0:4]" in text
    assert len(re.findall(r"block \w+: bf16\[p\.0:4\]", text)) == 1


def test_columns_are_summed_side_by_side():
    body = "Z: f32[p:20] = sum(m:6) X[m, p]"
    for tiles in ("p:8, m:4", "p:32, m:8", "p:32", "p:8, m:8"):
        check(body, "Z", tiles)


@pytest.mark.parametrize("tiles", ["p_q:8, m_n:16", "p_q:2, m_n:4", "p_q:4, m_n:32", "m_n:8"])
def test_joined_ranks(tiles):
    body = "A: f32[p:3, q:4] = max(m:5, n:3) X[m, p, n, q] Z: f32[p:3, q:4, m:5, n:3] = X[m, p, n, q] - A[p, q]"
    cascade = read_cascade(body, "X: f32[5, 3, 3, 4]")
    joined = "join p_q (p, q) join m_n (m, n)"
    check_group(cascade, f"kernel k = nest(A, Z) {joined} tile ({tiles}) order (p, q, m, n) parallel (p, q) warps 1 stages 2")


@pytest.mark.parametrize("tiles", ["i:8", "i:32, j:8", "j:4", "", "i_j:64"])
@pytest.mark.parametrize("body", ["Z: f32[i:9, j:20] = X[i, j] * Y[j]", "Z: f32[i:9, j:20] = X[i, 19 - j] + Y[(i + j) % 20]"])
def test_maps(body, tiles):
    cascade = read_cascade(body, "X: f32[9, 20], Y: f32[20]")
    joined = "join i_j (i, j) " if "i_j" in tiles else ""
    tile = f"tile ({tiles})" if tiles else ""
    kernel = check_group(cascade, f"kernel k = nest(Z) {joined} {tile} order (i, j) parallel (i, j) warps 1 stages 2")
    assert all(loop.kind == "parallel" for loop in statements(kernel, Loop))
    assert not statements(kernel, Block)


def test_maps_of_one_group():
    body = "A: f32[i:9, j:20] = exp(X[i, j]) B: f32[i:9, j:20] = A[i, j] * A[i, j] Z: f32[i:9, j:20] = B[i, j] + A[i, j]"
    cascade = read_cascade(body, "X: f32[9, 20]", "B, Z")
    check_group(cascade, "kernel k = nest(A, B, Z) tile (i:64) order (i) parallel (i) warps 1 stages 2")


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 8), (6, 20), (3, 7)])
@pytest.mark.parametrize("tiles", ["p:4, m:8", "m:8"])
def test_symbolic_sizes(rows, columns, tiles):
    body = SOFTMAX.replace("p:6", "p:R").replace("m:20", "m:C")
    cascade = read_cascade(body, "X: f32[R, C]", symbols=" for R in 1.., C in 1..")
    schedule = f"kernel k = nest(G, E, D, Z) tile ({tiles}) order (p, m) parallel (p) warps 4 stages 2"
    check_group(cascade, schedule, symbols={"R": rows, "C": columns})


def test_a_fill_is_lowered_as_a_map():
    cascade = read_cascade("Z: f32[i:9, j:20] = 0.5", "X: f32[1]")
    text = "kernel k = {}(Z) tile (i:64) order (i) parallel (i) warps 1 stages 2"
    fill, nest = (check_group(cascade, text.format(kind)) for kind in ("fill", "nest"))
    assert fill == nest
