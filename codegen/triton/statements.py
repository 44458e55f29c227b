"""One assign in Triton: what it computes at all its points at once, folded, and written where its points exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from tcomp.codegen.triton.atomics import write_atomic
from tcomp.codegen.triton.contraction import Dot, find_dot
from tcomp.codegen.triton.dot import DotWriter, Precision
from tcomp.codegen.triton.expressions import ExpressionWriter, both
from tcomp.codegen.triton.index import Space
from tcomp.codegen.triton.operators import fold, fold_axis, identity
from tcomp.codegen.triton.scope import Register, State
from tcomp.codegen.triton.tree import Evaluate, Set, TExpression, call, shape
from tcomp.codegen.triton.types import Value, literal, operand, retype, settle, triton_type
from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import compute_dtype
from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import ZERO, Cast, Expr, Index, Load
from tcomp.ir.tile import Assign, print_assign
from tcomp.ir.walk import substitute, substitute_index

MOST_ELEMENTS = 2**20
"""How many elements a tensor of Triton may have."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How to write a statement."""

    precision: Precision
    """How tensor cores multiply floats of 32 bits."""
    dead: frozenset[str] = frozenset()
    """The axes beyond whose limits nobody looks at what is written."""
    waits: bool = False
    """Whether threads wait for one another between what the statement loads and what it stores."""


def write_assign(assign: Assign, state: State, manner: Manner) -> None:
    """Write a statement into the innermost body."""
    _AssignWriter(assign, state, manner).write()


class _AssignWriter:
    def __init__(self, assign: Assign, state: State, manner: Manner) -> None:
        self.assign = _without_single_points(assign)
        self.state = state
        self.manner = manner
        self.axes = {axis.name: axis for axis in assign.axes + assign.reduced}
        self.dtype = expression_dtype(assign.expression, state.dtypes)
        self.register = state.registers.get(assign.target)
        outer = [axis.name for axis in assign.axes if axis.size > 1]
        if self.register is not None:
            outer = [name for name, _ in self.register.axes if name in outer]
        self.outer = outer
        self.inner = [axis.name for axis in assign.reduced if axis.size > 1]
        self.dot = find_dot(self.assign, state.dtypes)
        self.writer = self._expressions([*outer, *self.inner])
        self.target = self._expressions(outer) if self.inner else self.writer

    def _space(self, names: Sequence[str]) -> Space:
        return Space(tuple((name, self.state.padded(self.axes[name])) for name in names))

    def _expressions(self, names: Sequence[str]) -> ExpressionWriter:
        """A writer of the statement's expressions with some of its axes as dimensions."""
        roots: list[Expr] = [self.assign.expression, *([self.assign.where] if self.assign.where is not None else [])]
        return ExpressionWriter(self.state, self._space(names), self.axes, roots)

    def write(self) -> None:
        """Write the statement; raises Unsupported if it has more points than Triton lets a tensor have."""
        points = prod(self.writer.space.sizes)
        if points > MOST_ELEMENTS and self.dot is None:
            raise Unsupported(
                f"a statement of {points} points at once, where Triton takes {MOST_ELEMENTS}",
                where=print_assign(self.assign),
                help="choose a smaller tile",
            )
        if self.register is not None:
            self._write_block(self.register)
        else:
            self._write_memory()
        self.state.write(self.assign.target)

    def _result(self) -> Value:
        """What is written or merged: the expression, or its fold, which has the dtype of folding."""
        if self.assign.reduce is None:
            value = self.writer.value(self.assign.expression)
            return value if self.assign.merge is None else retype(value, compute_dtype(self.dtype))
        if self.dot is not None:
            return retype(self._dot_writer(self.dot).value(None), compute_dtype(self.dtype))
        return self._fold(self.assign.reduce)

    def _dot_writer(self, dot: Dot) -> DotWriter:
        reduced = tuple(axis.name for axis in self.assign.reduced)
        return DotWriter(dot, self.state, self._expressions, tuple(self.outer), reduced, self.manner.precision)

    def _fold(self, monoid: str) -> Value:
        """The expression folded over the reduced axes."""
        wide = compute_dtype(self.dtype)
        nothing = identity(monoid, wide).value
        reduced = [axis.name for axis in self.assign.reduced]
        expression = self.assign.expression if self.dtype == wide else Cast(wide, self.assign.expression)
        if self.assign.where is None:
            value = self.writer.masked(expression, reduced, nothing)
        else:
            limits, mask = self.writer.mask(reduced), self.writer.value(self.assign.where)
            mask = mask if limits is None else both(limits, mask)
            value = self.writer.choose(mask, self.writer.value(expression), literal(nothing, wide))
        if not self.inner:
            return value
        space = self.writer.space
        value = replace(value, code=spread(value, value.axes | set(self.inner), space), axes=value.axes | set(self.inner), is_literal=False)
        for position in reversed(range(len(self.outer), len(space.axes))):
            value = fold_axis(monoid, value, position)
        value = replace(value, axes=value.axes - set(self.inner))
        return self.state.settle(monoid, value, ("fold", value.code))

    def _write_block(self, register: Register) -> None:
        """Give a block's name a new value: where points do not exist, or are not wanted, the old one."""
        assign, merge = self.assign, self.assign.merge
        if merge is not None and not register.is_set:
            self.state.initialise(assign.target)
            register = self.state.registers[assign.target]
        guarded = [axis.name for axis in assign.axes if axis.limit is not None and axis.name not in self.manner.dead]
        old = self.target.block(assign.target)
        if merge is None:
            new = self._result()
        elif self.dot is not None and merge == "sum" and self.dot.total == register.dtype == self.dtype:
            new = self._dot_writer(self.dot).value(old)
        else:
            wide = compute_dtype(self.dtype)
            filled = self._filled(merge, guarded)
            new, guarded = (self._result(), guarded) if filled is None else (filled, [])
            new = fold(merge, retype(old, wide), new)
        new = retype(new, register.dtype)
        mask = self._wanted(guarded) if register.is_set else None
        if mask is not None:
            new = self.target.choose(mask, new, old)
        self.state.body.statements.append(Set(register.name, spread(new, frozenset(self.outer), self.target.space)))
        self.state.registers[assign.target] = replace(register, is_set=True)

    def _filled(self, merge: str, guarded: list[str]) -> Value | None:
        """The expression with the merge's identity beyond the limits, which leaves the old value there; None if that takes a select."""
        if self.assign.reduce is not None or self.assign.where is not None or not guarded:
            return None
        wide = compute_dtype(self.dtype)
        nothing = identity(merge, wide).value
        expression = self.assign.expression if self.dtype == wide else Cast(wide, self.assign.expression)
        # Adding 0.0 would turn -0.0 into 0.0.
        return self.writer.filled(expression, tuple(guarded), -0.0 if merge == "sum" and wide.is_float else nothing)

    def _wanted(self, names: Sequence[str]) -> Value | None:
        """Where points exist along some axes and the predicate is true; None is everywhere."""
        limits = self.target.mask(names)
        if self.assign.where is None or self.assign.reduce is not None:
            return limits
        mask = self.target.value(self.assign.where)
        return mask if limits is None else both(limits, mask)

    def _write_memory(self) -> None:
        """Store, or load, merge and store, what points exist."""
        assign = self.assign
        home = self.state.memory[assign.target]
        new = self._result()
        chosen = self._wanted(())
        place = self.target.memory.locate(home, Load(assign.target, assign.index), is_store=True, wanted=chosen)
        mask = self._wanted([axis.name for axis in assign.axes])
        for condition in place.conditions:
            mask = condition if mask is None else both(mask, condition)
        pointer = self.target.memory.spread(place.pointer, frozenset(self.outer))
        if assign.is_atomic:
            write_atomic(assign, self.state, home, pointer, new, mask, self.target.space)
            return
        keywords = {} if mask is None else {"mask": mask.code}
        if assign.merge is not None:
            axes = frozenset(self.outer)
            old = Value(call("tl.load", pointer, **keywords), home.dtype, axes, self.state.body.depth, 1)
            old = self.state.keep(assign.target, old, ("old", self.state.version(assign.target), pointer))
            new = fold(assign.merge, retype(old, compute_dtype(self.dtype)), new)
        new = retype(new, home.dtype)
        if self.manner.waits:
            self.state.body.statements.append(Evaluate(call("tl.debug_barrier")))
        self.state.body.statements.append(Evaluate(call("tl.store", pointer, operand(new).code, **keywords)))


def spread(value: Value, axes: frozenset[str] | set[str], space: Space) -> TExpression:
    """A tensor that has the whole length along some axes of a space, or a scalar if there are none."""
    if value.axes == axes:
        return settle(value).code
    sizes = tuple(size if name in axes else 1 for name, size in space.axes)
    if value.is_literal:
        return call("tl.full", shape(sizes), value.code, triton_type(value.dtype))
    return call("tl.broadcast_to", value.code, shape(sizes))


def _without_single_points(assign: Assign) -> Assign:
    """A statement in which the variables of axes of one point are zero."""
    zeros: dict[str, Index] = {axis.name: ZERO for axis in assign.axes + assign.reduced if axis.size == 1}
    if not zeros:
        return assign
    return replace(
        assign,
        index=tuple(substitute_index(index, zeros) for index in assign.index),
        expression=substitute(assign.expression, zeros),
        where=None if assign.where is None else substitute(assign.where, zeros),
    )
