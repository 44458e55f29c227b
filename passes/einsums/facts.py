"""Facts about einsums: what they cost, what they start from, in which type they add up, and what depends on weights alone."""

from __future__ import annotations

from tcomp.ir.cascade import Cascade, Einsum, Iteration
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.expressions import Apply, Cast, Constant, Expr
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import OPERATORS
from tcomp.ir.walk import walk


def cost(expression: Expr) -> int:
    """Arithmetic cost of an expression in vector instructions."""
    return sum(OPERATORS[e.operator].cost for e in walk(expression) if isinstance(e, Apply))


def identity_of(einsum: Einsum) -> tuple[Constant, ...]:
    """The state of an empty reduction of an einsum."""
    assert einsum.reduce is not None
    return MONOIDS[einsum.reduce].identity(einsum.dtype)


def initial_of(einsum: Einsum) -> Expr:
    """What a scatter starts from, in the type of its target."""
    if einsum.initial is not None:
        return einsum.initial
    (identity,) = identity_of(einsum)
    return narrow(identity, identity.dtype, einsum.dtype)


def narrow(value: Expr, held: DType, wanted: DType) -> Expr:
    """Convert an accumulated value to the type of its tensor."""
    return value if held == wanted else Cast(wanted, value)


def accumulator_dtype(einsum: Einsum) -> DType:
    """The type in which a reduction's first component is folded."""
    return compute_dtype(einsum.dtype)


def static_tensors(cascade: Cascade) -> dict[str, bool]:
    """Which tensors depend on weights (or on nothing) alone."""
    static = {t.name: t.weight for t in cascade.inputs}
    for statement in cascade.statements:
        einsums = statement.body if isinstance(statement, Iteration) else (statement,)
        own = {name for e in einsums for name, _ in e.targets}
        value = all(static[name] for e in einsums for name in e.reads() if name not in own)
        static.update(dict.fromkeys(own, value))
    return static


def is_long_sum(einsum: Einsum) -> bool:
    """Whether an einsum is a sum of floats, whose error grows with its length."""
    return einsum.reduce == "sum" and compute_dtype(einsum.dtype).is_float


def is_long_product(einsum: Einsum) -> bool:
    """Whether an einsum is a product of floats. Factors near one round to one side of it more often than to the other."""
    return einsum.reduce == "prod" and compute_dtype(einsum.dtype).is_float
