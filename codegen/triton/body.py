"""The statements of a kernel in Triton: loops, buffers, blocks, and where threads wait."""

from __future__ import annotations

from dataclasses import replace

from tcomp.codegen.launch import buffer_bytes
from tcomp.codegen.triton.dot import Precision
from tcomp.codegen.triton.hazards import Barriers, Path
from tcomp.codegen.triton.index import IndexWriter, Space, no_values
from tcomp.codegen.triton.liveness import Liveness
from tcomp.codegen.triton.operators import scan_axis
from tcomp.codegen.triton.scope import Memory, Register, State
from tcomp.codegen.triton.statements import Manner, write_assign
from tcomp.codegen.triton.tree import Binary, Call, Evaluate, For, Literal, Name, Set, add, call
from tcomp.codegen.triton.types import Value, convert, triton_type
from tcomp.ir.dtypes import i32, i64
from tcomp.ir.expressions import as_index
from tcomp.ir.index import interval
from tcomp.ir.tile import Assign, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, contiguous_strides, walk_statements
from tcomp.ir.tile_scope import find_sites

SCRATCH = "scratch"


def buffer_offsets(kernel: Kernel) -> tuple[dict[Buffer, int], int]:
    """Where the buffers of an instance lie in its scratch memory, and how many bytes they take together."""
    offsets: dict[Buffer, int] = {}
    used = 0
    for statement in walk_statements(kernel.body):
        if isinstance(statement, Buffer) and statement not in offsets:
            offsets[statement] = used
            used += buffer_bytes(statement)
    return offsets, used


class BodyWriter:
    """Writes the bodies of one kernel."""

    def __init__(self, kernel: Kernel, state: State, barriers: Barriers, precision: Precision, instance: Value) -> None:
        self.state = state
        self.barriers = barriers
        self.precision: Precision = precision
        self.instance = instance
        self.liveness = Liveness(kernel)
        self.sites = iter(find_sites(kernel))
        self.offsets, self.scratch = buffer_offsets(kernel)

    def write(self, body: tuple[TileStatement, ...], path: Path) -> None:
        """Write statements in order."""
        for position, statement in enumerate(body):
            place = (*path, position)
            match statement:
                case Loop():
                    self._loop(statement, place)
                case Buffer():
                    self._buffer(statement)
                case Block():
                    self._block(statement)
                case Assign():
                    self._assign(statement, place)
                case Scan():
                    self._assign(statement.as_map, place)
                    self._scan(statement)
                case Prefetch():
                    pass

    def _assign(self, assign: Assign, path: Path) -> None:
        site = next(self.sites)
        dead = self.liveness.dead_axes(site) if assign.target in self.state.registers else frozenset[str]()
        if path in self.barriers.before:
            self.state.body.statements.append(Evaluate(call("tl.debug_barrier")))
        write_assign(assign, self.state, Manner(self.precision, dead, path in self.barriers.within))

    def _scan(self, scan: Scan) -> None:
        """Fold a block along an axis. Points beyond a limit come last, where no other sees them."""
        register = self.state.registers[scan.target]
        names = [name for name, _ in register.axes]
        if scan.along not in names:
            return
        axes = frozenset(names)
        value = Value(Name(register.name), register.dtype, axes)
        scanned = scan_axis(scan.monoid, value, names.index(scan.along))
        self.state.body.statements.append(Set(register.name, scanned.code))
        self.state.write(scan.target)

    def _block(self, block: Block) -> None:
        axes = tuple((axis.name, self.state.padded(axis)) for axis in block.axes if axis.size > 1)
        self.state.registers[block.name] = Register(self.state.names.take(block.name), block.dtype, axes)
        self.state.write(block.name)

    def _buffer(self, buffer: Buffer) -> None:
        """A pointer to the buffer's part of this instance's scratch memory."""
        sizes = tuple(map(as_index, buffer.shape))
        name = self.state.names.take(buffer.name)
        part = Binary("*", convert(self.instance, i64).code, Literal(self.scratch))
        address = add(add(Name(SCRATCH), part), Literal(self.offsets[buffer]))
        pointer = call("tl.cast", address, Call("tl.pointer_type", (triton_type(buffer.dtype),)))
        self.state.bodies[0].statements.append(Set(name, pointer))
        self.state.memory[buffer.name] = Memory(name, buffer.dtype, sizes, contiguous_strides(sizes), is_constant=False)
        self.state.write(buffer.name)

    def _loop(self, loop: Loop, path: Path) -> None:
        """A loop in order. Blocks that it changes have values before it, and other ones inside and after it."""
        state = self.state
        numbers = IndexWriter(state, Space(()), state.bounds, no_values)
        start, stop = numbers.value(loop.start), numbers.value(loop.stop)
        written = {inner.target for inner in walk_statements(loop.body) if isinstance(inner, Assign | Scan)}
        changed = sorted(written & (state.registers.keys() | state.memory.keys()))
        for name in changed:
            if name in state.registers and not state.registers[name].is_set:
                state.initialise(name)
        name = state.names.take(loop.variable)
        variable = Value(Name(name), i64 if i64 in (start.dtype, stop.dtype) else i32)
        low = max((interval(form, state.bounds)[0] or 0 for form in numbers.forms(loop.stop - loop.start)), default=0)
        registers, memory = dict(state.registers), dict(state.memory)
        with state.enter(loop, variable, runs=low >= 1) as inside:
            for other in changed:
                state.write(other)
            self.write(loop.body, path)
        state.registers = {other: replace(registers[other], is_set=state.registers[other].is_set) for other in registers}
        state.memory = memory
        for other in changed:
            state.write(other)
        state.body.statements.append(For(name, start.code, stop.code, loop.step, tuple(inside.statements)))
