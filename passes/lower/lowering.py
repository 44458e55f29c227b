"""What all loop nests share when a group is lowered: tiled ranks, expressions over blocks, arguments, canonical names."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace

from tcomp.ir.cascade import Einsum, Rank, Symbol
from tcomp.ir.dtypes import DType, i64
from tcomp.ir.expressions import ZERO, Expr, Index, Load, Ordinal, as_index
from tcomp.ir.index import Bounds, simplify_index, simplify_indices
from tcomp.ir.names import counted, first_free
from tcomp.ir.schedule import GpuLaunch, KernelSchedule
from tcomp.ir.tile import Argument, Assign, Axis, Block, Kernel, Loop, Prefetch, Scan, TileStatement, walk_statements
from tcomp.ir.walk import index_variables, map_load_indices, map_loads, substitute, substitute_index, variables, walk
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.bind.axes import joint_rank


@dataclass(frozen=True, slots=True)
class Split:
    """A rank cut into loops and at most one axis: `index` is its value, `loops` are (variable, trip count), outermost first."""

    rank: Rank
    index: Index
    loops: tuple[tuple[str, Index], ...]
    axis: Axis | None


def variable_of(rank: str, depth: int, taken: Container[str]) -> str:
    """The variable of a loop over a rank, or of its axis (depth 0): `j.0`, or `j.0_2` where another rank is called that."""
    return first_free(counted(f"{rank}.{depth}", "_"), taken)


def split(rank: Rank, sizes: tuple[int, ...], taken: Container[str] = ()) -> Split:
    """Cut a rank into tiles of the given sizes, outermost first; no size leaves a plain loop. No variable has a name that is taken."""
    if not sizes:
        return Split(rank, as_index(rank.name), ((rank.name, rank.extent),), None)
    index = ZERO
    loops: list[tuple[str, Index]] = []
    outer = rank.extent
    whole = True
    for depth, size in enumerate(sizes):
        trips = simplify_index((outer + (size - 1)) // size, Bounds())
        whole = whole and (rank.extent % size) == ZERO
        if trips != as_index(1):
            variable = variable_of(rank.name, len(sizes) - depth, taken)
            loops.append((variable, trips))
            index = index + as_index(variable) * size
        outer = as_index(size)
    name = variable_of(rank.name, 0, taken)
    limit = None if whole else rank.extent - index
    if limit is not None and limit.is_constant and limit.constant >= sizes[-1]:
        limit = None
    size = sizes[-1]
    if limit is not None and limit.is_constant:
        size, limit = limit.constant, None
    return Split(rank, index + as_index(name), tuple(loops), Axis(name, size, limit))


@dataclass
class Lowering:
    """A group being lowered: where its ranks are, which members are blocks, what is inlined."""

    bound: Bound
    schedule: KernelSchedule
    symbols: tuple[Symbol, ...]
    splits: dict[str, Split] = field(default_factory=dict)
    blocks: dict[str, Load] = field(default_factory=dict)
    inlined: dict[str, Einsum] = field(default_factory=dict)
    memory: dict[str, Load] = field(default_factory=dict)
    """Members read back from memory: how to load them, over the group's ranks."""
    buffers: dict[str, Load] = field(default_factory=dict)
    """Members stored in a buffer instead of memory: where, over the group's ranks."""
    totals: dict[str, Load] = field(default_factory=dict)
    """Sums as they are held, in f64, before they are rounded to the type of their tensor."""
    names: set[str] = field(default_factory=set)
    extents: dict[str, Index] = field(default_factory=dict)
    """Extents of loop variables that belong to no single rank."""
    lanes: str | None = None
    """The rank on vector lanes, if not the schedule's."""
    ranks: set[str] = field(init=False)
    """The names of all ranks, which no variable may have but that of a rank's own plain loop."""

    def __post_init__(self) -> None:
        self.ranks = {rank.name for e in self.bound.group.members for rank in e.ranks} | {name for name, _ in self.schedule.joined}
        if self.bound.group.iterative is not None:
            self.ranks.add(self.bound.group.iterative.name)
        self.names |= self.ranks
        self.names.update(s.name for s in self.symbols)

    @property
    def is_gpu(self) -> bool:
        """Whether the kernel is one for a GPU."""
        return isinstance(self.schedule.launch, GpuLaunch)

    @property
    def gpu(self) -> GpuLaunch:
        """How the kernel runs on a GPU, for which alone it is lowered so."""
        assert isinstance(self.schedule.launch, GpuLaunch)
        return self.schedule.launch

    def cut(self, ranks: Iterable[Rank], tiled: bool = True) -> list[Split]:
        """Split ranks as the schedule says, joined ones as one, and remember their places."""
        table = {rank.name: rank for rank in ranks}
        hidden: set[str] = set()
        for name, parts in self.schedule.joined:
            if set(parts) <= set(table):
                self._cut_joined(name, tuple(table[part] for part in parts), tiled)
                hidden.update(parts[1:])
        together = {part for _, parts in self.schedule.joined for part in parts}
        for name, rank in table.items():
            if name not in together or name not in self.splits:
                self.splits[name] = split(rank, self._sizes(name, tiled), self.ranks)
        return [self.splits[name] for name in table if name not in hidden]

    def _sizes(self, name: str, tiled: bool) -> tuple[int, ...]:
        return tuple(size for rank, size in self.schedule.tiles if rank == name) if tiled else ()

    def _cut_joined(self, name: str, ranks: tuple[Rank, ...], tiled: bool) -> None:
        """Split ranks as one, whose loops and axis are found at the first; the others have none."""
        rank, decoded = joint_rank(name, ranks)
        joint = self.splits[name] = split(rank, self._sizes(name, tiled), self.ranks)
        for part in ranks:
            index = substitute_index(decoded[part.name], {name: joint.index})
            is_first = part is ranks[0]
            self.splits[part.name] = Split(part, index, joint.loops if is_first else (), joint.axis if is_first else None)

    def bounds(self) -> Bounds:
        """Ranges of loop and axis variables, and of symbols."""
        extents = dict(self.extents)
        for s in self.splits.values():
            extents.update(s.loops)
            if s.axis is not None:
                extents[s.axis.name] = as_index(s.axis.size)
        return Bounds(extents, {s.name: (s.low, s.high) for s in self.symbols})

    def axes(self, names: Iterable[str]) -> tuple[Axis, ...]:
        """Axes of the given ranks, the lanes last."""
        found = [self.splits[n].axis for n in names if n in self.splits]
        lanes = self.point(self.lanes or self.schedule.lanes)
        return tuple(sorted((a for a in found if a is not None), key=lambda a: a.name == lanes))

    def point(self, rank: str | None) -> str | None:
        """The name of a rank's axis, if it has one."""
        cut = self.splits.get(rank) if rank is not None else None
        return cut.axis.name if cut is not None and cut.axis is not None else None

    def _rank_bounds(self) -> Bounds:
        """Ranges of whole ranks, and of symbols."""
        return Bounds({name: s.rank.extent for name, s in self.splits.items()}, {s.name: (s.low, s.high) for s in self.symbols})

    def place(self, index: Index) -> Index:
        """An index over ranks as an index over loop and axis variables."""
        mapping = {name: s.index for name, s in self.splits.items()}
        if self.is_gpu:
            # Joined ranks are decoded from one index, which must not be taken apart.
            return substitute_index(simplify_index(index, self._rank_bounds()), mapping)
        return simplify_index(substitute_index(index, mapping), self.bounds())

    def expression(self, expression: Expr) -> Expr:
        """A member's expression over blocks, buffers and arguments."""
        mapping = {name: s.index for name, s in self.splits.items()}
        resolved = self.resolve(expression)
        if self.is_gpu:
            return substitute(simplify_indices(resolved, self._rank_bounds()), mapping)
        return simplify_indices(substitute(resolved, mapping), self.bounds())

    def resolve(self, expression: Expr) -> Expr:
        """Replace reads of members by their blocks, their memory or their expressions (over the group's ranks)."""

        def read(load: Load) -> Expr:
            load = map_load_indices(load, read)
            if load.tensor in self.blocks:
                return self.blocks[load.tensor]
            if load.tensor in self.inlined:
                return self.resolve(self.inlined[load.tensor].expression)
            if load.tensor in self.memory:
                return self.memory[load.tensor]
            return load

        return map_loads(expression, read)

    def condition(self, einsum: Einsum) -> Expr | None:
        """Where a reduction folds a point, as `expression` gives it; None if everywhere."""
        return None if einsum.where is None else self.expression(einsum.where)

    def fresh(self, base: str) -> str:
        """A name not used in this kernel yet."""
        name = first_free(counted(base, "_"), self.names, self.bound.operands)
        self.names.add(name)
        return name

    def block(self, einsum: Einsum, dtype: DType, axes: tuple[Axis, ...]) -> Block:
        """Declare a block that holds a member, and read the member from it from now on."""
        block = Block(self.fresh(short_name(einsum.name)), dtype, tuple(Axis(a.name, a.size) for a in axes))
        self.blocks[einsum.name] = Load(block.name, tuple(as_index(a.name) for a in axes))
        return block

    def slots(self, einsum: Einsum, name: str = "") -> tuple[Index, ...]:
        """Where a member, or its component of the given name, is written in memory."""
        return tuple(self.place(i) for i in self.bound.slots.get(name or einsum.name, einsum.index))

    def store(self, einsum: Einsum, value: Expr, axes: tuple[Axis, ...]) -> Assign:
        """Store a member's value at its place in memory, which is a buffer inside a chain."""
        kept = self.buffers.get(einsum.name)
        if kept is not None:
            return Assign(kept.tensor, tuple(self.place(i) for i in kept.index), axes, value)
        return Assign(einsum.name, self.slots(einsum), axes, value)


def bare(axes: Iterable[Axis]) -> tuple[Axis, ...]:
    """The axes without their limits."""
    return tuple(Axis(a.name, a.size) for a in axes)


def nest_loops(kind: str, splits: Iterable[Split], body: tuple[TileStatement, ...]) -> tuple[TileStatement, ...]:
    """Wrap statements in the loops of some splits, outermost first."""
    loops = [loop for s in splits for loop in s.loops]
    for variable, trips in reversed(loops):
        body = (Loop(kind, variable, trips, body),)  # type: ignore[arg-type]  # "parallel" or "for"
    return body


def parallel_nest(lowering: Lowering, order: Iterable[str], body: tuple[TileStatement, ...]) -> tuple[TileStatement, ...]:
    """Wrap statements in the loops of the outer ranks: parallel ones outermost, then serial ones, in order."""
    parallel: list[tuple[str, Index]] = []
    serial: list[tuple[str, Index]] = []
    for name in order:
        loops = lowering.splits[name].loops
        if name not in lowering.schedule.parallel:
            serial += loops
        elif sum(1 for tile, _ in lowering.schedule.tiles if tile == name) > 1:
            parallel += loops[:1]
            serial += loops[1:]
        else:
            parallel += loops
    for variable, trips in reversed(serial):
        body = (Loop("for", variable, trips, body),)
    for variable, trips in reversed(parallel):
        body = (Loop("parallel", variable, trips, body),)
    return body


def short_name(name: str) -> str:
    """A tensor's name without numbers, so that equal kernels of different layers have equal text."""
    base = name.rsplit(".", 1)[-1] if re.search(r"\.[a-z]", name) else name
    base = re.sub(r"_(default|tensor|scalar)(?=_|$)|\.\d+", "", base)
    return re.sub(r"_?\d+(?=_|$)", "", base).strip("_") or "t"


def finish_kernel(lowering: Lowering, body: tuple[TileStatement, ...]) -> tuple[Kernel, tuple[str, ...]]:
    """Make the kernel: only the arguments it uses, under names that do not depend on the layer."""
    operands = lowering.bound.operands
    stored = lowering.bound.group.stored
    read, written = _used(body)
    renamed: dict[str, str] = {}
    arguments: list[Argument] = []
    order: list[str] = []
    for name, operand in operands.items():
        if name not in read and name not in written:
            continue
        new = lowering.fresh(f"{short_name(name)}_out") if name in stored else name
        renamed[name] = new
        # A scatter without a fill of its own leaves what it does not reach.
        is_kept = name in read or (lowering.bound.group.kind == "scatter" and lowering.is_gpu)
        role = "out" if name in written and not is_kept else "inout" if name in written else "in"
        memory = operand.memory
        arguments.append(Argument(new, memory.dtype, memory.shape, memory.strides, role))  # type: ignore[arg-type]  # one of three
        order.append(name)
    used = {n for a in arguments for i in (*a.shape, *a.strides) for n in index_variables(i)} | _variables(body)
    symbols = tuple(s for s in lowering.symbols if s.name in used)
    notes = (f"einsums: {', '.join(lowering.bound.group.names)}", f"schedule: {lowering.schedule.kind} {lowering.schedule.loops}")
    schedule = lowering.schedule
    named = _rename(body, renamed)
    launch = schedule.launch
    warps, stages = (launch.warps, launch.stages) if isinstance(launch, GpuLaunch) else (0, 0)
    kernel = Kernel(kernel_name(lowering), tuple(arguments), named, symbols, warps, stages, notes)
    return kernel, tuple(order)


def kernel_name(lowering: Lowering) -> str:
    """Name a kernel after the operations fused in it."""
    parts: list[str] = []
    for name in (short_name(n) for n in lowering.bound.group.names):
        if not any(name.split("_")[:1] == kept.split("_")[:1] for kept in parts):
            parts.append(name)
    return "_".join(parts[:4])


def _used(body: tuple[TileStatement, ...]) -> tuple[set[str], set[str]]:
    read: set[str] = set()
    written: set[str] = set()
    for statement in walk_statements(body):
        if isinstance(statement, Scan):
            statement = statement.as_map
        if isinstance(statement, Assign):
            written.add(statement.target)
            if statement.merge is not None:
                read.add(statement.target)
            parts = [statement.expression, *(Ordinal(i, i64) for i in statement.index)]
            for part in [*parts, *([statement.where] if statement.where is not None else [])]:
                read.update(e.tensor for e in walk(part) if isinstance(e, Load))
    return read, written


def _variables(body: tuple[TileStatement, ...]) -> set[str]:
    found: set[str] = set()
    for statement in walk_statements(body):
        match statement:
            case Assign():
                found |= variables(statement.expression)
                found |= variables(statement.where) if statement.where is not None else set()
                for i in statement.index:
                    found |= index_variables(i)
                for axis in (*statement.axes, *statement.reduced):
                    found |= index_variables(axis.limit) if axis.limit is not None else set()
            case Scan():
                found |= _variables((statement.as_map,))
            case Prefetch():
                found |= {n for i in statement.index for n in index_variables(i)}
            case Loop():
                found |= index_variables(statement.start) | index_variables(statement.stop)
            case _:
                pass
    return found


def _rename(body: tuple[TileStatement, ...], names: dict[str, str]) -> tuple[TileStatement, ...]:
    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        return Load(names.get(load.tensor, load.tensor), load.index, load.outside)

    new: list[TileStatement] = []
    for statement in body:
        match statement:
            case Loop():
                new.append(replace(statement, body=_rename(statement.body, names)))
            case Scan():
                new.append(replace(statement, expression=map_loads(statement.expression, read)))
            case Prefetch(tensor):
                new.append(replace(statement, tensor=names.get(tensor, tensor)))
            case Assign():
                slots = [map_loads(Ordinal(i, i64), read) for i in statement.index]
                new.append(
                    replace(
                        statement,
                        target=names.get(statement.target, statement.target),
                        index=tuple(s.index for s in slots if isinstance(s, Ordinal)),
                        expression=map_loads(statement.expression, read),
                        where=None if statement.where is None else map_loads(statement.where, read),
                    )
                )
            case _:
                new.append(statement)
    return tuple(new)
