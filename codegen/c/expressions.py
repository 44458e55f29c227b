"""Scalar expressions at one point of a statement, as C: loads emitted once, the rest nested into one expression.

A part of an expression that does not depend on some axis is computed once for all points of that axis, in the outermost scope
where what it depends on exists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import assert_never

from tcomp.codegen.c.index import LANE, NOTHING, LinearIndex, Resolved, lane_code, lane_dtype, linear_index, resolve, scalar_code
from tcomp.codegen.c.layout import Layout
from tcomp.codegen.c.memory import Address, Home, Memory, Register, read_scalar, read_vector
from tcomp.codegen.c.operators import apply_operator
from tcomp.codegen.c.pairs import PARTS, PairAddress, gather_part, has_pairs, read_part
from tcomp.codegen.c.tree import (
    Binary,
    Braces,
    CExpression,
    Conditional,
    CStatement,
    Declare,
    For,
    If,
    Integer,
    Name,
    Set,
    Subscript,
    Unary,
    both,
    call,
)
from tcomp.codegen.c.types import VECTOR_TYPES, Value, broadcast, c_type, convert, literal, named, storage_of
from tcomp.codegen.checks import FAULT
from tcomp.codegen.names import Names
from tcomp.ir.dtypes import DType, boolean, i32, i64
from tcomp.ir.expressions import ZERO, Apply, Cast, Constant, Expr, Index, Load, Ordinal, as_index, zero
from tcomp.ir.index import Bounds, interval, is_below, is_data, is_inside
from tcomp.ir.walk import index_variables, variables, walk

LONGEST = 8
"""Operations nested into one C expression before it gets a name."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a statement can see: the homes of tensors, C names of variables, and the ranges of these.

    `checks` are the numbers of the kernel's checks of indices that are data: by tensor, dimension, and whether it is stored to.
    """

    layout: Layout
    homes: Mapping[str, Home]
    names: Mapping[str, str]
    bounds: Bounds
    checks: Mapping[tuple[str, int, bool], int]


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a statement's axes: the number of each unrolled axis, for the lane axis that of the first lane.

    `count` is how many lanes exist where not all do.
    """

    at: Mapping[str, int]
    count: CExpression | None = None


@dataclass(slots=True, eq=False)
class Stage:
    """A scope that is being written: its statements, what they computed, and the axes that exist only inside it."""

    body: list[CStatement]
    axes: frozenset[str]
    is_loop: bool = False
    memo: dict[object, Value] = field(default_factory=dict)


class ExpressionWriter:
    """Writes the expressions of one statement."""

    def __init__(self, context: Context, names: Names, axes: frozenset[str], lane: str | None, roots: list[Expr]) -> None:
        self.context = context
        self.names = names
        self.axes = axes
        self.lane = lane
        self.stages = [Stage([], frozenset())]
        self.depends: dict[Expr, tuple[frozenset[str], tuple[str, ...]]] = {}
        self.flat: dict[tuple[str, tuple[Index, ...]], Index] = {}
        self.linear: dict[Index, LinearIndex | None] = {}
        self.uses: Counter[Expr] = Counter(part for root in roots for part in walk(root) if isinstance(part, (Apply, Cast)))

    @property
    def body(self) -> list[CStatement]:
        """The statements of the innermost scope."""
        return self.stages[-1].body

    @contextmanager
    def stage(self, body: list[CStatement], axes: frozenset[str] = frozenset(), is_loop: bool = False) -> Iterator[None]:
        """Write into an inner scope, in which points of `axes` exist that do not outside."""
        self.stages.append(Stage(body, axes, is_loop))
        yield
        self.stages.pop()

    def value(self, expression: Expr, point: Point) -> Value:
        """The code of an expression at a point."""
        match expression:
            case Constant(number, dtype):
                return literal(number, dtype)
            case Load():
                return self._load(expression, point)
            case Ordinal(index, dtype):
                return self._ordinal(index, dtype, point)
            case Cast(dtype, argument):
                return self._shared(expression, point, lambda: convert(self.value(argument, point), dtype))
            case Apply(operator, (Ordinal() as left, Ordinal() as right)) if operator in ("lt", "le", "gt", "ge"):
                return self._shared(expression, point, lambda: self._compare(operator, left, right, point))
            case Apply(operator, arguments):
                return self._shared(
                    expression, point, lambda: apply_operator(operator, [self.value(a, point) for a in arguments])
                )
            case _:
                assert_never(expression)

    def scalar_index(self, index: Index, point: Point) -> CExpression:
        """The int64_t code of an index without lanes."""
        at = self.resolve(index, point)
        return scalar_code(at.index, self.context.names, self.context.bounds, at.scalars)

    def resolve(self, index: Index, point: Point) -> Resolved:
        """An index at a point."""
        if index not in self.linear:
            self.linear[index] = linear_index(index, self.axes)
        linear = self.linear[index]
        if linear is not None and linear.coefficients and any(axis not in point.at for axis, _ in linear.coefficients):
            linear = None
        if linear is not None:
            return linear.resolve(point.at, self.lane)
        return self._resolve(index, point, NOTHING)

    def _resolve(self, index: Index, point: Point, known: Mapping[str, Value]) -> Resolved:
        numbers = {name: as_index(number) for name, number in point.at.items()}
        if self.lane in numbers:
            numbers[self.lane] = numbers[self.lane] + as_index(LANE)
        return resolve(index, numbers, self.context.bounds, lambda e: convert(self.value(e, point), i64), known)

    def keep(self, base: str, value: Value, stage: Stage | None = None) -> Value:
        """Give a value a name."""
        name = self.names.number(base)
        (stage or self.stages[-1]).body.append(Declare(f"const {value.type}", name, value.code))
        return named(name, value)

    def dependencies(self, expression: Expr) -> frozenset[str]:
        """The statement's axes that an expression uses."""
        return self._dependencies(expression)[0]

    def _dependencies(self, expression: Expr) -> tuple[frozenset[str], tuple[str, ...]]:
        if expression not in self.depends:
            used = frozenset(variables(expression)) & self.axes
            self.depends[expression] = used, tuple(sorted(used))
        return self.depends[expression]

    def find_stage(self, needed: frozenset[str]) -> Stage:
        """The outermost scope in which the axes exist; never outside a loop, whose variable or effects may matter."""
        for stage in reversed(self.stages):
            if stage.is_loop or stage.axes & needed:
                return stage
        return self.stages[0]

    def key(self, expression: Expr, point: Point) -> object:
        """What tells apart the values of an expression at different points."""
        return expression, tuple(point.at.get(name) for name in self._dependencies(expression)[1])

    def _shared(self, expression: Expr, point: Point, compute: Callable[[], Value]) -> Value:
        """Compute an operation; name it if it is used again, here or at points that differ only in axes it does not use."""
        needed = self.dependencies(expression)
        key = self.key(expression, point)
        stage = self.find_stage(needed)
        if key in stage.memo:
            return stage.memo[key]
        value = compute()
        is_shared = self.uses[expression] > 1 or needed != self.axes
        if value.weight and (is_shared or value.weight > LONGEST):
            base = expression.operator if isinstance(expression, Apply) else str(value.dtype) + "_value"
            value = self.keep(base, value, stage)
        stage.memo[key] = value
        return value

    def _ordinal(self, index: Index, dtype: DType, point: Point) -> Value:
        at = self.resolve(index, point)
        names, bounds = self.context.names, self.context.bounds
        if not at.has_lanes:
            return convert(Value(scalar_code(at.index, names, bounds, at.scalars), i64, False), dtype)
        lanes = lane_dtype(at.index, at.values, bounds)
        return convert(lane_code(at.index, names, bounds, at.values, lanes), dtype)

    def _compare(self, operator: str, left: Ordinal, right: Ordinal, point: Point) -> Value:
        """Compare two indices; where they run against each other lane by lane the answer is a number of first lanes."""
        gap = self.resolve(left.index - right.index, point)
        if gap.stride not in (as_index(1), as_index(-1)) or left.dtype != i64:
            return apply_operator(operator, [self.value(left, point), self.value(right, point)])
        # gap = start + lane: it is below 0 in the first -start lanes, and at most 0 in one more. gap = start - lane mirrors that.
        start = gap.same
        rises = gap.stride == as_index(1)
        is_first = (operator in ("lt", "le")) == rises
        count = -start if rises else start
        if operator in (("le", "gt") if rises else ("ge", "lt")):
            count = count + 1
        lanes = scalar_code(count, self.context.names, self.context.bounds, gap.scalars)
        mask: CExpression = call("tcomp_first_lanes", lanes)
        return Value(mask if is_first else Unary("~", mask), boolean, True, weight=1)

    def _load(self, load: Load, point: Point) -> Value:
        home = self.context.homes[load.tensor]
        if isinstance(home, Register):
            return self.read_register(home, load.index, point)
        key = self.key(load, point)
        stage = self.find_stage(self.dependencies(load))
        if key not in stage.memo:
            with self._standing_in(stage):
                stage.memo[key] = self._read_memory(home, load, point)
        return stage.memo[key]

    @contextmanager
    def _standing_in(self, stage: Stage) -> Iterator[None]:
        """Write into a scope further out: whatever a value is computed from has to stand there before it."""
        inner, self.stages = self.stages, self.stages[: self.stages.index(stage) + 1]
        yield
        self.stages = inner

    def register_point(self, index: tuple[Index, ...], point: Point) -> tuple[int, ...]:
        """Which element of a block an index names; with lanes, that of the first lane."""
        return tuple(self.resolve(i, point).same.constant for i in index)

    def read_register(self, home: Register, index: tuple[Index, ...], point: Point) -> Value:
        """A variable of a block, or one lane of a variable where the index is the same in all lanes."""
        element = self.register_point(index, point)
        if not home.is_vector:
            return Value(Name(home.variable(element)), home.dtype, False)
        if self.lane is not None and self.lane in index_variables(index[-1]):
            return Value(Name(home.variable(element)), home.dtype, True)
        lane = element[-1] % self.context.layout.lanes
        code: CExpression = Subscript(Name(home.variable((*element[:-1], element[-1] - lane))), Integer(lane))
        return Value(Unary("-", code) if home.dtype.kind == "bool" else code, home.dtype, False)

    def address(self, home: Memory, index: tuple[Index, ...], point: Point) -> Address:
        """The address that an index names."""
        key = home.name, index
        if key not in self.flat:
            flat = as_index(0)
            for i, stride in zip(index, home.strides, strict=True):
                flat = flat + i * stride
            self.flat[key] = flat
        return Address(home, self.resolve(self.flat[key], point), self.context.names, self.context.bounds)

    def _checked_address(self, home: Memory, index: tuple[Index, ...], checked: Mapping[int, Value], point: Point) -> Address:
        """The address that an index names, of which some dimensions have been computed and checked."""
        known: dict[str, Value] = {}
        flat = as_index(0)
        for dimension, (i, stride) in enumerate(zip(index, home.strides, strict=True)):
            if dimension in checked:
                known[f"$checked{dimension}"] = checked[dimension]
                i = as_index(f"$checked{dimension}")
            flat = flat + i * stride
        return Address(home, self._resolve(flat, point, known), self.context.names, self.context.bounds)

    def _check_indices(self, home: Memory, load: Load, point: Point) -> dict[int, Value]:
        """Check the indices of a load that are data; what they are after that, by dimension."""
        checked: dict[int, Value] = {}
        for dimension, (i, extent) in enumerate(zip(load.index, home.shape, strict=True)):
            number = self.context.checks.get((load.tensor, dimension, False))
            if load.outside is not None or number is None or not is_data(i):
                continue
            whole = Ordinal(i, i64)
            key = number, self.key(whole, point)
            stage = self.find_stage(self.dependencies(whole))
            if key not in stage.memo:
                with self._standing_in(stage):
                    stage.memo[key] = self.keep(f"{load.tensor}_at", self._checked(i, extent, number, point))
            checked[dimension] = stage.memo[key]
        return checked

    def _checked(self, index: Index, extent: Index, number: int, point: Point) -> Value:
        at = self.resolve(index, point)
        names, bounds = self.context.names, self.context.bounds
        rest = Name(FAULT), Integer(number)
        limit = scalar_code(extent, names, bounds)
        if not at.has_lanes:
            return Value(call("tcomp_checked_i64", scalar_code(at.index, names, bounds, at.scalars), limit, *rest), i64, False)
        lanes = lane_code(at.index, names, bounds, at.values, i64)
        return Value(call("tcomp_checked_vi64", lanes.code, limit, self._existing(point), *rest), i64, True)

    def _existing(self, point: Point) -> CExpression:
        """The mask of the lanes that exist."""
        return call("tcomp_first_lanes", Integer(self.context.layout.lanes) if point.count is None else point.count)

    def inside(self, home: Memory, store: Load, point: Point, wanted: Value | None) -> Value | None:
        """Where to store: where it is wanted, and the indices that are data are inside. None is everywhere."""
        names, bounds = self.context.names, self.context.bounds
        for dimension, (i, extent) in enumerate(zip(store.index, home.shape, strict=True)):
            number = self.context.checks.get((store.tensor, dimension, True))
            if number is None or not is_data(i):
                continue
            at = self.resolve(i, point)
            rest = Name(FAULT), Integer(number)
            limit = scalar_code(extent, names, bounds)
            if at.has_lanes:
                lanes = lane_code(at.index, names, bounds, at.values, i64)
            else:
                lanes = Value(scalar_code(at.index, names, bounds, at.scalars), i64, False)
            if lanes.is_vector or (wanted is not None and wanted.is_vector):
                mask = self._existing(point) if wanted is None else Binary("&", broadcast(wanted).code, self._existing(point))
                wanted = Value(call("tcomp_inside_vi64", broadcast(lanes).code, limit, mask, *rest), boolean, True)
            else:
                code = call("tcomp_inside_i64", lanes.code, limit, *rest)
                wanted = Value(code if wanted is None else Binary("&&", wanted.code, code), boolean, False)
        return wanted

    def _read_memory(self, home: Memory, load: Load, point: Point) -> Value:
        checked = self._check_indices(home, load, point)
        if any((interval(home.shape[dimension], self.context.bounds)[0] or 0) < 1 for dimension in checked):
            # There may be no element 0 to read instead.
            load = replace(load, outside=zero(home.dtype))
            checked = {}
        address = self._checked_address(home, load.index, checked, point) if checked else self.address(home, load.index, point)
        same, varying = self._inside(home, load, point)
        base, dtype = load.tensor, home.dtype
        outside = None if load.outside is None else literal(load.outside, dtype)
        if address.stride == as_index(0) and varying is None:
            code = read_scalar(address.only(), dtype)
            if same is not None and outside is not None:
                code = Conditional(same, code, outside.code)
            return self.keep(base, Value(code, dtype, False))
        pair = None if checked else self._find_pair(home, load, point)
        read_all = _read_neighbours(address, pair)
        if read_all is not None and varying is None:
            value = Value(read_all(point.count), dtype, True)
        else:
            mask = varying
            if point.count is not None:
                first = call("tcomp_first_lanes", point.count)
                mask = first if mask is None else Binary("&", mask, first)
            gathered = gather_part(pair.start.lanes(), pair.part, dtype) if pair is not None and mask is None else None
            value = self._read_lanes(address, base, dtype, mask, same, read_all) if gathered is None else Value(gathered, dtype, True)
        if outside is None:
            return self.keep(base, value)
        lanes = broadcast(outside)
        if varying is not None and repr(load.outside) not in ("0", "0.0", "False"):
            value = replace(value, code=call(f"tcomp_select_{VECTOR_TYPES[value.kind]}", varying, value.code, lanes.code))
        if same is not None:
            value = replace(value, code=Conditional(same, value.code, lanes.code))
        return self.keep(base, value)

    def _find_pair(self, home: Memory, load: Load, point: Point) -> PairAddress | None:
        """The pairs of which a load reads one and the same part in all lanes, which lie wherever lanes say; None if it does not."""
        part = self.resolve(load.index[-1], point) if has_pairs(home) else None
        if part is None or part.values or not part.index.is_constant:
            return None
        return PairAddress(self.address(home, (*load.index[:-1], ZERO), point), part.index.constant)

    def _read_lanes(
        self,
        address: Address,
        base: str,
        dtype: DType,
        mask: CExpression | None,
        same: CExpression | None,
        read_all: Callable[[CExpression | None], CExpression] | None,
    ) -> Value:
        """Elements that are not known to be neighbours or to exist: all at once if at run time they are and do, else one by one."""
        storage = storage_of(dtype)
        vector = VECTOR_TYPES[storage.kind]
        if mask is not None:
            mask = self.keep("mask", Value(mask, boolean, True)).code
        if storage.suffix:
            return self._read_each(address, base, dtype, mask, same)
        pointer, offsets = address.lanes()
        suffix = VECTOR_TYPES[offsets.kind][1:]
        if mask is None:
            return Value(call(f"tcomp_gather_{vector}_{suffix}", pointer.code, offsets.code), dtype, True)
        code: CExpression = call(f"tcomp_gather_masked_{vector}_{suffix}", pointer.code, offsets.code, mask)
        if read_all is not None:
            code = Conditional(call("tcomp_all", mask), read_all(None), code)
        return Value(code, dtype, True)

    def _read_each(
        self, address: Address, base: str, dtype: DType, mask: CExpression | None, same: CExpression | None
    ) -> Value:
        name = self.names.number(base)
        vector = c_type(dtype, True)
        self.body.append(Declare(vector, name, Braces((Integer(0),))))
        element = read_scalar(address.of_lane("lane"), dtype)
        if dtype.kind == "bool":
            element = Unary("-", element)
        step: CStatement = Set(Subscript(Name(name), Name("lane")), element)
        conditions = [c for c in (same, None if mask is None else Subscript(mask, Name("lane"))) if c is not None]
        if conditions:
            step = If(both(conditions), (step,))
        self.body.append(For("lane", Integer(0), Binary("<", Name("lane"), Integer(self.context.layout.lanes)), 1, (step,)))
        return Value(Name(name), dtype, True)

    def _inside(self, home: Memory, load: Load, point: Point) -> tuple[CExpression | None, CExpression | None]:
        """The conditions under which a load with an outside value is inside: one for all lanes, and a mask; None if proved."""
        if load.outside is None:
            return None, None
        names, bounds = self.context.names, self.context.bounds
        same: list[CExpression] = []
        masks: list[CExpression] = []
        for i, extent in zip(load.index, home.shape, strict=True):
            at = self.resolve(i, point)
            if not at.values and is_inside(at.index, extent, bounds):
                continue
            codes = at.scalars
            limit = scalar_code(extent, names, bounds)
            if not at.has_lanes:
                code = scalar_code(at.index, names, bounds, codes)
                if not is_natural_index(at.index, bounds):
                    same.append(Binary(">=", code, Integer(0)))
                if at.values or not is_below(at.index, extent, bounds):
                    same.append(Binary("<", code, limit))
            elif at.stride == as_index(1):
                start = at.same
                if at.values or not is_below(at.index, extent, bounds):
                    masks.append(call("tcomp_first_lanes", scalar_code(extent - start, names, bounds, codes)))
                if not is_natural_index(at.index, bounds):
                    masks.append(Unary("~", call("tcomp_first_lanes", scalar_code(-start, names, bounds, codes))))
            else:
                dtype = i32 if lane_dtype(at.index, at.values, bounds) == i32 and lane_dtype(extent, {}, bounds) == i32 else i64
                lanes = lane_code(at.index, names, bounds, at.values, dtype)
                masks.append(call(f"tcomp_ge_v{dtype}", lanes.code, broadcast(literal(0, dtype)).code))
                masks.append(call(f"tcomp_lt_v{dtype}", lanes.code, broadcast(Value(limit, dtype, False)).code))
        mask: CExpression | None = None
        for part in masks:
            mask = part if mask is None else Binary("&", mask, part)
        return both(same) if same else None, mask



def _read_neighbours(address: Address, pair: PairAddress | None) -> Callable[[CExpression | None], CExpression] | None:
    """How all lanes, or the first so many, are read at once; None if they are no neighbours, nor one part of pairs that are."""
    dtype = address.memory.dtype
    if address.stride == as_index(1):
        return lambda count: read_vector(address.first(), dtype, count)
    if pair is None or address.stride != as_index(PARTS):
        return None
    return lambda count: read_part(pair.start.first(), pair.part, dtype, count)


def is_natural_index(index: Index, bounds: Bounds) -> bool:
    """Whether an index is proved not to be negative."""
    low = interval(index, bounds)[0]
    return low is not None and low >= 0
