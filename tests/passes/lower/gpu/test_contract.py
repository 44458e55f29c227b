"""Contractions on a GPU: a tile of the result for each instance, in the order that a schedule says."""

import inspect
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.tile_bounds import evaluate_at
from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import Apply
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Assign, Block, Loop, walk_statements
from tcomp.ir.walk import index_variables
from tcomp.passes.groups.prologue import attach_prologues, find_prologues, without
from tcomp.passes.guess.expand import is_worth_expanding
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.lower.gpu import contract as lower_gpu_contract
from tests.documentation import find_example
from tests.gpu_groups import bind, check_group, lower, read_cascade, read_kernel_schedule, run_kernels

INPUTS = "X: f32[20, 13], W: f32[13, 18], C: f32[18]"
PLAIN = "Z: f32[m:20, n:18] = sum(k:13) X[m, k] * W[k, n]"
LINEAR = PLAIN.replace("Z:", "Y:") + " Z: f32[m:20, n:18] = maximum(Y[m, n] + C[n], 0.0)"
END = "order (m, n, k) parallel (m, n) lanes n {} warps 4 stages 2"


def assigns(kernel):
    return [statement for statement in walk_statements(kernel.body) if isinstance(statement, Assign)]


def loops(kernel):
    return [statement for statement in walk_statements(kernel.body) if isinstance(statement, Loop)]


@pytest.mark.parametrize(
    ("tiles", "clauses"),
    [
        *itertools.product(["m:4, n:8, k:8", "m:4, n:8, k:16", "m:4, n:8"], ["", "group 5", "instances 3", "instances 2 group 5"]),
        *itertools.product(["m:4, n:32, k:4", "m:8", "n:8"], ["", "instances 3", "instances 100"]),
    ],
)
def test_any_tile_computes_the_product(tiles, clauses):
    check_group(read_cascade(LINEAR, INPUTS), f"kernel k = contract(Y, Z) tile ({tiles}) {END.format(clauses)}")


@pytest.mark.parametrize(("tiles", "group"), [("m:4, n:8, k:8", 2), ("m:4, n:8, k:8", 3), ("m:32, n:8, k:8", 2)])
def test_groups_that_do_not_divide_the_rows_are_refused(tiles, group):
    """Some tiles would be walked twice, and others not at all."""
    with pytest.raises(Illegal, match=f"groups of {group} tiles do not divide the rows"):
        check_group(read_cascade(PLAIN, INPUTS), f"kernel k = contract(Z) tile ({tiles}) {END.format(f'group {group}')}")


def test_groups_of_an_unknown_number_of_rows_are_refused():
    cascade = read_cascade(PLAIN.replace("20", "M"), INPUTS.replace("20", "M"), symbols=" for M in 1..")
    with pytest.raises(Illegal, match="groups of 2 tiles do not divide the rows"):
        check_group(cascade, f"kernel k = contract(Z) tile (m:4, n:8, k:8) {END.format('group 2')}", symbols={"M": 8})


def test_what_the_docstring_shows():
    """The kernel of 256 rows and lanes, tiled as there; what is left out of an assign is over which axes it runs."""
    example = find_example(inspect.getmodule(lower_gpu_contract).__doc__).splitlines()
    body = "Y: f32[m:256, n:256] = sum(k:128) X[m, k] * W[k, n] Z: f32[m:256, n:256] = maximum(Y[m, n] + C[n], 0.0)"
    cascade = read_cascade(body, "X: f32[256, 128], W: f32[128, 256], C: f32[256]")
    kernel, _ = lower(
        bind(cascade), read_kernel_schedule(f"kernel k = contract(Y, Z) tile (m:128, n:128, k:64) {END.format('')}")
    )
    shown = [line.strip().removeprefix("for k.1 { ").removesuffix(" }") for line in example[2:4]]
    written = [re.sub(r"\] (?=sum=|=)", "] over (m.0:128, n.0:128) ", line, count=1) for line in shown]
    arguments = "in x0: f32[256, 128], in x1: f32[128, 256], in x2: f32[256], out Z_out: f32[256, 256]"
    update, store = parse_kernel(f"kernel k({arguments}) {{ {' '.join(written)} }}").body
    assert assigns(kernel)[1:] == [update, store]
    assert example[1].strip() == "block Y: f32[m.0:128, n.0:128] = 0.0"
    for text in ("block Y: f32[m.0:128, n.0:128]\n", "Y[m.0, n.0] over (m.0:128, n.0:128) = 0.0\n"):
        assert str(kernel).count(text) == 1
    assert [loop.variable for loop in loops(kernel)] == ["m.1", "n.1", "k.1"]


def test_a_kernel_reads_well(golden):
    kernel = check_group(
        read_cascade(LINEAR, INPUTS), f"kernel k = contract(Y, Z) tile (m:4, n:8, k:8) {END.format('instances 3 group 5')}"
    )
    golden.check("gpu_matmul.txt", str(kernel))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(2, 4), st.integers(1, 3), st.sampled_from([0, 1, 3, 50]), st.data())
def test_grouped_tiles_are_each_walked_once(rows, lanes, batch, instances, data):
    """The store says where each instance writes: the evaluator sees elements that are missed, or written by two."""
    group = data.draw(st.sampled_from([g for g in range(2, rows + 1) if rows % g == 0]))
    body = f"Z: f32[b:{batch}, m:{2 * rows - 1}, n:{2 * lanes}] = sum(k:3) X[b, m, k] * W[b, k, n]"
    cascade = read_cascade(body, f"X: f32[{batch}, {2 * rows - 1}, 3], W: f32[{batch}, 3, {2 * lanes}]")
    clauses = (f"instances {instances} " if instances else "") + f"group {group}"
    schedule = f"tile (m:2, n:2, k:4) order (b, m, n, k) parallel (b, m, n) lanes n {clauses} warps 1 stages 2"
    kernel = check_group(cascade, f"kernel k = contract(Z) {schedule}")
    store = assigns(kernel)[-1]
    (tile,) = {name for index in store.index for name in index_variables(index)} - {"m.0", "n.0"}
    walked = [tuple(evaluate_at(i, {tile: t, "m.0": 0, "n.0": 0}) for i in store.index) for t in range(batch * rows * lanes)]
    assert len(set(walked)) == len(walked)
    for start in range(0, len(walked), group):
        *place, first = zip(*walked[start : start + group])
        # Rows follow one another at the same lanes, in one product.
        assert len(set(first)) == 1 and len(set(place[-2] if len(place) > 1 else [0])) == 1
        assert list(place[-1]) == list(range(place[-1][0], place[-1][0] + 2 * group, 2))


def test_what_tensor_cores_compute_is_one_statement():
    """A sum over an axis that both factors have, and of the others each lacks one."""
    kernel = check_group(read_cascade(PLAIN, INPUTS), f"kernel k = contract(Z) tile (m:4, n:8, k:8) {END.format('')}")
    (update,) = [assign for assign in assigns(kernel) if assign.merge is not None]
    assert (update.merge, update.reduce) == ("sum", "sum")
    assert [axis.name for axis in update.reduced] == ["k.0"]
    assert isinstance(update.expression, Apply) and update.expression.operator == "mul"
    used = [{name for i in load.index for name in index_variables(i)} & {"m.0", "n.0", "k.0"} for load in update.expression.arguments]
    assert used == [{"m.0", "k.0"}, {"k.0", "n.0"}]


@pytest.mark.parametrize("depth", [4, 8, 16])
def test_products_of_a_single_row_lie_side_by_side(depth):
    """They are summed after the loop: there is nothing for tensor cores to do."""
    cascade = read_cascade("Z: f32[n:18] = sum(k:13) X[k] * W[k, n]", "X: f32[13], W: f32[13, 18]")
    schedule = f"kernel k = contract(Z) tile (n:8, k:{depth}) order (n, k) parallel (n) lanes n warps 4 stages 2"
    kernel = check_group(cascade, schedule)
    fill, update, total, _ = assigns(kernel)
    assert update.merge == "sum" and update.reduce is None and len(update.axes) == 2
    assert total.reduce == "sum" and total.merge is None
    assert fill.target == update.target != total.target


def test_a_narrow_result_is_added_up_wide_and_rounded_once():
    cascade = read_cascade("Z: bf16[m:20, n:18] = sum(k:13) f32(X[m, k]) * f32(W[k, n])", INPUTS.replace("f32", "bf16"))
    kernel = check_group(cascade, f"kernel k = contract(Z) tile (m:4, n:8, k:8) {END.format('')}")
    (block,) = [statement for statement in walk_statements(kernel.body) if isinstance(statement, Block)]
    assert str(block.dtype) == "f32"
    assert str(kernel).count("bf16(") == 1


def test_a_result_that_leaves_is_stored_before_its_epilogue():
    kernel = check_group(read_cascade(LINEAR, INPUTS, "Y, Z"), f"kernel k = contract(Y, Z) tile (m:4, n:8, k:8) {END.format('')}")
    assert [assign.target for assign in assigns(kernel)][-2:] == ["Y_out", "Z_out"]


def test_an_epilogue_map_that_is_read_twice_is_a_block():
    """Also where rows are joined, whose axis has the name of neither."""
    body = """Y: f32[a:3, b:7, n:18] = sum(k:13) X[a, b, k] * W[k, n] A: f32[a:3, b:7, n:18] = Y[a, b, n] + C[b]
    Z: f32[a:3, b:7, n:18] = A[a, b, n] * tanh(A[a, b, n])"""
    cascade = read_cascade(body, "X: f32[3, 7, 13], W: f32[13, 18], C: f32[7]")
    schedule = "join a_b (a, b) tile (a_b:4, n:8, k:8) order (a, b, n, k) parallel (a, b, n) lanes n group 2 warps 4 stages 2"
    kernel = check_group(cascade, f"kernel k = contract(Y, A, Z) {schedule}")
    assert "block A: f32[a_b.0:4, n.0:8]" in str(kernel)


JOINED = {
    "rows": ("join n_p_q (n, p, q) tile (n_p_q:16, k:4)", ""),
    "what is summed": ("join c_r_s (c, r, s) tile (p:4, k:4, c_r_s:16)", ""),
    "both": ("join n_p_q (n, p, q) join c_r_s (c, r, s) tile (n_p_q:16, k:4, c_r_s:16)", "group 2"),
    "both, in turns": ("join n_p_q (n, p, q) join c_r_s (c, r, s) tile (n_p_q:8, k:4, c_r_s:4)", "instances 3 group 7"),
}


@pytest.mark.parametrize(("tiles", "clauses"), JOINED.values(), ids=JOINED)
def test_a_convolution_over_joined_ranks(tiles, clauses):
    body = "Z: f32[n:2, k:6, p:7, q:4] = sum(c:5, r:3, s:2) (X[n, c, 2*p + r - 1, q + s - 1] else 0.0) * W[k, c, r, s]"
    cascade = read_cascade(body, "X: f32[2, 5, 15, 5], W: f32[6, 5, 3, 2]")
    order = "order (n, p, q, k, c, r, s) parallel (n, p, q, k) lanes k"
    check_group(cascade, f"kernel k = contract(Z) {tiles} {order} {clauses} warps 4 stages 2")


def test_loops_over_what_is_summed_are_in_the_order_of_the_schedule():
    cascade = read_cascade("Z: f32[m:6, n:7] = sum(c:5, r:3) X[m, r, c] * W[r, n, c]", "X: f32[6, 3, 5], W: f32[3, 7, 5]")
    for order in ("m, n, r, c", "m, n, c, r"):
        schedule = f"tile (m:4, n:4) order ({order}) parallel (m, n) lanes n warps 4 stages 2"
        kernel = check_group(cascade, f"kernel k = contract(Z) {schedule}")
        assert [loop.variable for loop in loops(kernel) if loop.kind == "for"] == order.split(", ")[2:]


def test_one_tile_has_no_loop_over_tiles():
    cascade = read_cascade(PLAIN, INPUTS)
    for clauses in ("", "instances 4"):
        kernel = check_group(cascade, f"kernel k = contract(Z) tile (m:32, n:32, k:4) {END.format(clauses)}")
        assert [loop.variable for loop in loops(kernel)] == ["k.1"]


def test_instances_walk_tiles_in_turns():
    kernel = check_group(read_cascade(PLAIN, INPUTS), f"kernel k = contract(Z) tile (m:4, n:8, k:8) {END.format('instances 4')}")
    instance, turns, _ = loops(kernel)
    assert (instance.kind, instance.variable, instance.stop.constant) == ("parallel", "instance", 4)
    assert (turns.kind, turns.start.as_variable, turns.stop.constant, turns.step) == ("for", "instance", 15, 4)
    assert [loop.kind for loop in loops(kernel)].count("parallel") == 1


@pytest.mark.parametrize("size", [1, 4, 5, 23])
@pytest.mark.parametrize("clauses", ["", "instances 2"])
def test_symbolic_rows(size, clauses):
    cascade = read_cascade(LINEAR.replace("20", "M"), INPUTS.replace("20", "M"), symbols=" for M in 1..")
    check_group(cascade, f"kernel k = contract(Y, Z) tile (m:4, n:8, k:8) {END.format(clauses)}", symbols={"M": size})


def test_packed_weights_are_expanded_in_the_product():
    body = "W: f32[n:18, k:14] = (f32(and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32)) - 8.0) * s[n] "
    body += "Z: f32[m:20, n:18] = sum(k:14) X[m, k] * W[n, k]"
    cascade = read_cascade(body, "X: f32[20, 14], weight P: u8[18, 7], weight s: f32[18]")
    found = find_prologues(cascade, is_worth_expanding)
    (group,) = attach_prologues(fuse(without(cascade, found)), found)
    schedule = read_kernel_schedule(f"kernel k = contract(W, Z) tile (m:4, n:8, k:8) {END.format('group 5')}")
    kernel, operands = lower(bind(cascade, group), schedule)
    run_kernels(cascade, [(kernel, operands)])
    assert {operand.tensor for operand in operands} == {"X", "P", "s", "Z"}
    assert len([statement for statement in walk_statements(kernel.body) if isinstance(statement, Block)]) == 1
