"""Random cascades, lowered for a CPU and for a GPU, kernel by kernel in Triton's interpreter and by the evaluator."""

import numpy
import pytest
from cascade_strategies import programs
from gpu_targets import HOPPER
from hypothesis import HealthCheck, example, given, settings
from tile_programs import CASES, read_kernel

from tcomp.fuzz.oracles import tiles
from tcomp.ir.dtypes import f64
from tcomp.ir.evaluate.arrays import convert, storage
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.passes.pipeline import compile_cascade
from tests.program_runner import random_inputs, run_compiled, small_target
from tests.triton_programs import run_interpreted

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

TOLERANCE = 1e-4
"""Relative and absolute: kernels add in another order, and the cascades do not amplify that."""


def compare(kernel, arrays, symbols, folder):
    """Run a kernel by the evaluator, which changes the arrays, and in the interpreter; assert that both agree.

    Faults are no errors here: scatters of random cascades may leave their targets.
    """
    made = {name: numpy.array(array) for name, array in arrays.items()}
    evaluate_kernel(kernel, arrays, symbols)
    run_interpreted(kernel, made, folder, symbols)
    for argument in kernel.arguments:
        if argument.role != "in":
            found, expected = made[argument.name].astype(float), arrays[argument.name].astype(float)
            numpy.testing.assert_allclose(found, expected, TOLERANCE, TOLERANCE, err_msg=f"{argument.name} of\n{kernel}")


def run_both(cascade, target, folder, symbols=None):
    """Compile a cascade and run its kernels both ways, each on what the evaluator made of those before it."""
    compiled = compile_cascade(cascade, {}, target)
    inputs = {
        tensor.name: convert(array, f64, tensor.dtype) if tensor.dtype.is_float else array.astype(storage(tensor.dtype))
        for tensor, array in ((t, random_inputs(cascade, symbols)[t.name]) for t in cascade.inputs)
    }

    def run(kernel, arrays, symbols, float64, shuffle):
        compare(kernel, arrays, symbols, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "evaluate_kernel", run)
        run_compiled(compiled, inputs, symbols, float64=False)
    return compiled


@pytest.mark.parametrize(("name", "make"), CASES, ids=lambda case: case if isinstance(case, str) else "")
def test_programs_written_by_hand(name, make, tmp_path):
    kernel, case = read_kernel(name), make()
    arrays = {}
    for argument in kernel.arguments:
        if argument.name in case.inputs:
            array = case.inputs[argument.name]
            arrays[argument.name] = (
                convert(array, f64, argument.dtype).copy() if argument.dtype.is_float else array.astype(storage(argument.dtype))
            )
        else:
            shape = [extent_value(extent, case.symbols) for extent in argument.shape]
            arrays[argument.name] = numpy.zeros(shape, storage(argument.dtype))
    compare(kernel, arrays, case.symbols, tmp_path)
    rounding = 1e-2 if any(argument.dtype.bits == 16 for argument in kernel.arguments) else 1e-4
    for argument, expected in case.expected.items():
        numpy.testing.assert_allclose(arrays[argument].astype(float), expected.astype(float), rounding, rounding)


SLOW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
ATTENTION = """cascade attention(Q: f32[2, 20, 16], K: f32[2, 37, 16], V: f32[2, 37, 16]) -> (Z) {
  S: f32[h:2, p:20, m:37] = sum(e:16) Q[h, p, e] * K[h, m, e]
  G: f32[h:2, p:20] = max(m:37) S[h, p, m]
  E: f32[h:2, p:20, m:37] = exp(S[h, p, m] - G[h, p])
  D: f32[h:2, p:20] = sum(m:37) E[h, p, m]
  P: f32[h:2, p:20, m:37] = E[h, p, m] / D[h, p]
  Z: f32[h:2, p:20, f:16] = sum(m:37) P[h, p, m] * V[h, m, f]
}"""


@given(cascade=programs())
@SLOW
@example(cascade=parse_cascade(ATTENTION))
def test_random_cascades_for_a_gpu(cascade, tmp_path_factory):
    run_both(cascade, HOPPER, tmp_path_factory.mktemp("kernels"))


@given(cascade=programs(largest=4))
@SLOW
@example(cascade=parse_cascade(ATTENTION))
def test_random_cascades_for_a_cpu(cascade, tmp_path_factory):
    """The kernels of a CPU have buffers, deeper loops and tails."""
    run_both(cascade, small_target(), tmp_path_factory.mktemp("kernels"))


SIZES = """cascade sizes(X: bf16[N, 12], W: bf16[12, M], I: i64[N], T: f32[9, M]) -> (Z, S, A) for N in 0.., M in 1..100 {
  Y: f32[n:N, m:M] = sum(k:12) f32(X[n, k]) * f32(W[k, m])
  Z: bf16[n:N, m:M] = bf16(maximum(Y[n, m], 0.0) + T[I[n], m])
  S: f32[n:N] = sum(m:M) Y[n, m] * Y[n, m] where Y[n, m] < 3.0
  A: f32[m:M] = max(n:N) Y[n, m]
}"""


@pytest.mark.parametrize("target", [HOPPER, small_target()], ids=["gpu", "cpu"])
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 1), (5, 16), (70, 37)])
def test_sizes_known_at_run_time(target, rows, columns, tmp_path):
    run_both(parse_cascade(SIZES), target, tmp_path, {"N": rows, "M": columns})


def test_a_wrong_kernel_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tcomp.codegen.triton.operators.FOLDS", {"sum": "prod"})
    with pytest.raises(AssertionError):
        run_both(parse_cascade(ATTENTION), HOPPER, tmp_path)
