"""What is done to kernels before they are written in Triton, as text of tile programs."""

import pytest

from tcomp.codegen.triton.prepare import find_meeting_axes, prepare_kernel
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.parse.tile import parse_kernel

ARGUMENTS = "in X: f32[8, 9, 10], in I: i64[8], inout Y: f32[40], inout Z: f32[8, 9], inout S: f32[]"


def prepared(body, monkeypatch=None, most=None):
    if most is not None:
        monkeypatch.setattr("tcomp.codegen.triton.prepare.MOST_POINTS", most)
    kernel = prepare_kernel(parse_kernel(f"kernel k({ARGUMENTS}) {{ {body} }}"))
    check_kernel(kernel)
    return [line.strip() for line in str(kernel).splitlines()[1:-1]]


def test_most_statements_stay():
    body = "Z[i, j] over (i:8, j:9) = sum(k:10) X[i, j, k]"
    assert prepared(body) == [body]


def test_merges_fold_over_axes_that_their_targets_lack():
    assert prepared("S[] over (i:8) sum= X[i, 0, 0]") == ["S[] over () sum= sum(i:8) X[i, 0, 0]"]
    assert prepared("Z[i, 0] over (i:8, j:9 < 5) max= max(k:10) X[i, j, k]") == ["Z[i, 0] over (i:8) max= max(j:9 < 5, k:10) X[i, j, k]"]
    assert prepared("S[] over (i:8 < 3) max= sum(k:10) X[i, 0, k]") == [
        "block part_1: f32[i:8]",
        "part_1[i] over (i:8 < 3) = sum(k:10) X[i, 0, k]",
        "S[] over () max= max(i:8 < 3) part_1[i]",
    ]
    assert prepared("S[] over (i:8) atomic sum= X[i, 0, 0]") == ["S[] over (i:8) atomic sum= X[i, 0, 0]"]


def test_points_that_meet_become_steps_of_a_loop():
    assert prepared("Y[I[i]] over (i:8 < 5, j:1) sum= X[i, j, 0]") == [
        "for i in 0 .. 8 {",
        "Y[I[i]] over (i.one:1 < 5 - i, j:1) sum= X[i, j, 0]",
        "}",
    ]
    assert prepared("Z[I[i], j] over (i:8, j:9) sum= X[i, j, 0]") == [
        "for i in 0 .. 8 {",
        "Z[I[i], j] over (i.one:1, j:9) sum= X[i, j, 0]",
        "}",
    ]


def test_all_axes_are_walked_where_the_order_counts():
    assert prepared("Z[I[i], j] over (j:9, i:8) last= X[i, j, 0]")[:2] == ["for j in 0 .. 9 {", "for i in 0 .. 8 {"]
    assert prepared("Z[I[i], j] over (i:8, j:9) last= X[i, j, 0]")[1] == "Z[I[i], j] over (i.one:1, j:9) last= X[i, j, 0]"
    assert prepared("S[] over (i:8) last= X[i, 0, 0]")[0] == "for i in 0 .. 8 {"


def test_the_last_element_is_found_by_its_position():
    assert prepared("Z[i, 0] over (i:8) = last(j:9, k:10 < 7) X[i, j, k] where X[i, j, k] > 0.0") == [
        "block part_1: i64[i:8]",
        "block part_2: f32[i:8]",
        "part_1[i] over (i:8) = max(j:9, k:10 < 7) i64[10*j + k] where X[i, j, k] > 0.0",
        "part_2[i] over (i:8) = max(j:9, k:10 < 7) X[i, j, k] where X[i, j, k] > 0.0 & i64[10*j + k] == part_1[i]",
        "Z[i, 0] over (i:8) = select(part_1[i] < 0, 0.0, part_2[i])",
    ]


def test_statements_with_too_many_points_become_loops(monkeypatch):
    assert prepared("Z[i, j] over (i:8, j:9) = sum(k:10) X[i, j, k]", monkeypatch, 128) == [
        "block part_1: f32[i:8, j:9]",
        "part_1[i, j] over (i:8, j:9) = 0.0",
        "for k in 0 .. 10 {",
        "part_1[i, j] over (i:8, j:9) sum= sum(k.one:1) X[i, j, k]",
        "}",
        "Z[i, j] over (i:8, j:9) = part_1[i, j]",
    ]
    assert prepared("Z[i, j] over (i:8 < 7, j:9) = X[i, j, 0]", monkeypatch, 64) == [
        "for i in 0 .. 8 {",
        "Z[i, j] over (i.one:1 < 7 - i, j:9) = X[i, j, 0]",
        "}",
    ]


def test_products_for_tensor_cores_and_blocks_are_left_whole(monkeypatch):
    product = "Z[i, j] over (i:8, j:9) = sum(k:10) X[i, 0, k] * X[0, j, k]"
    assert prepared(product, monkeypatch, 64) == [product]
    held = ["block b: f32[i:8, j:9]", "b[i, j] over (i:8, j:9) = 1.0"]
    assert prepared("\n".join(held), monkeypatch, 64) == held


@pytest.mark.parametrize(
    ("index", "axes", "meeting"),
    [
        ("i", "i:8", ""), ("3 - i", "i:4", ""), ("2*i", "i:8", ""), ("i // 2", "i:8", "i"), ("i % 4", "i:8", "i"),
        ("i + 8*j", "i:8, j:4", ""), ("i + 7*j", "i:8, j:4", "ij"), ("i + j", "i:1, j:8", ""), ("i, i + j", "i:8, j:8", ""),
        ("i + j, i", "i:8, j:8", ""), ("(i + 8*j) // 6, (i + 8*j) % 6", "i:8, j:4", ""),
        ("(i + 8*j) // 6, (i + 8*j) % 5", "i:8, j:4", "ij"),
        ("I[i]", "i:8", "i"), ("I[i], j", "i:8, j:4", "i"), ("I[i], i", "i:8", ""), ("I[j] + i, j", "i:8, j:8", ""),
        ("I[0] + i", "i:8", ""),
        ("8*i - j", "i:3, j:8", ""), ("0", "i:8", "i"),
    ],
)  # fmt: skip
def test_axes_along_which_points_meet(index, axes, meeting):
    dimensions = ", ".join(["100"] * (index.count(",") + 1))
    kernel = parse_kernel(f"kernel k(in I: i64[8], inout Y: f32[{dimensions}]) {{ Y[{index}] over ({axes}) sum= 1.0 }}")
    assert "".join(axis.name for axis in find_meeting_axes(kernel.body[0])) == meeting
