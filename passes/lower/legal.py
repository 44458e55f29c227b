"""Which schedules a group can be lowered with: those whose words are about its ranks, and whose sizes its loops can have.

    order      every outer rank, and every rank that is walked inside, each once
    parallel   outer ranks; of a scatter whose points may be folded at once, those, too
    tile       ranks of the group; on a GPU powers of two; the pieces of a sum's rank in a contraction on a CPU divide it
    lanes      a rank of the group
    prefetch   packed operands of several panels whose places are known
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import pairwise
from math import prod
from typing import NoReturn

from tcomp.ir.errors import Illegal
from tcomp.ir.expressions import ZERO
from tcomp.ir.index import is_data
from tcomp.ir.schedule import CpuLaunch, GpuLaunch, KernelSchedule
from tcomp.ir.target import Cpu, Target
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.einsums.contraction import contraction_of


def check_bound(bound: Bound, schedule: KernelSchedule, target: Target) -> None:
    """Raises Illegal where the words of a schedule do not fit the group, bound to its arguments, that it is for."""
    _Check(bound, schedule, target).check()


class _Check:
    """A schedule being checked."""

    def __init__(self, bound: Bound, schedule: KernelSchedule, target: Target) -> None:
        self.bound, self.schedule, self.target = bound, schedule, target
        group = bound.group
        self.ranks = {r.name: r for e in group.members for r in e.ranks}
        self.ranks.update((r.name, r) for r in (*group.outer, *group.inner, *([group.iterative] if group.iterative is not None else [])))
        self.outer = {r.name for r in group.outer}
        self.reduced = {r.name for r in group.root.reduced}
        self.joints = dict(schedule.joined)

    def _refuse(self, what: str, help: str, word: str) -> NoReturn:
        raise Illegal(what, where=str(self.schedule), help=help, clause=(word,))

    def check(self) -> None:
        """All rules."""
        is_cpu = isinstance(self.target, Cpu)
        if is_cpu != isinstance(self.schedule.launch, CpuLaunch):
            self._refuse(
                f"the kernel is scheduled for a {'GPU' if is_cpu else 'CPU'}",
                "take warps and stages out" if is_cpu else "say how many warps run a tile together, and how many stages overlap",
                "warps",
            )
        self._check_names()
        self._check_order()
        self._check_tiles()
        if isinstance(self.schedule.launch, CpuLaunch):
            self._check_prefetch(self.schedule.launch.prefetch)

    def _check_names(self) -> None:
        schedule = self.schedule
        joined = [part for parts in self.joints.values() for part in parts]
        for word, names in (
            ("join", joined),
            ("tile", [name for name, _ in schedule.tiles if name not in self.joints]),
            ("order", schedule.order),
            ("parallel", schedule.parallel),
            ("lanes", [schedule.lanes] if schedule.lanes is not None else []),
            ("partial", [name for name, _ in schedule.partial]),
        ):
            for name in names:
                if name not in self.ranks:
                    self._refuse(f"the kernel has no rank {name}", f"its ranks are {self._list(self.ranks)}", word)
        for name, _ in schedule.partial:
            if name not in {r.name for e in self.bound.group.members for r in e.reduced}:
                self._refuse(f"no sum runs over {name}", "cut a rank that is summed over", "partial")
        if schedule.registers and self.bound.group.iterative is None:
            self._refuse("the kernel is no iteration", "take `registers` out", "registers")
        if schedule.is_library and isinstance(schedule.launch, CpuLaunch):
            self._refuse("no library computes kernels of a CPU", "take `library` out", "library")
        if joined and isinstance(self.schedule.launch, CpuLaunch):
            self._refuse("ranks are joined", "only kernels for a GPU join ranks", "join")

    def _check_order(self) -> None:
        schedule, group = self.schedule, self.bound.group
        needed = dict.fromkeys(r.name for r in group.outer)
        if group.kind in ("contract", "nest", "fill"):
            needed.update(dict.fromkeys(r.name for r in (*group.inner, *(group.root.reduced if group.kind == "contract" else ()))))
        for name in needed:
            if name not in schedule.order:
                self._refuse(f"rank {name} has no place in the order", f"order all of {self._list(needed)}", "order")
        allowed = self.outer | (self.reduced if group.kind == "scatter" else set())
        for name in schedule.parallel:
            if name not in allowed:
                self._refuse(f"the points of {name} depend on one another", f"these may be parallel: {self._list(allowed)}", "parallel")
        for name in self.outer - {*schedule.parallel}:
            if isinstance(schedule.launch, GpuLaunch):
                self._refuse(f"rank {name} is not parallel", "on a GPU all outer ranks are", "parallel")

    def _check_tiles(self) -> None:
        schedule, group = self.schedule, self.bound.group
        sizes: dict[str, list[int]] = {}
        for name, size in schedule.tiles:
            sizes.setdefault(name, []).append(size)
        for name, found in sizes.items():
            if len(found) > 1 and (name not in schedule.parallel or len(found) > 2):
                self._refuse(f"rank {name} is cut {len(found)} times", "cut parallel ranks twice, and others once", "tile")
            if isinstance(schedule.launch, GpuLaunch) and any(size & (size - 1) for size in found):
                self._refuse(f"the tile of {name} is {found[0]}", "on a GPU tiles are powers of two", "tile")
            for outer, inner in pairwise(found):
                if outer % inner:
                    self._refuse(f"pieces of {inner} do not divide those of {outer} of {name}", "take a divisor", "tile")
        if group.kind == "chain":
            (self._check_chain if isinstance(self.target, Cpu) else self._check_one_pass)()
        elif group.kind == "contract" and isinstance(self.target, Cpu):
            cut = [name for name in sizes if name in self.reduced]
            for name in cut:
                if (self.ranks[name].extent % sizes[name][0]) != ZERO or len(cut) > 1:
                    self._refuse(f"{name}:{self.ranks[name].extent} is cut into pieces of {sizes[name][0]}", "cut one rank evenly", "tile")

    def _check_chain(self) -> None:
        """A chain has a tile of rows, one of the rank between its contractions, and one of what the last one makes."""
        group = self.bound.group
        names = [name for name, _ in self.schedule.tiles]
        last = [r.name for r in group.members[-1].free if r.name not in self.outer]
        inner = [r.name for r in group.inner]
        if len(names) != 3 or names[0] not in self.outer or names[1:2] != inner or names[2:] != last:
            self._refuse("a chain is cut otherwise", f"tile one of {self._list(self.outer)}, then {self._list([*inner, *last])}", "tile")
        row, rows = self.schedule.tiles[0]
        if (self.ranks[row].extent % rows) != ZERO:
            self._refuse(f"tiles of {rows} do not divide {row}:{self.ranks[row].extent}", "take a divisor", "tile")

    def _check_one_pass(self) -> None:
        """A chain in one pass has a tile of rows, one of the rank that it walks, and what both contractions hold besides, whole."""
        group = self.bound.group
        first, _, last = group.parts
        heads = (tuple(first.root.reduced), tuple(r for r in last.root.free if r.name not in self.outer))
        sizes = dict(self.schedule.tiles)
        joints = {parts: name for name, parts in self.schedule.joined}
        names: list[str] = []
        for ranks in heads:
            parts = tuple(r.name for r in ranks)
            names.append(parts[0] if len(parts) == 1 else joints.get(parts, " and ".join(parts)))
            whole = prod(r.extent.constant for r in ranks)
            if sizes.get(names[-1], 0) < whole:
                self._refuse(f"a tile has less than all {whole} points of {names[-1]}", f"tile ({names[-1]}:{whole}), or more", "tile")
        inner = [r.name for r in group.inner]
        rows = [name for name in sizes if name not in (*inner, *names)]
        if len(rows) != 1 or rows[0] not in self.outer or not {*inner} <= {*sizes}:
            needed = f"one of {self._list(self.outer)}, and {self._list([*inner, *names])}"
            self._refuse("a chain is cut otherwise", f"tile {needed}", "tile")

    def _check_prefetch(self, names: Iterable[str]) -> None:
        group = self.bound.group
        contraction = contraction_of(group) if group.kind == "contract" else None
        packed = [contraction.right.tensor] if contraction is not None and contraction.fact.panel is not None else []
        # Every step inside the loop over panels fetches a share of the next one: their number is known.
        order, lanes = self.schedule.order, contraction.lanes.name if contraction is not None else ""
        inside = order[order.index(lanes) + 1 :] if lanes in order else order
        is_known = all(r.extent.is_constant for r in (*group.outer, *group.root.reduced) if r.name in inside)
        is_chosen = contraction is not None and any(map(is_data, contraction.right.index))
        for name in names:
            if name not in packed or not is_known or is_chosen:
                known = f"these can be prefetched: {self._list([] if is_chosen else packed)}"
                self._refuse(f"{name} is no packed operand whose place is known", known, "prefetch")

    @staticmethod
    def _list(names: Collection[str]) -> str:
        return ", ".join(names) or "none"
