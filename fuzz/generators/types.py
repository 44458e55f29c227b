"""Statements of all element types and monoids: conversions, integers, truths, extremes, quotients and powers.

Everything is kept inside what is defined: what becomes an integer is clamped to the range of the smallest, and no integer is divided by
zero. What is made leads back to f32, or stays as it is and is an output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.generators.cascades import EXTENTS, RANKS, make_read
from tcomp.ir.cascade import Einsum, Rank, Statement, Tensor
from tcomp.ir.dtypes import DType, bf16, boolean, compute_dtype, f16, f32, f64, i8, i32, i64, u8
from tcomp.ir.expressions import Cast, Expr, Load, Ordinal, apply, as_index, constant
from tcomp.ir.monoids import MONOIDS

INTEGERS = (i64, i32, i8, u8)
FLOATS = (f64, bf16, f16)
SMALL = 100.0
"""What every integer type holds; its negative is not what unsigned ones hold."""
DIVISORS = (2, 3, 4, 5, 7)
QUOTIENTS = ("floordiv", "mod", "truncdiv", "fmod")
BITS = ("and", "or", "xor")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")

Kind = Callable[[Choices, str, Sequence[Tensor]], tuple[Statement, ...]]


def make_inputs_of_types(choices: Choices) -> list[Tensor]:
    """Inputs of other types than f32, few or none."""
    chosen = choices.shuffle([*FLOATS, i32, u8, boolean])[: choices.integer(0, 2)]
    shapes = [tuple(as_index(choices.pick(EXTENTS)) for _ in range(choices.integer(1, 2))) for _ in chosen]
    return [Tensor(f"N{place}", t, shape, weight=chance(choices, 1, 3)) for place, (t, shape) in enumerate(zip(chosen, shapes))]


def make_conversion(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A float that is stored in another type, computed with, and converted back: perhaps through several types at once."""
    ranks = _some_ranks(choices, tensors)
    dtype = choices.pick([*FLOATS, *FLOATS, *INTEGERS, boolean])
    value = _clamp(_float(choices, tensors, ranks), dtype)
    stored = _store(f"{name}.as", ranks, Cast(dtype, value), dtype)
    element: Expr = Load(stored.name, stored.index)
    for _ in range(choices.integer(0, 2)):
        between = choices.pick([t for t in (*FLOATS, *INTEGERS, boolean) if t.is_float or not dtype.is_float])
        if between != dtype:
            element, dtype = Cast(between, element), between
    return stored, _reduce(choices, name, ranks, element, dtype, choices.pick([None, None, "any of its type"]))


def make_integers(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Arithmetic on positions and on integers of tensors, as indices and masks are made of, and a fold of it."""
    ranks = _some_ranks(choices, tensors)
    dtype = choices.pick([i64, i64, *INTEGERS])
    value = make_integer(choices, tensors, ranks, dtype, 3)
    made = _store(f"{name}.n", ranks, value, dtype)
    if chance(choices, 1, 2):
        return made, _reduce(choices, name, ranks, Load(made.name, made.index), dtype, choices.pick([None, "any of its type"]))
    return (_reduce(choices, name, ranks, value, dtype, choices.pick([None, "any of its type"])),)


def make_integer(choices: Choices, tensors: Sequence[Tensor], ranks: Sequence[Rank], dtype: DType, depth: int) -> Expr:
    """An integer expression of a type."""
    known = [t for t in tensors if t.dtype == dtype]
    choice = choices.integer(0, 6 if depth else 1)
    if choice == 0 and known:
        return _inside(make_read(choices, choices.pick(known), ranks), dtype)
    if choice <= 1 and ranks:
        rank = as_index(choices.pick(ranks).name)
        moved = rank - choices.integer(0, 3) if dtype.signed and chance(choices, 1, 3) else rank * choices.pick([1, 2, 3, 50])
        return Ordinal(moved, dtype)
    if choice <= 2:
        return constant(choices.integer(-3 if dtype.signed else 0, 5), dtype)
    a = make_integer(choices, tensors, ranks, dtype, depth - 1)
    if choice == 3:
        return apply(choices.pick(QUOTIENTS), a, constant(choices.pick(DIVISORS), dtype))
    b = make_integer(choices, tensors, ranks, dtype, depth - 1)
    if choice == 4:
        return apply("select", apply(choices.pick(COMPARISONS), a, b), b, a)
    if choice == 5:
        return apply(choices.pick([*BITS, "minimum", "maximum"]), a, b)
    return apply(choices.pick(["add", "sub", "mul"]), a, b)


def make_truths(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Comparisons, what joins them, and a choice or a fold by them: with all of a row, or any."""
    ranks = _some_ranks(choices, tensors)
    value = make_truth(choices, tensors, ranks, 2)
    made = _store(f"{name}.b", ranks, value, boolean)
    element = Load(made.name, made.index)
    match choices.pick(["select", "fold", "where"] if ranks else ["select"]):
        case "fold":
            return made, _reduce(choices, name, ranks, element, boolean, "any of its type")
        case "where":
            kept, reduced = _cut(choices, ranks)
            number = _float(choices, tensors, ranks)
            fold = _store(name, kept, number, f32)
            return made, replace(fold, reduce=choices.pick(["sum", "max", "min"]), reduced=reduced, where=element)
    return made, _store(name, ranks, apply("select", element, _float(choices, tensors, ranks), constant(0.5, f32)), f32)


def make_truth(choices: Choices, tensors: Sequence[Tensor], ranks: Sequence[Rank], depth: int) -> Expr:
    """A bool expression."""
    known = [t for t in tensors if t.dtype == boolean]
    choice = choices.integer(0, 5 if depth else 2)
    if choice == 0 and known:
        return _inside(make_read(choices, choices.pick(known), ranks), boolean)
    if choice <= 1 and ranks:
        numbers = [make_integer(choices, tensors, ranks, i64, 1) for _ in range(2)]
        return apply(choices.pick(COMPARISONS), *numbers)
    if choice <= 2:
        return apply(choices.pick(COMPARISONS), _float(choices, tensors, ranks), constant(choices.pick([0.0, 0.5, math.inf]), f32))
    if choice == 3:
        return apply("not", make_truth(choices, tensors, ranks, depth - 1))
    return apply(choices.pick(BITS), *(make_truth(choices, tensors, ranks, depth - 1) for _ in range(2)))


def make_extremes(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Rows of which some elements, or all, are infinite: what a mask makes of scores, folded, and asked whether anything is left."""
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in "ij"]
    limit = choices.pick([-math.inf, -math.inf, math.inf, math.nan])
    position = Ordinal(as_index("j") - as_index("i"), i64)
    condition = apply(choices.pick(COMPARISONS), position, constant(choices.integer(-1, 3), i64))
    masked = _store(f"{name}.x", ranks, apply("select", condition, _float(choices, tensors, ranks), constant(limit, f32)), f32)
    element = Load(masked.name, masked.index)
    if chance(choices, 1, 2):
        same = apply(choices.pick(["eq", "ne"]), element, constant(limit, f32))
        test = _store(f"{name}.t", ranks, apply("not", same) if chance(choices, 1, 2) else same, boolean)
        folded = _store(name, ranks[:1], Load(test.name, test.index), boolean)
        return masked, test, replace(folded, reduce=choices.pick(["any", "all"]), reduced=(ranks[1],))
    monoid = choices.pick(["max", "min", "argmax", "argmin"])
    return masked, _fold(name, ranks[:1], element, f32, monoid, ranks[1:])


def make_folds(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A reduction by a monoid that is rare, over one rank or several."""
    ranks = _some_ranks(choices, tensors, 1)
    kept, reduced = _cut(choices, ranks)
    monoid = choices.pick(["prod", "min", "argmax", "argmin", "logsumexp", "welford"])
    return (_fold(name, kept, apply("tanh", _float(choices, tensors, ranks)), f32, monoid, reduced),)


def make_function(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Quotients, powers and roundings of a float, one after another."""
    ranks = _some_ranks(choices, tensors)
    value = _float(choices, tensors, ranks)
    for _ in range(choices.integer(1, 3)):
        number = choices.pick([2.0, 3.0, -4.0, 0.25, 1.0, -1.0])
        match choices.pick(["div", "pow", "round", "sign", "special", "self"]):
            case "div":
                value = apply("div", value, constant(number, f32))
            case "pow":
                value = apply("pow", value, constant(choices.pick([0.0, 1.0, 2.0, 3.0, 4.0]), f32))
            case "round":
                value = apply(choices.pick(["floor", "ceil", "trunc", "round"]), value)
            case "sign":
                value = apply(choices.pick(["neg", "abs"]), value)
            case "special":
                value = apply(choices.pick(["minimum", "maximum"]), value, constant(choices.pick([number, -math.inf, math.inf]), f32))
            case "self":
                value = apply(choices.pick(["sub", "mul", "add"]), constant(choices.pick([-0.0, 0.0, 1.0]), f32), value)
    return (_store(name, ranks, value, f32),)


def _some_ranks(choices: Choices, tensors: Sequence[Tensor], least: int = 0) -> list[Rank]:
    """Ranks of a shape that there is, or of none."""
    shape = choices.pick(tensors[-3:]).shape[:3]
    extents = shape if chance(choices, 1, 2) and len(shape) >= least else [as_index(choices.pick(EXTENTS))] * choices.integer(least, 2)
    return [Rank(letter, extent) for letter, extent in zip(RANKS, extents)]


def _cut(choices: Choices, ranks: Sequence[Rank]) -> tuple[list[Rank], tuple[Rank, ...]]:
    """Some ranks to keep, and one at least to fold."""
    order = choices.shuffle(ranks)
    count = choices.integer(0, len(ranks) - 1)
    return order[:count], tuple(order[count:])


def _float(choices: Choices, tensors: Sequence[Tensor], ranks: Sequence[Rank]) -> Expr:
    """A float as f32: an input for the most part, which is exact, so that what is asked of it has one answer."""
    found = [t for t in tensors if t.dtype.is_float]
    tensor = choices.pick(found[:4] if chance(choices, 2, 3) else found)
    load = make_read(choices, tensor, ranks)
    return load if tensor.dtype == f32 else Cast(f32, load)


def _inside(load: Load, dtype: DType) -> Load:
    """A load whose value outside is one of its type."""
    return load if load.outside is None else replace(load, outside=constant(load.outside, dtype).value)


def _clamp(value: Expr, dtype: DType) -> Expr:
    if not dtype.is_int:
        return value
    low = constant(-SMALL if dtype.signed else 0.0, f32)
    return apply("minimum", apply("maximum", value, low), constant(SMALL, f32))


def _store(name: str, ranks: Sequence[Rank], value: Expr, dtype: DType) -> Einsum:
    index, shape = tuple(as_index(rank.name) for rank in ranks), tuple(rank.extent for rank in ranks)
    return Einsum(((name, dtype),), index, shape, value)


def _fold(name: str, kept: Sequence[Rank], value: Expr, dtype: DType, monoid: str, reduced: Sequence[Rank]) -> Einsum:
    states = MONOIDS[monoid].state_dtypes(dtype)
    targets = tuple((name if k == 0 else f"{name}.{k}", dtype if t == compute_dtype(dtype) else t) for k, t in enumerate(states))
    return replace(_store(name, kept, value, dtype), targets=targets, reduce=monoid, reduced=tuple(reduced))


def _reduce(choices: Choices, name: str, ranks: Sequence[Rank], value: Expr, dtype: DType, wanted: str | None) -> Einsum:
    """A value as it is, or folded by a monoid that its type has; perhaps stored as f32."""
    if wanted is None or not ranks:
        stays = chance(choices, 1, 2)
        return _store(name, ranks, value if stays or dtype == f32 else Cast(f32, value), dtype if stays else f32)
    kept, reduced = _cut(choices, ranks)
    if dtype == boolean:
        return _fold(name, kept, value, dtype, choices.pick(["any", "all", "xor", "max", "min"]), reduced)
    if dtype.is_float:
        monoid = choices.pick(["sum", "sum", "max", "min", "argmax"])
        return _fold(name, kept, value, choices.pick([dtype, f32]) if monoid == "sum" else dtype, monoid, reduced)
    return _fold(name, kept, value, dtype, choices.pick(["sum", "prod", "max", "min", "xor", "argmin", "argmax"]), reduced)


TYPED: tuple[Kind, ...] = (
    *[make_conversion] * 3,
    *[make_integers] * 3,
    *[make_truths] * 2,
    make_extremes,
    make_folds,
    *[make_function] * 2,
)
