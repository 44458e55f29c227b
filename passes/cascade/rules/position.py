"""Rules of conversions, of rank variables used as values, and of loads."""

from __future__ import annotations

from collections.abc import Callable

from tcomp.ir.dtypes import DType, boolean, i64
from tcomp.ir.expressions import Apply, Cast, Constant, Expr, Index, Load, Ordinal, as_index, constant
from tcomp.ir.index import interval, is_below, is_inside, simplify_index
from tcomp.passes.cascade.rules.rule import CAST, LOAD, ORDINAL, Context, Rule, arguments_of


def cast_to_same(node: Expr, context: Context) -> Expr | None:
    """f32(X[i]) => X[i] if X is f32."""
    assert isinstance(node, Cast)
    return node.argument if context.dtype(node.argument) == node.dtype else None


def cast_through_wider(node: Expr, context: Context) -> Expr | None:
    """f64(f32(H[i])) => f64(H[i]) if the type between holds every value.

    i8(f32(H[i])) => i8(H[i])
    bool(i64(S[i])) => bool(S[i])
    """
    match node:
        case Cast(dtype, Cast(between, x)) if holds(between, context.dtype(x)):
            return Cast(dtype, x)
    return None


def cast_integers(node: Expr, context: Context) -> Expr | None:
    """i8(i32(N[i])) => i8(N[i]) if integers lose no bit that is kept."""
    match node:
        case Cast(dtype, Cast(between, x)) if dtype.is_int and between.is_int and context.dtype(x).is_int:
            return Cast(dtype, x) if between.bits >= dtype.bits else None
    return None


def cast_through_narrower(node: Expr, context: Context) -> Expr | None:
    """f32(bf16(X[i])) => X[i] if a narrow float only rounds between."""
    match node:
        case Cast(dtype, Cast(between, x)) if between.is_float and between.bits < 32:
            source = context.dtype(x)
            if source.is_float and source.bits >= 32 and dtype.is_float and dtype.bits >= 32:
                return x if source == dtype else Cast(dtype, x)
    return None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of one type is a value of the other."""
    if wide == narrow or narrow == boolean:
        return True
    if wide == boolean:
        return False
    if narrow.is_float:
        exponents = wide.bits - wide.mantissa >= narrow.bits - narrow.mantissa
        return wide.is_float and wide.mantissa >= narrow.mantissa and exponents
    digits = narrow.bits - narrow.signed
    if wide.is_float:
        return wide.bits >= 16 and wide.mantissa + 1 >= digits
    return wide.bits - wide.signed >= digits and (wide.signed or not narrow.signed)


def position_literal(node: Expr, context: Context) -> Expr | None:
    """i64[3] => 3.

    f32[3] => 3.0
    """
    assert isinstance(node, Ordinal)
    return constant(node.index.constant, node.dtype) if node.index.is_constant and _fits(node, context) else None


def position_index(node: Expr, context: Context) -> Expr | None:
    """i64[(8*i + j) // 8] => i64[i] if j is below 8."""
    assert isinstance(node, Ordinal)
    index = simplify_index(node.index, context.bounds)
    return None if index == node.index else Ordinal(index, node.dtype)


def cast_position(node: Expr, context: Context) -> Expr | None:
    """f32(i64[i]) => f32[i]."""
    match node:
        case Cast(dtype, Ordinal(index, between) as inner) if dtype != boolean and between.is_int and _fits(inner, context):
            return Ordinal(index, dtype)
    return None


def add_positions(node: Expr, context: Context) -> Expr | None:
    """i64[i] + i64[j] => i64[i + j].

    i64[i] + 3 => i64[i + 3]
    """
    return _combine(node, lambda a, b: a + b)


def subtract_positions(node: Expr, context: Context) -> Expr | None:
    """i64[i] - i64[j] => i64[i - j].

    3 - i64[i] => i64[3 - i]
    """
    return _combine(node, lambda a, b: a - b)


def scale_position(node: Expr, context: Context) -> Expr | None:
    """i64[i] * 3 => i64[3*i]."""
    return _combine(node, lambda a, b: a * b if b.is_constant else None)


def divide_position(node: Expr, context: Context) -> Expr | None:
    """floordiv(i64[i], 4) => i64[i // 4] if the divisor is positive."""
    return _combine(node, lambda a, b: a // b if _is_divisor(b) else None, exactly_in=context)


def remainder_of_position(node: Expr, context: Context) -> Expr | None:
    """mod(i64[i], 4) => i64[i % 4] if the divisor is positive."""
    return _combine(node, lambda a, b: a % b if _is_divisor(b) else None, exactly_in=context)


def truncate_position(node: Expr, context: Context) -> Expr | None:
    """truncdiv(i64[i], 4) => i64[i // 4] if the position is never negative, and the divisor is positive.

    fmod(i64[i + 3], 5) => i64[(i + 3) % 5]
    """
    assert isinstance(node, Apply)

    def combine(a: Index, b: Index) -> Index | None:
        if not _is_divisor(b) or not is_below(as_index(-1), a, context.bounds):
            return None
        return a // b if node.operator == "truncdiv" else a % b

    return _combine(node, combine, exactly_in=context)


def _is_divisor(index: Index) -> bool:
    return index.is_constant and index.constant > 0


def compare_positions(node: Expr, context: Context) -> Expr | None:
    """i64[i] < 8 => true if i has extent 8.

    i64[i] >= 8 => false
    i64[i] == -1 => false
    i64[i + 1] > i64[i] => true
    """
    assert isinstance(node, Apply)
    a, b = (_exact_index(x, context) for x in node.arguments)
    if a is None or b is None:
        return None
    if node.operator in ("gt", "le"):
        a, b = b, a
    if node.operator in ("eq", "ne"):
        differ = _is_less(a, b, context) or _is_less(b, a, context)
        return constant((node.operator == "eq") == (a == b), boolean) if differ or a == b else None
    below = _is_less(a, b, context)
    if not below and not _is_less(b, a + 1, context):
        return None
    return constant(below == (node.operator in ("lt", "gt")), boolean)


def _is_less(a: Index, b: Index, context: Context) -> bool:
    gap = interval(b - a, context.bounds)[0]
    return (gap is not None and gap > 0) or is_below(a, b, context.bounds)


def _combine(node: Expr, join: Callable[[Index, Index], Index | None], exactly_in: Context | None = None) -> Expr | None:
    """Join two positions of one integer type; modulo 2**bits, unless no value may wrap."""
    a, b = arguments_of(node)
    dtype = a.dtype if isinstance(a, Ordinal | Constant) else boolean
    if not dtype.is_int or not isinstance(b, Ordinal | Constant):
        return None
    if exactly_in is not None and not (_fits(a, exactly_in) and _fits(b, exactly_in)):
        return None
    left, right = _index(a), _index(b)
    joined = None if left is None or right is None else join(left, right)
    return None if joined is None else Ordinal(joined, dtype)


def _index(expression: Expr) -> Index | None:
    match expression:
        case Ordinal(index, _):
            return index
        case Constant(int() as value, _):
            return as_index(value)
        case _:
            return None


def _exact_index(expression: Expr, context: Context) -> Index | None:
    """The index whose value an integer expression has, if it cannot wrap."""
    is_exact = isinstance(expression, Ordinal | Constant) and expression.dtype.is_int and _fits(expression, context)
    return _index(expression) if is_exact else None


def _fits(expression: Expr, context: Context) -> bool:
    """Whether a position or literal has a value that its type holds."""
    if not isinstance(expression, Ordinal) or expression.dtype == i64:
        return True
    low, high = interval(expression.index, context.bounds)
    dtype = expression.dtype
    limit = 2 ** (dtype.mantissa + 1) if dtype.is_float else 2 ** (dtype.bits - dtype.signed) - 1
    return low is not None and high is not None and (-limit if dtype.signed else 0) <= low and high <= limit


def load_index(node: Expr, context: Context) -> Expr | None:
    """X[(8*i + j) // 8] => X[i] if j is below 8."""
    assert isinstance(node, Load)
    index = tuple(simplify_index(i, context.bounds) for i in node.index)
    return None if index == node.index else Load(node.tensor, index, node.outside)


def load_inside(node: Expr, context: Context) -> Expr | None:
    """(X[i] else 0.0) => X[i] if i is within X."""
    assert isinstance(node, Load)
    if node.outside is None:
        return None
    inside = all(is_inside(i, extent, context.bounds) for i, extent in zip(node.index, context.shapes[node.tensor]))
    return Load(node.tensor, node.index) if inside else None


def load_outside(node: Expr, context: Context) -> Expr | None:
    """(X[i - 8] else 0.0) => 0.0 if no point is within X.

    (X[i + 8] else 0.0) => 0.0
    """
    assert isinstance(node, Load)
    if node.outside is None:
        return None
    for i, extent in zip(node.index, context.shapes[node.tensor]):
        if is_below(i, as_index(0), context.bounds) or is_below(extent - 1, i, context.bounds):
            return constant(node.outside, context.dtypes[node.tensor])
    return None


POSITION = (
    Rule((CAST,), cast_to_same),
    Rule((CAST,), cast_through_wider),
    Rule((CAST,), cast_integers),
    Rule((CAST,), cast_position),
    Rule((CAST,), cast_through_narrower, exact=False),
    Rule((ORDINAL,), position_index),
    Rule((ORDINAL,), position_literal),
    Rule(("add",), add_positions),
    Rule(("sub",), subtract_positions),
    Rule(("mul",), scale_position),
    Rule(("floordiv",), divide_position),
    Rule(("mod",), remainder_of_position),
    Rule(("truncdiv", "fmod"), truncate_position),
    Rule(("eq", "ne", "lt", "le", "gt", "ge"), compare_positions),
    Rule((LOAD,), load_index),
    Rule((LOAD,), load_inside),
    Rule((LOAD,), load_outside),
)
