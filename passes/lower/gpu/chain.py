"""Chains on a GPU: a tile of rows walks the rank between two contractions once, reductions over it running along.

    parallel h, i.1 {
      G[i.0] = -inf; D[i.0] = 0.0; Z[i.0, d.0] = 0.0
      for j.1 {
        S[i.0, j.0] = sum(e.0) Q * K
        G_next[i.0] = max(G[i.0], max(j.0) S[i.0, j.0]); scale[i.0] = exp(G[i.0] - G_next[i.0])
        E[i.0, j.0] = exp(S[i.0, j.0] - G_next[i.0])
        D[i.0] = D[i.0] * scale[i.0] + sum(j.0) E[i.0, j.0]
        Z[i.0, d.0] = Z[i.0, d.0] * scale[i.0] + sum(j.0) E[i.0, j.0] * V
        G[i.0] = G_next[i.0]
      }
      Z_out = Z[i.0, d.0] / D[i.0]
    }

Which reductions there are, what corrects them and what is left to the end is derived in `tcomp.passes.one_pass.derive`. A row of nothing
but -inf so far has no maximum to subtract: zero stands for it, and if that is so at the end, what it was subtracted from is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Einsum
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import Apply, Cast, Expr, Load, apply, as_index, constant
from tcomp.ir.tile import Assign, Axis, Block, TileStatement
from tcomp.ir.walk import loads, map_arguments, map_loads
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.facts import accumulator_dtype, identity_of, narrow
from tcomp.passes.einsums.group import Group
from tcomp.passes.lower.lowering import Lowering, bare, nest_loops, parallel_nest, short_name
from tcomp.passes.lower.maps import lower_maps
from tcomp.passes.one_pass.derive import Running, read_one_pass


@dataclass(frozen=True, slots=True)
class _Reference:
    """A running maximum during a step: its value afterwards, what is subtracted, and what corrects earlier sums."""

    after: Load
    base: Load
    correction: Load


def lower_gpu_chain(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower the three parts of a chain as one loop over the rank between them."""
    return _Chain(lowering).lower()


class _Chain:
    """A chain being lowered."""

    def __init__(self, lowering: Lowering) -> None:
        group = lowering.bound.group
        self.lowering = lowering
        self.first, self.middle, self.last = group.parts
        (self.weights,) = self.middle.stored
        dtypes = {name: operand.memory.dtype for name, operand in lowering.bound.operands.items()}
        dtypes.update(target for e in group.members for target in e.targets)
        *self.running, self.tail = read_one_pass(group, dtypes)
        lowering.cut(group.outer)
        self.walk = lowering.cut(self.middle.inner)
        lowering.cut(self.first.root.reduced)
        lowering.cut(r for r in self.last.outer if r.name not in {o.name for o in group.outer})
        self.row_axes = lowering.axes(r.name for r in group.outer)
        self.score_axes = lowering.axes((*(r.name for r in group.outer), *(r.name for r in self.middle.inner)))
        self.last_axes = lowering.axes(r.name for r in self.last.outer)
        self.step_axes = tuple(a for a in self.score_axes if a not in self.row_axes)
        self.references: dict[str, _Reference] = {}
        self.totals: dict[str, Block] = {}
        self.terms: dict[Expr, Load] = {}

    def lower(self) -> tuple[TileStatement, ...]:
        """The whole kernel's body."""
        lowering, group = self.lowering, self.lowering.bound.group
        before: list[TileStatement] = []
        for running in (*self.running, self.tail):
            before += self._start(running)
        inside = self._scores()
        for running in self.running:
            inside += self._step(running)
        inside += self._step(self.tail)
        for name, reference in self.references.items():
            inside.append(self._assign(self.totals[name], bare(self.row_axes), reference.after))
        after: list[TileStatement] = []
        for running in (*self.running, self.tail):
            after += self._finish(running)
        names = {r.name for r in group.outer}
        body = (*before, *nest_loops("for", self.walk, tuple(inside)), *after)
        return parallel_nest(lowering, [n for n in lowering.schedule.order if n in names], body)

    def _axes_of(self, running: Running) -> tuple[Axis, ...]:
        return self.last_axes if running is self.tail else self.row_axes

    def _block(self, name: str, dtype: DType, axes: tuple[Axis, ...]) -> Block:
        return Block(self.lowering.fresh(name), dtype, bare(axes))

    def _assign(self, block: Block, axes: tuple[Axis, ...], value: Expr) -> Assign:
        return Assign(block.name, tuple(as_index(a.name) for a in block.axes), axes, value)

    def _start(self, running: Running) -> list[TileStatement]:
        einsum = running.einsum
        dtype = einsum.dtype if einsum.reduce == "max" else accumulator_dtype(einsum)
        axes = self._axes_of(running)
        block = self.totals[einsum.name] = self._block(short_name(einsum.name), dtype, axes)
        identity = identity_of(einsum)[0]
        start: Expr = identity if identity.dtype == dtype else constant(identity.value, dtype)
        return [block, self._assign(block, bare(axes), start)]

    def _scores(self) -> list[TileStatement]:
        """The first contraction and its maps on the tile of one step."""
        lowering = self._part(self.first)
        root, *maps = self.first.members
        inner = lowering.axes(r.name for r in root.reduced)
        dtype = accumulator_dtype(root)
        total = lowering.block(root, dtype, self.score_axes)
        held = lowering.blocks[root.name]
        value = lowering.expression(root.expression)
        body: list[TileStatement] = [
            total,
            Assign(total.name, held.index, self.score_axes, value, reduce=root.reduce, reduced=inner),
        ]
        if dtype != root.dtype:
            block = lowering.block(root, root.dtype, self.score_axes)
            body += [block, self._assign(block, self.score_axes, narrow(held, dtype, root.dtype))]
        (scores,) = self.first.stored
        body += lower_maps(lowering, [e for e in maps if e.name != scores], self.score_axes)
        for einsum in (e for e in maps if e.name == scores):
            value = lowering.expression(einsum.expression)
            block = lowering.block(einsum, einsum.dtype, self.score_axes)
            body += [block, self._assign(block, self.score_axes, value)]
        self.lowering.blocks[scores] = lowering.blocks[scores]
        return body

    def _part(self, part: Group) -> Lowering:
        """A lowering of one part that shares the chain's ranks and names, and stores nothing."""
        whole = self.lowering
        part = replace(part, stored=())
        return Lowering(
            Bound(part, whole.bound.operands), whole.schedule, whole.symbols, splits=whole.splits, names=whole.names, blocks=whole.blocks
        )

    def _term(self, running: Running) -> Expr:
        """One term of a sum, its reference read from where this step has it."""

        def read(load: Load) -> Expr:
            found = self.references.get(load.tensor)
            return load if found is None else found.base

        return map_loads(running.core, read)

    def _step(self, running: Running) -> list[TileStatement]:
        """Fold the terms of one step into what has been folded so far."""
        einsum, total = running.einsum, self.totals[running.einsum.name]
        axes = self._axes_of(running)
        held = Load(total.name, tuple(as_index(a.name) for a in total.axes))
        body: list[TileStatement] = []
        term = self._term(running)
        if einsum.reduce == "max" and self._is_reference(einsum):
            body += self._move(einsum, total, held, self.lowering.expression(term))
            return body
        if running.reference is not None:
            correction = self.references[running.reference].correction
            body.append(self._assign(total, bare(axes), apply("mul", held, correction)))
            body += self._keep_term(running, term)
            term = _replace_parts(term, self.terms)
        value = self.lowering.expression(term)
        body.append(
            Assign(total.name, held.index, axes, value, merge=einsum.reduce, reduce=einsum.reduce, reduced=self.step_axes)
        )
        return body

    def _is_reference(self, einsum: Einsum) -> bool:
        return any(running.reference == einsum.name for running in (*self.running, self.tail))

    def _move(self, einsum: Einsum, total: Block, held: Load, value: Expr) -> list[TileStatement]:
        """The maximum after this step, the value to subtract, and what corrects sums that subtracted the one before."""
        dtype = total.dtype
        wide = accumulator_dtype(einsum)
        new = self._block(f"{total.name}_next", dtype, self.row_axes)
        base = self._block(f"{total.name}_base", dtype, self.row_axes)
        scale = self._block(f"{total.name}_scale", wide, self.row_axes)
        index = held.index
        after, below = Load(new.name, index), Load(base.name, index)
        least = constant(-math.inf, dtype)
        difference = apply("sub", _widened(held, dtype, wide), _widened(below, dtype, wide))
        rows = bare(self.row_axes)
        self.references[einsum.name] = _Reference(after, below, Load(scale.name, index))
        return [
            new,
            self._assign(new, rows, held),
            Assign(new.name, index, self.row_axes, value, merge="max", reduce="max", reduced=self.step_axes),
            base,
            self._assign(base, rows, apply("select", apply("eq", after, least), constant(0.0, dtype), after)),
            scale,
            self._assign(scale, rows, apply("exp", difference)),
        ]

    def _keep_term(self, running: Running, term: Expr) -> list[TileStatement]:
        """A block for the exponentials, which several sums share."""
        assert running.reference is not None
        factor = _find_exponential(term, self.references[running.reference].base)
        if factor is None or factor in self.terms:
            return []
        block = self._block("term", accumulator_dtype(running.einsum), self.score_axes)
        self.terms[factor] = Load(block.name, tuple(as_index(a.name) for a in block.axes))
        return [block, self._assign(block, self.score_axes, self.lowering.expression(factor))]

    def _finish(self, running: Running) -> list[TileStatement]:
        """The result of a reduction after the last step."""
        lowering, einsum = self.lowering, running.einsum
        total = self.totals[einsum.name]
        axes = self._axes_of(running)
        held: Expr = Load(total.name, tuple(as_index(a.name) for a in total.axes))
        value = held if running.is_guarded else self._unless_dead(running, held, constant(math.nan, total.dtype))
        match running.scale:
            case None:
                pass
            case Apply("reciprocal", (divisor,)):
                value = apply("div", value, lowering.expression(divisor))
            case scale:
                value = apply("mul", value, lowering.expression(scale))
        if running.is_guarded:
            # The terms had 0 subtracted: they are 0, or NaN for what is multiplied by 0 and no number.
            value = self._unless_dead(running, value, held)
        if running is not self.tail:
            block = lowering.block(einsum, einsum.dtype, axes)
            return [block, self._assign(block, bare(axes), narrow(value, total.dtype, einsum.dtype))]
        return self._finish_tail(value, total.dtype)

    def _unless_dead(self, running: Running, value: Expr, otherwise: Expr) -> Expr:
        """A value, and another one where the maximum that was subtracted is -inf."""
        if running.reference is None:
            return value
        top = self.totals[running.reference]
        dead = apply("eq", Load(top.name, tuple(as_index(a.name) for a in top.axes)), constant(-math.inf, top.dtype))
        return apply("select", dead, otherwise, value)

    def _finish_tail(self, value: Expr, dtype: DType) -> list[TileStatement]:
        lowering = self.lowering
        root, *epilogue = self.last.members
        axes = self.last_axes
        block = lowering.block(root, root.dtype, axes)
        body: list[TileStatement] = [block, self._assign(block, axes, narrow(value, dtype, root.dtype))]
        if root.name in lowering.bound.group.stored:
            body.append(lowering.store(root, lowering.blocks[root.name], axes))
        return [*body, *lower_maps(lowering, epilogue, axes)]


def _widened(value: Expr, held: DType, wide: DType) -> Expr:
    """A value in the type in which one computes with it."""
    return value if held == wide else Cast(wide, value)


def _find_exponential(term: Expr, base: Load) -> Expr | None:
    """The exponential in a term from whose argument `base` is subtracted, None if there is none."""
    match term:
        case Apply(operator, arguments):
            if operator == "exp" and base in loads(term):
                return term
            return next((found for a in arguments if (found := _find_exponential(a, base)) is not None), None)
        case Cast(_, argument):
            return _find_exponential(argument, base)
        case _:
            return None


def _replace_parts(term: Expr, blocks: Mapping[Expr, Load]) -> Expr:
    """A term with the parts that blocks hold read from there."""
    return blocks.get(term) or map_arguments(term, lambda argument: _replace_parts(argument, blocks))
