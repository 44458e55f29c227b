"""Triton's interpreter, set right where it is wrong or slow while one of our kernels runs.

Without this it truncates what it narrows to bf16, knows neither NaN nor infinity of floats of 8 bits, multiplies matrices of bf16 as
if their bits were integers, spreads the truth of a comparison as a number, and folds element by element, in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy
from triton.runtime.interpreter import InterpretedFunction, ReduceOps, ScanOps, TensorHandle, interpreter_builder

from tcomp.codegen.triton.types import SPELLINGS
from tcomp.ir.dtypes import DTYPES, f16, f64
from tcomp.ir.evaluate import arrays
from tcomp.ir.evaluate.arrays import Array

FLOATS = {SPELLINGS[name].short: dtype for name, dtype in DTYPES.items() if dtype.is_float}
"""What Triton calls our floats."""


class InterpretedKernel:
    """A kernel that runs in numpy on tensors of the CPU: `kernel[(programs,)](tensors and sizes)`."""

    def __init__(self, function: FunctionType) -> None:
        self.function = InterpretedFunction(function)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        """What runs the kernel over a grid."""

        def run(*arguments: Any) -> None:
            with _corrected():
                self.function[grid](*arguments)

        return run


@contextmanager
def _corrected() -> Iterator[None]:
    """Replace what is wrong, and put it back."""
    replaced: list[tuple[object, str, object]] = [
        (interpreter_builder, "create_fp_trunc", _convert_float),
        (interpreter_builder, "create_fp_ext", _convert_float),
        (interpreter_builder, "create_fp_to_fp", _convert_float),
        (interpreter_builder, "create_dot", _dot),
        (interpreter_builder, "create_splat", _splat),
        (ReduceOps, "generic_reduce", _fold),
        (ScanOps, "generic_scan", _scan),
    ]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in replaced]
    for owner, name, function in replaced:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, function in before:
            if function is None:
                delattr(owner, name)
            else:
                setattr(owner, name, function)


def _convert_float(source: Any, target: Any, rounding: object = None) -> Any:
    """Convert floats of one type to another, to nearest even."""
    wide, dtype = decode(source.data, source.dtype.scalar), target.scalar
    return TensorHandle(encode(wide, dtype), dtype)


def _dot(a: Any, b: Any, total: Any, precision: object, steps: object) -> Any:
    """The product of two matrices, or of batches of them, added to a total."""
    left, right = (decode(m.data, m.dtype) if m.dtype.is_floating() else m.data for m in (a, b))
    return TensorHandle(numpy.matmul(left, right, dtype=total.data.dtype) + total.data, total.dtype.scalar)


def _splat(target: Any, scalar: Any) -> Any:
    """A scalar at all points of a shape."""
    return TensorHandle(numpy.full(target.shape, scalar.data.reshape(())), target.scalar)


def _fold(operation: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """Fold along an axis, or along all if there is none, by joining halves of what is left."""
    combine = getattr(operation.combine_fn, "fn", operation.combine_fn)
    (x,) = inputs
    data, axis = (x.handle.data.reshape(-1), 0) if operation.axis is None else (x.handle.data, operation.axis)
    while data.shape[axis] > 1:
        halves = numpy.split(data, 2, axis)
        data = combine(*(operation.to_tensor(half, x.dtype) for half in halves)).handle.data
    data = data if operation.keep_dims else data.squeeze(axis)
    return [operation.to_tensor(data if data.shape else data[()], x.dtype)]


def _scan(operation: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """Fold along an axis up to each point, in steps that double how far a point sees back."""
    combine = getattr(operation.combine_fn, "fn", operation.combine_fn)
    (x,) = inputs
    data = numpy.moveaxis(x.handle.data, operation.axis, 0)
    reach = 1
    while reach < len(data):
        # Sizes of tensors are powers of two, so the whole is moved and its first points are left as they are.
        before = numpy.roll(data, reach, 0)
        joined = combine(*(operation.to_tensor(part, x.dtype) for part in (before, data))).handle.data
        data = numpy.concatenate([data[:reach], joined[reach:]])
        reach *= 2
    return [operation.to_tensor(numpy.moveaxis(data, 0, operation.axis), x.dtype)]


def decode(data: Array, dtype: Any) -> Array:
    """Floats as the interpreter holds them, in a type of numpy: bf16 and floats of 8 bits become f32."""
    return arrays.decode(data, FLOATS[dtype.name])


def encode(data: Array, dtype: Any) -> Array:
    """Floats of numpy as the interpreter holds a type, rounded to it."""
    name = FLOATS[dtype.name]
    if name.bits >= 32:
        return data.astype(numpy.float64 if name == f64 else numpy.float32)
    rounded = numpy.ascontiguousarray(arrays.round_float(data.astype(numpy.float32), name))
    return rounded if name == f16 else arrays.encode(rounded.reshape(-1), name).view(f"u{name.bytes}").reshape(rounded.shape)
