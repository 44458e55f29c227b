"""What a lowering writes with: fresh names, ranks, and einsums appended to the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from tcomp.ir.cascade import Einsum, Iteration, Rank, Source, Statement
from tcomp.ir.dtypes import DTYPES, DType, boolean, compute_dtype, f32, i64
from tcomp.ir.expressions import Expr, Index, Load, Number, as_index
from tcomp.ir.index import Bounds, simplify_index, simplify_indices
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.names import counted, first_free
from tcomp.lowerings.scalars import Scalar, literal, ordinal
from tcomp.torch_types import TORCH_DTYPES, Symbols, dtype_of

FREE_RANKS = "ijklmnopq"
REDUCED_RANKS = "rstuvwxyz"
RESERVED = frozenset(
    {"cascade", "weight", "for", "in", "iterate", "where", "from", "else", "value", "true", "false", "inf", "nan", *DTYPES}
)
"""Words of the text form, which no tensor may be called."""


@dataclass(frozen=True, slots=True)
class Array:
    """A tensor of the cascade: an input or a target."""

    name: str
    dtype: DType
    shape: tuple[Index, ...]

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def at(self, *index: Index | int | str, outside: Number | None = None) -> Scalar:
        """The element at an index; `outside` is the value beyond the bounds."""
        assert len(index) == len(self.shape), f"{self.name} has {len(self.shape)} dimensions, not {len(index)}"
        return Scalar(Load(self.name, tuple(as_index(i) for i in index), outside), self.dtype)

    def over(self, ranks: Sequence[Index], shape: Sequence[Index]) -> Scalar:
        """The element at `ranks` of an array of `shape`, to which this one is broadcast."""
        offset = len(shape) - len(self.shape)
        index = [as_index(0) if e == as_index(1) != shape[offset + d] else ranks[offset + d] for d, e in enumerate(self.shape)]
        return self.at(*index)


Operand: TypeAlias = Array | Index | int | float | bool


@dataclass(frozen=True, slots=True)
class Result:
    """Element type and shape of an operator's result; of complex numbers the type is that of the parts, and the shape has no pair rank."""

    dtype: DType
    shape: tuple[Index, ...]
    is_complex: bool = False


@dataclass(slots=True)
class Program:
    """The cascade in the making."""

    statements: list[Statement] = field(default_factory=list)
    symbols: Symbols = field(default_factory=Symbols)
    names: set[str] = field(default_factory=set)

    def fresh(self, wanted: str) -> str:
        """A tensor name not used yet, `wanted` if that is free."""
        name = first_free(counted(wanted, "_", start=1), self.names, RESERVED)
        self.names.add(name)
        return name


@dataclass(frozen=True, slots=True)
class Builder:
    """Appends the einsums of one node. `results` are the node's own, None for undefined ones."""

    program: Program
    name: str
    source: Source
    results: tuple[Result | None, ...]
    node: torch.fx.Node | None = None

    @property
    def dtype(self) -> DType:
        """Element type of the (first) result."""
        assert self.results[0] is not None
        return self.results[0].dtype

    @property
    def shape(self) -> tuple[Index, ...]:
        """Shape of the (first) result."""
        assert self.results[0] is not None
        return self.results[0].shape

    def bounds(self, ranks: Sequence[Rank]) -> Bounds:
        """Ranges of these ranks and of all symbols met."""
        symbols = {s.name: (s.low, s.high) for s in self.program.symbols.found.values()}
        return Bounds({r.name: r.extent for r in ranks}, symbols)

    def map(
        self, shape: Sequence[Index], dtype: DType, element: Callable[..., Scalar], *, hint: str = ""
    ) -> Array:
        """Emit `Z[i, j] = element(i, j)`, converted to `dtype`."""
        ranks = _ranks(FREE_RANKS, shape)
        return self._emit(dtype, shape, element(*_indices(ranks)).to(dtype), None, (), hint)

    def view(self, x: Array, shape: Sequence[Index], position: Callable[..., Sequence[Index]]) -> Array:
        """Emit `Z[i, j] = X[position(i, j)]`: an index map, which moves nothing."""
        return self.map(shape, x.dtype, lambda *ranks: x.at(*position(*ranks)))

    def reduce(
        self,
        monoid: str,
        shape: Sequence[Index],
        reduced: Sequence[Index],
        dtype: DType,
        element: Callable[[tuple[Index, ...], tuple[Index, ...]], Scalar],
        *,
        where: Callable[[tuple[Index, ...], tuple[Index, ...]], Scalar] | None = None,
        hint: str = "",
    ) -> Array:
        """Emit `Z[i, j] = monoid(r, s) element((i, j), (r, s))`, the element converted to `dtype`.

        `where` says which points take part.
        """
        free, folded = _ranks(FREE_RANKS, shape), _ranks(REDUCED_RANKS, reduced)
        points = _indices(free), _indices(folded)
        condition = None if where is None else where(*points).expression
        return self._emit(dtype, shape, element(*points).to(dtype), monoid, folded, hint, condition)

    def reduce_state(
        self,
        monoid: str,
        shape: Sequence[Index],
        reduced: Sequence[Index],
        element: Callable[[tuple[Index, ...], tuple[Index, ...]], Scalar],
        *,
        hints: Sequence[str],
        where: Callable[[tuple[Index, ...], tuple[Index, ...]], Scalar] | None = None,
    ) -> tuple[Array, ...]:
        """Emit a reduction with a tuple state; one array for each component, of the state's own types."""
        free, folded = _ranks(FREE_RANKS, shape), _ranks(REDUCED_RANKS, reduced)
        points = _indices(free), _indices(folded)
        scalar = element(*points)
        condition = None if where is None else where(*points).expression
        dtypes = MONOIDS[monoid].state_dtypes(scalar.dtype)
        targets = tuple((self._fresh(hint), t) for hint, t in zip(hints, dtypes, strict=True))
        self._append(targets, points[0], shape, scalar.expression, monoid, folded, condition)
        return tuple(self._array(name, t, shape) for name, t in targets)

    def scatter(
        self,
        x: Array | None,
        shape: Sequence[Index],
        dtype: DType,
        domain: Sequence[Index],
        monoid: str,
        element: Callable[..., Scalar],
        position: Callable[..., Sequence[Index]],
        *,
        where: Callable[..., Scalar] | None = None,
        hint: str = "",
    ) -> Array:
        """Emit `Z[position(i, j)] = monoid(...) element(i, j) from x`: fold elements into the places of a copy of x.

        The points of `domain` that no slot names bare are reduced ranks. Without x the fold starts from the identity.
        """
        ranks = _ranks(FREE_RANKS, domain)
        points = _indices(ranks)
        slots = tuple(position(*points))
        bare = {slot.as_variable for slot in slots}
        reduced = tuple(r for r in ranks if r.name not in bare)
        start = None
        if x is not None:
            # In `from`, a slot that is not a bare rank is named after its position.
            start = x.at(*(s if s.as_variable is not None else f"_{d}" for d, s in enumerate(slots))).to(dtype).expression
        condition = None if where is None else where(*points).expression
        target = (self._fresh(hint), dtype)
        self._append((target,), slots, shape, element(*points).to(dtype).expression, monoid, reduced, condition, start)
        return self._array(target[0], dtype, shape)

    def iterate(self, statement: Iteration) -> None:
        """Append an iteration."""
        self.program.statements.append(statement)

    def fresh(self, hint: str = "") -> str:
        """A fresh tensor name after the node's, for einsums a lowering makes by hand."""
        return self._fresh(hint)

    def cast(self, x: Array, dtype: DType, *, hint: str = "") -> Array:
        """Convert an array; itself if it has the type."""
        return x if x.dtype == dtype else self.map(x.shape, dtype, lambda *ranks: x.at(*ranks), hint=hint)

    def simplify(self, index: Index) -> Index:
        """Simplify an index over symbols alone."""
        return simplify_index(index, self.bounds(()))

    def _fresh(self, hint: str) -> str:
        return self.program.fresh(f"{self.name}_{hint}" if hint else self.name)

    def _emit(
        self,
        dtype: DType,
        shape: Sequence[Index],
        element: Scalar,
        monoid: str | None,
        reduced: tuple[Rank, ...],
        hint: str,
        where: Expr | None = None,
    ) -> Array:
        name = self._fresh(hint)
        free = _indices(_ranks(FREE_RANKS, shape))
        self._append(((name, dtype),), free, shape, element.expression, monoid, reduced, where)
        return self._array(name, dtype, shape)

    def _array(self, name: str, dtype: DType, shape: Sequence[Index]) -> Array:
        """What an einsum that was appended is known as."""
        return Array(name, dtype, tuple(shape))

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
        einsum = Einsum(targets, slots, tuple(shape), expression, monoid, reduced, where, initial, self.source)
        bounds = self.bounds(einsum.ranks)
        simplified = simplify_indices(expression, bounds)
        condition = None if where is None else simplify_indices(where, bounds)
        self.program.statements.append(
            Einsum(targets, slots, tuple(shape), simplified, monoid, reduced, condition, initial, self.source)
        )


def _ranks(letters: str, shape: Sequence[Index]) -> tuple[Rank, ...]:
    names = [letters[d] if d < len(letters) else f"{letters[0]}_{d}" for d in range(len(shape))]
    return tuple(Rank(name, extent) for name, extent in zip(names, shape))


def _indices(ranks: Sequence[Rank]) -> tuple[Index, ...]:
    return tuple(as_index(rank.name) for rank in ranks)


def scalar_of(operand: Operand, ranks: Sequence[Index], shape: Sequence[Index]) -> Scalar:
    """An operand's element at `ranks` of `shape`; numbers get their default type (bool, i64, f32)."""
    match operand:
        case Array():
            return operand.over(ranks, shape)
        case Index():
            return ordinal(operand)
        case bool():
            return literal(operand, boolean)
        case int():
            return literal(operand, i64)
        case float():
            return literal(operand, f32)


def convert(operand: Operand, dtype: DType, ranks: Sequence[Index], shape: Sequence[Index]) -> Scalar:
    """An operand's element as a scalar of `dtype`; a Python number is not rounded through its default type."""
    if isinstance(operand, (bool, int, float)):
        return literal(bool(operand) if dtype == boolean else operand, dtype)
    return scalar_of(operand, ranks, shape).to(dtype)


def common_dtype(*operands: Operand) -> DType:
    """The type torch computes in: dimensions beat zero-dimensional tensors beat Python numbers, within a category.

    As `torch.result_type`; see https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc.
    """
    levels: list[torch.dtype | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, Array):
            level, theirs = (0 if operand.rank else 1), TORCH_DTYPES[operand.dtype]
        else:
            level = 2
            theirs = torch.bool if isinstance(operand, bool) else torch.get_default_dtype() if isinstance(operand, float) else torch.int64
        known = levels[level]
        levels[level] = theirs if known is None else torch.promote_types(known, theirs)
    best: torch.dtype | None = None
    for lower in reversed(levels):
        best = _combine(lower, best)
    assert best is not None
    return dtype_of(best)


def _combine(higher: torch.dtype | None, lower: torch.dtype | None) -> torch.dtype | None:
    if higher is None or lower is None:
        return higher or lower
    if not higher.is_floating_point and (higher == torch.bool or lower.is_floating_point):
        return torch.promote_types(higher, lower)
    return higher


def pointwise(
    build: Builder,
    function: Callable[..., Scalar],
    *operands: Operand,
    float_result: bool = False,
    rounded: bool = False,
    hint: str = "",
) -> Array:
    """Emit one map over broadcast operands, computed in their common type (narrow floats in f32).

    `float_result` computes integers in PyTorch's default type, `rounded` rounds every operand to the common type first, as comparisons do.
    """
    common = common_dtype(*operands)
    if float_result and not common.is_float:
        common = dtype_of(torch.get_default_dtype())
    wide = compute_dtype(common)

    def element(*ranks: Index) -> Scalar:
        values = [convert(o, common if rounded else wide, ranks, build.shape).to(wide) for o in operands]
        return function(*values)

    return build.map(build.shape, build.dtype, element, hint=hint)
