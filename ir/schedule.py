"""The schedule: how a cascade is computed, as data.

From a cascade and a schedule follow its kernels and their plan, without a choice (`tcomp.passes.pipeline.apply`). The tuner enumerates
schedules, caches key on them, a user may edit one.

    schedule := "schedule" "for" STRING ["of" STRING] "{" {operand} ["prelude" "{" {line} "}"] {line} "}"
    operand  := "expand" names | "prologue" names | "pack" NAME tile
    line     := group | "wide" names | "hold" names | "again" names | kernel | layout | address | "arena" index
    group    := "group" names ("sink" | "parts" tile | "apart")
    kernel   := "kernel" NAME "=" KIND "(" NAME {("," | "|") NAME} ")" ["steps" INT ".." INT] ["registers" INT]
                {"join" NAME names} ["tile" tiles] ["order" names] ["parallel" names] ["lanes" NAME] ["partial" tiles]
                ["prefetch" names] ["instances" INT] ["group" INT] ["warps" INT "stages" INT] ["library"]
    layout   := "layout" NAME "(" INT, ... ")"
    address  := "address" NAME index
    names    := "(" NAME, ... ")"       tile := "(" NAME ":" INT ")"       tiles := "(" NAME ":" INT, ... ")"

The first string names the target, the second one is the digest of the cascade that the schedule is for.

*Operands.* Constants of positions that are `expand`ed are computed where they are read, and so are the weights of a `prologue`, which
are kept as they are stored. `pack mm (n:32)` copies the operand of mm that has the rank n into panels 32 wide. What is made of weights
alone is computed by the kernels of the `prelude`, when the program is loaded.

*Groups.* The einsums of one kernel are fused, and computed in this order of kernels. A `group` is one that is no kernel as it stands:
maps that `sink` into the map that alone reads them; a reduction whose rank is cut into `parts` that kernels of their own fold; a
contraction and its maps as two kernels, `apart`. Tensors that are `wide` are kept in f32 inside their kernel; of iterations the steps
of those on `hold` are kept close to the core; what is `again` computed where it is read is not kept at all.

*Kernels.* A kernel computes the einsums it lists as one loop nest of a kind (`tcomp.passes.kinds`); "|" ends a part of a chain. `steps`
says which steps of an iteration it computes, where several kernels do so in turn, the first step and the one behind the last; an
iteration whose steps, and all points of one statement, are at most so many elements is held in `registers`. `join` walks several ranks
as one, from which they are decoded by division. `tile` gives the sizes of a rank's pieces, a larger one before the smaller one it is cut
into, `order` the loops, outermost first; `parallel` tells which of them run at once, `lanes` which rank lies on vector lanes, `partial`
after how many steps a sum is folded, `prefetch` which packed operands are fetched a panel ahead.

On a GPU the tile of a reduced rank is an axis of the block as well. `warps` run one tile together, and the loads of `stages` steps
overlap; `instances` limits how many run at once, each of which then walks several tiles; `group` tiles of rows are walked before the
next lanes, so that both operands stay in the cache. What is marked `library` is computed by a library of matrix products instead.

*Memory.* A layout gives a tensor's dimensions in memory order, outermost first; an address is a byte offset in the arena, which has as
many bytes as it says. A result at the address of an argument that dies with the kernel is written over it.

    schedule for "avx512 2 cores" {
      pack mm (n:32)
      kernel linear = contract(mm, add, relu) tile (m:12, n:32, k:1) order (n, m, k) parallel (n, m) lanes n prefetch (x1)
      layout conv1 (0, 2, 3, 1)
      address mm 4096
      arena 8192
    }
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tcomp.ir.expressions import Index, print_index


@dataclass(frozen=True, slots=True)
class CpuLaunch:
    """How a kernel runs on the cores of a CPU: the packed operands in `prefetch` are fetched a panel ahead."""

    prefetch: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"prefetch ({', '.join(self.prefetch)})" if self.prefetch else ""


@dataclass(frozen=True, slots=True)
class GpuLaunch:
    """How a kernel runs on the multiprocessors of a GPU."""

    warps: int
    """Warps of 32 threads that run one tile together."""
    stages: int
    """Steps of a loop whose loads overlap."""
    instances: int = 0
    """How many run at once, each walking several tiles; 0 if there is one for each tile."""
    group: int = 0
    """Tiles of rows that are walked before the next lanes; 0 for all."""

    def __str__(self) -> str:
        instances = f"instances {self.instances} " if self.instances else ""
        group = f"group {self.group} " if self.group else ""
        return f"{instances}{group}warps {self.warps} stages {self.stages}"


Launch: TypeAlias = CpuLaunch | GpuLaunch


@dataclass(frozen=True, slots=True)
class KernelSchedule:
    """How one kernel computes its einsums. The kind is one of `tcomp.passes.kinds`."""

    name: str
    einsums: tuple[str, ...]
    kind: str
    tiles: tuple[tuple[str, int], ...] = ()
    order: tuple[str, ...] = ()
    parallel: tuple[str, ...] = ()
    lanes: str | None = None
    launch: Launch = CpuLaunch()
    joined: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_library: bool = False
    partial: tuple[tuple[str, int], ...] = ()
    steps: tuple[int, int] | None = None
    parts: tuple[int, ...] = ()
    """How many of the einsums each part of a chain has."""
    registers: int = 0
    """Elements that an iteration may hold in registers."""

    @property
    def loops(self) -> str:
        """The text of what says how the loops run: everything but what is computed, which steps of it, and in how many registers."""
        clauses = [f"join {name} ({', '.join(ranks)})" for name, ranks in self.joined]
        if self.tiles:
            clauses.append(f"tile ({', '.join(f'{rank}:{size}' for rank, size in self.tiles)})")
        if self.order:
            clauses.append(f"order ({', '.join(self.order)})")
        if self.parallel:
            clauses.append(f"parallel ({', '.join(self.parallel)})")
        if self.lanes is not None:
            clauses.append(f"lanes {self.lanes}")
        if self.partial:
            clauses.append(f"partial ({', '.join(f'{rank}:{steps}' for rank, steps in self.partial)})")
        clauses.append(str(self.launch))
        if self.is_library:
            clauses.append("library")
        return " ".join(filter(None, clauses))

    @property
    def split_einsums(self) -> tuple[tuple[str, ...], ...]:
        """The einsums of each part of a chain; of another kernel, all of them."""
        found: list[tuple[str, ...]] = []
        start = 0
        for count in self.parts or (len(self.einsums),):
            found.append(self.einsums[start : start + count])
            start += count
        return tuple(found)

    def __str__(self) -> str:
        steps = "" if self.steps is None else f" steps {self.steps[0]} .. {self.steps[1]}"
        registers = f" registers {self.registers}" if self.registers else ""
        einsums = " | ".join(", ".join(part) for part in self.split_einsums)
        return f"kernel {self.name} = {self.kind}({einsums}){steps}{registers} {self.loops}".rstrip()


Fate: TypeAlias = Literal["sink", "parts", "apart"]


@dataclass(frozen=True, slots=True)
class GroupSchedule:
    """Fused einsums that are no kernel as they stand, and what becomes of them; with `parts`, which rank is cut into how many."""

    einsums: tuple[str, ...]
    fate: Fate
    parts: tuple[str, int] | None = None

    def __str__(self) -> str:
        parts = "" if self.parts is None else f" ({self.parts[0]}:{self.parts[1]})"
        return f"group ({', '.join(self.einsums)}) {self.fate}{parts}"


@dataclass(frozen=True, slots=True)
class Packing:
    """The operand of a contraction that has a rank is copied into panels of that rank, so many elements wide."""

    einsum: str
    rank: str
    width: int

    def __str__(self) -> str:
        return f"pack {self.einsum} ({self.rank}:{self.width})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a program is computed: its kernels in order, the layouts of tensors, and their addresses in the arena.

    Of a whole program `expanded`, `prologues` and `packings` say how operands are prepared, and `prelude` is the schedule of what is
    made of weights alone.
    """

    kernels: tuple[KernelSchedule, ...]
    layouts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    addresses: tuple[tuple[str, Index], ...] = ()
    target: str = ""
    groups: tuple[GroupSchedule, ...] = ()
    wide: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    arena: Index | None = None
    expanded: tuple[str, ...] = ()
    prologues: tuple[str, ...] = ()
    packings: tuple[Packing, ...] = ()
    prelude: Schedule | None = None
    cascade: str = ""

    def __str__(self) -> str:
        of = f" of {json.dumps(self.cascade)}" if self.cascade else ""
        lines = [*_print_names("expand", self.expanded), *_print_names("prologue", self.prologues), *map(str, self.packings)]
        if self.prelude is not None and self.prelude.kernels:
            lines += ["prelude {", *(f"  {line}" for line in self.prelude.lines()), "}"]
        lines += self.lines()
        return "\n".join([f"schedule for {json.dumps(self.target)}{of} {{", *(f"  {line}" for line in lines), "}"])

    def lines(self) -> list[str]:
        """The text without what is said of the whole program, line by line."""
        return [
            *map(str, self.groups),
            *_print_names("wide", self.wide),
            *_print_names("hold", self.held),
            *_print_names("again", self.again),
            *map(str, self.kernels),
            *(f"layout {tensor} ({', '.join(map(str, dimensions))})" for tensor, dimensions in self.layouts),
            *(f"address {tensor} {print_index(offset)}" for tensor, offset in self.addresses),
            *([f"arena {print_index(self.arena)}"] if self.arena is not None else []),
        ]

    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal: the same in every process."""
        return hashlib.sha256(str(self).encode()).hexdigest()


def _print_names(word: str, names: Iterable[str]) -> list[str]:
    names = tuple(names)
    return [f"{word} ({', '.join(names)})"] if names else []
