"""Reroll: copies of one body, made by a loop in the user's Python, become one loop again.

    s0: f32[d:8] = X[0, d] + 0.0 * A[d]
    s1: f32[d:8] = X[1, d] + s0[d] * A[d]
    ...
    s9: f32[d:8] = X[9, d] + s8[d] * A[d]
    Y: f32[t:10, d:8] = select(i64[t] < 5, ..., select(i64[t] < 9, s8[d], s9[d]))
      =>
    iterate t:10 {
      s0: f32[t + 1:11, d:8] = X[t, d] + s0[t, d] * A[d] from 0.0
    }
    Y: f32[t:10, d:8] = s0[t + 1, d]

Copies must be alike but for constants in indices that grow by the same step from copy to copy, and for tensors of the copy itself,
which may be read in it and in the next one. The first copy may read anything in place of what the others carry over.

What does not depend on what is carried becomes an einsum with one more rank, so that all steps of it are computed together; so does
what only depends on the result of each step, if it is a contraction with an operand that all steps share. Copies of which such an einsum is
large stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement
from tcomp.ir.expressions import Expr, Index, Load, as_index
from tcomp.ir.names import counted, first_free, numbered, take
from tcomp.ir.traverse import map_einsum, map_einsums, statement_einsums
from tcomp.ir.walk import map_load_indices, map_loads, variables
from tcomp.passes.cascade.reroll.body import Body, Column, Producer, roll_body
from tcomp.passes.cascade.reroll.repeats import FEWEST_ALIKE, FEWEST_COPIES, Stretch, Trace, find_stretches, trace_einsum
from tcomp.passes.cascade.reroll.selects import join_selects
from tcomp.passes.cost.sizes import typical
from tcomp.passes.einsums.slots import guard_branches

LARGEST_STEP = 1 << 18
"""Elements of a tensor that copies make apart from one another and a loop would keep for all of them at once: larger ones fill a
kernel each, and as copies stand, what one is done with makes room for the next.
"""

LARGEST_ROUNDS = 8
"""Loops inside loops that are rolled up, innermost first."""


def reroll(cascade: Cascade) -> Cascade:
    """Replace copies of a body by an iteration, or by einsums with one more rank; the same cascade if there are none."""
    for _ in range(LARGEST_ROUNDS):
        new = _Roller(cascade).roll()
        if new is cascade:
            break
        cascade = new
    return cascade


Rule: TypeAlias = "_Distance | str | int"
"""What the copies of an einsum have in common in one hole: how far back the producer is, a tensor's name, a constant's growth."""

Rules: TypeAlias = tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class _Distance:
    """A tensor that is target `component` of the statement so many statements ago."""

    statements: int
    component: int


@dataclass(frozen=True, slots=True)
class _Phase:
    """Where copies begin in a piece, the rules of each einsum with producers found, and which ones are read by the next copy."""

    start: int
    copies: int
    holes: tuple[tuple[Producer | str | int, ...], ...]
    carried: frozenset[int]


class _Roller:
    """One round over a cascade."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self.statements = cascade.statements
        self.fixed = frozenset(t.name for t in cascade.inputs)
        self.traces: list[Trace | None] = [_trace(s, self.fixed) for s in self.statements]
        self.owners: dict[str, tuple[int, int]] = {}
        self.names: set[str] = set()
        self.shapes: dict[str, tuple[Index, ...]] = {}
        self.rolled: dict[str, Load] = {}
        """Each tensor of a copy as an element of the new tensor, without the indices of its own dimensions."""
        self.placed: dict[int, tuple[int, tuple[Statement, ...]]] = {}
        """At the position of a first statement: the position after the last one, and what comes instead."""

    def roll(self) -> Cascade:
        """Roll up every stretch that can be; the same cascade if there is none."""
        stretches = list(find_stretches(self._keys()))
        if not stretches:
            return self.cascade
        tensors = self.cascade.tensors()
        self.names.update(tensors)
        self.shapes.update((name, tensor.shape) for name, tensor in tensors.items())
        for position, statement in enumerate(self.statements):
            for einsum in statement_einsums(statement):
                self.owners.update((name, (position, k)) for k, (name, _) in enumerate(einsum.targets))
        for stretch in stretches:
            self._try(stretch)
        return self._rewritten() if self.placed else self.cascade

    def _keys(self) -> list[int]:
        numbers: dict[object, int] = {}
        keys = []
        for position, trace in enumerate(self.traces):
            keys.append(-1 - position if trace is None else numbers.setdefault(trace.key, len(numbers)))
        return keys

    def _try(self, stretch: Stretch) -> None:
        """Roll up what can be in a stretch: the longest agreeing piece around its middle, then what is left on either side."""
        if stretch.copies < FEWEST_ALIKE or self._is_taken(stretch.start, stretch.stop):
            return
        piece, rules = self._agreeing(stretch)
        start, stop = self._place(piece, _find_phase(piece, rules))
        self._try(Stretch(stretch.start, start, stretch.period))
        self._try(Stretch(stop, stretch.stop, stretch.period))

    def _is_taken(self, start: int, stop: int) -> bool:
        return any(start < end and first < stop for first, (end, _) in self.placed.items())


    def _agreeing(self, stretch: Stretch) -> tuple[Stretch, list[Rules]]:
        """The longest piece around the middle in which every hole follows one rule, and the rules of its first statements."""
        period = stretch.period
        middle = stretch.start + stretch.copies // 2 * period
        rules: list[Rules] = []
        for position in range(middle, middle + period):
            found = self._compare(position - period, position)
            if found is None:
                return Stretch(position, position, period), []
            rules.append(found)
        stop = middle + period
        while stop < stretch.stop and self._compare(stop - period, stop, rules[(stop - middle) % period]) is not None:
            stop += 1
        start = middle - period
        while start > stretch.start and self._compare(start - 1, start - 1 + period, rules[(start - 1 - middle) % period]):
            start -= 1
        turn = (start - middle) % period
        return Stretch(start, stop, period), rules[turn:] + rules[:turn]

    def _compare(self, before: int, after: int, expected: Rules | None = None) -> Rules | None:
        """The rules of two copies of an einsum; None if there are none, or not those expected."""
        old, new = self.traces[before], self.traces[after]
        assert old is not None and new is not None
        rules: list[Rule] = []
        for place, (a, b) in enumerate(zip(old.holes, new.holes)):
            rule = self._rule(a, before, b, after)
            if rule is None or (expected is not None and rule != expected[place]):
                return None
            rules.append(rule)
        return tuple(rules)

    def _rule(self, old: str | int, before: int, new: str | int, after: int) -> Rule | None:
        if isinstance(old, int) and isinstance(new, int):
            return new - old
        if old == new:
            return new
        distance = self._distance(str(old), before)
        return distance if distance == self._distance(str(new), after) else None

    def _distance(self, name: str, position: int) -> _Distance | None:
        owner = self.owners.get(name)
        return None if owner is None else _Distance(position - owner[0], owner[1])

    def _place(self, piece: Stretch, phase: _Phase | None) -> tuple[int, int]:
        """Put a loop in place of the copies in a piece; returns the positions that it, or else the useless piece, takes up.

        The copy before the first is taken in if it differs only in what it reads in place of carried tensors.
        """
        if phase is not None:
            stop = phase.start + phase.copies * piece.period
            starts = (phase.start - piece.period, phase.start) if phase.carried else (phase.start,)
            for start in starts:
                is_worthwhile = start >= 0 and stop - start >= FEWEST_COPIES * piece.period
                if is_worthwhile and not self._is_taken(start, stop) and self._roll(start, stop, phase):
                    return start, stop
        return piece.start, max(piece.stop, piece.start + 1)

    def _roll(self, start: int, stop: int, phase: _Phase) -> bool:
        """Roll up the copies between two positions; False if they are no loop."""
        period = len(phase.holes)
        copies = [self.statements[p] for p in range(start, stop)]
        einsums = [s for s in copies if isinstance(s, Einsum)]
        if len(einsums) < len(copies) or any(start <= self._owner(h) < stop for hs in phase.holes for h in hs if isinstance(h, str)):
            return False
        second = zip(einsums[period:], self.traces[start + period :], phase.holes)
        columns = tuple(Column(einsum, trace, holes) for einsum, trace, holes in second if trace is not None)
        rank = Rank(self._free_rank(einsums[: 2 * period]), as_index((stop - start) // period))
        names = tuple(tuple(take(numbered(name, start=0), self.names) for name, _ in e.targets) for e in einsums[:period])
        body = Body(columns, phase.carried, tuple(einsums[:period]), rank, names)
        loop = roll_body(body, self.shapes, self.fixed)
        if loop is None or any(isinstance(s, Einsum) and _step_size(s, rank) > LARGEST_STEP for s in loop.statements):
            return False
        passing = {einsums[place].name for place in range(len(einsums) - period) if place % period in loop.whole}
        if passing and self._is_needed(passing, start, stop):
            return False
        outputs: list[Statement] = []
        for place, einsum in enumerate(einsums):
            step, column = divmod(place, period)
            for new, (name, dtype) in zip(names[column], einsum.targets):
                steps = () if column in loop.whole else (as_index(step + (column in phase.carried)),)
                element = Load(new, steps)
                self.rolled[name] = element
                if name in self.cascade.outputs:
                    value = Load(new, (*element.index, *einsum.index))
                    outputs.append(Einsum(((name, dtype),), einsum.index, einsum.shape, value, source=einsum.source))
        self.placed[start] = stop, (*loop.statements, *outputs)
        return True

    def _is_needed(self, names: set[str], start: int, stop: int) -> bool:
        """Whether a tensor is an output, or read by statements outside some positions."""
        others = (*self.statements[:start], *self.statements[stop:])
        return not names.isdisjoint(self.cascade.outputs) or any(
            not names.isdisjoint(e.reads()) for s in others for e in statement_einsums(s)
        )

    def _owner(self, name: str) -> int:
        return self.owners[name][0] if name in self.owners else -1

    def _free_rank(self, einsums: list[Einsum]) -> str:
        """A name that no rank of the copies and no symbol has."""
        taken = {s.name for s in self.cascade.symbols}
        for einsum in einsums:
            taken.update(r.name for r in einsum.ranks)
            taken |= variables(einsum.expression)
        return first_free(counted("t", start=1), taken)

    def _rewritten(self) -> Cascade:
        """The cascade with loops in place of copies, and readers of the copies' tensors reading the loops'."""
        statements: list[Statement] = []
        position = 0
        while position < len(self.statements):
            if position in self.placed:
                position, loop = self.placed[position]
                statements += map(self._reread, loop)
            else:
                statements.append(self._reread(self.statements[position]))
                position += 1
        cascade = replace(self.cascade, statements=tuple(statements))
        tensors, known = cascade.tensors(), set(map(id, self.statements))

        def guard(einsum: Einsum) -> Einsum:
            """What was chosen by position is read by its rule, beyond the positions at which it is chosen, too."""
            if id(einsum) in known:
                return einsum
            bounds = einsum.bounds(self.cascade.symbols)
            return map_einsum(einsum, lambda part: guard_branches(part, tensors, bounds))

        return map_einsums(cascade, guard)

    def _reread(self, statement: Statement) -> Statement:
        if isinstance(statement, Iteration):
            return replace(statement, body=tuple(map(self._reread_einsum, statement.body)))
        return self._reread_einsum(statement)

    def _reread_einsum(self, einsum: Einsum) -> Einsum:
        if not any(name in self.rolled for name in einsum.reads()):
            return einsum

        def read(load: Load) -> Expr:
            load = map_load_indices(load, read)
            element = self.rolled.get(load.tensor)
            return load if element is None else Load(element.tensor, (*element.index, *load.index), load.outside)

        bounds = einsum.bounds(self.cascade.symbols)
        return map_einsum(einsum, lambda part: join_selects(map_loads(part, read), bounds))


def _step_size(einsum: Einsum, rank: Rank) -> int:
    """Elements that one copy has of a tensor with the new rank; 0 without it."""
    if not any(r.name == rank.name for r in einsum.free):
        return 0
    return prod(typical(extent) for index, extent in zip(einsum.index, einsum.shape) if index.as_variable != rank.name)


def _trace(statement: Statement, fixed: frozenset[str]) -> Trace | None:
    if isinstance(statement, Iteration) or statement.is_scatter or statement.initial is not None:
        return None
    return trace_einsum(statement, fixed)


def _find_phase(piece: Stretch, rules: list[Rules]) -> _Phase | None:
    """Where in a piece copies begin, so that they carry as few tensors as possible; None if all ways reach back too far."""
    best: tuple[tuple[int, int], _Phase] | None = None
    for turn in range(len(rules)):
        holes = _find_producers(rules[turn:] + rules[:turn])
        if holes is None:
            continue
        carried = frozenset(h.column for hs in holes for h in hs if isinstance(h, Producer) and h.back)
        copies, left = divmod(piece.stop - piece.start - turn, piece.period)
        if best is None or (len(carried), left) < best[0]:
            best = (len(carried), left), _Phase(piece.start + turn, copies, holes, carried)
    return None if best is None else best[1]


def _find_producers(rules: list[Rules]) -> tuple[tuple[Producer | str | int, ...], ...] | None:
    """Replace distances in statements by columns and copies; None if a copy reads more than one copy back."""
    period = len(rules)
    found = []
    for place, column in enumerate(rules):
        holes: list[Producer | str | int] = []
        for rule in column:
            if isinstance(rule, _Distance):
                back, producer = divmod(place - rule.statements, period)
                if back < -1:
                    return None
                holes.append(Producer(producer, rule.component, -back))
            else:
                holes.append(rule)
        found.append(tuple(holes))
    return tuple(found)
