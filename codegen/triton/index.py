"""Indices in Triton: arithmetic on the ranges of axes, on loop variables and on sizes, in 32 bits where that is proved to suffice.

An index is a sum of terms. Those that depend on no axis are added up as a scalar; the others are tensors, and what of them is the
same in all steps of a loop is computed before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tcomp.codegen.triton.scope import State
from tcomp.codegen.triton.tree import Binary, Expand, Literal, TExpression, add, call
from tcomp.codegen.triton.types import Value, convert
from tcomp.ir.dtypes import i32, i64
from tcomp.ir.expressions import ZERO, Atom, Expr, Index, Monomial, Quotient, Remainder, Variable
from tcomp.ir.expressions import Value as ValueAtom
from tcomp.ir.index import Bounds, interval, is_below, is_inside
from tcomp.ir.walk import index_variables, walk_index

LIMIT = 2**31
NOTHING: Mapping[str, Value] = {}


@dataclass(frozen=True, slots=True)
class Space:
    """The axes of a statement that are dimensions of its tensors, with their sizes, which are powers of two above one."""

    axes: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The axes' names."""
        return tuple(name for name, _ in self.axes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of a tensor that depends on all axes."""
        return tuple(size for _, size in self.axes)

    def spread(self, code: TExpression, names: tuple[str, ...]) -> TExpression:
        """A tensor whose dimensions are some of the axes, in their order here, with dimensions of length one for the others."""
        return code if not names or names == self.names else Expand(code, tuple(name in names for name in self.names))


def is_narrow(index: Index, bounds: Bounds) -> bool:
    """Whether no step of computing an index leaves 32 bits."""
    total = abs(index.constant)
    for monomial, coefficient in index.terms:
        low, high = interval(Index(((monomial, coefficient),), 0), bounds)
        if low is None or high is None:
            return False
        total += max(abs(low), abs(high))
        for atom in monomial:
            if isinstance(atom, Quotient | Remainder) and not (is_narrow(atom.numerator, bounds) and is_narrow(atom.denominator, bounds)):
                return False
    return total < LIMIT


class IndexWriter:
    """Writes the indices of one statement in one space. `known` are names inside indices that stand for computed values."""

    def __init__(self, state: State, space: Space, bounds: Bounds, evaluate: Callable[[Expr], Value]) -> None:
        self.state = state
        self.space = space
        self.bounds = bounds
        self.evaluate = evaluate

    def is_inside(self, index: Index, extent: Index) -> bool:
        """Whether an index is proved to be in 0 .. extent at all points of the tensors, beyond limits too."""
        return is_inside(index, extent, self.bounds) or is_inside(self.state.stepped(index), self.state.stepped(extent), self.bounds)

    def is_below(self, index: Index, extent: Index) -> bool:
        """Whether an index is proved to be less than an extent at all points."""
        return is_below(index, extent, self.bounds) or is_below(self.state.stepped(index), self.state.stepped(extent), self.bounds)

    def is_natural(self, index: Index) -> bool:
        """Whether an index is proved not to be negative."""
        lows = (interval(form, self.bounds)[0] for form in self.forms(index))
        return any(low is not None and low >= 0 for low in lows)

    def is_narrow(self, index: Index) -> bool:
        """Whether an index can be computed in 32 bits."""
        return any(is_narrow(form, self.bounds) for form in self.forms(index))

    def limit(self, name: str, extent: Index) -> None:
        """Note that the value a name stands for is in 0 .. extent wherever it matters."""
        self.bounds = replace(self.bounds, extents={**self.bounds.extents, name: extent})

    def forms(self, index: Index) -> tuple[Index, ...]:
        """An index as it is, and with the steps of loops counted; either may be easier to bound."""
        return index, self.state.stepped(index)

    def value(self, index: Index, known: Mapping[str, Value] = NOTHING) -> Value:
        """The value of an index, an i32 or i64 scalar or tensor."""
        scalar, tensor = self.split(index, known)
        if tensor is None:
            return Value(Literal(0), i32) if scalar is None else scalar
        return tensor if scalar is None else _add(tensor, scalar)

    def split(self, index: Index, known: Mapping[str, Value] = NOTHING) -> tuple[Value | None, Value | None]:
        """An index as a scalar and a tensor to be added; None for zero."""
        groups: dict[int, Index] = {}
        scalar = Index((), index.constant)
        for monomial, coefficient in index.terms:
            term = Index(((monomial, coefficient),), 0)
            if self._is_tensor(term, known):
                depth = self._depth(term, known)
                groups[depth] = groups.get(depth, ZERO) + term
            else:
                scalar = scalar + term
        total: Value | None = None
        for depth in sorted(groups):
            part = self._hoisted(groups[depth], known)
            total = part if total is None else _add(total, part)
        return None if scalar == ZERO else self._sum(scalar, known), total

    def _is_tensor(self, index: Index, known: Mapping[str, Value]) -> bool:
        if any(name in self.space.names or (name in known and known[name].axes) for name in index_variables(index)):
            return True
        return any(True for _ in walk_index(index)) and bool(self._sum(index, known).axes)

    def _depth(self, index: Index, known: Mapping[str, Value]) -> int:
        return self._sum(index, known).depth

    def _hoisted(self, index: Index, known: Mapping[str, Value]) -> Value:
        """Terms that change at one depth, named if that is further out than here."""
        value = self._sum(index, known)
        if known.keys() & index_variables(index) or any(True for _ in walk_index(index)):
            return value
        key = "index", value.code
        found = self.state.find(key)
        if found is not None:
            return found
        return self.state.settle("offset", value, key) if value.weight > 1 else value

    def _sum(self, index: Index, known: Mapping[str, Value]) -> Value:
        """The terms of an index added up, all in the width that the whole needs."""
        is_wide = not self.is_narrow(index)
        terms = sorted(index.terms, key=lambda term: term[1] < 0)
        constant = Value(Literal(index.constant), i64 if is_wide else i32)
        starts = not terms or terms[0][1] < 0
        total: Value | None = constant if starts else None
        for monomial, coefficient in terms:
            part = self._product(monomial, abs(coefficient), is_wide, known)
            total = part if total is None else _add(total, part, coefficient < 0)
        assert total is not None, "an index has terms or is a constant"
        return total if starts or index.constant == 0 else _add(total, constant)

    def _product(self, monomial: Monomial, coefficient: int, is_wide: bool, known: Mapping[str, Value]) -> Value:
        total: Value | None = None
        for atom in monomial:
            factor = self._atom(atom, known)
            if is_wide:
                factor = convert(factor, i64)
            total = factor if total is None else _join("*", total, factor)
        assert total is not None, "the terms of an index have atoms"
        return total if coefficient == 1 else _join("*", total, Value(Literal(coefficient), total.dtype))

    def _atom(self, atom: Atom, known: Mapping[str, Value]) -> Value:
        match atom:
            case Variable(name):
                if name in known:
                    return known[name]
                if name in self.space.names:
                    held = self.state.range_of(name, dict(self.space.axes)[name])
                    return replace(held, code=self.space.spread(held.code, (name,)))
                return self.state.variables[name]
            case Quotient(a, b) | Remainder(a, b):
                return self._division(atom, a, b, known)
            case ValueAtom(expression):
                return convert(self.evaluate(expression), i64)

    def _division(self, atom: Quotient | Remainder, a: Index, b: Index, known: Mapping[str, Value]) -> Value:
        left, right = self.value(a, known), self.value(b, known)
        left = self._shared("place", left) if left.axes else left
        is_quotient = isinstance(atom, Quotient)
        if self.is_natural(a) and self.is_natural(b):
            value = _join("//" if is_quotient else "%", left, right)
        else:
            joined = _join("//", left, right)
            function = "floor_divide" if is_quotient else "remainder"
            value = replace(joined, code=call(function, left.code, right.code))
        return self._shared("quotient" if is_quotient else "rest", value)

    def _shared(self, base: str, value: Value) -> Value:
        """A value under a name, by which what needs it again finds it."""
        if not value.weight:
            return value
        key = "index", value.code
        return self.state.find(key) or self.state.keep(base, value, key)


def _join(operator: str, left: Value, right: Value) -> Value:
    dtype = i64 if i64 in (left.dtype, right.dtype) else i32
    return Value(
        Binary(operator, left.code, right.code),
        dtype,
        left.axes | right.axes,
        max(left.depth, right.depth),
        left.weight + right.weight + 1,
    )


def _add(left: Value, right: Value, negative: bool = False) -> Value:
    joined = _join("-" if negative else "+", left, right)
    return joined if negative else replace(joined, code=add(left.code, right.code))


def no_values(expression: Expr) -> Value:
    """How indices are evaluated that load nothing: the ranges of loops, and numbers of instances."""
    raise AssertionError("ranges of loops are free of loaded values")
