"""Chains: the parts of a group one after another in each instance, a tile of rows passing between them in one buffer.

    parallel h, i.1 {
      buffer rows: f32[12, 1500]
      for j.1 { acc[i.0, j.0] = sum(e) Q * K; rows[i.0, 32*j.1 + j.0] = acc }
      for i.0 { phases of the nest over rows[i.0, ...], in place }
      for d.1 { acc[i.0, d.0] = sum(j) rows[i.0, j] * V; Z[12*i.1 + i.0, 32*d.1 + d.0] = acc }
    }
"""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.expressions import Index, Load, as_index
from tcomp.ir.tile import Buffer, Loop, TileStatement
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.group import Group
from tcomp.passes.lower.cpu.contract import contract_tile
from tcomp.passes.lower.lowering import Lowering, Split, nest_loops, parallel_nest, short_name
from tcomp.passes.lower.nest import lower_phases


def lower_chain(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower the three parts of a chain under their common parallel loops."""
    group, schedule = lowering.bound.group, lowering.schedule
    by_name = {e.name: e for e in group.members}
    first, middle, last = group.parts
    (row, rows), (inner, _), (final, _) = schedule.tiles
    lowering.cut(group.outer)
    whole = lowering.splits[row]
    assert whole.axis is not None
    (scores,), (weights,) = first.stored, middle.stored
    (walked,) = middle.inner
    buffer = Buffer(
        lowering.fresh(f"{short_name(scores)}_rows"), by_name[scores].dtype, (rows, walked.extent.constant)
    )
    body: list[TileStatement] = [buffer]
    kept = _kept(buffer, whole.axis.name, inner)
    same = by_name[weights].dtype == by_name[scores].dtype
    out = buffer if same else Buffer(lowering.fresh(f"{short_name(weights)}_rows"), by_name[weights].dtype, buffer.shape)
    if not same:
        body.append(out)
    head = _part(lowering, first, inner, {}, {scores: kept})
    panels = head.cut((walked,))
    body += nest_loops("for", panels, contract_tile(head))
    between = _part(lowering, middle, inner, {scores: kept}, {weights: _kept(out, whole.axis.name, inner)})
    lowering.splits[row] = Split(whole.rank, whole.index, (*whole.loops, (whole.axis.name, as_index(rows))), None)
    body.append(Loop("for", whole.axis.name, as_index(rows), lower_phases(between)))
    lowering.splits[row] = whole
    tail = _part(lowering, last, final, {weights: _kept(out, whole.axis.name, inner)}, {})
    columns = tail.cut(r for r in last.outer if r.name == final)
    body += nest_loops("for", columns, contract_tile(tail))
    return parallel_nest(lowering, (r.name for r in group.outer), tuple(body))


def _kept(buffer: Buffer, row: str, inner: str) -> Load:
    """An element of the buffer: its row within the tile (of that axis), its place along the walked rank."""
    index: tuple[Index, ...] = (as_index(row), as_index(inner))
    return Load(buffer.name, index)


def _part(
    lowering: Lowering, part: Group, lanes: str, memory: dict[str, Load], buffers: dict[str, Load]
) -> Lowering:
    """A lowering of one part that shares the chain's ranks and names."""
    if part.kind == "nest":
        part = replace(part, outer=(), again=lowering.bound.group.again)
    return Lowering(
        Bound(part, lowering.bound.operands),
        lowering.schedule,
        lowering.symbols,
        splits=lowering.splits,
        memory=memory,
        buffers=buffers,
        names=lowering.names,
        lanes=lanes,
    )
