"""Tile programs for GPUs: random cascades, and the loop nests of each kind, against the evaluator of cascades."""

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.target import Gpu
from tcomp.passes.cost import gpu as tiles_gpu
from tcomp.passes.schedule import gpu as tiling_gpu
from tests.cascade_strategies import pairs, programs, scatters
from tests.program_runner import check_compiled, random_inputs

GPU = Gpu("test", 90, 2, 232448, 65536, 50 << 20, "triton")


SMALL = {
    tiling_gpu: {"ELEMENTS": 8, "ROW_ELEMENTS": 8, "LARGEST_ROW": 4, "SIDE": 4, "LANES": 4, "WARP": 2},
    tiles_gpu: {"SIDES": (2, 4), "DEPTHS": (2, 4), "SMALLEST_SIDE": 2, "VECTOR_DEPTHS": (2, 4)},
}


def shrink_tiles(patch):
    """Make tiles so small that small extents have whole and partial ones."""
    for module, constants in SMALL.items():
        for name, value in constants.items():
            patch.setattr(module, name, value)


@settings(max_examples=150, deadline=None)
@given(cascade=programs(), strict=st.booleans(), seed=st.integers(0, 3), tiny=st.booleans(), atomic=st.booleans())
def test_random_programs(cascade, strict, seed, tiny, atomic):
    check_cascade(cascade)
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            shrink_tiles(patch)
        compiled = check_compiled(
            cascade, random_inputs(cascade, seed=seed), strict=strict, shuffle=seed, target=GPU, atomic=atomic
        )
    for program in (compiled.prelude, compiled.main):
        check_schedule(program.schedule)
        assert parse_schedule(str(program.schedule)) == program.schedule
        assert parse_plan(str(program.plan)) == program.plan


@settings(max_examples=60, deadline=None)
@given(cascade=programs(2, (scatters, scatters, pairs)), seed=st.integers(0, 3), atomic=st.booleans())
def test_random_scatters_and_pairs(cascade, seed, atomic):
    check_compiled(cascade, random_inputs(cascade, seed=seed), shuffle=seed, target=GPU, atomic=atomic)


def compile_text(text, **options):
    """Compile a cascade for a GPU, checked against the evaluator; its kernels with their schedules."""
    cascade = parse_cascade(text)
    compiled = check_compiled(cascade, random_inputs(cascade), target=GPU, shuffle=1, **options)
    return compiled.main


def kinds(program):
    return [schedule.kind for schedule in program.schedule.kernels]


ATTENTION = """cascade c(Q: f32[3, 70, 16], K: f32[3, 90, 16], V: f32[3, 90, 8], M: f32[70, 90]) -> (Z) {
  S: f32[h:3, i:70, j:90] = sum(e:16) Q[h, i, e] * K[h, j, e]
  T: f32[h:3, i:70, j:90] = S[h, i, j] * 0.25 + M[i, j]
  G: f32[h:3, i:70] = max(j:90) T[h, i, j]
  E: f32[h:3, i:70, j:90] = exp(T[h, i, j] - G[h, i])
  D: f32[h:3, i:70] = sum(j:90) E[h, i, j]
  P: f32[h:3, i:70, j:90] = E[h, i, j] / D[h, i]
  Z: f32[h:3, i:70, d:8] = sum(j:90) P[h, i, j] * V[h, j, d]
}"""


def test_attention_becomes_one_pass():
    program = compile_text(ATTENTION)
    assert kinds(program) == ["chain"]
    ((_, kernel),) = program.kernels
    assert str(kernel).count("for j.1") == 1


@pytest.mark.parametrize("dead", [slice(0, 40), slice(0, 90), slice(60, 90)])
def test_rows_with_masked_keys_are_as_in_three_passes(dead):
    cascade = parse_cascade(ATTENTION)
    inputs = random_inputs(cascade)
    inputs["M"][5:60:3, dead] = -numpy.inf
    inputs["M"][7, 3] = numpy.nan
    inputs["V"][1, 2, 3] = numpy.inf
    check_compiled(cascade, inputs, target=GPU)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("exp(T[h, i, j] - G[h, i])", "abs(T[h, i, j] - G[h, i])"),
        ("exp(T[h, i, j] - G[h, i])", "exp(T[h, i, j] * 2.0 - G[h, i])"),
        ("max(j:90) T[h, i, j]", "min(j:90) T[h, i, j]"),
        ("E[h, i, j] / D[h, i]", "E[h, i, j] - D[h, i]"),
        ("E[h, i, j] / D[h, i]", "D[h, i] / E[h, i, j]"),
    ],
)
def test_what_does_not_split_is_not_forced_into_one_pass(old, new):
    text = ATTENTION.replace(old, new)
    assert text != ATTENTION
    assert "chain" not in kinds(compile_text(text))


def test_long_sums_with_few_results_are_split():
    program = compile_text("cascade c(X: f32[16, 4096], W: f32[4096, 32]) -> (Y) { Y: f32[m:16, n:32] = sum(k:4096) X[m, k] * W[k, n] }")
    assert kinds(program) == ["contract", "nest"]
    assert compile_text("cascade c(X: f32[65536]) -> (Y) { Y: f32 [] = sum(k:65536) X[k] * X[k] }".replace("f32 []", "f32[]")).steps
    text = "cascade c(I: i64[4096], V: f32[4096], B: f32[50]) -> (Y) { Y: f32[I[i]:50] = sum(i:4096) V[i] from B[_0] }"
    program = compile_text(text)
    assert kinds(program) == ["fill", "scatter", "nest"]
    assert kinds(compile_text(text, atomic=True)) == ["fill", "scatter"]


def test_tiles_of_rows_are_grouped_and_decoded():
    text = "cascade c(X: f32[520, 70], W: f32[300, 70], b: f32[300]) -> (Z) {"
    text += "Y: f32[m:520, n:300] = sum(k:70) X[m, k] * W[n, k] Z: f32[m:520, n:300] = maximum(Y[m, n] + b[n], 0.0) }"
    (schedule,) = compile_text(text).schedule.kernels
    assert schedule.launch.group > 1
    assert schedule.launch.warps in (4, 8)


def test_a_convolution_joins_what_it_slides_over():
    text = "cascade c(X: f32[2, 5, 12, 11], W: f32[7, 5, 3, 3]) -> (Y) {"
    text += "Y: f32[n:2, k:7, p:12, q:11] = sum(c:5, r:3, s:3) (X[n, c, p + r - 1, q + s - 1] else 0.0) * W[k, c, r, s] }"
    (schedule,) = compile_text(text).schedule.kernels
    assert [ranks for _, ranks in schedule.joined] == [("n", "p", "q"), ("c", "r", "s")]


def test_a_long_row_is_walked_once_in_each_phase():
    body = "G: f32[p:3] = max(m:20000) X[p, m] E: f32[p:3, m:20000] = exp(X[p, m] - G[p]) D: f32[p:3] = sum(m:20000) E[p, m]"
    program = compile_text(f"cascade c(X: f32[3, 20000]) -> (Z) {{ {body} Z: f32[p:3, m:20000] = E[p, m] / D[p] }}")
    ((_, kernel),) = program.kernels
    assert str(kernel).count("for m.1") == 3
    assert "buffer" not in str(kernel)


@pytest.mark.parametrize("extent", [5, 300])
@pytest.mark.parametrize("monoid", ["argmax", "argmin"])
def test_states_side_by_side_become_one(monoid, extent):
    compile_text(f"cascade c(X: f32[40, {extent}]) -> (P) {{ (A: f32, P: i64)[i:40] = {monoid}(j:{extent}) X[i, j] }}")


def test_welford_states_side_by_side_become_one():
    compile_text("cascade c(X: f32[4, 300]) -> (M, S) { (M: f32, S: f32, C: f32)[i:4] = welford(j:300) X[i, j] }")


def test_weights_of_four_bits_are_expanded_where_they_are_multiplied():
    program = compile_text(
        """cascade c(X: f32[70, 128], weight P: u8[48, 64], weight s: f32[48, 4]) -> (Z) {
          U: i32[n:48, k:128] = and(shr(i32(P[n, k // 2]), i32[4*(k % 2)]), 15:i32)
          W: f32[n:48, k:128] = (f32(U[n, k]) - 8.0) * s[n, k // 32]
          Z: f32[m:70, n:48] = sum(k:128) X[m, k] * W[n, k]
        }"""
    )
    ((_, kernel),) = program.kernels
    assert [a.dtype.name for a in kernel.arguments if a.role == "in"] == ["u8", "f32", "f32"]
    (update,) = [line for line in str(kernel).splitlines() if "sum=" in line]
    assert update.count("//") - update.count("tile //") <= 2


def test_weights_that_do_not_grow_are_folded():
    text = "cascade c(X: f32[70, 64], weight P: f32[48, 64]) -> (Z) { W: f32[n:48, k:64] = exp(P[n, k]) "
    program = compile_text(text + "Z: f32[m:70, n:48] = sum(k:64) X[m, k] * W[n, k] }")
    ((_, kernel),) = program.kernels
    assert "exp" not in str(kernel)


def choose_by(prefer):
    """A measurement that finds what `prefer` says fastest."""
    return lambda trials: [0.0 if prefer(kernel, product) else 1.0 for kernel, product in trials]


PRODUCT = """cascade c(X: f32[3, 150, 40], W: f32[3, 40, 70], b: f32[70]) -> (Z) {
  Y: f32[b:3, m:150, n:70] = sum(k:40) X[b, m, k] * W[b, k, n]
  Z: f32[b:3, m:150, n:70] = maximum(Y[b, m, n] + b[n], 0.0)
}""".replace("b: f32[70]", "c: f32[70]").replace("+ b[n]", "+ c[n]")


def test_a_product_is_left_to_the_library_where_that_is_faster():
    program = compile_text(PRODUCT, measure=choose_by(lambda kernel, product: product is not None or "contract" not in str(kernel.notes)))
    assert kinds(program) == ["contract", "nest"]
    assert [s.is_library for s in program.schedule.kernels] == [True, False]
    ((name, product),) = program.products
    assert name == program.steps[0]
    assert [str(extent) for extent in product.out.shape] == ["3", "150", "70"]
    assert [str(stride) for stride in product.left.strides] == ["6000", "40", "1"]


def test_kernels_are_chosen_by_what_was_measured():
    program = compile_text(PRODUCT, measure=choose_by(lambda kernel, product: "m.0:64, n.0:64" in str(kernel)))
    (schedule,) = program.schedule.kernels
    assert schedule.tiles[:2] == (("m", 64), ("n", 64))
    assert not program.products


def test_tiles_may_be_walked_in_turns():
    program = compile_text(PRODUCT, measure=choose_by(lambda kernel, product: "for tile in instance" in str(kernel)))
    (schedule,) = program.schedule.kernels
    assert schedule.launch.instances == GPU.multiprocessors


@pytest.mark.parametrize(
    "body",
    [
        "X: f32[0, 5]) -> (Z) { Z: f32[j:5, i:0] = X[i, (j + 2) % 5] * 2.0",
        "X: f32[3, 0]) -> (Z) { Z: f32[i:3] = sum(j:0) X[i, j]",
        "X: f32[0, 3, 4]) -> (Z) { Z: f32[i:0, j:3, k:4] = X[i, 2 - j, k]",
    ],
)
def test_ranks_without_points_are_joined_like_others(body):
    compile_text(f"cascade c({body} }}")
