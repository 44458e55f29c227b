"""One assign as C: its axes unrolled or laid in lanes, its loads emitted once, its accumulators in registers.

Unrolled points run with the reduced axes outermost, so that a matmul statement reads each element once per reduced point and its
accumulators are independent of one another. A point that exists only below a limit stands in an `if`.

Seen in the assembly of GCC 12 for AVX-512: the inner loop of the matmul in `tcomp.ir.tile`, with tiles 12x32, 14x32, 8x48 and 6x64,
is the loads of W, one broadcast for each element of X, the FMAs, and a counter. Unrolling it twice (an axis k.0:2) adds a few
register copies, four times up to nine reloads from the stack. The best of 75 runs on 128x768x768, one thread beside other work, was
163 to 180 GFLOP/s for all of them, and 169 for MKL, where 171 is the measured peak of a core: unrolling has nothing to gain there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product

from tcomp.codegen.c.expressions import Context, ExpressionWriter, Point
from tcomp.codegen.c.layout import looped_axes
from tcomp.codegen.c.memory import Address, Memory, Register, read_scalar, read_vector, write_scalar, write_vector
from tcomp.codegen.c.operators import apply_operator, fold, identity, state_dtype
from tcomp.codegen.c.pairs import Halves, find_halves, write_both
from tcomp.codegen.c.tree import (
    Binary,
    CExpression,
    Conditional,
    CStatement,
    Declare,
    For,
    If,
    Integer,
    Name,
    Scope,
    Set,
    Subscript,
    Unary,
    both,
    call,
)
from tcomp.codegen.c.types import Value, broadcast, c_type, convert, reduce_lanes, settle
from tcomp.codegen.names import Names
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, boolean
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ZERO, Expr, Load, as_index
from tcomp.ir.tile import Assign, Axis, print_assign
from tcomp.ir.tile_scope import Place
from tcomp.ir.walk import loads, walk_index

COMPOUND = {"+": "+=", "*": "*="}
ACCUMULATORS = 4
"""Partial results of a reduction that would otherwise wait for its own last addition."""


def write_assign(assign: Assign, context: Context, places: dict[str, Place], names: Names) -> list[CStatement]:
    """The C of one assign."""
    return _AssignWriter(assign, context, places, names).write()


@dataclass(slots=True)
class _Accumulator:
    """A variable that a reduction folds into: whether it is the target's own, and whether it holds a state yet."""

    variable: Value
    is_target: bool
    is_started: bool


class _AssignWriter:
    def __init__(self, assign: Assign, context: Context, places: dict[str, Place], names: Names) -> None:
        lane = context.layout.lane_axis(assign)
        self.assign = assign
        self.lane = lane
        self.lanes = context.layout.lanes
        self.home = context.homes[assign.target]
        self.looped = looped_axes(assign, self.lanes, lane.name if lane else None, context.layout.rolls_limits)
        self.names = Names(names)
        local = dict(context.names)
        extents = dict(context.bounds.extents)
        for axis in self.looped:
            local[axis.name] = self.names.take(axis.name)
            extents[axis.name] = as_index(axis.size)
        self.context = replace(context, names=local, bounds=replace(context.bounds, extents=extents))
        self.dtype = expression_dtype(assign.expression, {name: place.dtype for name, place in places.items()})
        self.halves = find_halves(assign, self.home, lane, self.looped)
        axes = frozenset(axis.name for axis in assign.axes + assign.reduced if self.halves is None or axis != self.halves.axis)
        roots = [assign.expression, *([assign.where] if assign.where is not None else [])] if self.halves is None else [*self.halves.parts]
        self.writer = ExpressionWriter(self.context, self.names, axes, lane.name if lane else None, roots)
        self.ends: dict[str, CExpression] = {}
        self.late: list[CStatement] | None = [] if self._sees_writes() else None

    def write(self) -> list[CStatement]:
        """All statements, in a scope of their own if they declare anything."""
        for axis in self.assign.axes + self.assign.reduced:
            if axis.limit is not None:
                self.ends[axis.name] = self._end(axis)
        with ExitStack() as stack:
            for axis in self.assign.axes:
                if axis in self.looped:
                    stack.enter_context(self._loop(axis))
            if self.assign.reduce is None:
                self._map()
            else:
                self._reduce()
            self.writer.body.extend(self.late or [])
        body = self.writer.stages[0].body
        return [Scope(tuple(body))] if any(isinstance(s, Declare) for s in body) else body

    def _sees_writes(self) -> bool:
        """Whether a point reads an element of the target that another point may write, so that writes have to wait."""
        assign = self.assign
        parts: list[Expr] = [assign.expression, *([assign.where] if assign.where is not None else [])]
        found = [load for part in parts for load in loads(part)]
        found += [e for i in assign.index for e in walk_index(i) if isinstance(e, Load)]
        sees = any(load.tensor == assign.target and load.index != assign.index for load in found)
        if sees and (self.looped or self.assign.reduce is not None):
            raise Unsupported(
                f"{assign.target} is read at other places than it is written",
                where=print_assign(assign),
                help="assign to a buffer first",
            )
        return sees

    def _end(self, axis: Axis) -> CExpression:
        assert axis.limit is not None
        code = self.writer.scalar_index(axis.limit, Point({axis.name: 0 for axis in self._unrolled()}))
        if axis == self.lane and axis.size % self.lanes:
            # The last vector has fewer points than lanes: the limit must not count beyond them.
            code = Conditional(Binary("<", code, Integer(axis.size)), code, Integer(axis.size))
        name = self.names.number(f"{axis.name}_end")
        self.writer.body.append(Declare("const int64_t", name, code))
        return Name(name)

    def _unrolled(self) -> list[Axis]:
        return [axis for axis in self.assign.axes + self.assign.reduced if axis not in self.looped]

    @contextmanager
    def _loop(self, axis: Axis) -> Iterator[None]:
        """A C loop over an axis; what is written inside becomes its body."""
        body: list[CStatement] = []
        variable = self.context.names[axis.name]
        condition: CExpression = Binary("<", Name(variable), Integer(axis.size))
        if axis.name in self.ends:
            condition = both([condition, Binary("<", Name(variable), self.ends[axis.name])])
        with self.writer.stage(body, frozenset({axis.name}), is_loop=True):
            yield
        self.writer.body.append(For(variable, Integer(0), condition, 1, tuple(body)))

    def _points(self, axes: tuple[Axis, ...]) -> list[dict[str, int]]:
        """The unrolled points of some axes, the last one fastest."""
        unrolled = [axis for axis in axes if axis not in self.looped]
        steps = [range(0, axis.size, self.lanes if axis == self.lane else 1) for axis in unrolled]
        return [dict(zip((axis.name for axis in unrolled), numbers)) for numbers in product(*steps)]

    def _count(self, at: dict[str, int]) -> CExpression | None:
        """How many lanes exist at a point; None if all do."""
        lane = self.lane
        if lane is None or lane.name not in at:
            return None
        if lane.name in self.ends:
            start = at[lane.name]
            return Binary("-", self.ends[lane.name], Integer(start)) if start else self.ends[lane.name]
        rest = lane.size - at[lane.name]
        return Integer(rest) if rest < self.lanes else None

    @contextmanager
    def _guarded(self, at: dict[str, int]) -> Iterator[Point]:
        """Write what happens at a point, in an `if` where it may not exist."""
        limited = frozenset(at) & frozenset(self.ends)
        point = Point(at, self._count(at))
        if not limited:
            yield point
            return
        body: list[CStatement] = []
        with self.writer.stage(body, limited):
            yield point
        conditions: list[CExpression] = [
            Binary(">", self.ends[axis.name], Integer(at[axis.name])) for axis in self._unrolled() if axis.name in limited & set(at)
        ]
        self.writer.body.append(If(both(conditions), tuple(body)))

    def _map(self) -> None:
        """`target = expression`, or merged with the old value."""
        if self.halves is not None:
            self._map_halves(self.halves)
            return
        for at in self._points(self.assign.axes):
            with self._guarded(at) as point:
                value = self.writer.value(self.assign.expression, point)
                mask = None if self.assign.where is None else self.writer.value(self.assign.where, point)
                self._write(point, value, mask)

    def _map_halves(self, halves: Halves) -> None:
        """`target = expression` where the target is of pairs: both parts of a vector of them at once."""
        assert isinstance(self.home, Memory)
        dtype = self.home.dtype
        for at in self._points(tuple(axis for axis in self.assign.axes if axis != halves.axis)):
            with self._guarded(at) as point:
                values = [broadcast(convert(self.writer.value(part, point), dtype)) for part in halves.parts]
                first, second = (value if self.late is None else self._hold(value) for value in values)
                address = self.writer.address(self.home, (*self.assign.index[:-1], ZERO), point)
                self._emit(write_both(address.first(), (first.code, second.code), dtype, point.count))

    def _reduce(self) -> None:
        """`target = monoid over the reduced axes`: fold into accumulators, then write those."""
        assign = self.assign
        assert assign.reduce is not None
        outer, inner = self._points(assign.axes), self._points(assign.reduced)
        is_direct = self._folds_in_place()
        looped = [axis for axis in assign.reduced if axis in self.looped]
        slots = 1 if is_direct or looped else max(1, min(ACCUMULATORS, len(inner), 16 // len(outer)))
        is_certain = assign.where is None and not looped and not self.ends
        accumulators = [[self._accumulator(at, is_direct, is_certain) for _ in range(slots)] for at in outer]
        with ExitStack() as stack:
            for axis in looped:
                stack.enter_context(self._loop(axis))
            for position, reduced in enumerate(inner):
                for at, slot in zip(outer, accumulators):
                    with self._guarded(at | reduced) as point:
                        self._fold(point, slot[position % slots])
        if is_direct:
            return
        for at, slot in zip(outer, accumulators):
            state = slot[0].variable
            for other in slot[1:]:
                state = fold(assign.reduce, state, other.variable)
            if state.is_vector and self._is_lane_reduced():
                state = reduce_lanes(assign.reduce, state)
            with self._guarded(at) as point:
                self._write(point, state, None)

    def _is_lane_reduced(self) -> bool:
        return self.lane is not None and self.lane in self.assign.reduced

    def _folds_in_place(self) -> bool:
        """Whether the target's own registers can be the accumulators."""
        assign = self.assign
        if not isinstance(self.home, Register) or self._is_lane_reduced() or self.looped:
            return False
        if self.home.dtype != state_dtype(self.dtype) or assign.merge not in (None, assign.reduce):
            return False
        if self.home.is_vector and (self.lane is None or self.lane not in assign.axes):
            return False
        if assign.merge is None and self.ends:
            return False
        return all(load.tensor != assign.target for load in loads(assign.expression))

    def _accumulator(self, at: dict[str, int], is_direct: bool, is_certain: bool) -> _Accumulator:
        assign = self.assign
        assert assign.reduce is not None
        dtype = state_dtype(self.dtype)
        is_vector = self.lane is not None
        start = identity(assign.reduce, dtype)
        start = broadcast(start) if is_vector else start
        if is_direct:
            assert isinstance(self.home, Register)
            variable = self.writer.read_register(self.home, assign.index, Point(at))
            if assign.merge is None and not is_certain:
                self.writer.body.append(_update(variable, start))
            return _Accumulator(variable, True, assign.merge is not None or not is_certain)
        name = self.names.number(assign.reduce)
        if not is_certain:
            self.writer.body.append(Declare(c_type(dtype, is_vector), name, start.code))
        return _Accumulator(Value(Name(name), dtype, is_vector), False, not is_certain)

    def _fold(self, point: Point, accumulator: _Accumulator) -> None:
        """Fold the expression at one point into an accumulator."""
        assign, variable = self.assign, accumulator.variable
        assert assign.reduce is not None
        value = convert(self.writer.value(assign.expression, point), variable.dtype)
        start = identity(assign.reduce, variable.dtype)
        if assign.where is not None:
            value = apply_operator("select", [self.writer.value(assign.where, point), value, start])
        if variable.is_vector:
            value = broadcast(value)
            if self._is_lane_reduced() and point.count is not None:
                mask = Value(call("tcomp_first_lanes", point.count), boolean, True)
                value = apply_operator("select", [mask, value, start])
        if accumulator.is_started:
            value = fold(assign.reduce, variable, value)
        value = settle(value)
        if accumulator.is_started or accumulator.is_target:
            self.writer.body.append(_update(variable, value))
        else:
            assert isinstance(variable.code, Name)
            self.writer.body.append(Declare(variable.type, variable.code.text, value.code))
        accumulator.is_started = True

    def _write(self, point: Point, value: Value, mask: Value | None) -> None:
        """Write (or merge) a value at a point, where the mask is true."""
        if self.late is not None:
            value = self._hold(value)
        if isinstance(self.home, Register):
            self._write_register(self.home, point, value, mask)
            return
        mask = self.writer.inside(self.home, Load(self.assign.target, self.assign.index), point, mask)
        address = self.writer.address(self.home, self.assign.index, point)
        has_lanes = self.lane is not None and self.lane in self.assign.axes
        if not has_lanes:
            self._write_scalar(address, value, mask)
        elif address.stride == as_index(1) and (mask is None or not mask.is_vector):
            self._write_vector(address, point, value, mask)
        else:
            self._write_each(address, point, value, mask)

    def _emit(self, statement: CStatement, mask: Value | None = None) -> None:
        if mask is not None:
            statement = If(mask.code, (statement,))
        (self.writer.body if self.late is None else self.late).append(statement)

    def _hold(self, value: Value) -> Value:
        """Compute a value now that is written later."""
        if self.ends:
            raise Unsupported(
                f"{self.assign.target} is read at other places than it is written, below a limit",
                where=print_assign(self.assign),
                help="assign to a buffer first",
            )
        return self.writer.keep("held", settle(value))

    def _write_register(self, home: Register, point: Point, value: Value, mask: Value | None) -> None:
        old = self.writer.read_register(home, self.assign.index, point)
        value = self._merged(old, value, home.dtype)
        if old.is_vector:
            value = broadcast(value)
            rest = home.sizes[-1] - self.writer.register_point(self.assign.index, point)[-1]
            if point.count is not None and point.count != Integer(rest):
                lanes = Value(call("tcomp_first_lanes", point.count), boolean, True)
                mask = lanes if mask is None else apply_operator("and", [mask, lanes])
        if mask is not None and mask.is_vector:
            value, mask = apply_operator("select", [mask, value, old]), None
        self._emit(_update(old, settle(value)), mask)

    def _merged(self, old: Value, value: Value, dtype: DType) -> Value:
        """The value to store: merged with the old one, and converted to the target's dtype."""
        if self.assign.merge is None:
            return convert(value, dtype)
        wide = state_dtype(dtype)
        merged = fold(self.assign.merge, convert(old, wide), convert(value, wide))
        return convert(merged, dtype)

    def _write_scalar(self, address: Address, value: Value, mask: Value | None) -> None:
        dtype = address.memory.dtype
        pointer = address.only()
        value = self._merged(Value(read_scalar(pointer, dtype), dtype, False), value, dtype)
        self._emit(write_scalar(pointer, value.code, dtype), mask)

    def _write_vector(self, address: Address, point: Point, value: Value, mask: Value | None) -> None:
        dtype = address.memory.dtype
        pointer = address.first()
        old = Value(read_vector(pointer, dtype, point.count), dtype, True)
        value = broadcast(self._merged(old, value, dtype))
        self._emit(write_vector(pointer, value.code, dtype, point.count), mask)

    def _write_each(self, address: Address, point: Point, value: Value, mask: Value | None) -> None:
        """Write lane by lane, where lanes are not neighbours or not all are written."""
        dtype = address.memory.dtype
        value = self.writer.keep("held", settle(value)) if value.is_vector else value
        pointer = address.of_lane("lane")
        old = Value(read_scalar(pointer, dtype), dtype, False)
        mine = replace(value, code=_lane(value), is_vector=False)
        step = write_scalar(pointer, self._merged(old, mine, dtype).code, dtype)
        if mask is not None:
            mask = self.writer.keep("mask", mask)
            step = If(_lane(mask), (step,))
        count: CExpression = Integer(self.lanes)
        condition: CExpression = Binary("<", Name("lane"), count)
        if point.count is not None:
            limit = Binary("<", Name("lane"), point.count)
            condition = limit if isinstance(point.count, Integer) else both([condition, limit])
        self._emit(For("lane", Integer(0), condition, 1, (step,)))


def _lane(value: Value) -> CExpression:
    """One lane of a value, which C counts in `lane`; a mask's lane is true as -1."""
    if not value.is_vector:
        return value.code
    code = Subscript(value.code, Name("lane"))
    return Binary("!=", code, Integer(0)) if value.kind == "bool" else code


def _update(variable: Value, value: Value) -> CStatement:
    """`variable = value`, as `variable += x` where it can be."""
    code = value.code
    if isinstance(variable.code, Unary):
        # One lane of a mask, which is -1 where the value is 1.
        return Set(variable.code.operand, Unary("-", code))
    if isinstance(code, Binary) and code.left == variable.code and code.operator in COMPOUND:
        return Set(variable.code, code.right, COMPOUND[code.operator])
    return Set(variable.code, code)


