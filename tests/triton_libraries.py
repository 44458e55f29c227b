"""Triton libraries of one kernel, for tests."""

from tcomp.codegen.triton.kernel import TritonOptions
from tcomp.ir.expressions import ZERO, as_index
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Place, Plan, Step
from tcomp.machine.gpus import describe_gpu
from tcomp.program.kernels import Check
from tcomp.stages.gpu_plan import plan_library

SCALE = """
kernel scale(in X: f32[1024], out Y: f32[1024]) warps 4 stages 2 {
  parallel i in 0 .. 1024 step 512 {
    Y[i + i.0] over (i.0:512) = X[i + i.0] * 2.0
  }
}
"""
GATHER = """
kernel gather(in X: f32[8], in I: i64[n], out Y: f32[n]) for n in 1.. warps 1 stages 2 {
  parallel i in 0 .. n {
    buffer B: f32[4]
    B[j.0] over (j.0:4) = X[value(I[i])] + f32[j.0]
    Y[i] over () = B[3]
  }
}
"""


def make_library(text, folder, *offsets, arena=ZERO, target="sm_90"):
    """A library that calls a kernel once for each tuple of byte offsets, one an argument; the externals are its arguments."""
    kernel = parse_kernel(text)
    names = [argument.name for argument in kernel.arguments]
    steps = tuple(
        Step(kernel.name, tuple(Place(name, as_index(offset)) for name, offset in zip(names, row))) for row in offsets or [[0] * len(names)]
    )
    plan = Plan(tuple(names), arena, steps, kernel.symbols)
    checks = tuple(Check("X", f"step {number}", as_index(8)) for number in range(len(steps))) if text is GATHER else ()
    return plan_library(plan, {kernel.name: kernel}, {}, checks, describe_gpu(target), TritonOptions(), folder)
