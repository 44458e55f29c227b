"""Compiled kernels against the evaluator of tile programs."""

import re
from dataclasses import replace

import numpy
import pytest
from c_programs import Run, run_compiled
from tile_programs import CASES, read_kernel

from tcomp.codegen.c.kernel import COptions, kernel_source, scratch_bytes
from tcomp.codegen.c.toolchain import Compilation, compile_objects, find_toolchain
from tcomp.codegen.launch import instances
from tcomp.ir.errors import Unsupported
from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import print_index
from tcomp.ir.parse.tile import parse_kernel


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
    assert run_compiled([Run(kernel, arrays, case.symbols)], tmp_path) == 0
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


@pytest.mark.parametrize(("rows", "columns"), [(12, 32), (14, 32), (8, 48), (6, 64)])
def test_a_register_tile_never_leaves_the_registers(rows, columns, tmp_path):
    toolchain = find_toolchain()
    if toolchain.lanes != 16 or "clang" in toolchain.version.lower():
        pytest.skip("the instructions expected are GCC's for AVX-512")
    kernel = parse_kernel(LINEAR.replace("6, ", f"{rows * 8}, ").replace("0 .. 6 step 4", f"0 .. {rows * 8} step {rows}")
    .replace("m.0:4 < 6 - m", f"m.0:{rows}").replace("m.0:4", f"m.0:{rows}").replace("32*n", f"{columns}*n")
    .replace("n.0:32", f"n.0:{columns}").replace("[2, 10, 32]", f"[2, 10, {columns}]").replace("64]", f"{2 * columns}]"))  # fmt: skip
    source, target = tmp_path / "kernel.c", tmp_path / "kernel.s"
    source.write_text(kernel_source(kernel))
    compile_objects(toolchain, [Compilation(source, target, ("-S",))])
    found = find_inner_loop(target.read_text())
    assert [line for line in found if "sp)" in line] == []
    assert sum("vfmadd" in line for line in found) == rows * columns // 16
    assert sum("vmov" in line for line in found) == columns // 16
    assert len(found) <= rows * columns // 16 + columns // 16 + rows + 5


def find_inner_loop(assembly):
    """The instructions of the shortest loop with an FMA in it."""
    lines = assembly.splitlines()
    labels = {line[:-1]: number for number, line in enumerate(lines) if re.fullmatch(r"\.L\d+:", line)}
    loops = []
    for number, line in enumerate(lines):
        jump = re.match(r"\s+j\w+\s+(\.L\d+)", line)
        if jump and labels.get(jump[1], number) < number:
            body = [text for text in lines[labels[jump[1]] + 1 : number + 1] if re.match(r"\s+[a-z]", text)]
            if any("vfmadd" in text for text in body):
                loops.append(body)
    return min(loops, key=len)


def test_instances_are_the_product_of_the_parallel_loops():
    kernel = parse_kernel("""kernel k(out Y: f32[30, N]) for N in 1.. {
      parallel i in 2 .. 30 step 8 { parallel j in 0 .. N step 16 { Y[i, j + j.0] over (j.0:16 < N - j) = 1.0 } } }""")
    assert print_index(instances(kernel)) == "4*((N + 15) // 16)"
    assert print_index(instances(replace(kernel, body=kernel.body[0].body[0].body))) == "1"


def test_a_prefetch_is_a_hint_with_the_flat_address():
    source = kernel_source(
        parse_kernel("""kernel k(in X: f32[4, 8, 16], out Y: f32[16]) {
          block a: f32[n.0:16]
          a[n.0] over (n.0:16) = 0.0
          for k in 0 .. 8 {
            prefetch X[2, 0, 2*k + 4]
            a[n.0] over (n.0:16) sum= X[1, k, n.0]
          }
          Y[n.0] over (n.0:16) = a[n.0]
        }""")
    )
    assert "__builtin_prefetch(X + (2 * k + 260), 0, 2);" in source


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
