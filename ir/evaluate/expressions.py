"""The meaning of an expression, in numpy: the part that the evaluators of cascades and of tile programs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

import numpy

from tcomp.ir.dtypes import DType, boolean, i64
from tcomp.ir.evaluate.arrays import Array, convert, round_float, storage
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Number, Ordinal, Quotient, Remainder, Value, Variable
from tcomp.ir.operators import OPERATORS

Read: TypeAlias = Callable[[str, tuple[Array, ...], Number | None], Array]


class OutsideError(Exception):
    """A load at a point outside its tensor that states no outside value; the evaluators say where and raise VerifyError."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an expression is evaluated in.

    `variables` gives integer arrays that broadcast together; `read(tensor, index_arrays, outside)` returns the elements of a
    tensor at broadcast positions, held as `storage` says; `dtypes` gives the dtype of every tensor read.
    """

    variables: Mapping[str, Array]
    dtypes: Mapping[str, DType]
    read: Read
    float64: bool = False


def evaluate_expression(expression: Expr, environment: Environment) -> Array:
    """Evaluate an expression at every point of its variables at once.

    The result broadcasts against the variables, with length one along those that the expression does not use. With `float64`
    floats are computed in float64 and never rounded, the oracle against which errors are measured.
    """
    with numpy.errstate(all="ignore"):
        return _evaluate(expression, environment)[0]


def _evaluate(expression: Expr, environment: Environment) -> tuple[Array, DType]:
    match expression:
        case Constant(value, dtype):
            return make_array(value, dtype, environment.float64), dtype
        case Load(tensor, index, outside):
            positions = tuple(evaluate_index(i, environment) for i in index)
            return environment.read(tensor, positions, outside), environment.dtypes[tensor]
        case Ordinal(index, dtype):
            return convert(evaluate_index(index, environment), i64, dtype, environment.float64), dtype
        case Cast(dtype, argument):
            array, source = _evaluate(argument, environment)
            return convert(array, source, dtype, environment.float64), dtype
        case Apply():
            return _evaluate_apply(expression, environment)
        case _:
            assert_never(expression)


def _evaluate_apply(expression: Apply, environment: Environment) -> tuple[Array, DType]:
    row = OPERATORS[expression.operator]
    pairs = [_evaluate(argument, environment) for argument in expression.arguments]
    dtype = pairs[-1][1]
    arrays = [array for array, _ in pairs]
    is_narrow = dtype.is_float and dtype.bits < 32 and not environment.float64
    if is_narrow:
        arrays = [a.astype(numpy.float32, copy=False) if d.is_float else a for a, d in pairs]
    result = numpy.asarray(row.numpy(*arrays))
    if row.result == "bool":
        return result.astype(numpy.bool_, copy=False), boolean
    if is_narrow:
        return round_float(result.astype(numpy.float32, copy=False), dtype), dtype
    return result.astype(storage(dtype, environment.float64), copy=False), dtype


def make_array(value: Number, dtype: DType, float64: bool = False) -> Array:
    """A literal as an array without axes, rounded to its dtype."""
    kind = {"float": numpy.float64, "int": numpy.int64, "bool": numpy.bool_}[dtype.kind]
    array: Array = numpy.asarray(value, kind)
    with numpy.errstate(all="ignore"):
        if not dtype.is_float or float64 or dtype.bits >= 32:
            return array.astype(storage(dtype, float64))
        return round_float(array.astype(numpy.float32), dtype)


def evaluate_index(index: Index, environment: Environment) -> Array:
    """Evaluate an index to an int64 array."""
    total: Array = numpy.asarray(index.constant, numpy.int64)
    for monomial, coefficient in index.terms:
        product: Array = numpy.asarray(coefficient, numpy.int64)
        for atom in monomial:
            match atom:
                case Variable(name):
                    factor = environment.variables[name]
                case Quotient(a, b):
                    factor = numpy.floor_divide(evaluate_index(a, environment), evaluate_index(b, environment))
                case Remainder(a, b):
                    factor = numpy.mod(evaluate_index(a, environment), evaluate_index(b, environment))
                case Value(expression):
                    factor = _evaluate(expression, environment)[0].astype(numpy.int64, copy=False)
                case _:
                    assert_never(atom)
            product = numpy.asarray(product * factor)
        total = numpy.asarray(total + product)
    return total


def extent_value(extent: Index, symbols: Mapping[str, int]) -> int:
    """The number an extent stands for once its symbols are known."""

    def read(tensor: str, index: tuple[Array, ...], outside: Number | None) -> Array:
        raise AssertionError("an extent reads no tensor")

    known = {name: numpy.asarray(value, numpy.int64) for name, value in symbols.items()}
    return int(evaluate_index(extent, Environment(known, {}, read)))


def read_array(array: Array, index: Sequence[Array], outside: Number | None, active: Array | None = None) -> Array:
    """Read an array at broadcast positions, as a view where the positions are a strided box.

    Where a position is outside, the result is `outside`; without one OutsideError is raised, unless `active` is false there.
    """
    inside: Array | None = None
    kept: list[Array] = []
    for position, extent in zip(index, array.shape, strict=True):
        if position.size and (position.min() < 0 or position.max() >= extent):
            within = (position >= 0) & (position < extent)
            inside = within if inside is None else inside & within
            position = numpy.clip(position, 0, max(extent - 1, 0))
        kept.append(position)
    if inside is not None and outside is None:
        faulty = ~inside if active is None else ~inside & active
        if faulty.any():
            # Other dimensions may be walked by ranks that the faulty one is not.
            shape = numpy.broadcast_shapes(faulty.shape, *(p.shape for p in index))
            place = numpy.unravel_index(int(numpy.argmax(numpy.broadcast_to(faulty, shape))), shape)
            point = tuple(int(numpy.broadcast_to(p, shape)[place]) for p in index)
            raise OutsideError(f"reads [{', '.join(map(str, point))}] of a tensor of shape {list(array.shape)}")
    if array.size == 0:
        shape = numpy.broadcast_shapes(*(p.shape for p in kept))
        return numpy.full(shape, 0 if outside is None else outside, array.dtype)
    result = _read_box(array, kept)
    if result is None:
        result = _read_points(array, kept)
    if inside is None or outside is None:
        return result
    return numpy.where(inside, result, numpy.asarray(outside).astype(array.dtype))


def _read_points(array: Array, index: Sequence[Array]) -> Array:
    flat: Array = numpy.asarray(0, numpy.int64)
    for position, extent in zip(index, array.shape):
        flat = flat * extent + position
    return numpy.asarray(array.reshape(-1).take(flat))


def _read_box(array: Array, index: Sequence[Array]) -> Array | None:
    """The view that the positions describe, if each moves along one axis of its own in constant forward steps."""
    dimensions = max((p.ndim for p in index), default=0)
    slices: list[slice | int] = []
    axes: list[int] = []
    shape = [1] * dimensions
    for position in index:
        wide = [axis for axis, length in enumerate(position.shape) if length != 1]
        line = position.reshape(-1)
        if not wide:
            slices.append(int(line[0]))
            continue
        if len(wide) > 1 or len(line) < 2:
            return None
        axis = wide[0] + dimensions - position.ndim
        step = int(line[1] - line[0])
        if axis in axes or step <= 0 or (numpy.diff(line) != step).any():
            return None
        slices.append(slice(int(line[0]), int(line[-1]) + 1, step))
        axes.append(axis)
        shape[axis] = len(line)
    view = array[tuple(slices)]
    return numpy.asarray(view).transpose(numpy.argsort(axes)).reshape(shape)
