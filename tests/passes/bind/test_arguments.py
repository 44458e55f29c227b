"""Arguments of kernels: views, offsets, merged ranks."""

import pytest

from tcomp.ir.cascade import print_einsum
from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.expressions import as_index, print_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.bind.arguments import Memory, bind_arguments, bind_group, merge_ranks, step_along, stride_along
from tcomp.passes.einsums.group import Product
from tcomp.passes.groups.check import check_fact
from tcomp.passes.guess.fuse import fuse
from tests.gpu_groups import place_tensors

INPUTS = "X: f32[4, 6, 8], H: f32[10, 8], V: f32[8], I: i64[4]"


def bind(body, strides=None, outputs="Z"):
    cascade = parse_cascade(f"cascade c({INPUTS}) -> ({outputs}) {{ {body} }}")
    check_cascade(cascade)
    (group,) = fuse(cascade)
    memories = {}
    for name, tensor in cascade.tensors().items():
        steps = (strides or {}).get(name)
        steps = contiguous_strides(tensor.shape) if steps is None else tuple(as_index(s) for s in steps)
        memories[name] = Memory(tensor.dtype, tensor.shape, steps)
    return bind_arguments(group, memories)


def describe(bound):
    return {
        name: (o.tensor, [print_index(e) for e in o.memory.shape], [print_index(s) for s in o.memory.strides], print_index(o.memory.offset))
        for name, o in bound.operands.items()
    }


def members(bound):
    return [print_einsum(e) for e in bound.group.members]


def test_a_constant_index_becomes_an_offset():
    bound = bind("Z: f32[i:8] = H[7, i] + H[2, i]")
    assert describe(bound) == {
        "x0": ("H", ["8"], ["1"], "56"),
        "x1": ("H", ["8"], ["1"], "16"),
        "Z": ("Z", ["8"], ["1"], "0"),
    }
    assert members(bound) == ["Z: f32[i:8] = x0[i] + x1[i]"]


def test_a_constant_part_of_an_index_becomes_an_offset():
    bound = bind("Z: f32[i:3] = H[2*i + 4, 1]")
    assert describe(bound)["x0"] == ("H", ["6"], ["8"], "33")
    assert members(bound) == ["Z: f32[i:3] = x0[2*i]"]


@pytest.mark.parametrize(
    ("body", "offset"),
    [
        ("Z: f32[i:8] = H[7 - i, 0]", "0"),
        ("Z: f32[i:4] = H[I[i] + 3, 0]", "0"),
        ("Z: f32[i:4] = (H[i + 9, 0] else 0.0)", "0"),
        ("Z: f32[i:8] = H[(i - 3) // 2 + 2, 0]", "0"),
    ],
)
def test_a_view_never_starts_behind_what_is_read(body, offset):
    assert describe(bind(body))["x0"][3] == offset


PAIRS = "P: f32[10, 2], Q: f32[10, 12]"


def bind_pairs(body):
    cascade = parse_cascade(f"cascade c({PAIRS}) -> (Z) {{ {body} }}")
    (group,) = fuse(cascade)
    return bind_arguments(group, {name: Memory(t.dtype, t.shape, contiguous_strides(t.shape)) for name, t in cascade.tensors().items()})


def test_parts_of_pairs_are_read_from_one_argument():
    bound = bind_pairs("Z: f32[i:9] = P[i + 1, 0] * P[i + 1, 1]")
    assert describe(bound)["x0"] == ("P", ["9", "2"], ["2", "1"], "2")
    assert members(bound) == ["Z: f32[i:9] = x0[i, 0] * x0[i, 1]"]


def test_neighbours_that_are_both_read_are_pairs():
    bound = bind_pairs("Z: f32[i:10, j:5] = Q[i, 2*j + 2] * Q[i, 2*j + 3]")
    assert describe(bound)["x0"] == ("Q", ["10", "5", "2"], ["12", "2", "1"], "2")
    assert members(bound) == ["Z: f32[i:10, j:5] = x0[i, j, 0] * x0[i, j, 1]"]


@pytest.mark.parametrize("body", ["Q[i, 2*j] * Q[i, 2*j + 2]", "Q[i, 2*j + 1]", "Q[i, j] * Q[i, j + 1]", "Q[i, 2*j + 1] * Q[i, 2*j + 2]"])
def test_other_neighbours_are_no_pairs(body):
    assert all(len(o.memory.shape) == 2 for o in bind_pairs(f"Z: f32[i:10, j:5] = {body}").operands.values())


def test_equal_views_are_one_argument():
    assert list(bind("Z: f32[i:8] = H[7, i] * H[7, i] + V[i]").operands) == ["x0", "x1", "Z"]


def test_strides_are_those_of_the_memory():
    assert describe(bind("Z: f32[i:8] = H[7, i]", {"H": (1, 10)}))["x0"] == ("H", ["8"], ["10"], "7")


@pytest.mark.parametrize(
    ("body", "merged"),
    [
        ("Z: f32[p:4, q:6, k:8] = exp(X[p, q, k])", "Z: f32[p:192] = exp(x0[p])"),
        ("Z: f32[p:4, q:6, k:8] = X[p, q, k] * V[k]", "Z: f32[p:24, k:8] = x0[p, k] * x1[k]"),
        ("Z: f32[p:4, k:8, q:6] = exp(X[p, q, k])", "Z: f32[p:4, k:8, q:6] = exp(x0[p, q, k])"),
        ("Z: f32[k:8] = sum(p:4, q:6) X[p, q, k]", "Z: f32[k:8] = sum(p:24) x0[p, k]"),
        ("Z: f32[p:4, q:6, k:8] = X[p, q, k] + f32[q]", "Z: f32[p:4, q:6, k:8] = x0[p, q, k] + f32[q]"),
        ("Z: f32[p:4, q:5, k:8] = exp(X[p, q, k])", "Z: f32[p:4, q:40] = exp(x0[p, q])"),
        ("Z: f32[p:4, q:6, k:8] = (X[p, q, k] else 0.0)", "Z: f32[p:4, q:6, k:8] = (x0[p, q, k] else 0.0)"),
        ("Z: f32[p:4, q:6, k:8] = X[p, q, k] + X[3 - p, q, k]", "Z: f32[p:4, q:48] = x0[p, q] + x0[3 - p, q]"),
    ],
)
def test_ranks_that_are_walked_as_one_are_merged(body, merged):
    assert members(merge_ranks(bind(body))) == [merged]


@pytest.mark.parametrize(
    ("body", "merged", "views"),
    [
        # Two views of one tensor, each walked as one in its own way, are one again.
        (
            "Z: f32[p:4, q:6, r:4, s:6] = X[p, q, 0] - X[r, s, 0]",
            "Z: f32[p:24, r:24] = x0_2[p] - x0_2[r]",
            {"x0_2": ("X", ["24"], ["8"], "0"), "Z": ("Z", ["24", "24"], ["24", "1"], "0")},
        ),
        # A read that walks only one of the ranks keeps the view as it was.
        (
            "Z: f32[p:4, q:6, k:8] = X[p, q, k] - X[0, 0, k]",
            "Z: f32[p:24, k:8] = x0[p, k] - x1[k]",
            {"x0": ("X", ["24", "8"], ["8", "1"], "0"), "x1": ("X", ["8"], ["1"], "0"), "Z": ("Z", ["24", "8"], ["8", "1"], "0")},
        ),
        ("Z: f32[p:4, q:6, k:8] = X[p, q, k] - X[p, 5 - q, k]", "Z: f32[p:4, q:6, k:8] = x0[p, q, k] - x0[p, 5 - q, k]", None),
        # What `from` reads counts, and so does what it calls the other slots.
        (
            "Z: f32[p:4, q:6, I[i]:8] = sum(i:4) X[p, q, i] from X[p, q, _2]",
            "Z: f32[p:24, x1[i]:8] = sum(i:4) x0[p, i] from x0[p, _1]",
            {"x0": ("X", ["24", "8"], ["8", "1"], "0"), "x1": ("I", ["4"], ["1"], "0"), "Z": ("Z", ["24", "8"], ["8", "1"], "0")},
        ),
        (
            "Z: f32[p:4, q:6, I[i]:8] = sum(i:4) X[p, q, i] from X[p, 5 - q, _2]",
            "Z: f32[p:4, q:6, x1[i]:8] = sum(i:4) x0[p, q, i] from x0[p, 5 - q, _2]",
            None,
        ),
        # So do conditions and slots.
        (
            "Z: f32[p:4, q:6, I[i]:8] = sum(i:4) X[p, q, i] where X[p, 5 - q, i] > 0.0",
            "Z: f32[p:4, q:6, x1[i]:8] = sum(i:4) x0[p, q, i] where x0[p, 5 - q, i] > 0.0",
            None,
        ),
        (
            "Z: f32[p:4, q:6, I[p] + i:8] = sum(i:4) X[p, q, i]",
            "Z: f32[p:4, q:6, i + x1[p]:8] = sum(i:4) x0[p, q, i]",
            None,
        ),
    ],
)
def test_every_access_has_its_say(body, merged, views):
    bound = merge_ranks(bind(body))
    assert members(bound) == [merged]
    assert views is None or {name: view for name, view in describe(bound).items() if name in merged} == views


def test_merging_keeps_views_whole():
    bound = merge_ranks(bind("Z: f32[p:4, q:6, k:8] = X[p, q, k] * V[k]"))
    assert describe(bound)["x0"] == ("X", ["24", "8"], ["8", "1"], "0")
    assert describe(bound)["Z"] == ("Z", ["24", "8"], ["8", "1"], "0")


def test_the_same_value_if_nothing_merges():
    bound = bind("Z: f32[i:8] = V[i]")
    assert merge_ranks(bound) is bound


def test_gaps_between_rows_prevent_merging():
    bound = bind("Z: f32[p:4, q:6, k:8] = exp(X[p, q, k])", {"X": (60, 10, 1)})
    assert members(merge_ranks(bound)) == ["Z: f32[p:24, k:8] = exp(x0[p, k])"]


@pytest.mark.parametrize(
    ("body", "variable", "stride"),
    [
        ("Z: f32[p:4, q:6, k:8] = exp(X[p, q, k])", "q", 8),
        ("Z: f32[p:4, q:3, k:8] = exp(X[p, 2*q, k])", "q", 16),
        ("Z: f32[p:4, q:3, k:4] = exp(X[p, q, q + k])", "q", 9),
        ("Z: f32[p:4, q:3, k:8] = exp(X[p, 0, k])", "q", 0),
        ("Z: f32[p:4, q:6, k:8] = exp(X[p, q // 2, k])", "q", None),
        ("Z: f32[p:4, q:6, k:8] = exp(X[p, q, 7 - k])", "k", -1),
    ],
)
def test_stride_along(body, variable, stride):
    bound = bind(body)
    load = bound.group.members[0].expression.arguments[0]
    assert stride_along(bound.operands["x0"], load.index, variable) == stride


def test_pairs_are_one_step_apart():
    bound = bind_pairs("Z: f32[i:10, c:2] = select(i64[c] == 0, P[i, 1], 1.0)")
    assert step_along(bound.operands["x0"], (as_index("i"), as_index(1)), "i") == 1
    assert step_along(bound.operands["Z"], (as_index("i"), as_index("c")), "i") == 1
    assert step_along(bound.operands["Z"], (as_index("i") * 2, as_index("c")), "i") == 4
    assert step_along(bound.operands["Z"], (as_index("i"), as_index("c")), "c") == 1


def test_lanes_that_become_part_of_another_rank_have_its_name():
    cascade = parse_cascade("""cascade c(X: f32[9, 5], W: f32[5, 4, 8]) -> (Y) {
      Y: f32[i:9, p:4, q:8] = sum(k:5) X[i, k] * W[k, p, q]
    }""")
    (group,) = fuse(cascade)
    assert group.fact == Product(1, "q")
    merged = merge_ranks(bind_arguments(group, place_tensors(cascade)))
    assert members(merged) == ["Y: f32[i:9, p:32] = sum(k:5) x0[i, k] * x1[k, p]"]
    assert merged.group.fact == Product(1, "p")
    check_fact(merged.group)


def test_lanes_are_those_of_the_operand_whose_ranks_became_one():
    cascade = parse_cascade("""cascade c(X: f32[2, 5, 2], W: f32[5, 2]) -> (P) {
      P: f32[b:5, c:2, i:5] = sum(j:2) X[j, b, c] * W[i, j]
    }""")
    (group,) = fuse(cascade)
    assert group.fact == Product(1, "i")
    bound = bind_group(group, place_tensors(cascade))
    assert members(bound) == ["P: f32[b:10, i:5] = sum(j:2) x0[j, b] * x1[i, j]"]
    assert bound.group.fact == Product(0, "b")
    check_fact(bound.group)
