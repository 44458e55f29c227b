"""Which axis lies in lanes, and which blocks become variables."""

import pytest

from tcomp.codegen.c.layout import choose_lane_axis, looped_axes, plan_layout
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Block, walk_statements
from tcomp.ir.tile_scope import find_sites

ARGUMENTS = "in X: f32[64, 64], in I: i64[64], in H: bool[64], inout Y: f32[64, 64]"


def parse(body):
    return parse_kernel(f"kernel k({ARGUMENTS}) {{\n{body}\n}}")


@pytest.mark.parametrize(
    ("statement", "lane"),
    [
        ("Y[i, j] over (i:4, j:32) = X[i, j]", "j"),
        ("Y[i, j] over (i:4, j:3) = X[i, j]", None),
        ("Y[0, 0] over () = sum(i:4, j:32) X[i, j]", "j"),
        ("Y[i, j] over (i:4, j:32) = sum(k:16) X[i, k] * X[k, j]", "j"),
        # Lanes along the reduced axis read neighbours, lanes along the last written axis do not.
        ("Y[i, j] over (i:4, j:32) = sum(k:16) X[i, k] * X[j, k]", "k"),
        ("Y[i, 0] over (i:32) = max(j:32) X[i, j]", "j"),
        ("Y[0, i] over (i:32) = max(j:32) X[j, i]", "i"),
        # A scatter along lanes could collide; along another axis it cannot.
        ("Y[I[i], 0] over (i:32) sum= X[i, 0]", None),
        ("Y[I[i], j] over (i:4, j:32) sum= X[i, j]", "j"),
        # There is no function that folds lanes to the last.
        ("Y[0, 0] over () = last(j:32) X[0, j]", None),
    ],
)
def test_lane_axes(statement, lane):
    (site,) = find_sites(parse(statement))
    axis = choose_lane_axis(site, 16)
    assert (axis and axis.name) == lane


@pytest.mark.parametrize(
    ("body", "homes"),
    [
        ("block t: f32[i:4, j:32]\nt[i, j] over (i:4, j:32) = X[i, j]\nY[i, j] over (i:4, j:32) = t[i, j]", {"t": "vector"}),
        ("block t: f32[i:4]\nt[i] over (i:4) = max(j:32) X[i, j]\nY[i, j] over (i:4, j:32) = t[i]", {"t": "scalar"}),
        ("block t: f32[i:16]\nt[i] over (i:16) = X[0, i]\nY[i, j] over (i:16, j:32) = t[i]", {"t": "vector"}),
        ("block t: f32[i:16, j:32]\nt[i, j] over (i:16, j:32) = X[i, j]\nY[j, i] over (j:32, i:16) = t[i, j]", {"t": "memory"}),
        ("block t: f32[]\nt[] over () = 0.0\nY[0, j] over (j:32) = t[]", {"t": "scalar"}),
    ],
)
def test_blocks(body, homes):
    kernel = parse(body)
    layout = plan_layout(kernel, 16)
    found = {
        b.name: "vector" if b in layout.vectors else "scalar" if b in layout.scalars else "memory"
        for b in walk_statements(kernel.body)
        if isinstance(b, Block)
    }
    assert found == homes


@pytest.mark.parametrize(
    ("statement", "rolls_limits", "looped"),
    [
        ("Y[i, j] over (i:4, j:32) = X[i, j]", False, []),
        ("Y[I[i], j] over (i:4, j:32) sum= X[i, j]", False, ["i"]),
        ("Y[i, j] over (i:4 < 3, j:32 < 30) = X[i, j]", True, ["i"]),
        ("Y[i, j] over (i:4 < 3, j:32 < 30) = X[i, j]", False, []),
        ("Y[h, j] over (h:64, i:8, j:32) = X[h, j]", False, ["h"]),
    ],
)
def test_loops(statement, rolls_limits, looped):
    (site,) = find_sites(parse(statement))
    assert [axis.name for axis in looped_axes(site.assign, 16, "j", rolls_limits)] == looped
