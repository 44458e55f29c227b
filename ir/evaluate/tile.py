"""The meaning of a tile program, executed: loops step by step, each assign in numpy over all its points at once.

This is the oracle of lowering and of the code generators, so it is stricter than a machine. It raises `VerifyError` when

    an index leaves the bounds of what it reads or writes      unless the load states a value `outside`
    two points of one plain assign write the same element
    an instance of a parallel loop reads or writes an element that another instance writes      unless both merge into it atomically

and it fills blocks, buffers and `out` arguments with NaN (integers: garbage) where they begin to live, so that a value read
before it was written shows in the result. Loads are made at every point below the limits, also where `where` is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import numpy

from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, convert
from tcomp.ir.evaluate.expressions import Environment, OutsideError, evaluate_expression, evaluate_index
from tcomp.ir.evaluate.memory import Memory, Positions, RaceError, bind_argument, make_memory
from tcomp.ir.evaluate.monoids import fold_groups, fold_last_axis, merge_states
from tcomp.ir.expressions import Index, Number
from tcomp.ir.index import is_data
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, print_assign


def evaluate_kernel(
    kernel: Kernel,
    arguments: Mapping[str, Array],
    symbols: Mapping[str, int] | None = None,
    *,
    shuffle: int | None = None,
    float64: bool = False,
) -> None:
    """Run a kernel on numpy arrays, writing into those of its `out` and `inout` arguments.

    An array has the argument's shape, or is flat memory which the argument's strides reach into; its dtype is the one that
    `evaluate_dtypes.storage` names. With `shuffle`, a seed, the instances of parallel loops run in a random order. With
    `float64` every float is held and computed in float64.
    """
    machine = _Machine(symbols or {}, shuffle, float64)
    for symbol in kernel.symbols:
        value = machine.variables.get(symbol.name)
        if value is None:
            raise VerifyError(f"symbol {symbol.name} has no value", where=f"kernel {kernel.name}", help="pass it in `symbols`")
        if value < symbol.low or (symbol.high is not None and value > symbol.high):
            limits = f"{symbol.low}..{'' if symbol.high is None else symbol.high}"
            raise VerifyError(f"{symbol.name} = {value} is not in {limits}", where=f"kernel {kernel.name}")
    for argument in kernel.arguments:
        if argument.name not in arguments:
            raise VerifyError(f"argument {argument.name} has no array", where=f"kernel {kernel.name}")
        shape = tuple(machine.integer(extent) for extent in argument.shape)
        strides = tuple(machine.integer(stride) for stride in argument.strides)
        machine.declare(argument.name, bind_argument(argument, shape, strides, arguments[argument.name], float64))
    machine.run(kernel.body)


class _Machine:
    """The state of a run: values of loop variables and symbols, and the memory behind every name."""

    def __init__(self, symbols: Mapping[str, int], shuffle: int | None, float64: bool) -> None:
        self.variables: dict[str, Array] = {name: numpy.asarray(value) for name, value in symbols.items()}
        self.memory: dict[str, Memory] = {}
        self.dtypes: dict[str, DType] = {}
        self.environment = Environment(self.variables, self.dtypes, self.read, float64)
        self.order = None if shuffle is None else numpy.random.default_rng(shuffle)
        self.instance = 0

    def declare(self, name: str, memory: Memory) -> None:
        """Let a name stand for memory."""
        self.memory[name] = memory
        self.dtypes[name] = memory.dtype

    def integer(self, index: Index) -> int:
        """The value of an index over loop variables and symbols."""
        return int(evaluate_index(index, self.environment))

    def points(self, axis: Axis) -> int:
        """How many points of an axis exist."""
        return axis.size if axis.limit is None else min(axis.size, max(0, self.integer(axis.limit)))

    def run(self, body: tuple[TileStatement, ...]) -> None:
        """Execute statements in order."""
        for statement in body:
            match statement:
                case Loop():
                    self.loop(statement)
                case Buffer(name, dtype, shape):
                    self.declare(name, make_memory(dtype, shape, self.environment.float64))
                case Block(name, dtype, axes):
                    self.declare(name, make_memory(dtype, tuple(map(self.points, axes)), self.environment.float64))
                case Prefetch():
                    pass
                case Assign() | Scan():
                    try:
                        self.scan(statement) if isinstance(statement, Scan) else self.assign(statement)
                    except (OutsideError, RaceError) as error:
                        loops = ", ".join(f"{name} = {value}" for name, value in self.variables.items() if value.ndim == 0)
                        shown = print_assign(statement.as_map if isinstance(statement, Scan) else statement)
                        raise VerifyError(str(error), where=f"{shown}\n{loops}".rstrip()) from error
                case _:
                    assert_never(statement)

    def loop(self, loop: Loop) -> None:
        """Execute a loop; each run of a parallel loop's body is an instance of its own."""
        steps = list(range(self.integer(loop.start), self.integer(loop.stop), loop.step))
        if loop.kind == "parallel" and self.order is not None:
            self.order.shuffle(steps)
        for step in steps:
            self.instance += loop.kind == "parallel"
            self.variables[loop.variable] = numpy.asarray(step)
            self.run(loop.body)
        self.variables.pop(loop.variable, None)

    def assign(self, assign: Assign) -> None:
        """Execute one assign over all its points."""
        axes = assign.axes + assign.reduced
        sizes = tuple(map(self.points, axes))
        for position, (axis, size) in enumerate(zip(axes, sizes)):
            self.variables[axis.name] = numpy.arange(size).reshape([-1] + [1] * (len(axes) - position - 1))
        outer = sizes[: len(assign.axes)]
        value = numpy.broadcast_to(evaluate_expression(assign.expression, self.environment), sizes)
        dtype = expression_dtype(assign.expression, self.dtypes)
        mask = numpy.ones(sizes, bool)
        if assign.where is not None:
            mask = numpy.broadcast_to(evaluate_expression(assign.where, self.environment), sizes)
        if assign.reduce is not None:
            flat = (*outer, int(numpy.prod(sizes[len(outer) :], dtype=int)))
            value = self.fold(assign.reduce, dtype, value.reshape(flat), mask.reshape(flat))
            dtype, mask = compute_dtype(dtype), numpy.ones(outer, bool)
        once = outer + (1,) * len(assign.reduced)
        indices = [numpy.broadcast_to(evaluate_index(i, self.environment), once).reshape(outer) for i in assign.index]
        for index, i, extent in zip(indices, assign.index, self.memory[assign.target].values.shape):
            if is_data(i):
                mask = mask & (index >= 0) & (index < extent)
        positions = tuple(index[mask] for index in indices)
        self.write(assign, positions, value[mask], dtype)
        for axis in axes:
            del self.variables[axis.name]

    def scan(self, scan: Scan) -> None:
        """Execute one scan: the map first, then the fold along its axis, in place."""
        self.assign(scan.as_map)
        values, dtype = self.memory[scan.target].values, self.dtypes[scan.target]
        along = next(p for p, axis in enumerate(scan.axes) if axis.name == scan.along)
        reach = numpy.moveaxis(values[tuple(slice(self.points(axis)) for axis in scan.axes)], along, 0)
        monoid, wide = MONOIDS[scan.monoid], compute_dtype(dtype)
        for place in range(1, len(reach)):
            states = (convert(reach[p], dtype, wide, self.environment.float64) for p in (place - 1, place))
            first, second = ((state,) for state in states)
            (merged,) = merge_states(monoid, wide, first, second, self.environment.float64)
            reach[place] = convert(merged, wide, dtype, self.environment.float64)

    def fold(self, monoid: str, dtype: DType, values: Array, mask: Array) -> Array:
        """Fold the last axis where the mask is true."""
        nowhere = numpy.zeros(values.shape, numpy.int64)
        return fold_last_axis(MONOIDS[monoid], dtype, values, nowhere, mask, self.environment.float64)[0]

    def read(self, name: str, positions: Positions, outside: Number | None) -> Array:
        """Read the elements at broadcast positions, as `Environment` asks."""
        return self.memory[name].read(name, positions, outside, self.instance)

    def write(self, assign: Assign, positions: Positions, values: Array, dtype: DType) -> None:
        """Write values of `dtype`, one for each point, merging them with the old ones if the assign says so."""
        if not values.size:
            return
        memory, float64 = self.memory[assign.target], self.environment.float64
        memory.check_write(assign.target, positions, self.instance, assign.is_atomic)
        shape = memory.values.shape
        keys = numpy.ravel_multi_index(positions, shape) if shape else numpy.zeros(values.size, numpy.int64)
        if assign.merge is None:
            if len(numpy.unique(keys)) < len(keys):
                raise RaceError(f"two points write one element of {assign.target}")
        else:
            monoid, wide = MONOIDS[assign.merge], compute_dtype(dtype)
            keys, state = fold_groups(monoid, dtype, keys, values, numpy.zeros_like(keys), float64)
            positions = numpy.unravel_index(keys, shape) if shape else ()
            old = convert(memory.values[positions].reshape(keys.shape), memory.dtype, wide, float64)
            (values,), dtype = merge_states(monoid, wide, (old,), state, float64), wide
        memory.values[positions] = convert(values, dtype, memory.dtype, float64).reshape(memory.values[positions].shape)
