"""Recurrences and scatters: serial loops, parallel and vectorised over the ranks that pass through.

    iterate t:T { S: f32[t + 1:T + 1, d:D] = a[t, d] * S[t, d] + b[t, d] from 0.0; Y: f32[t:T, d:D] = exp(S[t + 1, d]) }
      =>
    parallel d.1 {
      block S: f32[d.0:16]
      S[d.0] = 0.0
      for t in 0 .. T { S[d.0] = a[t, d] * S[d.0] + b[t, d]; Y[t, d] = exp(S[d.0]) }
    }

A step of a member is held in a block where all members are small, and in a buffer otherwise; only what others read is stored, and
what is too large to be held, of which memory has no more steps than are read (`tcomp.passes.groups.rolling`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tcomp.ir.cascade import Einsum, Rank
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import ZERO, Expr, Index, Load, as_index
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.tile import Assign, Axis, Block, Buffer, TileStatement
from tcomp.ir.walk import index_variables, map_load_indices, map_loads, substitute, walk_index
from tcomp.passes.einsums.facts import accumulator_dtype, identity_of, narrow
from tcomp.passes.groups.iteration import is_held, member_loads, merge_maps, own_ranks, step_slot, updates_in_place
from tcomp.passes.groups.rolling import roll_index
from tcomp.passes.lower.lowering import Lowering, Split, nest_loops, parallel_nest, short_name


@dataclass(frozen=True, slots=True)
class _Home:
    """Where one step of a member is held. `slots` are the member's slots in the order of dimensions, with the axis of outer ranks."""

    now: str
    after: str
    """Where the next step is written; the same place if it may overwrite what it reads."""
    slots: tuple[tuple[int, str | None], ...]
    declarations: tuple[TileStatement, ...]

    def element(self, index: tuple[Index, ...], is_after: bool = False) -> Load:
        """The element at an index of the member, over ranks and axes."""
        place = tuple(index[slot] if axis is None else as_index(axis) for slot, axis in self.slots)
        return Load(self.after if is_after else self.now, place)


def lower_scan(lowering: Lowering) -> tuple[TileStatement, ...]:
    """Lower an iteration: initial values, then all members step by step."""
    return _Scan(lowering).lower()


class _Scan:
    """An iteration being lowered."""

    def __init__(self, lowering: Lowering) -> None:
        self.lowering = lowering
        self.group = lowering.bound.group
        assert self.group.iterative is not None
        self.iterative = self.group.iterative
        self.members = merge_maps(self.group)
        self.homes: dict[str, _Home] = {}
        self.largest = lowering.schedule.registers
        self.constants: dict[Load, tuple[Block, Assign]] = {}
        """Loads that are the same at every step: the block that holds one, and how it gets there."""
        lowering.names.add(self.iterative.name)
        self.tables = {e.name: e for e in self.members}

    def lower(self) -> tuple[TileStatement, ...]:
        """The whole kernel's body."""
        lowering = self.lowering
        lowering.cut(self.group.outer)
        steps = lowering.cut((self.iterative,))
        in_blocks = self._fits_blocks()
        for einsum in self.members:
            ranks = (*own_ranks(self.group, einsum), *einsum.reduced)
            if in_blocks:
                axes = ((r, as_index(r.name), Axis(r.name, r.extent.constant)) for r in ranks)
                lowering.splits.update((r.name, Split(r, index, (), axis)) for r, index, axis in axes)
            else:
                lowering.cut(ranks)
        for einsum in self.members:
            if is_held(self.group, einsum) and (self._is_carried(einsum) or self._is_read(einsum)):
                self.homes[einsum.name] = self._make_home(einsum, in_blocks)
        self.steps = {variable for s in steps for variable, _ in s.loops}
        before: list[TileStatement] = [s for home in self.homes.values() for s in home.declarations]
        inside: list[TileStatement] = []
        last: list[TileStatement] = []
        for einsum in self.members:
            if einsum.initial is not None:
                before += self._nest(einsum, self._initial(einsum))
            inside += self._nest(einsum, self._step(einsum, in_blocks))
            last += self._nest(einsum, self._move_on(einsum))
        held = (statement for pair in self.constants.values() for statement in pair)
        body = (*before, *held, *nest_loops("for", steps, (*inside, *last)))
        return parallel_nest(lowering, (r.name for r in self.group.outer), body)

    def _nest(self, einsum: Einsum, body: list[TileStatement]) -> tuple[TileStatement, ...]:
        """Loops over a member's own ranks around statements; nothing around nothing."""
        splits = (self.lowering.splits[r.name] for r in own_ranks(self.group, einsum))
        return nest_loops("for", splits, tuple(body)) if body else ()

    def _is_carried(self, einsum: Einsum) -> bool:
        return einsum.initial is not None

    def _is_read(self, einsum: Einsum) -> bool:
        return any(load.tensor == einsum.name for e in self.members for load in member_loads(e))

    def _points(self, ranks: tuple[Rank, ...]) -> int:
        """Points of ranks that are unrolled together with the axes of the outer ranks."""
        axes = self.lowering.axes(r.name for r in self.group.outer)
        return prod(r.extent.constant for r in ranks) * prod(a.size for a in axes)

    def _fits_blocks(self) -> bool:
        """Whether all members are so small, and read each other so plainly, that their steps can be held in registers."""
        held = 0
        for einsum in self.members:
            own = own_ranks(self.group, einsum)
            if not is_held(self.group, einsum) or not all(r.extent.is_constant for r in einsum.reduced):
                return False
            if self._points((*own, *einsum.reduced)) > self.largest:
                return False
            held += self._points(own) if self._is_carried(einsum) else 0
            for load in member_loads(einsum):
                maker = self.tables.get(load.tensor)
                if maker is None:
                    continue
                step = step_slot(maker, self.iterative.name)
                slots = [(mine, theirs) for k, (mine, theirs) in enumerate(zip(load.index, maker.index)) if k != step]
                if load.outside is not None or any(mine != theirs for mine, theirs in slots):
                    return False
        return held <= self.largest

    def _make_home(self, einsum: Einsum, in_blocks: bool) -> _Home:
        lowering = self.lowering
        step = step_slot(einsum, self.iterative.name)
        ranks = {r.name: r for r in einsum.free}
        lanes = lowering.point(lowering.schedule.lanes)
        slots: list[tuple[int, str | None]] = []
        sizes: dict[int, int] = {}
        for slot, index in enumerate(einsum.index):
            name = index.as_variable
            if slot == step or name is None:
                continue
            if any(r.name == name for r in self.group.outer):
                axis = lowering.splits[name].axis
                if axis is not None:
                    slots.append((slot, axis.name))
                    sizes[slot] = axis.size
            else:
                slots.append((slot, None))
                sizes[slot] = ranks[name].extent.constant
        slots.sort(key=lambda s: (s[1] is not None and s[1] == lanes, s[1] is None, s[0]))
        names = [lowering.fresh(short_name(einsum.name))]
        if self._is_carried(einsum) and not updates_in_place(self.members, einsum, self.iterative.name):
            names.append(lowering.fresh(f"{short_name(einsum.name)}_next"))
        declarations: list[TileStatement] = []
        for name in names:
            if in_blocks:
                axes = tuple(Axis(axis or str(einsum.index[slot].as_variable), sizes[slot]) for slot, axis in slots)
                declarations.append(Block(name, einsum.dtype, axes))
            else:
                declarations.append(Buffer(name, einsum.dtype, tuple(sizes[slot] for slot, _ in slots)))
        return _Home(names[0], names[-1], tuple(slots), tuple(declarations))

    def _axes(self, ranks: tuple[Rank, ...]) -> tuple[Axis, ...]:
        """The axes of outer and other ranks: in the order of tiles, untiled ones first, the lanes last."""
        schedule = self.lowering.schedule
        tiled = [name for name, _ in schedule.tiles]
        names = (*(r.name for r in self.group.outer), *(r.name for r in ranks))
        names_in_order = sorted(names, key=lambda n: (n == schedule.lanes, tiled.index(n) if n in tiled else -1))
        axes = (self.lowering.splits[n].axis for n in names_in_order)
        return tuple(a for a in axes if a is not None)

    def _expression(self, expression: Expr) -> Expr:
        """A member's expression, with what is held read from there."""
        after = as_index(self.iterative.name) + 1

        def read(load: Load) -> Expr:
            load = map_load_indices(load, read)
            if load.tensor not in self.tables:
                return load
            step = step_slot(self.tables[load.tensor], self.iterative.name)
            home = self.homes.get(load.tensor)
            if home is None:
                return Load(load.tensor, self._in_memory(load.tensor, load.index), load.outside)
            element = home.element(load.index, load.index[step] == after)
            return Load(element.tensor, element.index, load.outside)

        return self.lowering.expression(map_loads(expression, read))

    def _in_memory(self, name: str, index: tuple[Index, ...]) -> tuple[Index, ...]:
        """Where memory has an element of a member."""
        return roll_index(self.tables[name], index, self.iterative.name, self.group.steps_of(name))

    def _hold(self, load: Load, ranks: tuple[Rank, ...]) -> Load:
        """Read what is the same at every step from a block that is loaded once."""
        used = {name for i in load.index for name in index_variables(i)}
        axes = tuple(a for a in self._axes(ranks) if a.name in used)
        is_plain = load.tensor in self.lowering.bound.operands and not any(True for i in load.index for _ in walk_index(i))
        if used & self.steps or not axes or not is_plain or prod(a.size for a in axes) > self.largest:
            return load
        if load not in self.constants:
            block = Block(self.lowering.fresh(f"{load.tensor}_held"), self.lowering.bound.operands[load.tensor].memory.dtype, _whole(axes))
            index = tuple(as_index(a.name) for a in axes)
            self.constants[load] = block, Assign(block.name, index, axes, load)
        return Load(self.constants[load][0].name, self.constants[load][1].index)

    def _put(self, einsum: Einsum, value: Expr, axes: tuple[Axis, ...], is_initial: bool = False) -> list[TileStatement]:
        """Keep a value where the member is held, and store it if it leaves the kernel."""
        home = self.homes.get(einsum.name)
        body: list[TileStatement] = []
        if home is not None:
            held = home.element(einsum.index, not is_initial)
            index = tuple(self.lowering.place(i) for i in held.index)
            body.append(Assign(held.tensor, index, axes, value))
            value = Load(held.tensor, index)
        if home is None or einsum.name in self.group.stored:
            step = step_slot(einsum, self.iterative.name)
            index = tuple(ZERO if is_initial and k == step else i for k, i in enumerate(einsum.index))
            slots = (self.lowering.place(i) for i in self._in_memory(einsum.name, index))
            body.append(Assign(einsum.name, tuple(slots), axes, value))
        return body

    def _initial(self, einsum: Einsum) -> list[TileStatement]:
        """The carried tensor at step 0."""
        assert einsum.initial is not None
        step = step_slot(einsum, self.iterative.name)
        value = substitute(einsum.initial, {f"_{step}": ZERO, self.iterative.name: ZERO})
        if isinstance(value, Load) and value.tensor == einsum.name:
            return self._go_on(einsum, value)
        return self._put(einsum, self.lowering.expression(value), self._axes(own_ranks(self.group, einsum)), is_initial=True)

    def _go_on(self, einsum: Einsum, last: Load) -> list[TileStatement]:
        """The carried tensor where the iteration goes on with what memory has of it."""
        home = self.homes.get(einsum.name)
        if home is None:
            return []
        held = home.element(einsum.index)
        value = Load(last.tensor, tuple(self.lowering.place(i) for i in self._in_memory(last.tensor, last.index)))
        return [Assign(held.tensor, tuple(self.lowering.place(i) for i in held.index), self._axes(own_ranks(self.group, einsum)), value)]

    def _step(self, einsum: Einsum, in_blocks: bool) -> list[TileStatement]:
        """One member at one step."""
        axes = self._axes(own_ranks(self.group, einsum))
        value = self._expression(einsum.expression)
        if in_blocks:
            value = map_loads(value, lambda load: self._hold(load, (*own_ranks(self.group, einsum), *einsum.reduced)))
        if einsum.reduce is None:
            return self._put(einsum, value, axes)
        if MONOIDS[einsum.reduce].arity > 1:
            raise AssertionError("tuple states inside an iteration are expanded before lowering")
        where = None if einsum.where is None else self._expression(einsum.where)
        dtype = accumulator_dtype(einsum)
        total, index = self._block(einsum, dtype, axes)
        reduced = tuple(a for a in self._axes((*own_ranks(self.group, einsum), *einsum.reduced)) if a not in axes)
        body: list[TileStatement] = [total]
        if in_blocks:
            body.append(Assign(total.name, index, axes, value, reduce=einsum.reduce, reduced=reduced, where=where))
        else:
            part, place = self._block(einsum, dtype, (*axes, *reduced)) if reduced else (total, index)
            if reduced:
                body.append(part)
            body.append(Assign(part.name, place, _whole((*axes, *reduced)), identity_of(einsum)[0]))
            update = Assign(part.name, place, (*axes, *reduced), value, merge=einsum.reduce, where=where)
            body += nest_loops("for", (self.lowering.splits[r.name] for r in einsum.reduced), (update,))
            if reduced:
                parts = Load(part.name, place)
                body.append(Assign(total.name, index, _whole(axes), parts, reduce=einsum.reduce, reduced=_whole(reduced)))
        return [*body, *self._put(einsum, narrow(Load(total.name, index), dtype, einsum.dtype), axes)]

    def _block(self, einsum: Einsum, dtype: DType, axes: tuple[Axis, ...]) -> tuple[Block, tuple[Index, ...]]:
        name = self.lowering.fresh(short_name(einsum.name))
        return Block(name, dtype, _whole(axes)), tuple(as_index(a.name) for a in axes)

    def _move_on(self, einsum: Einsum) -> list[TileStatement]:
        """Make the next step of a carried member the present one."""
        home = self.homes.get(einsum.name)
        if home is None or home.now == home.after:
            return []
        index = tuple(self.lowering.place(i) for i in home.element(einsum.index).index)
        return [Assign(home.now, index, self._axes(own_ranks(self.group, einsum)), Load(home.after, index))]


def _whole(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return tuple(Axis(a.name, a.size) for a in axes)
