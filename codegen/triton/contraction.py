"""Which statements are matrix products for tensor cores.

    acc[m, n] over (m, n) sum= sum(k) A * B        where A does not use n and B does not use m

is one, with any number of axes in the place of m, n and k; axes that both factors and the result have are a batch. Factors that are
widened for the sum are taken as they are in memory where products stay exact: f16, bf16 and 8-bit floats with their like, small
integers as bf16 or f16 beside such, i8 with i8. `tcomp.codegen.triton.dot` writes the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from tcomp.ir.check.types import expression_dtype
from tcomp.ir.dtypes import DType, bf16, boolean, f16, f32, f64, i8, i32, i64
from tcomp.ir.expressions import Apply, Cast, Expr, apply
from tcomp.ir.tile import Assign, Axis
from tcomp.ir.walk import variables

TINY = frozenset({"i8", "u8", "bool", "e4m3", "e5m2"})
"""Types all of whose values are values of f16 and of bf16."""

EXACT = TINY | {"f16", "bf16"}
"""Types all of whose values tensor cores multiply exactly as tf32."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A product: its factors, the axes by role, and the types of factors and sum. `is_exact` says that tf32 holds the factors."""

    left: Expr
    right: Expr
    batch: tuple[Axis, ...]
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    inner: tuple[Axis, ...]
    operand: DType
    total: DType
    is_exact: bool

    @property
    def smallest_inner(self) -> int:
        """How many inner points tensor cores take at least."""
        return 32 if self.operand.bits == 8 else 16


def find_dot(assign: Assign, dtypes: Mapping[str, DType]) -> Dot | None:
    """The matrix product that a statement is, if it is one."""
    if assign.reduce != "sum" or assign.where is not None:
        return None
    factors = _factors(assign.expression)
    outer = [axis for axis in assign.axes if axis.size > 1]
    inner = tuple(axis for axis in assign.reduced if axis.size > 1)
    used = [frozenset(variables(factor)) for factor in factors]
    shared = {axis.name for axis in outer if sum(axis.name in names for names in used) > 1}
    for batch in (set(), shared):
        sides = _split(used, [axis.name for axis in outer if axis.name not in batch])
        if sides is None:
            continue
        left_names, right_names = (frozenset[str]().union(*(used[k] for k in side)) for side in sides)
        if not any(axis.name in left_names and axis.name in right_names for axis in inner):
            continue
        left, right = (reduce(_multiply, (factors[k] for k in side)) for side in sides)
        operands = _choose_operands(left, right, dtypes)
        if operands is None:
            continue
        return Dot(
            operands.left,
            operands.right,
            tuple(axis for axis in outer if axis.name in batch),
            tuple(axis for axis in outer if axis.name in left_names and axis.name not in batch),
            tuple(axis for axis in outer if axis.name not in left_names and axis.name not in batch),
            inner,
            operands.dtype,
            operands.total,
            operands.is_exact,
        )
    return None


def _factors(expression: Expr) -> list[Expr]:
    if isinstance(expression, Apply) and expression.operator == "mul":
        return [factor for argument in expression.arguments for factor in _factors(argument)]
    return [expression]


def _multiply(left: Expr, right: Expr) -> Expr:
    return apply("mul", left, right)


def _split(used: list[frozenset[str]], outer: list[str]) -> tuple[list[int], list[int]] | None:
    """Two sets of factors that share none of the outer axes; the first has the first of these. None if there are none."""
    groups: list[tuple[set[str], list[int]]] = []
    free: list[int] = []
    for position, names in enumerate(used):
        mine = {name for name in outer if name in names}
        if not mine:
            free.append(position)
            continue
        members = [position]
        for group in [g for g in groups if g[0] & mine]:
            groups.remove(group)
            mine |= group[0]
            members += group[1]
        groups.append((mine, members))
    if len(groups) < 2 or set().union(*(names for names, _ in groups)) != set(outer):
        return None
    groups.sort(key=lambda group: min(map(outer.index, group[0])))
    return sorted([*groups[0][1], *free]), sorted(member for _, members in groups[1:] for member in members)


@dataclass(frozen=True, slots=True)
class _Operands:
    left: Expr
    right: Expr
    dtype: DType
    total: DType
    is_exact: bool


def _choose_operands(left: Expr, right: Expr, dtypes: Mapping[str, DType]) -> _Operands | None:
    """The factors in the narrowest type in which tensor cores multiply them exactly, or in f32 or f64."""
    wide = expression_dtype(left, dtypes)
    bare = [side.argument if isinstance(side, Cast) else side for side in (left, right)]
    found = [expression_dtype(side, dtypes) for side in bare]
    if wide in (i32, i64):
        return _Operands(_as(i8, bare[0], found[0]), _as(i8, bare[1], found[1]), i8, i32, True) if set(found) <= {i8, boolean} else None
    if wide == f64:
        return _Operands(left, right, f64, f64, False)
    if wide != f32:
        return None
    dtype = _common_type(*found)
    if dtype is not None:
        return _Operands(_as(dtype, bare[0], found[0]), _as(dtype, bare[1], found[1]), dtype, f32, True)
    return _Operands(left, right, f32, f32, all(t.name in EXACT for t in found))


def _common_type(left: DType, right: DType) -> DType | None:
    """A narrow float that holds all values of both types; 8-bit floats only with their like."""
    if left == right and left.name in ("f16", "bf16", "e4m3", "e5m2"):
        return left
    for dtype in (f16, bf16):
        if dtype in (left, right) and {left.name, right.name} <= TINY | {dtype.name}:
            return dtype
    return bf16 if {left.name, right.name} <= TINY else None


def _as(dtype: DType, expression: Expr, found: DType) -> Expr:
    return expression if found == dtype else Cast(dtype, expression)
