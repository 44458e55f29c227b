"""Results written over what dies: where memory is needed most, a kernel's result takes the place of an argument that nothing reads later.

    S[j, i] -> kernel f(in x0: f32[J, I], out y: f32[J, I])      f(S, D), then g(D)
        =>     kernel f(inout x0: f32[J, I])                     f(S), then g(S)

Only nests of which `tcomp.passes.plan.tile_reuse` proves that they may. All others stay as they are, and so do these where the arena hardly
shrinks, as long as no budget asks for it: a kernel that writes over its argument is one more to compile where others like it do not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import ZERO, Index
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.plan.greedy import place_tensors
from tcomp.passes.plan.lifetimes import Lifetime, find_lives, live_bytes
from tcomp.passes.plan.tile_reuse import may_overwrite, overwrite


def write_in_place(
    kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str], enough: int
) -> tuple[list[Candidate], dict[str, str]]:
    """Kernels that need at least `enough` bytes less of the arena, and which tensor's place each tensor has then that has none.

    The kernels as they are if there are none such, or if the arena depends on symbolic sizes.
    """
    found, homes = join_dying(kernels, memories, external)
    if homes:
        apart, joined = (place_tensors(find_lives(some, memories, external))[1] for some in (kernels, found))
        if (apart - joined).constant >= enough:
            return found, homes
    return list(kernels), {}


def join_dying(
    kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str]
) -> tuple[list[Candidate], dict[str, str]]:
    """Kernels of which fewer bytes are alive at once, however few, and which tensor's place each tensor has then that has none.

    The kernels as they are if there are none such, or if the arena depends on symbolic sizes.
    """
    found, homes = list(kernels), dict[str, str]()
    lives = find_lives(found, memories, external)
    if not all(life.size.is_constant for life in lives):
        return found, homes
    while (pair := _find_pair(found, memories, lives)) is not None:
        step, read, written = pair
        old, new = (found[step].operands[position].tensor for position in (read, written))
        found[step] = _join(found[step], read, written)
        found = [_move(kernel, new, old) for kernel in found]
        homes = {name: old if home == new else home for name, home in homes.items()} | {new: old}
        last = next(life.last for life in lives if life.name == new)
        lives = tuple(replace(life, last=last) if life.name == old else life for life in lives if life.name != new)
    return found, homes


def _find_pair(
    kernels: Sequence[Candidate], memories: Mapping[str, Memory], lives: Sequence[Lifetime]
) -> tuple[int, int, int] | None:
    """The first kernel where most memory is alive, with the largest argument that dies there and a result that may take its place."""
    need = live_bytes(lives, len(kernels))
    if not need:
        return None
    step = need.index(max(need))
    by_name = {life.name: life for life in lives}
    kernel = kernels[step]
    tensors = [operand.tensor for operand in kernel.operands]
    alone = [
        position
        for position, operand in enumerate(kernel.operands)
        if operand.tensor in by_name and tensors.count(operand.tensor) == 1 and operand.memory.offset == ZERO
    ]
    dying = [p for p in alone if by_name[tensors[p]].first < step == by_name[tensors[p]].last]
    born = [p for p in alone if by_name[tensors[p]].first == step]
    for read in sorted(dying, key=lambda p: (-memories[tensors[p]].bytes.constant, p)):
        for written in born:
            if memories[tensors[read]].bytes == memories[tensors[written]].bytes and _may_join(kernel, read, written):
                return step, read, written
    return None


def _may_join(candidate: Candidate, read: int, written: int) -> bool:
    arguments = candidate.kernel.arguments
    return candidate.group.kind == "nest" and may_overwrite(candidate.kernel, arguments[read].name, arguments[written].name)


def _join(candidate: Candidate, read: int, written: int) -> Candidate:
    arguments = candidate.kernel.arguments
    kernel = overwrite(candidate.kernel, arguments[read].name, arguments[written].name)
    return replace(candidate, kernel=kernel, operands=tuple(o for p, o in enumerate(candidate.operands) if p != written))


def _move(candidate: Candidate, tensor: str, home: str) -> Candidate:
    """The kernel with a tensor where its home is."""
    if all(operand.tensor != tensor for operand in candidate.operands):
        return candidate
    return replace(candidate, operands=tuple(replace(o, tensor=home) if o.tensor == tensor else o for o in candidate.operands))


def overwrite_at(
    kernels: Sequence[Candidate], memories: Mapping[str, Memory], external: Collection[str], addresses: Mapping[str, Index]
) -> tuple[Candidate, ...]:
    """Kernels that write a result over an argument that dies with them, where both have one address.

    Raises Illegal where a kernel may not.
    """
    found = list(kernels)
    for step in range(len(found)):
        lives = {life.name: life for life in find_lives(found, memories, external)}
        names = [operand.tensor for operand in found[step].operands]
        # A tensor without elements may have any address.
        places = [p for p, name in enumerate(names) if name in lives and memories[name].bytes != ZERO]
        dying = [p for p in places if lives[names[p]].first < step == lives[names[p]].last]
        born = [p for p in places if lives[names[p]].first == step]
        pairs = [(read, written) for written in born for read in dying if addresses[names[read]] == addresses[names[written]]]
        for old, new in [(names[read], names[written]) for read, written in pairs]:
            tensors = [operand.tensor for operand in found[step].operands]
            read, written = tensors.index(old), tensors.index(new)
            is_whole = tensors.count(old) == tensors.count(new) == 1 and found[step].operands[read].memory.offset == ZERO
            if not is_whole or not _may_join(found[step], read, written):
                raise Illegal(
                    f"{new} lies where {old} does, over which it may not be written",
                    where=str(found[step].schedule),
                    help="give it another address",
                    clause=("address", new),
                )
            found[step] = _join(found[step], read, written)
            found = [_move(kernel, new, old) for kernel in found]
    return tuple(found)
