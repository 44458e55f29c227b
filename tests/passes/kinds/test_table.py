"""Tile programs of small groups, as text, and the loop nests of each kind."""

import pytest

from tcomp.ir.cascade import Rank
from tcomp.ir.expressions import as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.tile import Axis, Block, Buffer, Loop, walk_statements
from tcomp.passes.lower.lowering import short_name, split
from tcomp.passes.pipeline import compile_cascade
from tcomp.passes.schedule.again import CHEAP
from tests.program_runner import check_compiled, random_inputs, small_target

INPUTS = "X: f32[6, 20], W: f32[20, 8], I: i64[6], V: f32[20]"


def kernels(body, outputs="Z", inputs=INPUTS, symbols="", sizes=None):
    cascade = parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{ {body} }}")
    compiled = check_compiled(cascade, random_inputs(cascade, sizes), shuffle=3)
    return [kernel for _, kernel in compiled.main.kernels]


def body_of(kernel):
    return [line.strip() for line in str(kernel).splitlines()[1:-1]]


@pytest.mark.parametrize(
    ("extent", "sizes", "index", "loops", "axis"),
    [
        (12, (), "i", [("i", "12")], None),
        (12, (4,), "i.0 + 4*i.1", [("i.1", "3")], Axis("i.0", 4)),
        (12, (12,), "i.0", [], Axis("i.0", 12)),
        (12, (16,), "i.0", [], Axis("i.0", 12)),
        (13, (4,), "i.0 + 4*i.1", [("i.1", "4")], Axis("i.0", 4, as_index(13) - as_index("i.1") * 4)),
        (24, (12, 4), "i.0 + 4*i.1 + 12*i.2", [("i.2", "2"), ("i.1", "3")], Axis("i.0", 4)),
        ("N", (4,), "i.0 + 4*i.1", [("i.1", "(N + 3) // 4")], Axis("i.0", 4, as_index("N") - as_index("i.1") * 4)),
    ],
)
def test_split(extent, sizes, index, loops, axis):
    found = split(Rank("i", as_index(extent)), sizes)
    assert str(found.index) == index
    assert [(name, str(trips)) for name, trips in found.loops] == loops
    assert found.axis == axis


def test_a_map():
    (kernel,) = kernels("Z: f32[j:20] = exp(V[j]) * 2.0")
    assert body_of(kernel) == [
        "parallel j.1 in 0 .. 2 {",
        "Z_out[j.0 + 16*j.1] over (j.0:16 < 20 - 16*j.1) = exp(x0[j.0 + 16*j.1]) * 2.0",
        "}",
    ]


def test_a_reduction_keeps_a_state_per_lane_and_merges_after_the_loop():
    (kernel,) = kernels("Z: f32[i:6] = max(j:20) X[i, j]")
    assert body_of(kernel) == [
        "parallel i in 0 .. 6 {",
        "block Z_part: f32[j.0:16]",
        "Z_part[j.0] over (j.0:16) = -inf",
        "for j.1 in 0 .. 2 {",
        "Z_part[j.0] over (j.0:16 < 20 - 16*j.1) max= x0[i, j.0 + 16*j.1]",
        "}",
        "block Z_2: f32[]",
        "Z_2[] over () = max(j.0:16) Z_part[j.0]",
        "Z_out[i] over () = Z_2[]",
        "}",
    ]


def test_softmax_runs_over_its_row_in_three_phases_and_keeps_the_exponentials():
    body = """G: f32[p:6] = max(m:20) X[p, m]
    E: f32[p:6, m:20] = exp(X[p, m] - G[p])
    D: f32[p:6] = sum(m:20) E[p, m]
    Z: f32[p:6, m:20] = E[p, m] / D[p]"""
    (kernel,) = kernels(body)
    loops = [s.variable for s in walk_statements(kernel.body) if isinstance(s, Loop)]
    assert loops == ["p", "m.1", "m.1", "m.1"]
    assert [s.name for s in walk_statements(kernel.body) if isinstance(s, Buffer)] == ["E_row"]


def test_a_cheap_map_is_computed_again_in_a_later_phase():
    assert CHEAP >= 1
    body = "A: f32[p:6, m:20] = X[p, m] + 1.0 S: f32[p:6] = sum(m:20) A[p, m] Z: f32[p:6, m:20] = A[p, m] * S[p]"
    (kernel,) = kernels(body)
    assert not any(isinstance(s, Buffer) for s in walk_statements(kernel.body))
    assert str(kernel).count("+ 1.0") == 2


def test_a_map_that_is_stored_is_read_back():
    body = "A: f32[p:6, m:20] = exp(X[p, m]) S: f32[p:6] = sum(m:20) A[p, m] Z: f32[p:6, m:20] = A[p, m] * S[p]"
    (kernel,) = kernels(body, outputs="A, Z")
    assert not any(isinstance(s, Buffer) for s in walk_statements(kernel.body))
    assert [a.role for a in kernel.arguments if a.name.startswith("A")] == ["inout"]


def test_a_contraction_and_its_epilogue():
    body = "Y: f32[m:6, n:8] = sum(k:20) X[m, k] * W[k, n] Z: f32[m:6, n:8] = maximum(Y[m, n], 0.0)"
    (kernel,) = kernels(body)
    lines = body_of(kernel)
    assert "for k in 0 .. 20 {" in lines
    assert any(line.startswith("Y[m.0, n.0] over") and "sum=" in line for line in lines)
    assert any(line.startswith("Z_out[") and "maximum(Y[m.0, n.0], 0.0)" in line for line in lines)
    assert [a.name for a in kernel.arguments] == ["x0", "x1", "Z_out"]


def test_narrow_floats_accumulate_wide_and_round_once():
    body = "Z: bf16[i:6] = sum(j:20) B[i, j]"
    cascade = parse_cascade(f"cascade c(B: bf16[6, 20]) -> (Z) {{ {body} }}")
    ((_, kernel),) = compile_cascade(cascade, {}, small_target()).main.kernels
    blocks = {s.name: s.dtype.name for s in walk_statements(kernel.body) if isinstance(s, Block)}
    assert blocks["Z_part"] == "f32"
    assert str(kernel).count("bf16(") == 1


def test_states_of_several_components():
    (kernel,) = kernels("(A: f32, P: i64)[i:6] = argmax(j:20) X[i, j] Z: f32[i:6] = A[i] * f32(P[i])")
    assert [a.name for a in kernel.arguments] == ["x0", "Z_out"]


def test_a_later_component_is_ready_after_the_loop():
    (kernel,) = kernels("(M: f32, S: f32, C: f32)[i:6] = welford(j:20) X[i, j] Z: f32[i:6] = sqrt(S[i] / C[i])", outputs="S, Z")
    loop = next(i for i, line in enumerate(body_of(kernel)) if line.startswith("for j"))
    assert all(i > loop for i, line in enumerate(body_of(kernel)) if line.startswith("Z_out["))


def test_blocks_never_have_the_name_of_a_loop():
    kernels("iterate t:5 { t1: f32[t + 1:6, d:1] = t1[t, d] * 0.5 + V[t] from 0.0 } Z: f32[d:1] = t1[5, d]")


def test_a_predicate_reaches_the_fold():
    (kernel,) = kernels("Z: f32[i:6] = sum(j:20) X[i, j] where V[j] > 0.0")
    assert "where x1[" in str(kernel)


def test_a_scan_starts_from_its_initial_value():
    (kernel,) = kernels("iterate t:5 { Z: f32[t + 1:6, j:20] = Z[t, j] * 0.5 + X[t, j] from V[j] }")
    assert [s.kind for s in walk_statements(kernel.body) if isinstance(s, Loop)] == ["parallel", "for"]
    assert any(line.startswith("Z_out[0, ") for line in body_of(kernel))


def test_a_scan_with_a_reduction_inside():
    body = "iterate t:5 { Z: f32[t + 1:6, j:8] = sum(k:8) Z[t, k] * W[k, j] from 1.0 }"
    (kernel,) = kernels(body)
    assert not any(s.kind == "parallel" for s in walk_statements(kernel.body) if isinstance(s, Loop))


def test_a_scatter_fills_folds_and_drops_what_is_outside():
    (kernel,) = kernels("Z: f32[I[i]:3, j:20] = sum(i:6) X[i, j] from 1.0")
    lines = body_of(kernel)
    assert sum("sum=" in line for line in lines) == 1
    # A slot that is data drops what is outside by itself; one that is computed says so.
    assert not any("where" in line for line in lines)
    (kernel,) = kernels("Z: f32[2*i - 3:4, j:20] = sum(i:4) X[i, j] from 1.0")
    assert any(line.endswith("where i64[2*i - 3] >= 0 & i64[2*i - 3] < 4") for line in body_of(kernel))


@pytest.mark.parametrize("n", [1, 3, 4, 16, 17, 50])
@pytest.mark.parametrize(
    "body",
    [
        "Z: f32[i:N] = exp(A[i])",
        "Z: f32[] = sum(i:N) A[i]",
        "S: f32[] = max(i:N) A[i] E: f32[i:N] = exp(A[i] - S[]) D: f32[] = sum(i:N) E[i] Z: f32[i:N] = E[i] / D[]",
        "Z: f32[i:N, n:8] = sum(k:20) B[i, k] * W[k, n]",
        "iterate t:N { Z: f32[t + 1:N + 1] = Z[t] + A[t] from 0.0 }",
        "Z: f32[i:2*N] = A[i // 2] + f32[N]",
    ],
)
def test_symbolic_extents(body, n):
    kernels(body, inputs="A: f32[N], B: f32[N, 20], W: f32[20, 8]", symbols=" for N in 1..", sizes={"N": n})


@pytest.mark.parametrize(
    ("name", "short"),
    [("linear_12", "linear"), ("h.3.attn_0", "attn"), ("W.pack", "pack"), ("_1", "t"), ("conv2d_1_2", "conv2d"), ("x.0", "x")],
)
def test_short_names_do_not_depend_on_the_layer(name, short):
    assert short_name(name) == short


OUTSIDE = {
    "a nest": "Z: f32[i:6] = sum(j:20) X[i, 3*j - 40] where i64[j] >= 14",
    "a maximum with its place": "(Z: f32, P: i64)[i:6] = argmax(j:20) X[i, 3*j - 40] where i64[j] >= 14",
    "a scatter": "Z: f32[I[i]:9, j:8] = sum(i:6) W[4*i - 8, j] where i64[i] >= 2",
    "between the ends": "Z: f32[I[i]:9, j:8] = sum(i:6) W[11*i % 23, j] where i64[11*i % 23] < 20",
    "a scan": "iterate t:3 { S: f32[t + 1:4, d:6] = sum(k:6) S[t, k] * X[d, 5*k - 10] where i64[k] >= 2 from 0.5 }\nZ: f32[d:6] = S[3, d]",
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_points_that_do_not_count_read_nothing_outside(case):
    """A predicate that is false says nothing of what a kernel reads: the load itself has to say what is outside."""
    body = OUTSIDE[case]
    lines = [line for kernel in kernels(body, "Z, P" if "P:" in body else "Z") for line in body_of(kernel)]
    assert any("else 0.0)" in line for line in lines), lines


TAKEN = {
    "an axis": "A: f32[j:8] = -W[0, j] B: f32[j:8, j.0:2] = A[j] * f32[j.0] Z: f32[j:8, k:2] = A[j] + B[j, k]",
    "two that are stored": "A: f32[j:8] = -W[0, j] Z: f32[j:8, j.0:2] = A[j] + f32[j.0] B: f32[j:8, k:2] = A[j] * f32[k]",
    "a loop": "A: f32[j.1:6] = f32(I[j.1]) Z: f32[j.1:6, j:20] = A[j.1] * X[j.1, j]",
    "a loop of a point": "Z: f32[j.0:6] = sum(j:20) X[j.0, j]",
    "a product": "Z: f32[k.0:6, j:8] = sum(k:20) X[k.0, k] * W[k, j]",
    "a product, its other operand": "Z: f32[i:6, k.1:8] = sum(k:20) X[i, k] * W[k, k.1]",
    "a scan": "iterate j.0:3 { S: f32[j.0 + 1:4, j:6] = sum(k:6) S[j.0, k] * X[j, k] from 0.5 } Z: f32[j:6] = S[3, j]",
}


@pytest.mark.parametrize("case", TAKEN)
def test_ranks_may_be_called_what_variables_of_others_would_be(case):
    """`j.0` is the axis of a rank j that is tiled, and what half of a rank j that was cut in two is called."""
    kernels(TAKEN[case], "Z, B" if case == "two that are stored" else "Z")


def test_a_mean_is_rounded_once():
    """Not by way of the sum in f32, whose rounding would be in every deviation from the mean."""
    (kernel,) = kernels("S: f32[i:6] = sum(j:20) X[i, j] M: f32[i:6] = S[i] / 20.0 Z: f32[i:6, j:20] = X[i, j] - M[i]")
    lines = body_of(kernel)
    (mean,) = [line for line in lines if line.startswith("M") and "=" in line and "block" not in line]
    assert mean == "M[] over () = f32(S[] / 20.0:f64)"
    assert "S_2[] over () = f32(S[])" in lines


@pytest.mark.parametrize("body", ["Z: f32[i:6] = f32(A[i])", "B: f32[i:6] = f32(A[i]) Z: f32[i:6] = B[i] / 3.0"])
def test_what_else_is_narrowed_is_no_sum(body):
    (kernel,) = kernels(f"A: f64[i:6] = f64(X[i, 0]) {body}")
    assert "f32(f64(x0[i.0]))" in str(kernel)


def test_products_are_kept_in_f64():
    (kernel,) = kernels("Z: f32[i:6] = prod(j:20) X[i, j]")
    assert "block Z_part: f64[j.0:16]" in body_of(kernel)
