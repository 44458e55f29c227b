"""Recognise contractions: sums of a product of two loads, each with a free rank of its own.

    Y: f32[b:B, m:M, n:N] = sum(k:K) A[b, m, k] * W[k, n]        rows (m), lanes n, shared (b), reduced (k)

The *right* operand gives the lanes: the rank n that a vector register spans. The *left* operand's elements are broadcast. Any index
map is allowed on the left (a convolution reads `X[n, c, 2*p + r, 2*q + s]`), and on the right as long as n is a whole dimension of it.

A contraction is found once, when it gets a group, which holds as a `Product` what was found. From then on it is read off the group, and
turned at most (`turn_lanes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.expressions import Apply, Cast, Expr, Load, Remainder, as_index
from tcomp.ir.index import interval
from tcomp.ir.walk import index_variables
from tcomp.passes.einsums.group import Group, Product

SMALLEST_LANES = 4
"""A right operand with a shorter lane rank than this is not worth vectorising over if the other operand has a longer one."""

LONG_LANES = 64
"""Lanes of this length fill registers, so that it counts more how the result lies in memory than which lanes are longer."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """How a contraction splits into operands and ranks."""

    fact: Product
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


def is_contraction(einsum: Einsum) -> bool:
    """Whether an einsum is a contraction, whichever operand is the right one."""
    return bool(_find_ways(einsum))


def find_contraction(einsum: Einsum, static: Mapping[str, bool], *, packs: bool = False) -> Contraction | None:
    """Split a contraction into its operands; None for any other einsum.

    `static` says which tensors depend on weights alone. With `packs` the right operand is going to be copied into panels, so that lanes
    that lie side by side in the result are worth more than length.
    """

    def preference(way: Contraction) -> tuple[bool, bool, bool, bool, bool, int]:
        length = _lane_length(way, einsum)
        adjacent = packs and length >= LONG_LANES and way.lanes == einsum.free[-1]
        is_static = static.get(way.right.tensor, False)
        return way.fact.panel is not None, length >= SMALLEST_LANES, is_static, _is_last(way, einsum), adjacent, length

    return max(_find_ways(einsum), key=preference, default=None)


def contraction_along(einsum: Einsum, lanes: str) -> Contraction | None:
    """A contraction with a rank that has to give the lanes; None if it cannot, or the einsum is no contraction."""
    return next(iter(_find_ways(einsum, lanes)), None)


def turn_lanes(einsum: Einsum, fact: Product) -> Product:
    """A contraction as its kernel computes it: with the other operand as the right one if its lanes are neighbours, or longer.

    What was found says how the result is stored: along the lanes of a weight, if there is one. To a kernel weights are like others, and
    its ranks may be longer by then, as several have become one.
    """

    def preference(way: Contraction) -> tuple[bool, bool, bool, int, int]:
        length = _lane_length(way, einsum)
        return way.fact.panel is not None, length >= SMALLEST_LANES, _is_last(way, einsum), length, way.fact.right

    other = _find_lanes(einsum, 1 - fact.right)
    return fact if other is None else max((read_contraction(einsum, f) for f in (fact, other)), key=preference).fact


def _lane_length(contraction: Contraction, einsum: Einsum) -> int:
    """How many lanes there are; very many if nobody knows."""
    extent = interval(contraction.lanes.extent, einsum.bounds())[1]
    return extent if extent is not None else 1 << 20


def _is_last(contraction: Contraction, einsum: Einsum) -> bool:
    """Whether the lanes walk the last dimension of the right operand."""
    return lane_position(contraction.right, contraction.lanes.name, einsum.reduced) == len(contraction.right.index) - 1


def read_contraction(einsum: Einsum, fact: Product) -> Contraction:
    """A contraction of which it is known how it splits."""
    left, right = _factors(einsum, fact.right)
    in_left, in_right = load_variables(left), load_variables(right)
    lanes = next(r for r in einsum.free if r.name == fact.lanes)
    rows = tuple(r for r in einsum.free if r.name in in_left and r.name not in in_right)
    shared = tuple(r for r in einsum.free if r != lanes and r not in rows)
    return Contraction(fact, left, right, lanes, rows, shared)


def contraction_of(group: Group) -> Contraction:
    """The contraction of a group of that kind, or of a part of a chain."""
    assert isinstance(group.fact, Product), f"the {group.kind} of {', '.join(group.names)} is no contraction"
    return read_contraction(group.root, group.fact)


def _factors(einsum: Einsum, right: int) -> tuple[Load, Load]:
    """The left and the right operand of a product of two loads."""
    assert isinstance(einsum.expression, Apply)
    left, other = (operand_load(einsum.expression.arguments[place]) for place in (1 - right, right))
    assert left is not None and other is not None
    return left, other


def _find_ways(einsum: Einsum, lanes: str | None = None) -> list[Contraction]:
    """The ways to see an einsum as a contraction, each with another right operand; `lanes` names the rank that has to give them."""
    product = einsum.expression
    if einsum.reduce != "sum" or einsum.is_scatter or einsum.where is not None:
        return []
    if not isinstance(product, Apply) or product.operator != "mul" or None in map(operand_load, product.arguments):
        return []
    found = (_find_lanes(einsum, right, lanes) for right in (1, 0))
    return [read_contraction(einsum, fact) for fact in found if fact is not None]


def _find_lanes(einsum: Einsum, place: int, wanted: str | None = None) -> Product | None:
    """What gives the lanes if the right operand is the factor at a place; None if nothing does."""
    left, right = _factors(einsum, place)
    in_left, in_right = load_variables(left), load_variables(right)
    panel = panel_of(right)

    def position(rank: Rank) -> int | None:
        """The dimension that a rank walks; panels count as the last."""
        if panel is not None and panel[0] == rank.name:
            return len(right.index)
        return lane_position(right, rank.name, einsum.reduced)

    own = [r for r in einsum.free if r.name not in in_left and position(r) is not None and wanted in (None, r.name)]
    if not own or right.outside is not None or not any(r.name in in_left & in_right for r in einsum.reduced):
        return None
    lanes = max(own, key=lambda r: (position(r) or 0, r.extent.constant)).name
    return Product(place, lanes, panel[1] if panel is not None and panel[0] == lanes else None)
