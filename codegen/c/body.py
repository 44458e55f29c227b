"""The statements of a kernel as C: loops, buffers, blocks, and where tails are split off."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import assert_never

from tcomp.codegen.c.expressions import Context
from tcomp.codegen.c.index import scalar_code
from tcomp.codegen.c.layout import plan_layout
from tcomp.codegen.c.limits import Body, Limit, drop_certain, find_limits, set_limit, tail_of
from tcomp.codegen.c.memory import Home, Memory, Register
from tcomp.codegen.c.statements import write_assign
from tcomp.codegen.c.tree import (
    Binary,
    Braces,
    CExpression,
    Convert,
    CStatement,
    Declare,
    DeclareArray,
    Evaluate,
    For,
    If,
    Integer,
    Name,
    Scope,
    add,
    both,
    call,
)
from tcomp.codegen.c.types import c_type, storage_of
from tcomp.codegen.launch import ALIGNMENT, buffer_bytes
from tcomp.codegen.names import Names
from tcomp.ir.expressions import Index, as_index
from tcomp.ir.index import interval
from tcomp.ir.tile import Argument, Assign, Block, Buffer, Kernel, Loop, Prefetch, Scan, contiguous_strides, walk_statements
from tcomp.ir.tile_scope import Place


@dataclass(frozen=True, slots=True)
class BodyScope:
    """What the statements of a body can see: names in the IR, their homes in C, and the C identifiers in use."""

    context: Context
    places: dict[str, Place]
    names: Names

    def enter(self, loop: Loop) -> BodyScope:
        """The scope inside a loop."""
        names = Names(self.names)
        context = self.context
        low = interval(loop.start, context.bounds)[0]
        extents = dict(context.bounds.extents)
        if low is not None and low >= 0:
            extents[loop.variable] = loop.stop
        variables = {**context.names, loop.variable: names.take(loop.variable)}
        bounds = replace(context.bounds, extents=extents)
        return BodyScope(replace(context, names=variables, bounds=bounds), self.places, names)

    def inner(self) -> BodyScope:
        """A scope inside this one in which names can be declared."""
        return replace(self, names=Names(self.names))

    def roll(self, body: Body) -> BodyScope:
        """The scope of a body all of whose limits stay: its axes with limits become loops and its blocks arrays."""
        arguments = tuple(place for place in self.places.values() if isinstance(place, Argument))
        layout = plan_layout(Kernel("rolled", arguments, body), self.context.layout.lanes, rolls_limits=True)
        return replace(self, context=replace(self.context, layout=layout))

    def declare(self, place: Buffer | Block, home: Home) -> BodyScope:
        """This scope with one more buffer or block."""
        context = replace(self.context, homes={**self.context.homes, place.name: home})
        return BodyScope(context, {**self.places, place.name: place}, self.names)


@dataclass(slots=True)
class BodyWriter:
    """Writes bodies; remembers what scratch memory it gave out."""

    in_scratch: bool
    offsets: dict[Buffer, int] = field(default_factory=dict)
    used: int = 0

    def branch(self, body: Body, scope: BodyScope, loops: tuple[Loop, ...]) -> list[CStatement]:
        """A body whose loops have just been entered: full where all limits known here allow it, else its tails."""
        context = scope.context
        limits = find_limits(body, frozenset(context.names))
        body, limits = drop_certain(body, limits, context.bounds)
        if not limits:
            return self.body(body, scope, is_split=True)
        first = limits[0]
        full, tail = set_limit(body, first.limit, None), tail_of(first, loops, context.bounds)
        if tail == 0:
            return self.branch(full, scope, loops)
        condition = is_full(first, context)
        then = self.branch(full, scope.inner(), loops)
        if tail is None:
            otherwise = self.body(body, scope.inner().roll(body), is_split=False)
        else:
            otherwise = self.branch(set_limit(body, first.limit, tail), scope.inner(), loops)
        return [If(condition, tuple(then), tuple(otherwise))]

    def body(self, body: Body, scope: BodyScope, is_split: bool) -> list[CStatement]:
        """Statements in order. With `is_split`, loops inside split off their tails."""
        written: list[CStatement] = []
        for statement in body:
            match statement:
                case Loop():
                    written += self._loop(statement, scope, is_split)
                case Buffer():
                    declared, home = self._buffer(statement, scope)
                    written.append(declared)
                    scope = scope.declare(statement, home)
                case Block():
                    declarations, home = self._block(statement, scope, body)
                    written += declarations
                    scope = scope.declare(statement, home)
                case Prefetch():
                    written.append(_prefetch(statement, scope.context))
                case Assign():
                    written += write_assign(statement, scope.context, scope.places, scope.names)
                case Scan():
                    raise AssertionError("kernels with scans are refused before")
                case _:
                    assert_never(statement)
        if len(written) == 1 and isinstance(written[0], Scope):
            return list(written[0].body)
        return written

    def _loop(self, loop: Loop, scope: BodyScope, is_split: bool) -> list[CStatement]:
        outside, inside = scope.context, scope.enter(loop)
        variable = inside.context.names[loop.variable]
        start = scalar_code(loop.start, outside.names, outside.bounds)
        stop = scalar_code(loop.stop, outside.names, outside.bounds)
        below: CExpression = Binary("<", Name(variable), stop)
        limits = find_limits(loop.body, frozenset(inside.context.names)) if is_split else []
        body, limits = drop_certain(loop.body, limits, inside.context.bounds)
        tails = [tail_of(limit, (loop,), outside.bounds) for limit in limits]
        full = body
        for limit in limits:
            full = set_limit(full, limit.limit, None)
        if all(tail == 0 for tail in tails):
            return [For(variable, start, below, loop.step, tuple(self.body(full, inside, is_split)))]
        conditions = [is_full(limit, inside.context) for limit in limits]
        if any(limit.limit != loop.stop - as_index(loop.variable) for limit in limits):
            conditions.insert(0, below)
        if tails[0] is not None and len(limits) == 1:
            rest = self.body(set_limit(body, limits[0].limit, tails[0]), inside.inner(), is_split)
        else:
            rest = self.body(body, inside.inner(), is_split=False)
        return [
            Scope(
                (
                    Declare("int64_t", variable, start),
                    For(variable, None, both(conditions), loop.step, tuple(self.body(full, inside.inner(), is_split))),
                    For(variable, None, below, loop.step, tuple(rest)),
                )
            )
        ]

    def _buffer(self, buffer: Buffer, scope: BodyScope) -> tuple[CStatement, Home]:
        name = scope.names.take(buffer.name)
        shape = tuple(map(as_index, buffer.shape))
        home = Memory(name, buffer.dtype, shape, contiguous_strides(shape))
        element = storage_of(buffer.dtype).memory
        if not self.in_scratch:
            return DeclareArray(element, name, prod(buffer.shape), alignment=ALIGNMENT), home
        if buffer not in self.offsets:
            self.offsets[buffer] = self.used
            self.used += buffer_bytes(buffer)
        place = add(Name("scratch"), Integer(self.offsets[buffer]))
        return Declare(f"{element}* const restrict", name, Convert(f"{element}*", place)), home

    def _block(self, block: Block, scope: BodyScope, body: Body) -> tuple[list[CStatement], Home]:
        """Declare a block of a body; where an assignment keeps some lanes of a register as they are, they have to be something."""
        layout = scope.context.layout
        sizes = tuple(axis.size for axis in block.axes)
        is_vector = block in layout.vectors
        if not is_vector and block not in layout.scalars:
            name = scope.names.take(block.name)
            shape = tuple(map(as_index, sizes))
            array = DeclareArray(storage_of(block.dtype).memory, name, prod(sizes), alignment=ALIGNMENT)
            return [array], Memory(name, block.dtype, shape, contiguous_strides(shape))
        steps = [1] * len(sizes)
        if is_vector:
            steps[-1] = layout.lanes
        points = list(product(*(range(0, size, step) for size, step in zip(sizes, steps))))
        home = Register(scope.names.take_family(block.name, points), block.dtype, sizes, is_vector)
        start = Braces((Integer(0),)) if is_vector and _is_partly_assigned(block, body) else None
        return [Declare(c_type(block.dtype, is_vector), home.variable(point), start) for point in points], home


def _is_partly_assigned(block: Block, body: Body) -> bool:
    """Whether an assignment to a block leaves out some of its elements along the lanes."""
    assigns = (a for a in walk_statements(body) if isinstance(a, Assign) and a.target == block.name)
    return any(a.where is not None or not _is_whole(a, block.axes[-1].size) for a in assigns)


def _is_whole(assign: Assign, size: int) -> bool:
    """Whether what an assignment writes along the last axis of its target is all there is."""
    axes = {axis.name: axis for axis in assign.axes if assign.index[-1] == as_index(axis.name)}
    return any(axis.size == size and axis.limit is None for axis in axes.values())


def _prefetch(statement: Prefetch, context: Context) -> CStatement:
    """A hint toward the second-level cache; the address may lie outside the tensor, which no processor minds."""
    home = context.homes[statement.tensor]
    assert isinstance(home, Memory)
    flat = as_index(0)
    for index, stride in zip(statement.index, home.strides, strict=True):
        flat = flat + index * stride
    address = add(Name(home.name), scalar_code(flat, context.names, context.bounds))
    return Evaluate(call("__builtin_prefetch", address, Integer(0), Integer(2)))


def is_full(limit: Limit, context: Context) -> CExpression:
    """Whether all points below a limit exist, with what is subtracted brought to the left: `k <= K - 4`."""
    gap = limit.limit - limit.size
    left = Index(tuple((monomial, -c) for monomial, c in gap.terms if c < 0), 0)
    right = Index(tuple((monomial, c) for monomial, c in gap.terms if c > 0), gap.constant)
    codes = [scalar_code(side, context.names, context.bounds) for side in (left, right)]
    return Binary("<=", codes[0], codes[1])
