"""Run compiled cascades by evaluating their tile programs along the plan, and compare with the evaluator of cascades."""

import numpy

from tcomp.fuzz.oracles.tiles import Memory as Memory
from tcomp.fuzz.oracles.tiles import run_tiles as run_compiled
from tcomp.ir.evaluate.arrays import storage
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.target import Cpu
from tcomp.passes.check import describe_difference, verifying_observer
from tcomp.passes.pipeline import compile_cascade


def small_target():
    """A machine on which small extents have whole and partial tiles: four f32 lanes."""
    return Cpu("test", "x86_64", 128, 16, 2, 32 << 10, 1 << 20, 8 << 20, "cc")


def check_compiled(cascade, inputs, symbols=None, strides=None, strict=False, shuffle=None, target=None, observe=None, **options):
    """Assert that a cascade compiled and run in float64 gives what the evaluator gives; return the compiled cascade."""
    observe = observe or verifying_observer()
    compiled = compile_cascade(cascade, strides or {}, target or small_target(), observe, strict=strict, **options)
    expected = evaluate(cascade, inputs, symbols, float64=True)
    known = {}
    for tensor in cascade.inputs:
        known.update(
            (extent.as_variable, length)
            for extent, length in zip(tensor.shape, inputs[tensor.name].shape)
            if extent.as_variable is not None
        )
    results = run_compiled(compiled, inputs, {**known, **(symbols or {})}, strides, shuffle=shuffle)
    for name in cascade.outputs:
        message = describe_difference(results[name].reshape(-1), expected[name].reshape(-1))
        assert message is None, f"{name}: {message}\n{cascade}\n{compiled.main.cascade}\n{compiled.main.schedule}\n" + "\n".join(
            str(kernel) for _, kernel in compiled.main.kernels
        )
    return compiled


def random_inputs(cascade, symbols=None, seed=0):
    """Arrays for the inputs of a cascade: floats near one, integers in 0..3."""
    generator = numpy.random.default_rng(seed)
    arrays = {}
    for tensor in cascade.inputs:
        shape = [extent_value(extent, symbols or {}) for extent in tensor.shape]
        dtype = storage(tensor.dtype, float64=True)
        if tensor.dtype.is_float:
            arrays[tensor.name] = generator.standard_normal(shape).astype(dtype)
        elif tensor.dtype.kind == "bool":
            arrays[tensor.name] = generator.integers(0, 2, shape).astype(dtype)
        else:
            arrays[tensor.name] = generator.integers(0, 4, shape).astype(dtype)
    return arrays
