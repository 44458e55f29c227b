"""Tile programs as Triton, for tests: run in its interpreter, or compiled for a GPU that need not be there."""

import pytest

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from tcomp.fuzz.oracles.interpreter import load, run_interpreted  # noqa: E402

__all__ = ("compile_ahead", "run_interpreted")


def compile_ahead(kernel, folder, architecture=90, warps=4, stages=3, options=None):
    """Compile a kernel for a GPU of an architecture; what Triton makes of it."""
    unit, function = load(kernel, folder, "jit", options)
    signature = {parameter.name: parameter.type for parameter in unit.parameters}
    attributes = {(k,): [["tt.divisibility", 16]] for k, p in enumerate(unit.parameters) if p.type.startswith("*")}
    source = ASTSource(fn=function, signature=signature, constexprs={}, attrs=attributes)
    options = {"num_warps": kernel.warps or warps, "num_stages": kernel.stages or stages}
    return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
