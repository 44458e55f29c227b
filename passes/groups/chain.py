"""Chain kernels through rows that stay in cache: contraction, then maps and reductions along its lanes, then contraction again.

    S[h, i, j] = sum(e) Q[h, i, e] * K[h, j, e]                       contract, lanes j
    A[h, i, j] = exp(S - max(j) S) / sum(j) exp(S - max(j) S)         nest over j
    Z[h, i, d] = sum(j) A[h, i, j] * V[h, j, d]                       contract, lanes d
      =>
    parallel h, i.1 { rows[i.0, j] = S...; rows[i.0, j] = A...; Z[i.0, d] = sum(j) rows[i.0, j] * V[h, j, d] }

Nothing here knows what the three compute: any nest between two contractions qualifies if the tensors between them are read once, all
three agree on the ranks (h, i), and j is what the first one's lanes, the nest's inner rank and the last one's reduced rank have in
common. On a GPU, where no instance has memory to keep rows in, it
takes a nest that one pass computes (`tcomp.passes.one_pass.derive`), and any free rank of the first one may be its lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Rank
from tcomp.ir.dtypes import DType, compute_dtype
from tcomp.ir.names import first_free, lengthened
from tcomp.ir.target import Gpu, Target
from tcomp.ir.traverse import rename_ranks
from tcomp.ir.walk import loads
from tcomp.passes.einsums.contraction import Contraction, contraction_along, contraction_of
from tcomp.passes.einsums.group import Group, rewrite_group
from tcomp.passes.one_pass.derive import find_one_pass


def chain_groups(
    groups: tuple[Group, ...], cascade: Cascade, target: Target, is_wanted: Callable[[Group], bool], *, strict: bool = False
) -> tuple[Group, ...]:
    """Join the chains of three groups that are wanted; each takes the place of its last group. Outputs stay in memory.

    With `strict` no rounding to a narrow float may be left out, as one pass over the rank between the contractions would.
    """
    producer = {name: place for place, group in enumerate(groups) for name in group.stored}
    readers = dict.fromkeys(cascade.outputs, 1)
    dtypes = {name: tensor.dtype for name, tensor in cascade.tensors().items()}
    # Fused members may be held in wider types.
    dtypes.update(target for group in groups for e in group.members for target in e.targets)
    for group in groups:
        for name in group.reads():
            readers[name] = readers.get(name, 0) + 1
    kept: list[Group | None] = list(groups)
    for place, last in enumerate(groups):
        if last.kind != "contract":
            continue
        middle_place = _only_source(last, groups, producer, readers, "nest")
        first_place = None if middle_place is None else _only_source(groups[middle_place], groups, producer, readers, "contract")
        # A group that ends a chain starts no other.
        if middle_place is None or first_place is None or kept[first_place] is not groups[first_place]:
            continue
        if strict and isinstance(target, Gpu) and any(_is_narrow(t) for e in groups[middle_place].members for _, t in e.targets):
            continue
        chain = _join(groups[first_place], groups[middle_place], last, target, dtypes)
        if chain is not None and is_wanted(chain):
            kept[first_place] = kept[middle_place] = None
            kept[place] = chain
    return tuple(g for g in kept if g is not None)


def _only_source(
    group: Group, groups: tuple[Group, ...], producer: dict[str, int], readers: dict[str, int], kind: str
) -> int | None:
    """The group of the given kind whose one result only this group reads."""
    for name in group.reads():
        place = producer.get(name)
        if place is not None and groups[place].kind == kind and groups[place].stored == (name,) and readers[name] == 1:
            return place
    return None


def _match(tensor: str, reader: Iterable[Einsum], writer: Einsum, by_reader: bool) -> dict[str, str] | None:
    """Pair the ranks of a tensor's writer and readers, from the reader's names if `by_reader`; None unless bare and one to one."""
    pairs: dict[str, str] = {}
    found = [load for e in reader for part in (e.expression, e.where) if part is not None for load in loads(part)]
    for load in (load for load in found if load.tensor == tensor):
        if load.outside is not None:
            return None
        for here, there in zip(load.index, writer.index):
            a, b = here.as_variable, there.as_variable
            if a is None or b is None:
                return None
            key, value = (a, b) if by_reader else (b, a)
            if pairs.setdefault(key, value) != value:
                return None
    return pairs if len(set(pairs.values())) == len(pairs) else None


def _join(first: Group, middle: Group, last: Group, target: Target, dtypes: Mapping[str, DType]) -> Group | None:
    (scores,), (weights,) = first.stored, middle.stored
    writer = {e.name: e for e in (*first.members, *middle.members)}
    if len(middle.inner) != 1 or any(len(e.targets) > 1 for e in middle.members):
        return None
    into = _match(scores, middle.members, writer[scores], by_reader=False)
    out = _match(weights, last.members, writer[weights], by_reader=True)
    inner = middle.inner[0]
    if into is None or out is None or any(g.members[0] is not g.root for g in (first, last)):
        return None
    free = [r for r in last.outer if r.name not in out]
    if len(free) != 1:
        return None
    top: Contraction | None
    bottom: Contraction | None
    if isinstance(target, Gpu):
        # Either operand may give the lanes there.
        top = next((contraction_along(first.root, a) for a, b in into.items() if b == inner.name), None)
        bottom = contraction_along(last.root, free[0].name)
    else:
        top, bottom = contraction_of(first), contraction_of(last)
    if top is None or bottom is None:
        return None
    if set(into) != {r.name for r in first.outer} or into[top.lanes.name] != inner.name:
        return None
    reduced = {out.get(r.name) for r in last.root.reduced}
    shared = {r.name for r in middle.outer}
    if reduced != {inner.name} or free != [bottom.lanes] or {out[r.name] for r in last.outer if r.name in out} != shared:
        return None
    if bottom.left.tensor != weights or not inner.extent.is_constant or not inner.extent.constant:
        return None
    one_pass = None
    if isinstance(target, Gpu):
        # A tile has rows that neither of the other operands knows of, or products would not be those of matrices.
        rows = {into[r.name] for r in top.rows} & {out[r.name] for r in bottom.rows if r.name in out}
        walked = (*first.root.reduced, bottom.lanes)
        if not rows or not all(r.extent.is_constant and r.extent.constant for r in walked):
            return None
        one_pass = find_one_pass(middle, last.root, weights, dtypes)
        if one_pass is None:
            return None
    used = {r.name for e in middle.members for r in e.ranks}
    head = _renamed(replace(first, fact=top.fact), into, used)
    tail = _renamed(replace(last, fact=bottom.fact), out, used | {r.name for e in head.members for r in e.ranks})
    parts = (head, middle, tail)
    members = tuple(e for part in parts for e in part.members)
    return Group("chain", members, middle.outer, middle.inner, stored=last.stored, parts=parts, fact=one_pass)


def _is_narrow(dtype: DType) -> bool:
    return dtype != compute_dtype(dtype)


def _renamed(group: Group, names: dict[str, str], taken: set[str]) -> Group:
    """A group over the chain's rank names; ranks of its own get names nobody else has."""
    mapping = dict(names)
    for name in dict.fromkeys(r.name for e in group.members for r in e.ranks):
        if name not in mapping:
            mapping[name] = first_free(lengthened(name), taken, mapping.values())

    def rename(ranks: tuple[Rank, ...]) -> tuple[Rank, ...]:
        return tuple(Rank(mapping[r.name], r.extent) for r in ranks)

    return rewrite_group(group, lambda einsum: rename_ranks(einsum, mapping), rename, mapping)
