"""Complex numbers as pairs: a complex tensor of shape [n] is a real one of shape [n, 2] in the cascade, real parts first.

    Pairs          such a tensor, whose shape leaves the pair rank out; reading an element reads the part at the pair rank
    Halves         real and imaginary parts as tensors of their own, as the results of arithmetic are, so that they fuse as real
                   numbers do; what leaves the cascade is joined to pairs
    PairBuilder    a builder that gives every einsum the pair rank
    PAIRED         the table of lowerings for operators of which an operand or a result is complex; no other is ever called for those

An operator that moves elements, or combines them linearly with real coefficients, does with either part what it does with a real
number: `lower_each_part` takes its lowering for real tensors as it is, for pairs with a builder that adds the pair rank, for halves
twice. Whatever else holds for real numbers only (orders, real functions) is not in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from torch._ops import OpOverload

from tcomp.ir.cascade import Rank
from tcomp.ir.dtypes import DType, boolean, compute_dtype
from tcomp.ir.expressions import ONE, ZERO, Expr, Index, Load, Number, as_index
from tcomp.lowerings.builder import Array, Builder, Operand, convert
from tcomp.lowerings.scalars import Scalar, literal, ordinal, select
from tcomp.lowerings.table import LOWERINGS, Lowering

TWO = as_index(2)
PAIR_RANK = as_index("c")
"""The rank over real and imaginary part, of no other use in einsums that a lowering writes."""

Complex: TypeAlias = tuple[Scalar, Scalar]
"""Real and imaginary part."""
Value: TypeAlias = "Operand | complex"
Function = TypeVar("Function", bound=Lowering)

PAIRED: dict[OpOverload, Lowering] = {}


@dataclass(frozen=True, slots=True)
class Pairs(Array):
    """A complex tensor; `dtype` is that of its parts, and `part` the part that is read."""

    part: Index = PAIR_RANK

    def at(self, *index: Index | int | str, outside: Number | None = None) -> Scalar:
        """One part of the element at an index; `outside` is its value beyond the bounds."""
        assert len(index) == len(self.shape), f"{self.name} has {len(self.shape)} dimensions, not {len(index)}"
        return Scalar(Load(self.name, (*(as_index(i) for i in index), self.part), outside), self.dtype)

    def take(self, part: Index) -> Pairs:
        """The same tensor, read at another part."""
        return Pairs(self.name, self.dtype, self.shape, part)

    @property
    def real(self) -> Array:
        """The real parts, to be read as a real tensor."""
        return self.take(ZERO)

    @property
    def imaginary(self) -> Array:
        """The imaginary parts, to be read as a real tensor."""
        return self.take(ONE)


@dataclass(frozen=True, slots=True)
class Halves(Pairs):
    """A complex tensor whose parts are two tensors; it has the name of the first."""

    halves: tuple[Array, Array] = field(kw_only=True)

    def at(self, *index: Index | int | str, outside: Number | None = None) -> Scalar:
        """One part of the element at an index; `outside` is its value beyond the bounds."""
        real, imaginary = self.halves
        if self.part == ZERO:
            return real.at(*index, outside=outside)
        if self.part == ONE:
            return imaginary.at(*index, outside=outside)
        return select(ordinal(self.part).equals(0), real.at(*index, outside=outside), imaginary.at(*index, outside=outside))

    def take(self, part: Index) -> Pairs:
        """The same tensor, read at another part."""
        return Halves(self.name, self.dtype, self.shape, part, halves=self.halves)

    @property
    def real(self) -> Array:
        """The real parts."""
        return self.halves[0]

    @property
    def imaginary(self) -> Array:
        """The imaginary parts."""
        return self.halves[1]


def join(real: Array, imaginary: Array) -> Halves:
    """Two real tensors of one shape and type as a complex one."""
    assert (real.shape, real.dtype) == (imaginary.shape, imaginary.dtype)
    return Halves(real.name, real.dtype, real.shape, halves=(real, imaginary))


@dataclass(frozen=True, slots=True)
class PairBuilder(Builder):
    """Appends einsums over pairs: elements are those of the part that the pair rank names."""

    def _array(self, name: str, dtype: DType, shape: Sequence[Index]) -> Array:
        return Pairs(name, dtype, tuple(shape))

    def _append(
        self,
        targets: tuple[tuple[str, DType], ...],
        slots: tuple[Index, ...],
        shape: Sequence[Index],
        expression: Expr,
        monoid: str | None,
        reduced: tuple[Rank, ...],
        where: Expr | None = None,
        initial: Expr | None = None,
    ) -> None:
        # (A plain super() names the class before it was given slots.)
        Builder._append(self, targets, (*slots, PAIR_RANK), (*shape, TWO), expression, monoid, reduced, where, initial)


def paired(build: Builder) -> PairBuilder:
    """The builder of pairs for the same node."""
    return PairBuilder(build.program, build.name, build.source, build.results, build.node)


def lowers_pairs(*operators: OpOverload) -> Callable[[Function], Function]:
    """Enter the decorated function as the lowering of these operators where an operand or a result is complex."""

    def enter(function: Function) -> Function:
        for operator in operators:
            assert operator not in PAIRED, f"{operator} has two lowerings for complex numbers"
            PAIRED[operator] = function
        return function

    return enter


def lower_each_part(values: Sequence[str], *operators: OpOverload) -> None:
    """Enter operators that treat both parts of a complex number alike, as their lowerings for real numbers do.

    `values` names the arguments that are elements of the result, which may be real beside complex ones: they become pairs.
    """
    for operator in operators:
        places = [place for place, argument in enumerate(operator._schema.arguments) if argument.name in values]
        assert len(places) == len(values), f"{operator} does not have all of {values}"
        lowers_pairs(operator)(_make_each_part(LOWERINGS[operator], frozenset(places), frozenset(values)))


def _make_each_part(lowering: Lowering, places: frozenset[int], names: frozenset[str]) -> Lowering:
    def lower(build: Builder, *arguments: Any, **keywords: Any) -> Any:
        positional = [as_pairs(build, value) if place in places else value for place, value in enumerate(arguments)]
        named = {name: as_pairs(build, value) if name in names else value for name, value in keywords.items()}
        if not _has_halves([positional, named]):
            return lowering(paired(build), *positional, **named)
        real = lowering(build, *_take_each(positional, 0), **_take_each(named, 0))
        imaginary = lowering(build, *_take_each(positional, 1), **_take_each(named, 1))
        return join(real, imaginary) if isinstance(real, Array) else [join(*parts) for parts in zip(real, imaginary, strict=True)]

    return lower


def _has_halves(values: Any) -> bool:
    members = values.values() if isinstance(values, dict) else values
    return any(_has_halves(v) if isinstance(v, (list, tuple, dict)) else isinstance(v, Halves) for v in members)


def _take_each(value: Any, part: int) -> Any:
    """Arguments with the real or the imaginary part of what is complex among them."""
    if isinstance(value, (list, tuple)):
        return [_take_each(member, part) for member in value]
    if isinstance(value, dict):
        return {name: _take_each(member, part) for name, member in value.items()}
    return value if not isinstance(value, Pairs) else value.imaginary if part else value.real


def as_pairs(build: Builder, value: Any) -> Any:
    """An operand, or a list of such, as pairs of the result's type: real ones and numbers have no imaginary part."""
    if isinstance(value, (list, tuple)):
        return [as_pairs(build, member) for member in value]
    if value is None or isinstance(value, Pairs):
        return value
    shape = value.shape if isinstance(value, Array) else ()
    return emit(build, shape, lambda *ranks: parts_of(value, build.dtype, ranks, shape), hint="complex")


def emit(build: Builder, shape: Sequence[Index], element: Callable[..., Complex], *, hint: str = "") -> Array:
    """Emit `Z[i, j] = element(i, j)`, a map for each part, converted to the type of the result's."""
    before = f"{hint}_" if hint else ""
    real = build.map(shape, build.dtype, lambda *ranks: element(*ranks)[0], hint=f"{before}real")
    return join(real, build.map(shape, build.dtype, lambda *ranks: element(*ranks)[1], hint=f"{before}imag"))


def store(build: Builder, x: Array) -> Array:
    """The tensor as it lies in memory: halves are joined to pairs."""
    return paired(build).map(x.shape, x.dtype, x.at, hint="pairs") if isinstance(x, Halves) else x


def parts_of(operand: Value, dtype: DType, ranks: Sequence[Index], shape: Sequence[Index]) -> Complex:
    """Both parts, in a type, of an operand's element at `ranks` of `shape`."""
    match operand:
        case Pairs():
            return convert(operand.real, dtype, ranks, shape), convert(operand.imaginary, dtype, ranks, shape)
        case complex():
            return literal(operand.real, dtype), literal(operand.imag, dtype)
        case _:
            return convert(operand, dtype, ranks, shape), literal(0.0, dtype)


def map_complex(build: Builder, function: Callable[..., Complex], *operands: Value) -> Array:
    """Emit a map over broadcast operands with a complex result, computed in the type of its parts (narrow floats in f32)."""
    wide = compute_dtype(build.dtype)
    return emit(build, build.shape, lambda *ranks: function(*(parts_of(o, wide, ranks, build.shape) for o in operands)))


def map_to_real(build: Builder, function: Callable[..., Scalar], *operands: Value, dtype: DType) -> Array:
    """Emit a map over broadcast operands, computed in a type, with a real result."""

    def element(*ranks: Index) -> Scalar:
        return function(*(parts_of(o, dtype, ranks, build.shape) for o in operands))

    return build.map(build.shape, build.dtype, element)


def is_nonzero(build: Builder, x: Array) -> Array:
    """Emit whether elements are other than zero, as conversion to bool does."""
    if not isinstance(x, Pairs):
        return x
    return build.map(
        x.shape, boolean, lambda *ranks: x.real.at(*ranks).to(boolean) | x.imaginary.at(*ranks).to(boolean), hint="nonzero"
    )


def is_complex(values: object) -> bool:
    """Whether any of the arguments of an operator, in whatever containers, is complex."""
    if isinstance(values, (list, tuple)):
        return any(is_complex(value) for value in values)
    if isinstance(values, dict):
        return any(is_complex(value) for value in values.values())
    return isinstance(values, (Pairs, complex))
