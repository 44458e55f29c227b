"""Where the elements of arguments and buffers are, which of them exist, and the loads of a statement.

A load is masked only by what it needs: limits of axes along which its index is not proved to stay inside, conditions for values
outside, and limits beyond which it is to give a stated number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tcomp.codegen.checks import FAULT
from tcomp.codegen.triton.index import IndexWriter, Space
from tcomp.codegen.triton.operators import apply_operator
from tcomp.codegen.triton.scope import Loaded, Memory, State
from tcomp.codegen.triton.tree import Binary, Evaluate, Literal, Name, TExpression, add, call, shape
from tcomp.codegen.triton.types import Value, convert, literal, triton_type
from tcomp.ir.dtypes import boolean, i32, i64
from tcomp.ir.expressions import ZERO, Expr, Index, Load, Number, Ordinal, as_index, zero
from tcomp.ir.index import interval, is_data
from tcomp.ir.tile import Axis
from tcomp.ir.walk import index_variables

FAULTS = f"{FAULT}s"


class Writer(Protocol):
    """What the expressions around a load offer."""

    state: State
    space: Space
    index: IndexWriter
    axes: Mapping[str, Axis]
    guards: frozenset[str]
    """Axes of one point that exists only below a limit."""

    def mask(self, names: Iterable[str]) -> Value | None:
        """Where the points of some axes exist."""

    def versions(self, expression: Expr) -> tuple[tuple[str, int], ...]:
        """The states of all that an expression reads."""

    def axes_of(self, expression: Expr) -> frozenset[str]:
        """The axes that an expression uses."""


@dataclass(slots=True)
class Place:
    """The elements that an index names: pointers, the conditions under which they exist, and the axes whose limits they need."""

    pointer: Value
    conditions: list[Value] = field(default_factory=list)
    limits: set[str] = field(default_factory=set)


class MemoryReader:
    """Finds and loads elements for one statement."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.state = writer.state
        self.values = 0

    def load(self, load: Load, names: tuple[str, ...] = (), fill: Number | None = None) -> Value | None:
        """Load elements. With `fill` the result is that number beyond the limits of the named axes, or None if that is not possible."""
        home = self.state.memory[load.tensor]
        if fill is not None and not frozenset(names) <= self.writer.axes_of(load):
            return None
        place = self.locate(home, load, is_store=False)
        other = zero(home.dtype) if load.outside is None else load.outside
        if fill is not None and place.conditions and not _is_same(other, fill):
            return None
        limits = [mask for name in (*sorted(place.limits), *names) if (mask := self.writer.mask((name,))) is not None]
        conditions = frozenset(part.code for part in (*limits, *place.conditions))
        stated = other if place.conditions else fill
        key = "load", place.pointer.code, self.state.version(load.tensor), load.outside is not None
        for loaded in self.state.find_loads(key):
            if self._serves(loaded, conditions, stated):
                return loaded.value
        mask = self._all_of(self.writer.mask((*place.limits, *names)), place.conditions)
        # What is masked off costs nothing to set to zero, and what is zero there may serve another statement.
        stated = zero(home.dtype) if stated is None and conditions else stated
        value = self.state.keep(load.tensor, self._read(home, place.pointer, mask, stated), ("load", *key, conditions, repr(stated)))
        self.state.bodies[value.depth].loads.setdefault(key, []).append(Loaded(conditions, stated, value))
        return value

    def _serves(self, loaded: Loaded, conditions: frozenset[TExpression], fill: Number | None) -> bool:
        """Whether elements that have been loaded are those wanted: also those at points which do not exist here may be missing."""
        if not conditions <= loaded.conditions or not (fill is None or (loaded.fill is not None and _is_same(loaded.fill, fill))):
            return False
        more = loaded.conditions - conditions
        return not more or more <= {mask.code for name in self.writer.axes if (mask := self.writer.mask((name,))) is not None}

    def _read(self, home: Memory, pointer: Value, mask: Value | None, other: Number | None) -> Value:
        code, axes, depth = pointer.code, pointer.axes, pointer.depth
        keywords: dict[str, TExpression] = {}
        if mask is not None:
            assert other is not None, "what is masked off has a value"
            keywords = {"mask": mask.code, "other": literal(other, home.dtype).code}
            code = self.spread(pointer, mask.axes)
            axes, depth = axes | mask.axes, max(depth, mask.depth)
        depth = max(depth, self.state.certain_depth) if home.is_constant else self.state.body.depth
        return Value(call("tl.load", code, **keywords), home.dtype, axes, depth, 1)

    def spread(self, pointer: Value, axes: frozenset[str]) -> TExpression:
        """Pointers that have a dimension for each of some axes, which a mask beside them has."""
        if axes <= pointer.axes:
            return pointer.code
        return call("tl.broadcast_to", pointer.code, shape(self.shape_of(axes | pointer.axes)))

    def shape_of(self, axes: frozenset[str]) -> tuple[int, ...]:
        """The shape of a tensor that depends on some axes."""
        return tuple(size if name in axes else 1 for name, size in self.writer.space.axes)

    def _all_of(self, mask: Value | None, conditions: list[Value]) -> Value | None:
        for condition in conditions:
            mask = condition if mask is None else apply_operator("and", [mask, condition])
        return mask

    def locate(self, home: Memory, access: Load, is_store: bool, wanted: Value | None = None) -> Place:
        """The elements that an access names. Of a store, indices that are data count as faults only where it is wanted."""
        place = Place(Value(Name(home.pointer), home.dtype))
        known: dict[str, Value] = {}
        flat = ZERO
        for dimension, (index, extent, stride) in enumerate(zip(access.index, home.shape, home.strides, strict=True)):
            if is_data(index):
                index = self._place_by_data(access, dimension, extent, is_store, wanted, place, known)
            elif access.outside is not None:
                self._require(self.writer.index.value(index), index, extent, place)
            elif not self.writer.index.is_inside(index, extent):
                place.limits |= self.writer.guards | (index_variables(index) & set(self.writer.space.names))
            flat = flat + index * stride
        place.pointer = self._point(home, flat, known)
        return place

    def _point(self, home: Memory, flat: Index, known: Mapping[str, Value]) -> Value:
        """Pointers to elements.

        Where 32 bits hold the whole offset it is added up before it is widened, which takes half the registers; elsewhere the
        scalar part, the only wide one as a rule, moves the pointer.
        """
        scalar, tensor = self.writer.index.split(flat, known)
        parts = [part for part in (scalar, tensor) if part is not None]
        depth = max((part.depth for part in parts), default=0)
        if len(parts) == 2 and i64 not in (parts[0].dtype, parts[1].dtype) and self.writer.index.is_narrow(flat):
            codes = [add(parts[1].code, parts[0].code)]
        else:
            codes = [part.code for part in parts]
        code: TExpression = Name(home.pointer)
        for part in codes:
            code = add(code, part)
        return Value(code, home.dtype, frozenset[str]() if tensor is None else tensor.axes, depth, 1)

    def _require(self, value: Value, index: Index, extent: Index, place: Place) -> None:
        """Elements exist only where an index is inside."""
        key = "at", index, self.writer.space.axes, value.code
        if not self.writer.index.is_natural(index):
            value = self.state.find(key) or self.state.settle("at", value, key, is_shared=True)
            place.conditions.append(_compare(">=", value, Value(Literal(0), i32)))
        if not self.writer.index.is_below(index, extent):
            place.conditions.append(_compare("<", value, self.writer.index.value(extent)))

    def _place_by_data(
        self,
        access: Load,
        dimension: int,
        extent: Index,
        is_store: bool,
        wanted: Value | None,
        place: Place,
        known: dict[str, Value],
    ) -> Index:
        """An index that is data, checked, as a name for what it is then."""
        index = access.index[dimension]
        number = self.state.checks.get((access.tensor, dimension, is_store))
        if access.outside is not None:
            value = self.writer.index.value(index)
            self._require(value, index, extent, place)
        elif number is None:
            value = self.writer.index.value(index)
        else:
            value, inside = self._checked(access.tensor, index, extent, number, wanted)
            may_be_empty = (interval(extent, self.state.bounds)[0] or 0) < 1
            if is_store or may_be_empty:
                place.conditions.append(inside)
            else:
                value = apply_operator("select", [inside, convert(value, i64), literal(0, i64)])
        high = interval(extent, self.state.bounds)[1]
        if high is not None and high < 2**31:
            value = convert(value, i32)
        self.values += 1
        name = f"${self.values}"
        known[name] = value if not value.weight else self._named(f"{access.tensor}_at", value)
        self.writer.index.limit(name, extent)
        return as_index(name)

    def _named(self, base: str, value: Value) -> Value:
        return self.state.keep(base, value, ("named", value.code))

    def _checked(self, tensor: str, index: Index, extent: Index, number: int, wanted: Value | None) -> tuple[Value, Value]:
        """The value of an index and where it is inside; where it is not, the fault is noted."""
        whole = Ordinal(index, i64)
        value_key = "index by data", whole, self.writer.space.axes, self.writer.versions(whole)
        inside_key = "inside", number, None if wanted is None else wanted.code, *value_key
        value = self.state.find(value_key)
        if value is None:
            value = self.writer.index.value(index)
            value = self.state.keep(f"{tensor}_at", value, value_key) if value.weight else value
        inside = self.state.find(inside_key)
        if inside is None:
            low = _compare(">=", value, Value(Literal(0), i32))
            inside = apply_operator("and", [low, _compare("<", value, self.writer.index.value(extent))])
            inside = self.state.keep(f"{tensor}_inside", inside, inside_key)
            self._note_fault(inside, number, self.writer.axes_of(whole), wanted)
        return value, inside

    def _note_fault(self, inside: Value, number: int, axes: frozenset[str], wanted: Value | None) -> None:
        outside = apply_operator("not", [inside])
        axes = axes if wanted is None else axes | wanted.axes
        for mask in (wanted, self.writer.mask(axes | self.writer.guards)):
            if mask is not None:
                outside = apply_operator("and", [mask, outside])
        pointer: TExpression = add(Name(FAULTS), Literal(number))
        if outside.axes:
            numbers = call("tl.full", shape(self.shape_of(outside.axes)), Literal(number), triton_type(i32))
            pointer = Binary("+", Name(FAULTS), numbers)
        note = call("tl.store", pointer, Literal(1), mask=outside.code)
        depth = max(outside.depth, self.state.certain_depth)
        self.state.bodies[depth].statements.append(Evaluate(note))


def _is_same(a: Number, b: Number) -> bool:
    return repr(a) == repr(b) or a == b == 0


def _compare(operator: str, left: Value, right: Value) -> Value:
    return replace(
        left,
        code=Binary(operator, left.code, right.code),
        dtype=boolean,
        axes=left.axes | right.axes,
        depth=max(left.depth, right.depth),
        weight=left.weight + right.weight + 1,
    )
