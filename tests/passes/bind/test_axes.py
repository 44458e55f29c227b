"""Joined ranks: they count all points in row-major order, and read and write the elements that they did apart."""

import inspect
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.cascade import Rank, print_einsum
from tcomp.ir.check.tile_bounds import evaluate_at
from tcomp.ir.expressions import as_index, print_expression, print_index
from tcomp.ir.walk import index_variables, loads
from tcomp.passes.bind import axes as joining
from tcomp.passes.bind.arguments import bind_arguments
from tcomp.passes.bind.axes import join_arguments, joint_rank
from tcomp.passes.guess.fuse import fuse
from tests.documentation import find_example
from tests.gpu_groups import place_tensors, read_cascade


def bind_apart(cascade, strides=None):
    """The only group of a cascade over memory, no ranks merged."""
    (group,) = fuse(cascade)
    return bind_arguments(group, place_tensors(cascade, strides))


def describe(bound):
    """The members, and the view of each operand."""
    views = [
        f"{name}: {operand.memory.dtype}[{', '.join(map(print_index, operand.memory.shape))}]"
        for name, operand in bound.operands.items()
    ]
    slots = [f"{name}[{', '.join(map(print_index, index))}]" for name, index in bound.slots.items()]
    reads = [print_expression(load) for e in bound.group.members for load in loads(e.expression)]
    return views, slots, reads


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_a_joint_rank_counts_all_points_in_row_major_order(sizes):
    ranks = tuple(Rank(name, as_index(size)) for name, size in zip("pqrs", sizes))
    joint, decoded = joint_rank("all", ranks)
    assert joint.extent.constant == len(list(itertools.product(*map(range, sizes))))
    for number, point in enumerate(itertools.product(*map(range, sizes))):
        assert tuple(evaluate_at(decoded[rank.name], {"all": number}) for rank in ranks) == point


def test_ranks_of_symbolic_extents_are_decoded_by_them():
    joint, decoded = joint_rank("b_m", (Rank("b", as_index("B")), Rank("m", as_index("M"))))
    assert print_index(joint.extent) == "B*M"
    assert {name: print_index(index) for name, index in decoded.items()} == {"b": "b_m // M", "m": "b_m % M"}


EXAMPLE = """Y: f32[p:6, q:5, k:8] = sum(c:4) X[p + 1, q + 1, c] * W[k, c]
Z: f32[p:6, q:5, k:8] = Y[p, q, k] + R[p, q, k]"""
INPUTS = "X: f32[8, 7, 4], W: f32[8, 4], R: f32[6, 5, 8]"


def test_what_the_docstring_shows():
    """Where the view of x starts is part of it, so that p + 1 is p."""
    before, after = find_example(inspect.getmodule(joining).__doc__).split("\n  =>\n")
    statement = "Y[p, q, k] = sum(c) X[p + 1, q + 1, c] * W[k, c]; Z[p, q, k] = Y[p, q, k] + R[p, q, k]"
    assert re.sub(r"\s+", " ", before) == f"{statement} join p_q (p, q)"
    assert after == "R seen as x2: f32[P*Q, K], read at x2[p_q, k]; Z as f32[P*Q, K]; X is read at [p_q // Q + 1, p_q % Q + 1, c]"
    bound = join_arguments(bind_apart(read_cascade(EXAMPLE, INPUTS)), (("p_q", ("p", "q")),))
    views, slots, reads = describe(bound)
    assert views == ["x0: f32[7, 6, 4]", "x1: f32[8, 4]", "x2: f32[30, 8]", "Z: f32[30, 8]"]
    assert slots == ["Z[p_q, k]"]
    assert reads == ["x0[p, q, c]", "x1[k, c]", "Y[p, q, k]", "x2[p_q, k]"]


def test_nothing_joined_leaves_the_group_as_it_is():
    bound = bind_apart(read_cascade(EXAMPLE, INPUTS))
    assert join_arguments(bound, ()) is bound


TABLE = [
    # Memory that walks both as one is seen so.
    ("Z: f32[i:4, j:6] = X[i, j] * 2.0", "X: f32[4, 6]", ["x0: f32[24]", "Z: f32[24]"], ["x0[i_j]"], ["Z[i_j]"]),
    # Of a wider row only the rows are whole.
    ("Z: f32[i:4, j:6] = X[i, j] * 2.0", "X: f32[4, 8]", ["x0: f32[4, 8]", "Z: f32[24]"], ["x0[i, j]"], ["Z[i_j]"]),
    ("Z: f32[i:4, j:6] = X[i, j] * 2.0", "X: f32[6, 6]", ["x0: f32[36]", "Z: f32[24]"], ["x0[i_j]"], ["Z[i_j]"]),
    # What walks them in the other order is not one.
    ("Z: f32[i:4, j:6] = X[j, i] * 2.0", "X: f32[6, 4]", ["x0: f32[6, 4]", "Z: f32[24]"], ["x0[j, i]"], ["Z[i_j]"]),
    # A single rank stays.
    ("Z: f32[i:4, j:6] = X[i] + Y[j]", "X: f32[4], Y: f32[6]", ["x0: f32[4]", "x1: f32[6]", "Z: f32[24]"], ["x0[i]", "x1[j]"], ["Z[i_j]"]),
    # So does what may be outside.
    (
        "Z: f32[i:4, j:6] = (X[i, j - 1] else 0.0) + X[i, j]",
        "X: f32[4, 6]",
        ["x0: f32[4, 6]", "x0_2: f32[24]", "Z: f32[24]"],
        ["(x0[i, j - 1] else 0.0)", "x0_2[i_j]"],
        ["Z[i_j]"],
    ),
    # Views of one memory that part have names of their own.
    (
        "Z: f32[i:4, j:4] = X[i, j] + X[j, i]",
        "X: f32[4, 4]",
        ["x0: f32[16]", "x0_2: f32[4, 4]", "Z: f32[16]"],
        ["x0[i_j]", "x0_2[j, i]"],
        ["Z[i_j]"],
    ),
    # Three in a row, the middle one read by itself in one place.
    (
        "Z: f32[i:4, j:6, l:2] = X[i, j, l] * Y[j]",
        "X: f32[4, 6, 2], Y: f32[6]",
        ["x0: f32[24, 2]", "x1: f32[6]", "Z: f32[24, 2]"],
        ["x0[i_j, l]", "x1[j]"],
        ["Z[i_j, l]"],
    ),
    # An index that walks both by itself becomes the joint rank.
    ("Z: f32[i:4, j:6] = X[6*i + j] * 2.0", "X: f32[24]", ["x0: f32[24]", "Z: f32[24]"], ["x0[i_j]"], ["Z[i_j]"]),
    # An element named by data is looked up apart.
    (
        "Z: f32[i:4, j:6] = X[I[i, j], j]",
        "X: f32[9, 6], I: i64[4, 6]",
        ["x0: i64[24]", "x1: f32[9, 6]", "Z: f32[24]"],
        ["x1[x0[i_j], j]", "x0[i_j]"],
        ["Z[i_j]"],
    ),
]


@pytest.mark.parametrize(("body", "inputs", "views", "reads", "slots"), TABLE)
def test_which_views_are_joined(body, inputs, views, reads, slots):
    bound = join_arguments(bind_apart(read_cascade(body, inputs)), (("i_j", ("i", "j")),))
    assert describe(bound) == (views, slots, reads)


def test_a_stored_tensor_that_lies_otherwise_keeps_its_slots():
    cascade = read_cascade("Z: f32[i:4, j:6] = X[i, j] * 2.0", "X: f32[4, 6]")
    bound = join_arguments(bind_apart(cascade, {"Z": (as_index(1), as_index(4))}), (("i_j", ("i", "j")),))
    assert bound.slots == {"Z": (as_index("i"), as_index("j"))}
    assert [print_einsum(e) for e in bound.group.members] == ["Z: f32[i:4, j:6] = x0[i_j] * 2.0"]


def address(operand, index, point):
    """The element that an access reaches, by its place from the start of the tensor."""
    memory = operand.memory
    return evaluate_at(memory.offset, {}) + sum(
        evaluate_at(i, point) * evaluate_at(stride, {}) for i, stride in zip(index, memory.strides, strict=True)
    )


@st.composite
def accesses(draw):
    """Sizes of ranks a, b, c and d, how X is read over them, in which order X and Z lie in memory, and which ranks are joined."""
    sizes = {name: draw(st.integers(2, 4)) for name in "abcd"}
    read = []
    for name in draw(st.permutations("abcd"))[: draw(st.integers(1, 4))]:
        read.append(draw(st.sampled_from([name, f"{sizes[name] - 1} - {name}", f"{name} + 1", f"{name} // 2", f"{name} % 2"])))
    orders = [draw(st.permutations(range(n))) for n in (len(read), 4)]
    names = draw(st.permutations("abcd"))
    return sizes, read, orders, names[: draw(st.integers(2, 4))]


def permuted(shape, order, spare):
    """Strides of dimensions that lie in memory in an order, with elements to spare between rows."""
    strides, step = {}, 1
    for dimension in reversed(order):
        strides[dimension] = as_index(step)
        step *= shape[dimension] + spare
    return tuple(strides[d] for d in range(len(shape)))


@settings(max_examples=200, deadline=None)
@given(accesses(), st.integers(0, 1))
def test_every_point_reads_and_writes_the_element_that_it_did(case, spare):
    sizes, read, orders, joined = case
    shape = [sizes[next(iter(set(text) & set("abcd")))] + 1 for text in read]
    ranks = ", ".join(f"{name}:{size}" for name, size in sizes.items())
    cascade = read_cascade(f"Z: f32[{ranks}] = X[{', '.join(read)}] * 2.0", f"X: f32[{', '.join(map(str, shape))}]")
    strides = {"X": permuted(shape, orders[0], spare), "Z": permuted(list(sizes.values()), orders[1], spare)}
    before = bind_apart(cascade, strides)
    after = join_arguments(before, (("joint", tuple(joined)),))
    _, decoded = joint_rank("joint", tuple(Rank(name, as_index(sizes[name])) for name in joined))
    (old,), (new,) = (bound.group.members for bound in (before, after))
    (old_read,), (new_read,) = (loads(e.expression) for e in (old, new))
    assert index_variables(sum(new_read.index, as_index(0))) <= {*sizes, "joint"}
    for values in itertools.product(*(range(size) for size in sizes.values())):
        point = dict(zip(sizes, values))
        number = 0
        for name in joined:
            number = number * sizes[name] + point[name]
        assert all(evaluate_at(decoded[name], {"joint": number}) == point[name] for name in joined)
        whole = point | {"joint": number}
        assert address(before.operands["x0"], old_read.index, point) == address(after.operands["x0"], new_read.index, whole)
        assert address(before.operands["Z"], old.index, point) == address(after.operands["Z"], after.slots["Z"], whole)
