"""Long sums in partial sums: what one accumulator adds up stays short, and what it held then goes into one of f64.

    schedule ... order (i, k) partial (k:64)
      =>
    for k in 0 .. 1000 { part[i.0] sum= X[k, i] }

    for k.part in 0 .. 16 {
      part[i.0] = 0.0
      for k in 1000*k.part // 16 .. (1000*k.part + 1000) // 16 { part[i.0] sum= X[k, i] }
      total[i.0] sum= f64(part[i.0])
    }

Rounding errors of a sum in one accumulator grow with its length; here they are those of the partial sums, which are as even as their
number allows, whatever the length is divisible by. Their order follows from sizes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import DType, f64
from tcomp.ir.expressions import Cast, Expr, Index, as_index
from tcomp.ir.index import Bounds, simplify_index
from tcomp.ir.tile import Loop, TileStatement
from tcomp.passes.einsums.facts import is_long_sum
from tcomp.passes.lower.lowering import Lowering


def is_cut(lowering: Lowering, einsum: Einsum) -> bool:
    """Whether the schedule cuts an einsum into partial sums."""
    steps = dict(lowering.schedule.partial)
    return is_long_sum(einsum) and any(r.name in steps for r in einsum.reduced)


def as_f64(value: Expr, dtype: DType) -> Expr:
    """A partial sum of a type as it goes into a total."""
    return value if dtype == f64 else Cast(f64, value)


def nest_sums(
    lowering: Lowering,
    names: Sequence[str],
    start: Sequence[TileStatement],
    inside: Sequence[TileStatement],
    fold: Sequence[TileStatement],
) -> tuple[TileStatement, ...]:
    """The loops of ranks around `inside`; before each partial sum comes `start` and after it `fold`.

    Of several ranks that are cut the innermost one makes the parts; where none has a loop, all there is is one.
    """
    steps = dict(lowering.schedule.partial)
    body = tuple(inside)
    is_folded = False
    for name in reversed(names):
        for variable, trips in reversed(lowering.splits[name].loops):
            if is_folded or name not in steps:
                body = (Loop("for", variable, trips, body),)
                continue
            is_folded = True
            if steps[name] == 1:
                body = (Loop("for", variable, trips, (*start, *body, *fold)),)
            else:
                body = nest_parts(variable, trips, steps[name], (start, body, fold))
    return body if is_folded else (*start, *body, *fold)


def nest_parts(
    variable: str, trips: Index, steps: int, parts: tuple[Sequence[TileStatement], tuple[TileStatement, ...], Sequence[TileStatement]]
) -> tuple[TileStatement, ...]:
    """A loop in even parts of at most so many steps, around what is done before, in and after each."""
    start, body, fold = parts
    # One part more than needed where the number of steps is not known: it must not be 0.
    count = as_index(-(-trips.constant // steps)) if trips.is_constant else simplify_index(trips // steps, Bounds()) + 1
    number = as_index(f"{variable}.part")
    first, last = (simplify_index(i * trips // count, Bounds()) for i in (number, number + 1))
    return (Loop("for", f"{variable}.part", count, (*start, Loop("for", variable, last, body, first), *fold)),)
