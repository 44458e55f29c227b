"""The schedule: how a cascade is computed, as data. The tuner enumerates it, caches key on it, a user may edit it.

    schedule := "schedule" "for" STRING "{" {kernel | layout | address} "}"
    kernel   := "kernel" NAME "=" KIND "(" einsums ")" ["steps" INT ".." INT] {"join" NAME "(" ranks ")"} ["tile" "(" NAME ":" INT, ... ")"]
                ["order" "(" ranks ")"] ["parallel" "(" ranks ")"] ["lanes" NAME] ["partial" "(" NAME ":" INT, ... ")"]
                ["prefetch" "(" names ")"] ["instances" INT] ["group" INT] ["warps" INT "stages" INT] ["library"]
    layout   := "layout" NAME "(" INT, ... ")"
    address  := "address" NAME index

The string names the target. A kernel computes the einsums it lists as one loop nest, of which the last is the root: the one
whose ranks the nest runs over. `steps` says which steps of an iteration it computes, where several kernels do so in turn, the first
step and the one behind the last. `join` walks several ranks as one, from which they are decoded by division. `tile` gives the sizes
of a rank's pieces, a larger one before the smaller one it is cut into, `order` the loops, outermost first; `parallel` tells which of
them run at once, `lanes` which rank lies on vector lanes, `prefetch` which packed operands are fetched a panel ahead.

On a GPU the tile of a reduced rank is an axis of the block as well. `warps` run one tile together, and the loads of `stages` steps
overlap; `instances` limits how many run at once, each of which then walks several tiles; `group` tiles of rows are walked before the
next lanes, so that both operands stay in the cache. What is marked `library` is computed by a library of matrix products instead.

A layout gives a tensor's dimensions in memory order, outermost first; an address is a byte offset in the arena.

    schedule for "avx512 2 cores" {
      kernel linear = contract(mm, add, relu) tile (m:12, n:32, k:1) order (n, m, k) parallel (n, m) lanes n prefetch (x1)
      layout conv1 (0, 2, 3, 1)
      address mm 4096
    }
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from tcomp.ir.expressions import Index, print_index

KernelKind: TypeAlias = Literal["contract", "nest", "scan", "scatter", "fill", "chain"]
KERNEL_KINDS: dict[str, KernelKind] = {kind: kind for kind in get_args(KernelKind)}


@dataclass(frozen=True, slots=True)
class KernelSchedule:
    """How one kernel computes its einsums; the last einsum is the root."""

    name: str
    einsums: tuple[str, ...]
    kind: KernelKind
    tiles: tuple[tuple[str, int], ...] = ()
    order: tuple[str, ...] = ()
    parallel: tuple[str, ...] = ()
    lanes: str | None = None
    prefetch: tuple[str, ...] = ()
    joined: tuple[tuple[str, tuple[str, ...]], ...] = ()
    instances: int = 0
    group: int = 0
    warps: int = 0
    stages: int = 0
    is_library: bool = False
    partial: tuple[tuple[str, int], ...] = ()
    steps: tuple[int, int] | None = None

    @property
    def loops(self) -> str:
        """The text of everything but the name, the kind, the einsums and their steps."""
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
        if self.prefetch:
            clauses.append(f"prefetch ({', '.join(self.prefetch)})")
        if self.instances:
            clauses.append(f"instances {self.instances}")
        if self.group:
            clauses.append(f"group {self.group}")
        if self.warps:
            clauses.append(f"warps {self.warps} stages {self.stages}")
        if self.is_library:
            clauses.append("library")
        return " ".join(clauses)

    def __str__(self) -> str:
        steps = "" if self.steps is None else f" steps {self.steps[0]} .. {self.steps[1]}"
        return f"kernel {self.name} = {self.kind}({', '.join(self.einsums)}){steps} {self.loops}".rstrip()


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a program is computed: its kernels in order, the layouts of tensors, and their addresses in the arena."""

    kernels: tuple[KernelSchedule, ...]
    layouts: tuple[tuple[str, tuple[int, ...]], ...] = ()
    addresses: tuple[tuple[str, Index], ...] = ()
    target: str = ""

    def __str__(self) -> str:
        lines = [f"schedule for {json.dumps(self.target)} {{"]
        lines += [f"  {kernel}" for kernel in self.kernels]
        lines += [f"  layout {tensor} ({', '.join(map(str, dimensions))})" for tensor, dimensions in self.layouts]
        lines += [f"  address {tensor} {print_index(offset)}" for tensor, offset in self.addresses]
        return "\n".join([*lines, "}"])

    def digest(self) -> str:
        """The SHA-256 of the text, in hexadecimal: the same in every process."""
        return hashlib.sha256(str(self).encode()).hexdigest()
