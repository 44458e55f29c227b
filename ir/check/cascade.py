"""The rules a cascade obeys, one function a rule: `check_cascade` raises VerifyError at the first broken one.

Bounds are checked as far as they can be decided: a load that certainly leaves its tensor at some point is refused, one
that cannot be proved wrong passes, and the evaluator looks at the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Symbol, Tensor, print_einsum, print_rank, print_tensor
from tcomp.ir.check.types import check_index_dtypes, expression_dtype
from tcomp.ir.dtypes import DTYPES, DType, boolean
from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Expr, Index, Load, Variable, as_index, print_expression, print_index
from tcomp.ir.index import Bounds, interval
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.operators import TYPE_KINDS
from tcomp.ir.parse.lexer import RESERVED
from tcomp.ir.walk import index_variables, loads, variables, walk_index

_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_0-9]+)*")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known at an einsum: the symbols, the tensors that it may read, the iteration it is in."""

    symbols: tuple[Symbol, ...]
    tensors: Mapping[str, Tensor]
    iteration: Iteration | None = None

    @property
    def dtypes(self) -> dict[str, DType]:
        """The dtype of each tensor."""
        return {name: tensor.dtype for name, tensor in self.tensors.items()}

    def ranks_of(self, einsum: Einsum) -> tuple[Rank, ...]:
        """The ranks of an einsum, with the iterative rank where it is not among them."""
        if self.iteration is None or self.iteration.rank.name in {rank.name for rank in einsum.ranks}:
            return einsum.ranks
        return (self.iteration.rank, *einsum.ranks)

    def bounds(self, ranks: tuple[Rank, ...] = ()) -> Bounds:
        """The ranges of ranks and symbols."""
        return Bounds({rank.name: rank.extent for rank in ranks}, {s.name: (s.low, s.high) for s in self.symbols})


def check_cascade(cascade: Cascade) -> None:
    """Raise VerifyError if the cascade breaks a rule; the error names the einsum, its line and its source."""
    check_symbols(cascade)
    check_names(cascade)
    check_inputs(cascade)
    for einsum, scope in _scopes(cascade):
        for check in EINSUM_RULES:
            check(einsum, scope)
    check_outputs(cascade)


def _scopes(cascade: Cascade) -> Iterator[tuple[Einsum, Scope]]:
    """Each einsum with what it may read; inside an iteration that is everything the iteration defines."""
    tensors = {tensor.name: tensor for tensor in cascade.inputs}
    for statement in cascade.statements:
        body = statement.body if isinstance(statement, Iteration) else (statement,)
        defined = {name: Tensor(name, dtype, einsum.shape) for einsum in body for name, dtype in einsum.targets}
        if isinstance(statement, Iteration):
            check_iteration_rank(statement, Scope(cascade.symbols, tensors))
            inside = Scope(cascade.symbols, tensors | defined, statement)
            yield from ((einsum, inside) for einsum in body)
        else:
            yield statement, Scope(cascade.symbols, tensors)
        tensors = tensors | defined


def _place(einsum: Einsum) -> str:
    return f"{einsum.source}\n{print_einsum(einsum)}".strip()


def check_symbols(cascade: Cascade) -> None:
    """Symbols have distinct names and ranges that are not empty."""
    seen: set[str] = set()
    for symbol in cascade.symbols:
        where = f"cascade {cascade.name}"
        if symbol.name in seen:
            raise VerifyError(f"the symbol {symbol.name} is declared twice", where=where)
        seen.add(symbol.name)
        if symbol.low < 0 or (symbol.high is not None and symbol.high < symbol.low):
            raise VerifyError(f"{symbol.name} in {symbol.low}..{symbol.high} is no range of sizes", where=where)


def check_names(cascade: Cascade) -> None:
    """Every tensor, rank and symbol has a name that can be written, and no tensor is defined twice."""
    named = [(t.name, print_tensor(t)) for t in cascade.inputs]
    named += [(name, _place(e)) for e in cascade.einsums() for name, _ in e.targets]
    seen: set[str] = set()
    for name, where in named:
        if name in seen:
            raise VerifyError(f"{name} is defined twice", where=where, help="each tensor is defined once: choose a new name")
        if name in DTYPES:
            raise VerifyError(f"a tensor is named {name}, which is a dtype", where=where, help="choose another name")
        seen.add(name)
    named += [(symbol.name, f"cascade {cascade.name}") for symbol in cascade.symbols]
    named += [(rank.name, _place(e)) for e in cascade.einsums() for rank in e.ranks]
    named += [(s.rank.name, f"iterate {print_rank(s.rank)}") for s in cascade.statements if isinstance(s, Iteration)]
    named.append((cascade.name, f"cascade {cascade.name}"))
    for name, where in named:
        if name in RESERVED or not _NAME.fullmatch(name):
            raise VerifyError(
                f"{name!r} cannot be written as a name",
                where=where,
                help=f"names are letters, digits and _, with parts after dots, and not {', '.join(sorted(RESERVED))}",
            )


def _check_extents(extents: tuple[Index, ...], scope: Scope, where: str) -> None:
    symbols = {symbol.name for symbol in scope.symbols}
    for extent in extents:
        unknown = sorted(index_variables(extent) - symbols)
        if unknown or any(True for _ in walk_index(extent)):
            raise VerifyError(
                f"the extent {print_index(extent)} uses {', '.join(unknown) or 'a value'}",
                where=where,
                help="extents are integers or made of symbols: declare them as in `for N in 1..`",
            )
        high = interval(extent, scope.bounds())[1]
        if high is not None and high < 0:
            raise VerifyError(f"the extent {print_index(extent)} is negative", where=where)


def check_inputs(cascade: Cascade) -> None:
    """The extents of inputs are integers or made of symbols."""
    for tensor in cascade.inputs:
        _check_extents(tensor.shape, Scope(cascade.symbols, {}), print_tensor(tensor))


def check_outputs(cascade: Cascade) -> None:
    """Every output exists and is named once."""
    tensors = cascade.tensors()
    for k, name in enumerate(cascade.outputs):
        where = f"cascade {cascade.name} -> ({', '.join(cascade.outputs)})"
        if name not in tensors:
            raise VerifyError(f"the output {name} is never defined", where=where, help=f"there are {', '.join(tensors)}")
        if name in cascade.outputs[:k]:
            raise VerifyError(f"the output {name} is named twice", where=where)


def check_iteration_rank(iteration: Iteration, scope: Scope) -> None:
    """An iteration has einsums, and a rank of its own with a proper extent."""
    where = f"iterate {print_rank(iteration.rank)}"
    if not iteration.body:
        raise VerifyError("an iteration has no einsums", where=where, help="remove it")
    if iteration.rank.name in {symbol.name for symbol in scope.symbols}:
        raise VerifyError(f"the rank {iteration.rank.name} has the name of a symbol", where=where)
    _check_extents((iteration.rank.extent,), scope, where)


def check_ranks(einsum: Einsum, scope: Scope) -> None:
    """Ranks are distinct, no symbols, and have proper extents; the iterative rank is not reduced.

    So a bare slot is a free rank that walks its dimension alone, and never one that stores elsewhere (`tcomp.ir.cascade`).
    """
    where = _place(einsum)
    _check_extents((*einsum.shape, *(rank.extent for rank in einsum.reduced)), scope, where)
    seen = {symbol.name for symbol in scope.symbols}
    for rank in einsum.ranks:
        if rank.name in seen:
            raise VerifyError(
                f"the rank {rank.name} is declared twice, or has the name of a symbol",
                where=where,
                help="a bare slot is a free rank: give each, each reduced rank and each symbol a name of its own",
            )
        seen.add(rank.name)
    if scope.iteration is not None and scope.iteration.rank.name in {rank.name for rank in einsum.reduced}:
        raise VerifyError(f"the iterative rank {scope.iteration.rank.name} is reduced", where=where)


def check_variables(einsum: Einsum, scope: Scope) -> None:
    """Every variable is a rank of the einsum, the iterative rank or a symbol."""
    known = {rank.name for rank in scope.ranks_of(einsum)} | {symbol.name for symbol in scope.symbols}
    parts = [variables(einsum.expression), *(index_variables(index) for index in einsum.index)]
    if einsum.where is not None:
        parts.append(variables(einsum.where))
    for names in parts:
        for name in sorted(names - known):
            raise VerifyError(
                f"{name} is no rank of this einsum",
                where=_place(einsum),
                help=f"make it a slot, as in {name}:N, or reduce it, as in sum({name}:N)",
            )
    if einsum.initial is not None:
        slots = {rank.name for rank in einsum.slot_ranks} | {symbol.name for symbol in scope.symbols}
        for name in sorted(variables(einsum.initial) - slots):
            raise VerifyError(
                f"{name} is no slot of this einsum, and `from` is read at the slots alone",
                where=_place(einsum),
                help=f"the slots are {', '.join(rank.name for rank in einsum.slot_ranks)}",
            )


def check_slots(einsum: Einsum, scope: Scope) -> None:
    """There are as many slots as extents; a slot that is not a bare rank scatters with a monoid, or carries in an iteration."""
    where = _place(einsum)
    if len(einsum.index) != len(einsum.shape):
        raise VerifyError(f"{einsum.name} has {len(einsum.index)} slots and {len(einsum.shape)} extents", where=where)
    for index in einsum.index:
        check_index_dtypes(index, scope.dtypes, where)
    if einsum.is_scatter and scope.iteration is None and einsum.reduce is None:
        raise VerifyError(
            f"{einsum.name} scatters without a monoid",
            where=where,
            help="points may fall together: fold them, as in sum(i:N), or last(i:N) for the last one",
        )


def check_clauses(einsum: Einsum, scope: Scope) -> None:
    """Only a reduction has `where`; only a scatter or carried einsum with a single component has `from`."""
    where = _place(einsum)
    if einsum.reduce is None and einsum.reduced:
        raise VerifyError("ranks are reduced without a monoid", where=where, help="name one, as in sum(m:M)")
    if einsum.reduce is not None and einsum.reduce not in MONOIDS:
        raise VerifyError(f"there is no monoid {einsum.reduce!r}", where=where, help=f"the monoids are {', '.join(MONOIDS)}")
    if einsum.where is not None and einsum.reduce is None:
        raise VerifyError("`where` without a reduction leaves points undefined", where=where, help="use select(condition, a, b)")
    if einsum.initial is None:
        return
    if not einsum.is_scatter:
        raise VerifyError("`from` belongs to a scatter or to a carried slot", where=where, help="add it in a map of its own")
    if len(einsum.targets) != 1:
        raise VerifyError("`from` gives one component, and the state here has several", where=where)


def check_dtypes(einsum: Einsum, scope: Scope) -> None:
    """Expressions are well typed, and each target has the dtype of what it stores.

    A map stores its expression's dtype. A reduction to a float may be stored in any float: its state is rounded once.
    """
    where = _place(einsum)
    element = expression_dtype(einsum.expression, scope.dtypes, where)
    if einsum.where is not None and expression_dtype(einsum.where, scope.dtypes, where) != boolean:
        raise VerifyError("the `where` is not bool", where=where, help="compare: where X[i] != 0.0")
    stored: tuple[DType, ...] = (element,)
    if einsum.reduce is not None:
        monoid = MONOIDS[einsum.reduce]
        if element.kind not in TYPE_KINDS[monoid.types]:
            raise VerifyError(
                f"{monoid.name} does not reduce {element}",
                where=where,
                help=f"it reduces {', '.join(TYPE_KINDS[monoid.types])}: convert the expression",
            )
        stored = monoid.state_dtypes(element)
    if len(stored) != len(einsum.targets):
        raise VerifyError(
            f"{einsum.reduce or 'a map'} gives {len(stored)} components, and there are {len(einsum.targets)} targets", where=where
        )
    for (name, target), source in zip(einsum.targets, stored):
        if target != source and not (einsum.reduce is not None and target.is_float and source.is_float):
            raise VerifyError(f"{name} is {target} and stores {source}", where=where, help=f"convert: {target}(...)")
    if einsum.initial is not None:
        first = expression_dtype(einsum.initial, scope.dtypes, where)
        if first not in (element, einsum.dtype):
            raise VerifyError(f"`from` is {first} and {einsum.name} is {einsum.dtype}", where=where, help="convert it")


def check_loads(einsum: Einsum, scope: Scope) -> None:
    """Loads have one index an axis, and none certainly leaves its tensor without an outside value."""
    parts: list[tuple[Expr, tuple[Rank, ...], bool]] = [(einsum.expression, scope.ranks_of(einsum), einsum.where is None)]
    parts += [(load, scope.ranks_of(einsum), True) for index in einsum.index for load in walk_index(index)]
    if einsum.where is not None:
        parts.append((einsum.where, scope.ranks_of(einsum), True))
    if einsum.initial is not None:
        parts.append((einsum.initial, einsum.slot_ranks, True))
    for expression, ranks, everywhere in parts:
        for load in loads(expression):
            tensor = scope.tensors[load.tensor]
            if len(load.index) != len(tensor.shape):
                raise VerifyError(
                    f"{print_expression(load)} has {len(load.index)} indices, and {load.tensor} has {len(tensor.shape)} axes",
                    where=_place(einsum),
                    help=print_tensor(tensor),
                )
            if everywhere and load.outside is None:
                _check_inside(einsum, load, tensor, scope.bounds(ranks))


def _check_inside(einsum: Einsum, load: Load, tensor: Tensor, bounds: Bounds) -> None:
    if any((interval(extent, bounds)[0] or 0) < 1 for extent in bounds.extents.values()):
        return
    for index, extent in zip(load.index, tensor.shape):
        point = find_point_outside(index, extent, bounds)
        if point is not None:
            raise VerifyError(
                f"{print_expression(load)} reads index {print_index(point)} of an axis of {print_index(extent)}",
                where=_place(einsum),
                help=f"state what it reads there, as in ({print_expression(load)} else 0), or use `where`",
            )


def find_point_outside(index: Index, extent: Index, bounds: Bounds) -> Index | None:
    """A value that the index certainly takes and that is certainly outside [0, extent), or None if no such one is found.

    Every rank of `bounds` must have an extent of at least one. An index that is affine in the ranks takes its extreme values.
    """
    low, high = as_index(index.constant), as_index(index.constant)
    seen: set[str] = set()
    for monomial, coefficient in index.terms:
        ranks = [a.name for a in monomial if isinstance(a, Variable) and a.name in bounds.extents]
        # Ranks that meet in a product or in two terms do not reach their extremes independently.
        if len(ranks) > 1 or not seen.isdisjoint(ranks) or not all(isinstance(atom, Variable) for atom in monomial):
            return None
        seen.update(ranks)
        least, most = as_index(coefficient), as_index(coefficient)
        for atom in monomial:
            assert isinstance(atom, Variable)
            if atom.name in bounds.extents:
                last = bounds.extents[atom.name] - 1
                least, most = (least * 0, most * last) if coefficient > 0 else (least * last, most * 0)
            else:
                least, most = least * as_index(atom.name), most * as_index(atom.name)
        low, high = low + least, high + most
    below = interval(low, bounds)[1]
    above = interval(high - extent, bounds)[0]
    if below is not None and below < 0:
        return low
    return high if above is not None and above >= 0 else None


def check_iteration(einsum: Einsum, scope: Scope) -> None:
    """In an iteration over t each einsum has one slot `t`, or `t + 1` with `from`; it reads what is computed by then."""
    if scope.iteration is None:
        return
    where = _place(einsum)
    rank, body = scope.iteration.rank, scope.iteration.body
    t = as_index(rank.name)
    positions = [k for k, index in enumerate(einsum.index) if index in (t, t + 1)]
    others = [index for k, index in enumerate(einsum.index) if k not in positions[:1]]
    if len(positions) != 1 or any(index.as_variable is None for index in others):
        raise VerifyError(
            f"in an iteration over {rank.name}, one slot is {rank.name} or {rank.name} + 1 and the others are bare ranks",
            where=where,
            help="move einsums that do not depend on the step out of the iteration",
        )
    slot = positions[0]
    carried = einsum.index[slot] == t + 1
    if carried and einsum.initial is None:
        raise VerifyError(f"{einsum.name} carries state and has no `from`", where=where, help=f"give {einsum.name} at 0")
    extent = rank.extent + (1 if carried else 0)
    if einsum.shape[slot] != extent:
        raise VerifyError(
            f"the slot {print_index(einsum.index[slot])} has extent {print_index(einsum.shape[slot])}",
            where=where,
            help=f"its extent is {print_index(extent)}",
        )
    slots = {name: next(k for k, i in enumerate(e.index) if i in (t, t + 1)) for e in body for name, _ in _stepped(e, t)}
    ready = {name for other in body[: body.index(einsum)] for name, _ in other.targets}
    carries = {name for other in body if t + 1 in other.index for name, _ in other.targets}
    for part in (einsum.expression, einsum.where):
        for load in loads(part) if part is not None else ():
            if load.tensor not in slots:
                continue
            allowed = [t] if load.tensor in carries or load.tensor in ready else []
            if load.tensor in carries and load.tensor in ready:
                allowed.append(t + 1)
            if len(load.index) > slots[load.tensor] and load.index[slots[load.tensor]] not in allowed:
                raise VerifyError(
                    f"{print_expression(load)} is not computed yet, or no longer held, at step {rank.name}",
                    where=where,
                    help=f"it may be read at {' or '.join(map(print_index, allowed)) or 'later einsums alone'}",
                )
    inside = {name for other in body for name, _ in other.targets}
    for load in loads(einsum.initial) if einsum.initial is not None else ():
        if load.tensor in inside:
            raise VerifyError(f"`from` reads {load.tensor}, which the iteration computes", where=where)


def _stepped(einsum: Einsum, t: Index) -> tuple[tuple[str, DType], ...]:
    """The targets of an einsum that has a slot along the iterative rank."""
    return einsum.targets if any(index in (t, t + 1) for index in einsum.index) else ()


EINSUM_RULES: tuple[Callable[[Einsum, Scope], None], ...] = (
    check_ranks,
    check_clauses,
    check_slots,
    check_variables,
    check_dtypes,
    check_loads,
    check_iteration,
)
