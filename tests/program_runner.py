"""Run compiled cascades by evaluating their tile programs along the plan, on memory that is laid out as a program's is.

Every byte of memory stands for eight, so that float64 can stand for any element type where the oracle computes in it. An access
outside the arena or a tensor raises.
"""

import numpy

from tcomp.ir.evaluate.arrays import storage
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.plan import ARENA
from tcomp.ir.target import Cpu
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.check import describe_difference, verifying_observer
from tcomp.passes.pipeline import compile_cascade

GARBAGE = 0xA5


def view(memory, offset, dtype, shape, strides, float64):
    """The elements of a tensor at a byte offset, of which each byte takes eight."""
    steps = [step * dtype.bytes * 8 for step in strides]
    return numpy.ndarray(shape, storage(dtype, float64), memory, offset * 8, steps)


class Memory:
    """The external tensors of a compiled cascade."""

    def __init__(self, symbols, float64):
        self.symbols, self.float64 = symbols, float64
        self.tensors = {}

    def sizes(self, extents):
        return [extent_value(extent, self.symbols) for extent in extents]

    def allocate(self, name, tensor, strides=None):
        """Make memory for a tensor and return its elements."""
        shape = self.sizes(tensor.shape)
        steps = self.sizes(strides or contiguous_strides(tensor.shape))
        reach = 1 + sum((n - 1) * s for n, s in zip(shape, steps)) if all(shape) else 0
        memory = self.tensors[name] = numpy.full(reach * tensor.dtype.bytes * 8, GARBAGE, numpy.uint8)
        return view(memory, 0, tensor.dtype, shape, steps, self.float64)

    def run(self, program, shuffle=None):
        """Run the kernels of one program."""
        kernels = dict(program.kernels)
        arena = numpy.full(extent_value(program.plan.arena, self.symbols) * 8, GARBAGE, numpy.uint8)
        for step in program.plan.steps:
            kernel = kernels[step.kernel]
            arrays = {}
            for argument, place in zip(kernel.arguments, step.places, strict=True):
                memory = arena if place.base == ARENA else self.tensors[place.base]
                shape, strides = self.sizes(argument.shape), self.sizes(argument.strides)
                offset = extent_value(place.offset, self.symbols)
                empty = numpy.empty(shape, storage(argument.dtype, self.float64))
                arrays[argument.name] = (
                    view(memory, offset, argument.dtype, shape, strides, self.float64) if empty.size else empty
                )
            evaluate_kernel(kernel, arrays, self.symbols, float64=self.float64, shuffle=shuffle)


def run_compiled(compiled, inputs, symbols=None, strides=None, float64=True, shuffle=None):
    """Run prelude and main on arrays by name; the outputs by name, of the cascade as it was before compilation."""
    source, strides = compiled.source, strides or {}
    memory = Memory(symbols or {}, float64)
    for tensor in source.inputs:
        memory.allocate(tensor.name, tensor, strides.get(tensor.name))[...] = inputs[tensor.name]
    made = compiled.prelude.cascade.tensors()
    lie = dict(compiled.prelude.memories)
    for name in compiled.prelude.cascade.outputs:
        memory.allocate(name, made[name], lie[name].strides)
    memory.run(compiled.prelude, shuffle)
    tensors = source.tensors()
    results = {}
    for name, stored in zip(source.outputs, compiled.main.cascade.outputs, strict=True):
        results[name] = memory.allocate(stored, tensors[name], strides.get(name))
    memory.run(compiled.main, shuffle)
    return results


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
