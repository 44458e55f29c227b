"""Beyond which limits nobody looks at a block, so that what is written there does not matter.

acc[m.0] over (m.0:8 < M - m) sum= ...             nobody does, if all who read acc have the same limit, or write only blocks
Y[m + m.0] over (m.0:8 < M - m) = acc[m.0]         in turn whose points beyond the limit nobody reads
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tcomp.ir.expressions import Index, Load
from tcomp.ir.tile import Block, Kernel, Loop, TileStatement
from tcomp.ir.tile_scope import Place, Site, find_sites
from tcomp.ir.walk import index_variables, walk_index


@dataclass(frozen=True, slots=True)
class _Edge:
    """The points of a block beyond a limit of one of its axes."""

    block: str
    axis: str
    limit: Index


class Liveness:
    """Answers for one kernel; blocks are told apart by their names and the loops they are declared in."""

    def __init__(self, kernel: Kernel) -> None:
        self.sites = find_sites(kernel)
        self.declarations = list(_declarations(kernel.body))

    def dead_axes(self, site: Site) -> frozenset[str]:
        """The axes of the block that a statement writes beyond whose limits nobody looks."""
        return frozenset(
            axis.name
            for axis in site.assign.axes
            if axis.limit is not None and self._is_dead(_Edge(site.assign.target, axis.name, axis.limit), site, set())
        )

    def _is_dead(self, edge: _Edge, site: Site, assumed: set[_Edge]) -> bool:
        """Whether all who read the points are below the limit too, or pass them on to points that are dead."""
        block = site.places[edge.block]
        if edge in assumed:
            return True
        if not index_variables(edge.limit) <= self._lasting_variables(block, site):
            return False
        assumed.add(edge)
        return all(self._looks_away(other, edge, assumed) for other in self.sites if other.places.get(edge.block) is block)

    def _lasting_variables(self, block: Place, site: Site) -> set[str]:
        """Variables that keep their values as long as a block lives: those of the loops around its declarations."""
        nests = [loops for declared, loops in self.declarations if declared is block]
        lasting = [loop for loop in site.loops if all(any(loop is other for other in nest) for nest in nests)]
        return {loop.variable for loop in lasting} | {symbol.name for symbol in site.kernel.symbols}

    def _looks_away(self, site: Site, edge: _Edge, assumed: set[_Edge]) -> bool:
        assign = site.assign
        read = {load.tensor for load in site.reads()} | ({assign.target} if assign.merge is not None else set())
        if edge.block not in read:
            return True
        axis = next((a for a in site.axes if a.name == edge.axis), None)
        if axis is None or edge.block in _used_in_indices(site):
            return False
        if axis.limit == edge.limit:
            return True
        is_passed_on = axis in assign.axes and isinstance(site.places[assign.target], Block)
        return is_passed_on and self._is_dead(_Edge(assign.target, edge.axis, edge.limit), site, assumed)


def _used_in_indices(site: Site) -> set[str]:
    """What a statement reads to find elements."""
    accesses: list[Load] = [site.store, *site.reads()]
    return {part.tensor for access in accesses for index in access.index for part in walk_index(index) if isinstance(part, Load)}


def _declarations(body: tuple[TileStatement, ...], loops: tuple[Loop, ...] = ()) -> Iterator[tuple[Block, tuple[Loop, ...]]]:
    """Every block with the loops around its declaration."""
    for statement in body:
        if isinstance(statement, Block):
            yield statement, loops
        elif isinstance(statement, Loop):
            yield from _declarations(statement.body, (*loops, statement))
