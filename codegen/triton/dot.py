"""A matrix product in Triton: operands as matrices [rows, inner] and [inner, columns], or a batch of such."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Literal as OneOf

from tcomp.codegen.triton.contraction import Dot
from tcomp.codegen.triton.expressions import ExpressionWriter
from tcomp.codegen.triton.index import Space
from tcomp.codegen.triton.scope import State
from tcomp.codegen.triton.tree import Literal, TExpression, Tuple, call, shape
from tcomp.codegen.triton.types import Value, settle, triton_type
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import Expr
from tcomp.ir.tile import Axis

Precision = OneOf["ieee", "tf32", "tf32x3"]

FEW_BITS = 128
"""How many products of 8-bit floats tensor cores add in their own few bits before the sum goes into f32."""


class DotWriter:
    """Writes a product for a statement over the axes `outer` that sums over `reduced`; `expressions` makes writers over given axes."""

    def __init__(
        self,
        dot: Dot,
        state: State,
        expressions: Callable[[Sequence[str]], ExpressionWriter],
        outer: tuple[str, ...],
        reduced: tuple[str, ...],
        precision: Precision,
    ) -> None:
        self.dot = dot
        self.state = state
        self.expressions = expressions
        self.outer = outer
        self.reduced = reduced
        self.precision = "tf32" if dot.is_exact else precision

    def value(self, old: Value | None) -> Value:
        """The product, added to an old value if there is one; both over the target's axes in their order."""
        dot = self.dot
        batch, rows, columns, inner = (self._size(axes) for axes in (dot.batch, dot.rows, dot.columns, dot.inner))
        lead = (batch,) if dot.batch else ()
        left = self._operand(dot.left, (*dot.batch, *dot.rows, *dot.inner), (*lead, rows, inner))
        right = self._operand(dot.right, (*dot.batch, *dot.inner, *dot.columns), (*lead, inner, columns))
        made = (*dot.batch, *dot.rows, *dot.columns)
        total = (*lead, rows, columns)
        if old is None:
            start: TExpression = call("tl.full", shape(total), Literal(0.0 if dot.total.is_float else 0), triton_type(dot.total))
        else:
            start = self._gather(settle(old).code, made, total)
        if dot.operand.is_float and dot.operand.bits == 8:
            code = call("tl.dot", left.code, right.code, start, max_num_imprecise_acc=Literal(min(FEW_BITS, inner)))
        elif dot.operand == f32:
            code = call("tl.dot", left.code, right.code, start, input_precision=Literal(self.precision))
        elif dot.total == f32:
            code = call("tl.dot", left.code, right.code, start)
        else:
            code = call("tl.dot", left.code, right.code, start, out_dtype=triton_type(dot.total))
        depth = max(left.depth, right.depth, 0 if old is None else old.depth)
        value = Value(self._scatter(code, made, total), dot.total, frozenset(self.outer), depth, 1)
        return value if old is not None else self.state.settle("dot", value, ("dot", value.code))

    def _size(self, axes: tuple[Axis, ...]) -> int:
        return prod(map(self.state.padded, axes))

    def _operand(self, expression: Expr, axes: tuple[Axis, ...], sizes: tuple[int, ...]) -> Value:
        """An operand as a matrix, zero beyond the limits of the inner axes."""
        writer = self.expressions([axis.name for axis in axes])
        value = writer.masked(expression, self.reduced, 0)
        value = replace(value, code=_whole(value, writer.space), is_literal=False, axes=frozenset(writer.space.names))
        if len(sizes) != len(axes):
            value = replace(value, code=call("tl.reshape", value.code, shape(sizes)))
        return value

    def _gather(self, code: TExpression, made: tuple[Axis, ...], sizes: tuple[int, ...]) -> TExpression:
        """A tensor over the target's axes as a matrix."""
        names = [axis.name for axis in made]
        if names != list(self.outer):
            code = call("tl.permute", code, Tuple(tuple(Literal(self.outer.index(name)) for name in names)))
        return code if len(sizes) == len(made) else call("tl.reshape", code, shape(sizes))

    def _scatter(self, code: TExpression, made: tuple[Axis, ...], sizes: tuple[int, ...]) -> TExpression:
        """A matrix as a tensor over the target's axes."""
        names = [axis.name for axis in made]
        if len(sizes) != len(made):
            code = call("tl.reshape", code, shape(tuple(map(self.state.padded, made))))
        if names != list(self.outer):
            code = call("tl.permute", code, Tuple(tuple(Literal(names.index(name)) for name in self.outer)))
        return code


def _whole(value: Value, space: Space) -> TExpression:
    """A tensor of the whole shape of a space."""
    if value.axes == frozenset(space.names):
        return value.code
    return call("tl.broadcast_to", settle(value).code, shape(space.sizes))
