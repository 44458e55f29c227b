"""The meaning of one einsum, in numpy.

An einsum is evaluated over its whole space with one numpy axis a rank, in pieces where the space is large; products summed over
ranks that both factors have go to numpy.einsum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy

from tcomp.ir.cascade import Einsum, Iteration, Rank, print_einsum
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType
from tcomp.ir.errors import VerifyError
from tcomp.ir.evaluate.arrays import Array, convert, storage
from tcomp.ir.evaluate.expressions import (
    Environment,
    OutsideError,
    evaluate_expression,
    evaluate_index,
    extent_value,
    read_array,
)
from tcomp.ir.evaluate.monoids import State, fold_groups, fold_last_axis, identity_state, merge_states
from tcomp.ir.expressions import Apply, Expr, Number, as_index
from tcomp.ir.monoids import MONOIDS, position_of
from tcomp.ir.walk import variables

LARGEST_SPACE = 2**24


@contextmanager
def _located(einsum: Einsum) -> Iterator[None]:
    """Turn a read outside a tensor into the error that names the einsum."""
    try:
        yield
    except OutsideError as error:
        place = f"{einsum.source}\n{print_einsum(einsum)}".strip()
        raise VerifyError(
            f"{einsum.name} {error}", where=place, help="state an outside value: (T[index] else 0), or restrict it by `where`"
        ) from error


@dataclass(frozen=True, slots=True)
class _Piece:
    """A box of an einsum's space: for each rank its first point and length, and the iterative rank's step, if any."""

    ranks: tuple[Rank, ...]
    start: tuple[int, ...]
    length: tuple[int, ...]
    step: tuple[str, int] | None = None

    def size_over(self, names: set[str]) -> int:
        return prod(n for rank, n in zip(self.ranks, self.length) if rank.name in names)

    def variables(self, symbols: Mapping[str, int]) -> dict[str, Array]:
        """One integer array a rank, along an axis of its own, and scalars for symbols and the step."""
        known = {name: numpy.asarray(value, numpy.int64) for name, value in symbols.items()}
        if self.step is not None:
            known[self.step[0]] = numpy.asarray(self.step[1], numpy.int64)
        for axis, (rank, first, count) in enumerate(zip(self.ranks, self.start, self.length)):
            shape = [count if k == axis else 1 for k in range(len(self.ranks))]
            known[rank.name] = numpy.arange(first, first + count, dtype=numpy.int64).reshape(shape)
        return known

    def halves(self, axis: int) -> Iterator[_Piece]:
        """The two halves along an axis."""
        half = self.length[axis] // 2
        for first, count in ((0, half), (half, self.length[axis] - half)):
            start = (*self.start[:axis], self.start[axis] + first, *self.start[axis + 1 :])
            yield replace(self, start=start, length=(*self.length[:axis], count, *self.length[axis + 1 :]))


@dataclass(frozen=True, slots=True)
class EinsumEvaluator:
    """What einsums are evaluated in: symbols, dtypes, and the arrays of all tensors so far, which grow."""

    symbols: Mapping[str, int]
    dtypes: Mapping[str, DType]
    arrays: dict[str, Array]
    float64: bool

    def allocate(self, einsum: Einsum) -> None:
        """Make the arrays of an einsum's targets, holding zeros."""
        shape = tuple(extent_value(extent, self.symbols) for extent in einsum.shape)
        for name, dtype in einsum.targets:
            self.arrays[name] = numpy.zeros(shape, storage(dtype, self.float64))

    def iterate(self, iteration: Iteration) -> None:
        """Evaluate an iteration, all its einsums for each step."""
        rank = iteration.rank.name
        for einsum in iteration.body:
            self.allocate(einsum)
            if einsum.initial is not None:
                first = tuple(slice(None) if i.as_variable else slice(0, 1) for i in einsum.index)
                self.arrays[einsum.name][first] = self.evaluate_initial(einsum, einsum.dtype, carried=True)
        for step in range(extent_value(iteration.rank.extent, self.symbols)):
            for einsum in iteration.body:
                self.run(einsum, (rank, step))

    def run(self, einsum: Einsum, step: tuple[str, int] | None = None) -> None:
        """Evaluate one einsum (at one step of an iteration) into its targets' arrays."""
        ranks = tuple(rank for rank in einsum.ranks if step is None or rank.name != step[0])
        length = tuple(extent_value(rank.extent, self.symbols) for rank in ranks)
        piece = _Piece(ranks, (0,) * len(ranks), length, step)
        if step is None and einsum.is_scatter:
            self.scatter(einsum, piece)
        else:
            self.fill(einsum, piece)

    def fill(self, einsum: Einsum, piece: _Piece) -> None:
        """Evaluate a piece of an einsum whose slots are bare ranks, halving the piece while it is too large."""
        free = len(piece.ranks) - len(einsum.reduced)
        factors = self.find_factors(einsum)
        names = {rank.name for rank in piece.ranks}
        size = max(piece.size_over(variables(f)) for f in factors) if factors else piece.size_over(names)
        axis = max(range(free), key=lambda k: piece.length[k], default=-1)
        if size > LARGEST_SPACE and axis >= 0 and piece.length[axis] > 1:
            for half in piece.halves(axis):
                self.fill(einsum, half)
            return
        if 0 in piece.length[:free]:
            return
        state = self.contract(einsum, piece, factors) if factors else self.evaluate_piece(einsum, piece, free)
        boxes = dict(zip((r.name for r in piece.ranks), zip(piece.start, piece.length)))
        slots: list[slice | int] = []
        for index in einsum.index:
            name = index.as_variable
            if name in boxes:
                first, count = boxes[name]
                slots.append(slice(first, first + count))
            else:
                assert piece.step is not None
                slots.append(piece.step[1] + (name is None))
        for (name, dtype), (component, source) in zip(einsum.targets, state):
            self.arrays[name][tuple(slots)] = convert(component, source, dtype, self.float64)

    def find_factors(self, einsum: Einsum) -> tuple[Expr, ...]:
        """The two sides of a product that numpy.einsum may sum, or nothing where it would mean something else.

        A narrow float rounds each product. A rank on one side only would be summed before the product, which differs in NaNs.
        """
        expression = einsum.expression
        if einsum.reduce != "sum" or einsum.where is not None:
            return ()
        if not isinstance(expression, Apply) or expression.operator != "mul":
            return ()
        dtype = expression_dtype(expression, self.dtypes)
        if dtype.is_float and dtype.bits < 32 and not self.float64:
            return ()
        reduced = {rank.name for rank in einsum.reduced}
        return expression.arguments if all(reduced <= variables(side) for side in expression.arguments) else ()

    def contract(self, einsum: Einsum, piece: _Piece, factors: tuple[Expr, ...]) -> list[tuple[Array, DType]]:
        """Sum a product of two factors over the reduced ranks with numpy.einsum."""
        free = len(piece.ranks) - len(einsum.reduced)
        dtype = expression_dtype(einsum.expression, self.dtypes)
        if 0 in piece.length:
            return [(numpy.zeros(piece.length[:free], storage(dtype, self.float64)), dtype)]
        operands: list[Any] = []
        for factor in factors:
            array = self.evaluate_at(einsum, factor, piece, None)
            array = array.reshape((1,) * (len(piece.ranks) - array.ndim) + array.shape)
            axes = [axis for axis, length in enumerate(array.shape) if length > 1 or axis >= free]
            operands += [array.reshape([array.shape[axis] for axis in axes]), axes]
        present = sorted({axis for axes in operands[1::2] for axis in axes if axis < free})
        with numpy.errstate(all="ignore"):
            result = numpy.einsum(*operands, present, optimize=True)
        shape = [piece.length[axis] if axis in present else 1 for axis in range(free)]
        return [(numpy.broadcast_to(numpy.asarray(result).reshape(shape), piece.length[:free]), dtype)]

    def evaluate_piece(self, einsum: Einsum, piece: _Piece, free: int) -> list[tuple[Array, DType]]:
        """Evaluate a piece and fold its reduced ranks; returns each target's state with its dtype."""
        dtype = expression_dtype(einsum.expression, self.dtypes)
        if einsum.reduce is None:
            return [(numpy.broadcast_to(self.evaluate_at(einsum, einsum.expression, piece, None), piece.length), dtype)]
        monoid = MONOIDS[einsum.reduce]
        if 0 in piece.length:
            state = identity_state(monoid, dtype, piece.length[:free], self.float64)
        else:
            elements, positions, active = self.evaluate_points(einsum, piece)
            shape = (*piece.length[:free], prod(piece.length[free:]))
            mask = None if active is None else active.reshape(shape)
            state = fold_last_axis(
                monoid, dtype, elements.reshape(shape), positions.reshape(shape), mask, self.float64
            )
        return list(zip(state, monoid.state_dtypes(dtype)))

    def evaluate_points(self, einsum: Einsum, piece: _Piece) -> tuple[Array, Array, Array | None]:
        """The element, its position along the reduced ranks, and whether it counts, at every point of a piece."""
        active = None
        if einsum.where is not None:
            active = numpy.broadcast_to(self.evaluate_at(einsum, einsum.where, piece, None), piece.length)
        elements = self.evaluate_at(einsum, einsum.expression, piece, active)
        position = position_of((rank.name, rank.extent) for rank in einsum.reduced)
        positions = self.evaluate_at(einsum, position, piece, None)
        return numpy.broadcast_to(elements, piece.length), numpy.broadcast_to(positions, piece.length), active

    def scatter(self, einsum: Einsum, piece: _Piece) -> None:
        """Fold every point into the target's element that its slots name; points outside the target are dropped."""
        assert einsum.reduce is not None, "the verifier asks for a monoid where a slot is not a bare rank"
        monoid = MONOIDS[einsum.reduce]
        dtype = expression_dtype(einsum.expression, self.dtypes)
        shape = self.arrays[einsum.name].shape
        state = identity_state(monoid, dtype, shape, self.float64)
        if einsum.initial is not None:
            # In row-major order, also where `from` repeats along a dimension: points are stored through a flat view.
            state = (numpy.array(self.evaluate_initial(einsum, monoid.state_dtypes(dtype)[0]), order="C"),)
        if 0 not in piece.length:
            keys, folded = self.fold_scattered(einsum, piece, shape)
            flat = tuple(component.reshape(-1) for component in state)
            old = tuple(component[keys] for component in flat)
            new = merge_states(monoid, dtype, old, folded, self.float64) if einsum.initial is not None else folded
            for component, part in zip(flat, new):
                component[keys] = part
        for (name, target), component, source in zip(einsum.targets, state, monoid.state_dtypes(dtype)):
            self.arrays[name][...] = convert(component, source, target, self.float64)

    def fold_scattered(self, einsum: Einsum, piece: _Piece, shape: tuple[int, ...]) -> tuple[Array, State]:
        """The flat target elements that points fall on, sorted, and the folded state of each."""
        assert einsum.reduce is not None
        dtype = expression_dtype(einsum.expression, self.dtypes)
        elements, positions, active = self.evaluate_points(einsum, piece)
        environment = self.environment(piece, active)
        keys = numpy.zeros(piece.length, numpy.int64)
        kept = numpy.ones(piece.length, numpy.bool_) if active is None else active
        for index, extent in zip(einsum.index, shape):
            with _located(einsum):
                position = evaluate_index(index, environment)
            kept = kept & (position >= 0) & (position < extent)
            keys = keys * extent + position
        return fold_groups(MONOIDS[einsum.reduce], dtype, keys[kept], elements[kept], positions[kept], self.float64)

    def evaluate_initial(self, einsum: Einsum, target: DType, carried: bool = False) -> Array:
        """The value of `from`, converted to `target`: over the whole target, or for a carried slot at its point 0."""
        assert einsum.initial is not None
        ranks = tuple(
            Rank(rank.name, as_index(1)) if carried and index.as_variable is None else rank
            for rank, index in zip(einsum.slot_ranks, einsum.index)
        )
        length = tuple(extent_value(rank.extent, self.symbols) for rank in ranks)
        start = self.evaluate_at(einsum, einsum.initial, _Piece(ranks, (0,) * len(ranks), length), None)
        source = expression_dtype(einsum.initial, self.dtypes)
        return numpy.broadcast_to(convert(start, source, target, self.float64), length)

    def evaluate_at(self, einsum: Einsum, expression: Expr, piece: _Piece, active: Array | None) -> Array:
        """The value of an expression on a piece, with length one along the ranks it does not use."""
        with _located(einsum):
            return evaluate_expression(expression, self.environment(piece, active))

    def environment(self, piece: _Piece, active: Array | None) -> Environment:
        """The environment of an expression on a piece; where `active` is false, reads outside a tensor are no error."""

        def read(tensor: str, index: tuple[Array, ...], outside: Number | None) -> Array:
            return read_array(self.arrays[tensor], index, outside, active)

        return Environment(piece.variables(self.symbols), self.dtypes, read, self.float64)
