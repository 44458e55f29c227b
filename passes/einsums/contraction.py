"""Recognise contractions: sums of a product of two loads, each with a free rank of its own.

    Y: f32[b:B, m:M, n:N] = sum(k:K) A[b, m, k] * W[k, n]        rows (m), lanes n, shared (b), reduced (k)

The *right* operand gives the lanes: the rank n that a vector register spans. The *left* operand's elements are broadcast. Any index
map is allowed on the left (a convolution reads `X[n, c, 2*p + r, 2*q + s]`), and on the right as long as n is a whole dimension of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.expressions import Apply, Cast, Expr, Load, Remainder, as_index
from tcomp.ir.index import interval
from tcomp.ir.walk import index_variables

SMALLEST_LANES = 4
"""A right operand with a shorter lane rank than this is not worth vectorising over if the other operand has a longer one."""

LONG_LANES = 64
"""Lanes of this length fill registers, so that it counts more how the result lies in memory than which lanes are longer."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """How a contraction splits into operands and ranks."""

    left: Load
    right: Load
    lanes: Rank
    rows: tuple[Rank, ...]
    shared: tuple[Rank, ...]


def operand_load(expression: Expr) -> Load | None:
    """The load of an operand that is a load, possibly converted."""
    while isinstance(expression, Cast):
        expression = expression.argument
    return expression if isinstance(expression, Load) else None


def load_variables(load: Load) -> set[str]:
    """Variables in the indices of a load."""
    return {name for i in load.index for name in index_variables(i)}


def lane_position(load: Load, name: str, reduced: tuple[Rank, ...] = ()) -> int | None:
    """The dimension of a load whose index is the variable `name` plus terms without it or a reduced rank, if it appears only there."""
    positions = [p for p, i in enumerate(load.index) if name in index_variables(i)]
    if len(positions) != 1:
        return None
    rest = load.index[positions[0]] - as_index(name)
    return positions[0] if not index_variables(rest) & {name, *(r.name for r in reduced)} else None


def panel_of(load: Load) -> tuple[str, int] | None:
    """(rank, width) if the last index of a load is `rank % width`: an operand packed in panels of lanes."""
    if not load.index:
        return None
    last = load.index[-1]
    if len(last.terms) != 1 or last.constant or last.terms[0][1] != 1 or len(last.terms[0][0]) != 1:
        return None
    atom = last.terms[0][0][0]
    if isinstance(atom, Remainder) and atom.denominator.is_constant and atom.numerator.as_variable is not None:
        return atom.numerator.as_variable, atom.denominator.constant
    return None


def find_contraction(
    einsum: Einsum, static: Mapping[str, bool], lanes: str | None = None, *, packs: bool = False
) -> Contraction | None:
    """Split a contraction into its operands; None for any other einsum.

    `static` says which tensors depend on weights alone. `lanes` names the rank that has to give the lanes, if one has to. With `packs`
    the right operand is going to be copied into panels, so that lanes that lie side by side in the result are worth more than length.
    """
    if einsum.reduce != "sum" or einsum.is_scatter or einsum.where is not None:
        return None
    product = einsum.expression
    if not (isinstance(product, Apply) and product.operator == "mul"):
        return None
    first, second = (operand_load(a) for a in product.arguments)
    if first is None or second is None:
        return None
    candidates = [c for c in (_split(einsum, first, second, lanes), _split(einsum, second, first, lanes)) if c is not None]
    if not candidates:
        return None

    def preference(contraction: Contraction) -> tuple[bool, bool, bool, bool, bool, int]:
        right = contraction.right
        extent = interval(contraction.lanes.extent, einsum.bounds())[1]
        length = extent if extent is not None else 1 << 20
        last = lane_position(right, contraction.lanes.name, einsum.reduced) == len(right.index) - 1
        adjacent = packs and length >= LONG_LANES and contraction.lanes == einsum.free[-1]
        return panel_of(right) is not None, length >= SMALLEST_LANES, static.get(right.tensor, False), last, adjacent, length

    return max(candidates, key=preference)


def _split(einsum: Einsum, left: Load, right: Load, wanted: str | None) -> Contraction | None:
    in_left, in_right = load_variables(left), load_variables(right)
    panel = panel_of(right)

    def position(rank: Rank) -> int | None:
        """The dimension that a rank walks; panels count as the last."""
        if panel is not None and panel[0] == rank.name:
            return len(right.index)
        return lane_position(right, rank.name, einsum.reduced)

    own = [r for r in einsum.free if r.name not in in_left and position(r) is not None and wanted in (None, r.name)]
    rows = tuple(r for r in einsum.free if r.name in in_left and r.name not in in_right)
    if not own or right.outside is not None or not any(r.name in in_left & in_right for r in einsum.reduced):
        return None
    lanes = max(own, key=lambda r: (position(r) or 0, r.extent.constant))
    shared = tuple(r for r in einsum.free if r != lanes and r not in rows)
    return Contraction(left, right, lanes, rows, shared)
