"""Scalar expressions at all points of a statement, as Triton tensors: loads emitted once, the rest nested into one expression.

A value has a dimension for each axis of the statement, of length one where the axis does not matter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from tcomp.codegen.triton.index import LIMIT, IndexWriter, Space
from tcomp.codegen.triton.memory import MemoryReader
from tcomp.codegen.triton.operators import apply_operator, fold_axis, identity
from tcomp.codegen.triton.scope import Register, State
from tcomp.codegen.triton.tree import Binary, Literal, Name, TExpression, Tuple, call
from tcomp.codegen.triton.types import Value, convert, literal
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, boolean, e4m3, f32, i32, i64
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Number, Ordinal, as_index
from tcomp.ir.tile import Axis
from tcomp.ir.walk import loads, variables, walk

COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
KEEPS_ZERO = frozenset({"add", "sub", "mul", "abs", "maximum", "minimum"})
"""Operators whose result is zero where all arguments are."""


class ExpressionWriter:
    """Writes the expressions of one statement in one space; `axes` are the statement's axes by name."""

    def __init__(self, state: State, space: Space, axes: Mapping[str, Axis], roots: Iterable[Expr]) -> None:
        self.state = state
        self.space = space
        self.axes = axes
        extents = {name: as_index(size) for name, size in space.axes}
        bounds = replace(state.bounds, extents={**state.bounds.extents, **extents})
        self.index = IndexWriter(state, space, bounds, self.value)
        self.guards = frozenset(name for name, axis in axes.items() if axis.limit is not None and axis.size == 1)
        self.memory = MemoryReader(self)
        self.uses: Counter[Expr] = Counter(part for root in roots for part in walk(root) if isinstance(part, Apply | Cast))

    def value(self, expression: Expr) -> Value:
        """The value of an expression."""
        match expression:
            case Constant(number, dtype):
                return literal(number, dtype)
            case Load(tensor):
                if tensor in self.state.registers:
                    return self.block(tensor)
                loaded = self.memory.load(expression)
                assert loaded is not None, "a load that fills in nothing is always possible"
                return loaded
            case Ordinal(index, dtype):
                return convert(self.index.value(index), dtype)
            case Cast(dtype, argument):
                return self._shared(expression, lambda: convert(self.value(argument), dtype))
            case Apply(operator, (Ordinal() | Constant() as left, Ordinal() | Constant() as right)) if operator in COMPARISONS:
                return self._shared(expression, lambda: self._compare(operator, left, right))
            case Apply(operator, arguments):
                return self._shared(expression, lambda: apply_operator(operator, [self.value(a) for a in arguments]))
            case _:
                assert_never(expression)

    def masked(self, expression: Expr, names: Iterable[str], fill: Number) -> Value:
        """The value of an expression where the points of some axes exist, and a number elsewhere."""
        wanted = tuple(name for name in names if self.mask((name,)) is not None)
        filled = self.filled(expression, wanted, fill) if wanted else self.value(expression)
        if filled is not None:
            return filled
        if isinstance(expression, Cast) and fill == 0:
            return convert(self.masked(expression.argument, wanted, 0), expression.dtype)
        value = self.value(expression)
        mask = self.mask(wanted)
        assert mask is not None
        return self.choose(mask, value, literal(fill, value.dtype))

    def choose(self, condition: Value, yes: Value, no: Value) -> Value:
        """One value where a condition is true, another elsewhere."""
        return apply_operator("select", [condition, yes, no])

    def mask(self, names: Iterable[str]) -> Value | None:
        """Where the points of some axes exist; None is everywhere."""
        total: Value | None = None
        parts = [part for part in map(self._axis_mask, sorted(set(names), key=list(self.axes).index)) if part is not None]
        for part in parts:
            total = part if total is None else both(total, part)
        if total is None or len(parts) == 1:
            return total
        key = "mask", total.code
        return self.state.find(key) or self.state.settle("mask", total, key)

    def _axis_mask(self, name: str) -> Value | None:
        axis = self.axes[name]
        padded = dict(self.space.axes).get(name, 1)
        limit = axis.limit
        if limit is not None and self.index.is_below(as_index(padded - 1), limit):
            limit = None
        if limit is None and padded <= axis.size:
            return None
        end = Value(Literal(axis.size), i32) if limit is None else self._end(axis, limit, padded)
        points = self.index.value(as_index(name)) if name in self.space.names else Value(Literal(0), i32)
        mask = Value(Binary("<", points.code, end.code), boolean, points.axes, max(points.depth, end.depth), 1)
        key = "mask", mask.code
        return self.state.find(key) or self.state.keep(f"{name}_mask", mask, key)

    def _end(self, axis: Axis, limit: Index, padded: int) -> Value:
        """How many points of an axis exist."""
        end = self.index.value(limit)
        if axis.size == padded or self.index.is_below(limit, as_index(axis.size + 1)):
            return end
        return replace(end, code=call("tl.minimum", end.code, Literal(axis.size)), weight=end.weight + 1)

    def filled(self, expression: Expr, names: tuple[str, ...], fill: Number) -> Value | None:
        """An expression that is a number beyond the limits because what it loads is; None if it is not."""
        match expression:
            case Load(tensor) if tensor in self.state.memory:
                return self.memory.load(expression, names, fill)
            case Cast(dtype, argument) if fill == 0 or self._keeps_infinity(argument, dtype, fill):
                inner = self.filled(argument, names, fill)
                return None if inner is None else convert(inner, dtype)
            case Apply(operator, arguments) if fill == 0 and operator in KEEPS_ZERO:
                parts = [self.filled(a, names, fill) for a in arguments]
                found = [part for part in parts if part is not None]
                return apply_operator(operator, found) if len(found) == len(parts) else None
            case _:
                return None

    def _keeps_infinity(self, argument: Expr, dtype: DType, fill: Number) -> bool:
        """Whether a number is infinite and a conversion leaves it so."""
        source = expression_dtype(argument, self.state.dtypes)
        return abs(fill) == math.inf and dtype.is_float and source.is_float and source != e4m3

    def block(self, name: str) -> Value:
        """A block, its dimensions in the order of the statement's axes."""
        register = self.state.registers[name]
        code: TExpression = Name(register.name, self.state.versions[name])
        names = [axis for axis, _ in register.axes]
        depth = self.state.depth_of(name)
        for axis, size in register.axes:
            if axis not in self.space.names:
                step = self.state.variables[axis]
                code = self._pick(code, register, names, axis, size, step)
                names.remove(axis)
                depth = max(depth, step.depth)
        order = tuple(sorted(range(len(names)), key=lambda position: self.space.names.index(names[position])))
        if list(order) != sorted(order):
            code = call("tl.permute", code, Tuple(tuple(map(Literal, order))))
        arranged = tuple(names[position] for position in order)
        return Value(self.space.spread(code, arranged), register.dtype, frozenset(names), depth)

    def _pick(self, code: TExpression, register: Register, names: list[str], axis: str, size: int, step: Value) -> TExpression:
        """The part of a block at one point of an axis that the statement walks in a loop: the largest of what is elsewhere the least."""
        position = names.index(axis)
        held = Space(tuple(pair for pair in register.axes if pair[0] in names))
        points = held.spread(self.state.range_of(axis, size).code, (axis,))
        dtype = register.dtype
        value = Value(code, dtype, frozenset(names))
        if dtype.is_float and dtype.bits < 32:
            value = convert(value, f32)
        is_here = Value(Binary("==", points, step.code), boolean, frozenset({axis}))
        chosen = apply_operator("select", [is_here, value, convert(literal(identity("max", value.dtype).value, value.dtype), value.dtype)])
        return convert(fold_axis("max", chosen, position), dtype).code

    def versions(self, expression: Expr) -> tuple[tuple[str, int], ...]:
        """What tells an expression's value here from its value elsewhere: the states of all that it reads."""
        return tuple(sorted({self.state.version(load.tensor) for load in loads(expression)}))

    def _shared(self, expression: Expr, compute: Callable[[], Value]) -> Value:
        """Compute an operation, and name it if it is worth it."""
        key = expression, self.space.axes, self.versions(expression)
        found = self.state.find(key)
        if found is not None:
            return found
        base = expression.operator if isinstance(expression, Apply) else "value"
        return self.state.settle(base, compute(), key, is_shared=self.uses[expression] > 1)

    def _compare(self, operator: str, left: Ordinal | Constant, right: Ordinal | Constant) -> Value:
        """Compare two indices in the width they have, which is often less than 64 bits."""
        numbers = [e.value for e in (left, right) if isinstance(e, Constant)]
        if left.dtype != i64 or len(numbers) == 2 or any(abs(number) >= LIMIT for number in numbers):
            return apply_operator(operator, [self.value(left), self.value(right)])
        a, b = self._number(left), self._number(right)
        return Value(
            Binary(COMPARISONS[operator], a.code, b.code), boolean, a.axes | b.axes, max(a.depth, b.depth), 1 + a.weight + b.weight
        )

    def _number(self, expression: Ordinal | Constant) -> Value:
        return self.index.value(expression.index) if isinstance(expression, Ordinal) else self.value(expression)

    def axes_of(self, expression: Expr) -> frozenset[str]:
        """The axes of the space that an expression uses."""
        names = variables(expression)
        for load in loads(expression):
            if load.tensor in self.state.registers:
                names |= {name for name, _ in self.state.registers[load.tensor].axes}
        return frozenset(names) & frozenset(self.space.names)


def both(left: Value, right: Value) -> Value:
    """Where two conditions hold."""
    return apply_operator("and", [left, right])
