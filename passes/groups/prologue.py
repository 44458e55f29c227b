"""Prologues: weights that are stored in fewer bits than they are multiplied in are expanded where they are multiplied.

    W: f32[n:N, k:K] = (f32((P[n, k // 2] >> 4 * (k % 2)) & 15) - 8.0) * scale[n, k // 32]
    Y: f32[m:M, n:N] = sum(k:K) X[m, k] * W[n, k]
      =>
    one group (W, Y): W is an expression of the products, and P is what memory is read of

Without this pass W would be folded once (`tcomp.passes.cascade.fold`), and every call would read eight times as many bytes. A map
qualifies if it depends on weights alone and is read by contractions of every call only: what such a contraction makes of weights alone
is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.expressions import Expr, Load
from tcomp.ir.index import is_data
from tcomp.ir.names import first_free, lengthened
from tcomp.ir.traverse import rename_ranks, statement_einsums
from tcomp.ir.walk import loads, map_load_indices, map_loads, substitute
from tcomp.passes.einsums.contraction import is_contraction
from tcomp.passes.einsums.facts import static_tensors
from tcomp.passes.einsums.group import Group

IsWorth: TypeAlias = Callable[[Einsum, Mapping[str, Tensor]], bool]
"""Whether a map, as an expression over weights, is better computed by the contractions that read it."""


def find_prologues(cascade: Cascade, is_worth: IsWorth) -> dict[str, Einsum]:
    """The maps that are worth expanding inside contractions, by name, as expressions over weights."""
    static = static_tensors(cascade)
    tensors = cascade.tensors()
    maps = {s.name: s for s in cascade.statements if isinstance(s, Einsum) and s.is_map and static[s.name]}
    found: dict[str, Einsum] = {}
    for name, einsum in maps.items():
        if name in cascade.outputs or not _is_operand(name, cascade, static):
            continue
        whole = replace(einsum, expression=_expand(einsum.expression, maps))
        read = loads(whole.expression)
        if read and not any(is_data(i) for load in read for i in load.index) and is_worth(whole, tensors):
            found[name] = whole
    return found


def _is_operand(name: str, cascade: Cascade, static: Mapping[str, bool]) -> bool:
    """Whether a tensor is read, and by contractions only, at bare ranks."""
    is_read = False
    for statement in cascade.statements:
        for einsum in statement_einsums(statement):
            if name not in einsum.reads():
                continue
            is_read = True
            if statement is not einsum or not is_contraction(einsum) or static[einsum.name]:
                return False
            for load in loads(einsum.expression):
                names = [i.as_variable for i in load.index]
                if load.tensor == name and (None in names or len(set(names)) < len(names) or load.outside is not None):
                    return False
    return is_read


def _expand(expression: Expr, maps: Mapping[str, Einsum]) -> Expr:
    """Read maps over weights through."""

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        made = maps.get(load.tensor)
        if made is None or load.outside is not None:
            return load
        place = {str(slot.as_variable): index for slot, index in zip(made.index, load.index)}
        return map_loads(substitute(made.expression, place), read)

    return map_loads(expression, read)


def attach_prologues(groups: tuple[Group, ...], prologues: Mapping[str, Einsum]) -> tuple[Group, ...]:
    """Put the maps into the groups of the contractions that read them, before the contraction."""
    if not prologues:
        return groups
    return tuple(_attach(group, prologues) if group.kind == "contract" else group for group in groups)


def _attach(group: Group, prologues: Mapping[str, Einsum]) -> Group:
    root = group.root
    before: list[Einsum] = []
    for load in loads(root.expression):
        einsum = prologues.get(load.tensor)
        if einsum is None or any(e.name == einsum.name for e in before):
            continue
        own = _unnamed(einsum, {r.name for r in root.ranks})
        before.append(rename_ranks(own, {str(slot.as_variable): str(i.as_variable) for slot, i in zip(own.index, load.index)}))
    return replace(group, members=(*before, *group.members)) if before else group


def _unnamed(einsum: Einsum, taken: set[str]) -> Einsum:
    """The map over ranks that have none of the names which they will be given."""
    return rename_ranks(einsum, {rank.name: first_free(lengthened(rank.name), taken) for rank in einsum.free})


def without(cascade: Cascade, prologues: Mapping[str, Einsum]) -> Cascade:
    """The cascade with the maps that are expanded elsewhere as weights."""
    if not prologues:
        return cascade
    left = tuple(s for s in cascade.statements if not (isinstance(s, Einsum) and s.name in prologues))
    weights = (Tensor(e.name, e.dtype, e.shape, weight=True) for e in prologues.values())
    return replace(cascade, inputs=(*cascade.inputs, *weights), statements=left)

