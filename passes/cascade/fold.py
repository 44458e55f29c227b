"""Fold constants: compute once what depends on weights (or on nothing) alone.

A cascade is split in two: a *prelude* over the weights, run when a program is loaded and again when a weight changes, and the *main*
cascade, for which the prelude's results are weights.

    Wp = W[32*k.1 + k.0, c]; Y = sum(c) X[c] * Wp[..]     =>     prelude (W) -> (Wp)     main (X, Wp) -> (Y)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement, Tensor
from tcomp.ir.expressions import Load, as_index
from tcomp.ir.traverse import statement_einsums
from tcomp.ir.walk import index_variables, variables
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.einsums.facts import static_tensors


def fold_weights(cascade: Cascade, late: Collection[str] = ()) -> tuple[Cascade, Cascade]:
    """Split into (prelude, main); what is named in `late`, and what is made of it, is not folded.

    Outputs that need no input are copied by the main cascade, so that each run returns new memory.
    """
    static = static_tensors(cascade)
    symbols = {symbol.name for symbol in cascade.symbols}
    early: list[Statement] = []
    rest: list[Statement] = []
    kept = set(late)
    for statement in cascade.statements:
        einsums = statement_einsums(statement)
        names = [name for e in einsums for name, _ in e.targets]
        is_late = kept.intersection(names) or any(kept.intersection(e.reads()) for e in einsums)
        is_late = is_late or not symbols.isdisjoint(_variables(statement))
        if is_late or not all(static[n] for n in names):
            rest.append(statement)
            kept.update(names)
        else:
            early.append(statement)
    known = {name for s in early for name in _targets(s)}
    made = {name: t for name, t in cascade.tensors().items() if name in known}
    rest = _copy_outputs(cascade, rest, made)
    read = {name for s in rest for e in statement_einsums(s) for name in e.reads()}
    folded = tuple(name for name in made if name in read)
    weights = tuple(t for t in cascade.inputs if t.weight)
    prelude = drop_dead(Cascade(f"{cascade.name}_prelude", weights, tuple(early), folded))
    used = {name for s in prelude.statements for e in statement_einsums(s) for name in e.reads()}
    prelude = replace(prelude, inputs=tuple(t for t in weights if t.name in used))
    inputs = (
        *(t for t in cascade.inputs if not t.weight or t.name in read),
        *(Tensor(name, made[name].dtype, made[name].shape, weight=True) for name in folded),
    )
    renamed = tuple(f"{name}.out" if name in made else name for name in cascade.outputs)
    main = Cascade(cascade.name, inputs, tuple(rest), renamed, cascade.symbols)
    return prelude, main


def _targets(statement: Statement) -> tuple[str, ...]:
    return tuple(name for e in statement_einsums(statement) for name, _ in e.targets)


def _variables(statement: Statement) -> set[str]:
    """Names of all ranks and symbols in a statement: a symbol may be a value or a place, and in no extent."""
    found = index_variables(statement.rank.extent) if isinstance(statement, Iteration) else set()
    for e in statement_einsums(statement):
        indices = (*e.index, *e.shape, *(rank.extent for rank in e.ranks))
        expressions = (part for part in (e.expression, e.where, e.initial) if part is not None)
        found.update(*map(index_variables, indices), *map(variables, expressions))
    return found


def _copy_outputs(cascade: Cascade, late: list[Statement], made: dict[str, Tensor]) -> list[Statement]:
    copies: list[Statement] = []
    for name in dict.fromkeys(cascade.outputs):
        if name in made:
            tensor = made[name]
            ranks = tuple(as_index(f"d{p}") for p in range(len(tensor.shape)))
            copies.append(Einsum(((f"{name}.out", tensor.dtype),), ranks, tensor.shape, Load(name, ranks)))
    return [*late, *copies]
