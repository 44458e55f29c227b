"""Compiled kernels against the evaluator of tile programs."""

from dataclasses import replace

import numpy
import pytest
from c_programs import Run, run_compiled
from tile_programs import CASES, read_kernel

from tcomp.codegen.c_kernel import COptions, instances, kernel_source, scratch_bytes
from tcomp.ir.errors import Unsupported
from tcomp.ir.evaluate_dtypes import round_float, storage
from tcomp.ir.text import print_index
from tcomp.ir.tile_evaluate import evaluate_kernel
from tcomp.ir.tile_parser import parse_kernel


@pytest.mark.parametrize(("name", "make"), CASES)
def test_tile_programs_compute_what_the_evaluator_computes(name, make, tmp_path):
    kernel, case = read_kernel(name), make()
    arrays = {}
    for argument in kernel.arguments:
        held = storage(argument.dtype)
        found = case.inputs.get(argument.name)
        array = numpy.zeros(case.expected[argument.name].shape, held) if found is None else found.astype(held)
        arrays[argument.name] = round_float(array, argument.dtype) if argument.dtype.is_float else array
    expected = {n: a.copy() for n, a in arrays.items()}
    evaluate_kernel(kernel, expected, case.symbols)
    run_compiled([Run(kernel, arrays, case.symbols)], tmp_path)
    for target in case.expected:
        numpy.testing.assert_allclose(arrays[target], expected[target], rtol=1e-4, atol=1e-4)


LINEAR = """
kernel linear(in X: f32[6, 10], in W: f32[2, 10, 32], in b: f32[64], out Y: f32[6, 64]) {
  parallel n in 0 .. 2 {
    parallel m in 0 .. 6 step 4 {
      block acc: f32[m.0:4, n.0:32]
      acc[m.0, n.0] over (m.0:4 < 6 - m, n.0:32) = 0.0
      for k in 0 .. 10 {
        acc[m.0, n.0] over (m.0:4 < 6 - m, n.0:32) sum= X[m + m.0, k] * W[n, k, n.0]
      }
      Y[m + m.0, 32*n + n.0] over (m.0:4 < 6 - m, n.0:32) = maximum(acc[m.0, n.0] + b[32*n + n.0], 0.0)
    }
  }
}
"""


def test_a_matmul_reads_well(golden):
    kernel = replace(parse_kernel(LINEAR), notes=("einsums: Y = max(X W + b, 0)", "tile: m 4, n 32"))
    golden.check("c_linear.txt", kernel_source(kernel))


def test_a_softmax_reads_well(golden):
    golden.check("c_softmax.txt", kernel_source(read_kernel("tile_softmax.txt"), COptions(lanes=8)))


def test_instances_are_the_product_of_the_parallel_loops():
    kernel = parse_kernel("""kernel k(out Y: f32[30, N]) for N in 1.. {
      parallel i in 2 .. 30 step 8 { parallel j in 0 .. N step 16 { Y[i, j + j.0] over (j.0:16 < N - j) = 1.0 } } }""")
    assert print_index(instances(kernel)) == "4*((N + 15) // 16)"
    assert print_index(instances(replace(kernel, body=kernel.body[0].body[0].body))) == "1"


def test_large_buffers_leave_the_stack():
    kernel = "kernel k(out Y: f32[1]) {{ buffer t: f32[{0}]\n t[0] over () = 1.0\n Y[0] over () = t[0] }}"
    small, large = (parse_kernel(kernel.format(size)) for size in (1000, 100_000))
    assert scratch_bytes(small) == 0
    assert scratch_bytes(large) == 400_000
    assert "char* restrict scratch" in kernel_source(large)
    assert "scratch" not in kernel_source(small)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel k(in X: e4m3[9], out Y: e4m3[9]) { Y[i.0] over (i.0:9) = X[i.0] }", "does not serve e4m3"),
        (
            "kernel k(out Y: f32[9, 9]) { parallel i in 0 .. 9 { parallel j in 0 .. i { Y[i, j] over () = 1.0 } } }",
            "depends on a loop around it",
        ),
        ("kernel k(inout Y: f32[9]) { Y[0] over () = sum(i.0:9) Y[i.0] }", "read at other places than it is written"),
    ],
)
def test_refusals(text, message):
    with pytest.raises(Unsupported, match=message) as caught:
        kernel_source(parse_kernel(text))
    assert caught.value.help
