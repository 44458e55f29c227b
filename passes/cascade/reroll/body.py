"""The loop that copies of a body become.

    copies   p0 = f(X[0]); s0 = g(0.0, p0); y0 = h(s0);   p1 = f(X[1]); s1 = g(s0, p1); y1 = h(s1);   ...
    loop     p[t] = f(X[t])                          before: does not depend on what is carried
             iterate t { s[t + 1] = g(s[t], p[t]) from 0.0; y[t] = h(s[t + 1]) }
             z[t, n] = sum(d) y[t, d] * W[n, d]      after: needed by no later step, and all steps share W
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from tcomp.ir.cascade import Einsum, Iteration, Rank, Statement
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import ZERO, Apply, Cast, Constant, Expr, Index, Load, Ordinal, apply, as_index, constant
from tcomp.ir.walk import index_variables, loads, map_load_indices, map_loads, substitute, substitute_index, variables
from tcomp.passes.cascade.reroll.repeats import Filling, Trace, fill_einsum


@dataclass(frozen=True, slots=True)
class Producer:
    """Where a tensor that a copy reads comes from: a target of an einsum of the body, `back` copies ago."""

    column: int
    component: int
    back: int


@dataclass(frozen=True, slots=True)
class Column:
    """One einsum of the body: as the second copy has it, and per hole its producer, a tensor from outside, or a constant's growth."""

    einsum: Einsum
    trace: Trace
    holes: tuple[Producer | str | int, ...]

    def producers(self) -> list[Producer]:
        """The einsums of the body whose tensors this one reads."""
        return [hole for hole in self.holes if isinstance(hole, Producer)]


@dataclass(frozen=True, slots=True)
class Body:
    """Copies of `columns`; `carried` are those read by the next copy; the first copy may read anything in their place."""

    columns: tuple[Column, ...]
    carried: frozenset[int]
    first: tuple[Einsum, ...]
    rank: Rank
    names: tuple[tuple[str, ...], ...]
    """New names, per column and target."""

    def step(self, column: int, back: int = 0) -> Index:
        """Where along the rank a column's tensor holds what copy t (or the one before it) made."""
        return as_index(self.rank.name) + (1 - back if column in self.carried else -back)


@dataclass(frozen=True, slots=True)
class Loop:
    """What copies become. The columns `whole` are einsums without the new rank, which make the last copy's tensors at once."""

    statements: tuple[Statement, ...]
    whole: frozenset[int]


def roll_body(body: Body, shapes: Mapping[str, tuple[Index, ...]], fixed: Collection[str]) -> Loop | None:
    """Write the loop; None if the first copy does not fit. `shapes` are those of tensors outside; `fixed` as in `trace_einsum`."""
    if any(c.einsum.is_scatter or c.einsum.initial is not None for c in body.columns):
        return None
    filled = [fill_einsum(c.einsum, fixed, _fillings(body, c)) for c in body.columns]
    matcher = _Matcher(body, shapes)
    if not all(matcher.match_einsum(new, old) for new, old in zip(filled, body.first)):
        return None
    initials: dict[int, Expr] = {}
    for column in sorted(body.carried):
        initial = matcher.initial_of(column)
        if initial is None:
            return None
        initials[column] = initial
    whole: dict[int, Einsum] = {}
    for column in sorted(body.carried):
        if _keeps_elements(body, column, filled[column]):
            placed = _place_elements(body, column, filled[column], initials[column])
            if placed is None:
                return None
            whole[column] = placed
    before, inside, after = _partition(body, filled, frozenset(whole))
    if any(len(body.columns[c].einsum.targets) > 1 for c in inside):
        return None
    rolled = [_with_rank(body, c, einsum, initials.get(c)) for c, einsum in enumerate(filled)]
    loop = (Iteration(body.rank, tuple(rolled[c] for c in inside)),) if inside else ()
    statements = (*(rolled[c] for c in before), *loop, *(rolled[c] for c in after), *whole.values())
    return Loop(statements, frozenset(whole))


def _keeps_elements(body: Body, column: int, einsum: Einsum) -> bool:
    """Whether a carried tensor is a collection of results: each step writes some elements and keeps the others."""
    match einsum.expression:
        case Apply("select", (condition, new, old)) if body.rank.name in variables(condition):
            kept = Load(body.names[column][0], (body.step(column, 1), *einsum.index))
            return einsum.is_map and (new == kept or old == kept)
    return False


def _place_elements(body: Body, column: int, einsum: Einsum, initial: Expr) -> Einsum | None:
    """All steps of `S[t + 1, j] = select(j == t + 3, Y[t], S[t, j])` at once: `S[j] = select(0 <= j - 3 < T, Y[j - 3], S[0, j])`.

    None unless the condition gives the step for each element, and nothing else of the body reads S.
    """
    readers = [place for place, c in enumerate(body.columns) for p in c.producers() if p.column == column]
    match einsum.expression:
        case Apply("select", (Apply("eq", (Ordinal(left, _), Ordinal(right, _))), new, Load())) if readers == [column]:
            step = _solve(left - right, body.rank.name)
        case _:
            return None
    if step is None:
        return None

    def read(load: Load) -> Load:
        load = map_load_indices(load, read)
        if body.rank.name not in {name for i in load.index for name in index_variables(i)}:
            return load
        index = tuple(substitute_index(i, {body.rank.name: step}) for i in load.index)
        return Load(load.tensor, index, 0 if load.outside is None else load.outside)

    value = substitute(map_loads(new, read), {body.rank.name: step})
    first = apply("ge", Ordinal(step, i64), constant(0, i64))
    last = apply("lt", Ordinal(step, i64), constant(body.rank.extent.constant, i64))
    targets = ((body.names[column][0], einsum.dtype),)
    return replace(einsum, targets=targets, expression=apply("select", apply("and", first, last), value, initial))


def _solve(difference: Index, name: str) -> Index | None:
    """The value of a variable at which an index is zero, if it has the factor 1 or -1."""
    t = as_index(name)
    factor = dict(difference.terms).get(t.terms[0][0], 0)
    rest = difference - t * factor
    return rest * -factor if factor in (1, -1) and name not in index_variables(rest) else None


def _fillings(body: Body, column: Column) -> list[Filling]:
    """What fills the holes of a column: copy 1 is the one whose trace it has."""
    t = as_index(body.rank.name)
    fillings: list[Filling] = []
    for rule, hole in zip(column.holes, column.trace.holes):
        match rule:
            case Producer(producer, component, back):
                fillings.append((body.names[producer][component], (body.step(producer, back),)))
            case str():
                fillings.append((rule, ()))
            case int():
                assert isinstance(hole, int)
                fillings.append(t * rule + (hole - rule))
    return fillings


def _with_rank(body: Body, column: int, einsum: Einsum, initial: Expr | None) -> Einsum:
    """An einsum with the new rank as its first."""
    carried = 1 if column in body.carried else 0
    return replace(
        einsum,
        targets=tuple((name, dtype) for name, (_, dtype) in zip(body.names[column], einsum.targets)),
        index=(body.step(column), *einsum.index),
        shape=(body.rank.extent + carried, *einsum.shape),
        initial=initial,
    )


def _partition(body: Body, filled: list[Einsum], whole: frozenset[int]) -> tuple[list[int], list[int], list[int]]:
    """Columns that do not depend on what is carried, those of the iteration, and contractions of its results; none of `whole`."""
    carried = body.carried - whole
    late: set[int] = set()
    for place, column in enumerate(body.columns):
        if place in carried or any(p.back or p.column in late for p in column.producers()):
            late.add(place)
    needed = set(carried)
    for place in reversed(range(len(body.columns))):
        if place in needed:
            needed.update(p.column for p in body.columns[place].producers() if not p.back)
    after: set[int] = set()
    for place, column in enumerate(body.columns):
        contracts = _shares_operand(body, filled[place]) or any(p.column in after for p in column.producers())
        if place in late - needed and contracts:
            after.add(place)
    places = [p for p in range(len(body.columns)) if p not in whole]
    return (
        [p for p in places if p not in late],
        [p for p in places if p in late - after],
        [p for p in places if p in after],
    )


def _shares_operand(body: Body, einsum: Einsum) -> bool:
    """Whether an einsum contracts with an operand that is the same at every step, along a rank that nothing else has."""
    if einsum.reduce is None:
        return False
    own = {name for names in body.names for name in names}
    free = {r.name for r in einsum.free}
    moving: set[str] = set()
    shared: set[str] = set()
    for load in loads(einsum.expression):
        used = {name for i in load.index for name in index_variables(i)}
        (moving if load.tensor in own or body.rank.name in used else shared).update(used)
    return bool(free & shared - moving)


class _Matcher:
    """Compares the body at step 0 with the first copy, and collects what that reads in place of carried tensors."""

    def __init__(self, body: Body, shapes: Mapping[str, tuple[Index, ...]]) -> None:
        self.body = body
        self.shapes = shapes
        self.start = {body.rank.name: ZERO}
        self.carried = {body.names[c][0]: c for c in body.carried}
        olds = (name for einsum in body.first for name, _ in einsum.targets)
        self.olds = dict(zip((name for names in body.names for name in names), olds))
        self.initials: dict[int, list[Expr | None]] = {c: [] for c in body.carried}

    def match_einsum(self, new: Einsum, old: Einsum) -> bool:
        """Whether an einsum of the body does at step 0 what one of the first copy does."""
        same = (new.index, new.shape, new.reduce, new.reduced) == (old.index, old.shape, old.reduce, old.reduced)
        dtypes = [d for _, d in new.targets] == [d for _, d in old.targets]
        if not same or not dtypes or old.initial is not None or (new.where is None) != (old.where is None):
            return False
        if new.where is not None and old.where is not None and not self.match(substitute(new.where, self.start), old.where):
            return False
        return self.match(substitute(new.expression, self.start), old.expression)

    def match(self, new: Expr, old: Expr) -> bool:
        """Whether an expression of the body at step 0 is one of the first copy."""
        match new, old:
            case Load(tensor, (step, *_)), _ if tensor in self.carried and step == ZERO:
                column = self.carried[tensor]
                self.initials[column].append(self._initial(column, new, old))
                return True
            case Load(tensor, (_, *index), outside), Load(other, place, elsewhere) if tensor in self.olds:
                return (self.olds[tensor], tuple(index), repr(outside)) == (other, place, repr(elsewhere))
            case Apply(operator, arguments), Apply(other, others):
                return operator == other and len(arguments) == len(others) and all(map(self.match, arguments, others))
            case Cast(dtype, argument), Cast(wanted, inner):
                return dtype == wanted and self.match(argument, inner)
            case Ordinal(index, dtype), Constant() if index.is_constant and dtype == i64:
                return Constant(index.constant, i64) == old
            case _:
                return new == old

    def _initial(self, column: int, load: Load, old: Expr) -> Expr | None:
        """What a carried tensor holds at step 0, over the ranks of its einsum, if the first copy reads `old` for `load`."""
        einsum = self.body.columns[column].einsum
        if any(other.tensor in self.olds.values() for other in loads(old)):
            return None
        index = load.index[1:]
        if isinstance(old, Constant):
            return old if load.outside is None or Constant(load.outside, old.dtype) == old else None
        is_alike = isinstance(old, Load) and old.index == index and repr(old.outside) == repr(load.outside)
        if isinstance(old, Load) and is_alike and self.shapes.get(old.tensor) == einsum.shape:
            return Load(old.tensor, einsum.index)
        bare = [i.as_variable for i in index]
        if load.outside is not None or None in bare or len(set(bare)) < len(bare) or not variables(old) <= set(bare):
            return None
        return substitute(old, {str(name): slot for name, slot in zip(bare, einsum.index)})

    def initial_of(self, column: int) -> Expr | None:
        """What a carried tensor holds at step 0; None if the first copy's reads do not agree."""
        found = self.initials[column]
        return found[0] if found and all(initial == found[0] for initial in found) else None
