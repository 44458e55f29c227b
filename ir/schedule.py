"""The schedule: how a cascade is computed, as data. The tuner enumerates it, caches key on it, a user may edit it.

    schedule := "schedule" "for" STRING "{" {kernel | layout | address} "}"
    kernel   := "kernel" NAME "=" KIND "(" einsums ")" {"join" NAME "(" ranks ")"} ["tile" "(" NAME ":" INT, ... ")"]
                ["order" "(" ranks ")"] ["parallel" "(" ranks ")"] ["lanes" NAME] ["partial" "(" NAME ":" INT, ... ")"]
                ["prefetch" "(" names ")"] ["instances" INT] ["group" INT] ["warps" INT "stages" INT] ["library"]
    layout   := "layout" NAME "(" INT, ... ")"
    address  := "address" NAME index

The string names the target. A kernel computes the einsums it lists as one loop nest, of which the last is the root: the one
whose ranks the nest runs over. `join` walks several ranks as one, from which they are decoded by division. `tile` gives the sizes
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

from tcomp.ir.errors import VerifyError
from tcomp.ir.expressions import Index
from tcomp.ir.parse.expressions import read_index
from tcomp.ir.parse.lexer import Cursor
from tcomp.ir.text import print_index

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

    @property
    def loops(self) -> str:
        """The text of everything but the name, the kind and the einsums."""
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
        return f"kernel {self.name} = {self.kind}({', '.join(self.einsums)}) {self.loops}".rstrip()


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


def parse_schedule(text: str) -> Schedule:
    """Parse a schedule: `parse_schedule(str(s)) == s`. Raises ParseError with line, column and a caret."""
    cursor = Cursor(text)
    cursor.expect("schedule", help='a schedule starts: schedule for "target" {')
    cursor.expect("for")
    target = cursor.expect_string("the target")
    cursor.expect("{")
    kernels: list[KernelSchedule] = []
    layouts: list[tuple[str, tuple[int, ...]]] = []
    addresses: list[tuple[str, Index]] = []
    while not cursor.accept("}"):
        if cursor.accept("kernel"):
            kernels.append(_read_kernel(cursor))
        elif cursor.accept("layout"):
            tensor = cursor.expect_name("a tensor")
            layouts.append((tensor, cursor.read_list("(", ")", lambda c: c.expect_integer("a dimension"))))
        elif cursor.accept("address"):
            addresses.append((cursor.expect_name("a tensor"), read_index(cursor)))
        else:
            cursor.fail(f"unexpected {cursor.describe()}", help="a line of a schedule starts with kernel, layout or address")
    cursor.expect_end()
    return Schedule(tuple(kernels), tuple(layouts), tuple(addresses), target)


def _read_kernel(cursor: Cursor) -> KernelSchedule:
    name = cursor.expect_name("a kernel")
    cursor.expect("=")
    kind = KERNEL_KINDS.get(cursor.token.text)
    if kind is None:
        cursor.fail(f"there is no kind of kernel {cursor.token.text!r}", help=f"the kinds are {', '.join(KERNEL_KINDS)}")
    cursor.advance()
    einsums = cursor.read_list("(", ")", lambda c: c.expect_name("an einsum"))
    joined: list[tuple[str, tuple[str, ...]]] = []
    while cursor.accept("join"):
        joined.append((cursor.expect_name("the joint rank"), _read_ranks(cursor)))
    tiles = cursor.read_list("(", ")", _read_tile) if cursor.accept("tile") else ()
    order = _read_ranks(cursor) if cursor.accept("order") else ()
    parallel = _read_ranks(cursor) if cursor.accept("parallel") else ()
    lanes = cursor.expect_name("a rank") if cursor.accept("lanes") else None
    partial = cursor.read_list("(", ")", _read_tile) if cursor.accept("partial") else ()
    prefetch = cursor.read_list("(", ")", lambda c: c.expect_name("an operand")) if cursor.accept("prefetch") else ()
    instances = cursor.expect_integer("the number of instances") if cursor.accept("instances") else 0
    group = cursor.expect_integer("the tiles of a group") if cursor.accept("group") else 0
    warps = stages = 0
    if cursor.accept("warps"):
        warps = cursor.expect_integer("the number of warps")
        cursor.expect("stages")
        stages = cursor.expect_integer("the number of stages")
    return KernelSchedule(
        name,
        einsums,
        kind,
        tiles,
        order,
        parallel,
        lanes,
        prefetch,
        tuple(joined),
        instances,
        group,
        warps,
        stages,
        cursor.accept("library"),
        partial,
    )


def _read_ranks(cursor: Cursor) -> tuple[str, ...]:
    return cursor.read_list("(", ")", lambda c: c.expect_name("a rank"))


def _read_tile(cursor: Cursor) -> tuple[str, int]:
    rank = cursor.expect_name("a rank")
    cursor.expect(":", help=f"give the size of the tile: {rank}:8")
    return rank, cursor.expect_integer("the size of a tile")


def check_schedule(schedule: Schedule) -> None:
    """Check what can be known without the cascade: names, ranks, sizes and permutations; raises VerifyError."""
    for names, what in (
        ([einsum for kernel in schedule.kernels if kernel.kind != "fill" for einsum in kernel.einsums], "einsum"),
        ([tensor for tensor, _ in schedule.layouts], "layout of"),
        ([tensor for tensor, _ in schedule.addresses], "address of"),
    ):
        for name in names:
            if names.count(name) > 1:
                raise VerifyError(f"the {what} {name} is given twice", where="schedule", help="keep one of them")
    for kernel in schedule.kernels:
        _check_kernel(kernel)
    for tensor, dimensions in schedule.layouts:
        if sorted(dimensions) != list(range(len(dimensions))):
            raise VerifyError(
                f"the layout of {tensor} is no permutation: {list(dimensions)}",
                where="schedule",
                help="name each dimension once, counted from 0, outermost first",
            )


def _check_kernel(kernel: KernelSchedule) -> None:
    if not kernel.einsums:
        raise VerifyError("the kernel computes no einsum", where=str(kernel), help="name its einsums, the root last")
    together = [rank for _, ranks in kernel.joined for rank in ranks]
    names = [name for name, _ in kernel.joined]
    for name in names:
        if name in kernel.order or names.count(name) > 1:
            raise VerifyError(f"the joint rank {name} has the name of another rank", where=str(kernel), help="choose a new name")
    for _, ranks in kernel.joined:
        if len(ranks) < 2 or any(together.count(rank) > 1 or rank not in kernel.order for rank in ranks):
            raise VerifyError(
                f"the ranks {', '.join(ranks)} cannot be joined",
                where=str(kernel),
                help="join two ranks or more of those in the order, and each rank once",
            )
    lanes = () if kernel.lanes is None else (kernel.lanes,)
    for ranks, what in (
        (tuple(dict.fromkeys(rank for rank, _ in kernel.tiles)), "tiled"),
        (tuple(rank for rank, _ in kernel.partial), "cut into partial sums"),
        (kernel.order, "ordered"),
        (kernel.parallel, "parallel"),
        (lanes, "on lanes"),
    ):
        for rank in ranks:
            if ranks.count(rank) > 1:
                raise VerifyError(f"rank {rank} is {what} twice", where=str(kernel), help="name it once")
            if rank not in (*kernel.order, *(name for name, _ in kernel.joined)):
                raise VerifyError(f"rank {rank} is {what} and not in the order", where=str(kernel), help="add it to `order`")
    for position, (rank, size) in enumerate(kernel.tiles):
        larger = [other for name, other in kernel.tiles[:position] if name == rank]
        if larger and larger[-1] <= size:
            raise VerifyError(
                f"rank {rank} is tiled twice, by {larger[-1]} and then by {size}",
                where=str(kernel),
                help="a tile may be cut again into smaller ones: list the larger first",
            )
        _check_size(kernel, f"the tile of {rank}", size)
    for rank, steps in kernel.partial:
        _check_size(kernel, f"the partial sum of {rank}", steps)


def _check_size(kernel: KernelSchedule, what: str, size: int) -> None:
    if size < 1:
        raise VerifyError(f"{what} is {size}", where=str(kernel), help="it has to be at least 1")
