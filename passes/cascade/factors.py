"""Gather constant factors: where both operands of a contraction are scaled by constants, one of them is by both.

    A: f32[i:4, e:8] = Q[i, e] * 0.5
    B: f32[j:6, e:8] = K[j, e] * 0.25
    S: f32[i:4, j:6] = sum(e:8) A[i, e] * B[j, e]
      =>
    B: f32[j:6, e:8] = K[j, e] * 0.125
    S: f32[i:4, j:6] = sum(e:8) Q[i, e] * B[j, e]

The operand that keeps a factor is the right one, which a CPU would copy into panels in any case. Roundings change, so this runs only
where numerics need not be strict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tcomp.ir.cascade import Cascade, Einsum, Statement
from tcomp.ir.dtypes import f16
from tcomp.ir.expressions import Apply, Constant, Expr, Load
from tcomp.ir.walk import map_loads, substitute
from tcomp.passes.einsums.contraction import find_contraction
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.rebuild import count_readers

LARGEST_FACTOR = 2.0**16
"""Factors and their product lie between this and its inverse, so that no scaled operand overflows or vanishes that did not before."""


@dataclass(frozen=True, slots=True)
class _Scaled:
    """A map that multiplies a tensor's elements by a constant."""

    einsum: Einsum
    load: Load
    factor: Constant


def gather_factors(cascade: Cascade) -> Cascade:
    """Scale one operand of each contraction instead of both; the same cascade if there is none to gather."""
    static = static_tensors(cascade)
    counts = count_readers(cascade)
    scaled: dict[str, _Scaled] = {}
    changed: dict[str, Einsum] = {}
    dropped: set[str] = set()
    for statement in cascade.statements:
        if not isinstance(statement, Einsum):
            continue
        found = _find_scaled(statement)
        if found is not None and counts.get(statement.name) == 1:
            scaled[statement.name] = found
        contraction = find_contraction(statement, static, packs=True)
        if contraction is None or contraction.left.tensor == contraction.right.tensor or contraction.left.outside is not None:
            continue
        left, right = (scaled.get(load.tensor) for load in (contraction.left, contraction.right))
        if left is None or right is None or not _may_gather(left, right):
            continue
        factor = replace(right.factor, value=float(left.factor.value) * float(right.factor.value))
        changed[right.einsum.name] = replace(right.einsum, expression=Apply("mul", (right.load, factor)))
        changed[statement.name] = _without_factor(statement, contraction.left, left)
        dropped.add(left.einsum.name)
    if not changed:
        return cascade
    kept: list[Statement] = []
    for statement in cascade.statements:
        if not isinstance(statement, Einsum):
            kept.append(statement)
        elif statement.name not in dropped:
            kept.append(changed.get(statement.name, statement))
    return cascade.with_statements(tuple(kept))


def _find_scaled(einsum: Einsum) -> _Scaled | None:
    if not einsum.is_map or einsum.initial is not None or not einsum.dtype.is_float or einsum.dtype == f16:
        return None
    match einsum.expression:
        case Apply("mul", (Load() as load, Constant() as factor)) | Apply("mul", (Constant() as factor, Load() as load)):
            return _Scaled(einsum, load, factor)
    return None


def _may_gather(left: _Scaled, right: _Scaled) -> bool:
    first, second = float(left.factor.value), float(right.factor.value)
    within = (1 / LARGEST_FACTOR <= abs(f) <= LARGEST_FACTOR for f in (first, second, first * second))
    return left.einsum.dtype == right.einsum.dtype and all(within)


def _without_factor(contraction: Einsum, operand: Load, scaled: _Scaled) -> Einsum:
    """The contraction with an operand read where the map before it reads."""
    place = {str(slot.as_variable): index for slot, index in zip(scaled.einsum.index, operand.index)}
    plain = substitute(scaled.load, place)

    def read(load: Load) -> Expr:
        return plain if load == operand else load

    return replace(contraction, expression=map_loads(contraction.expression, read))
