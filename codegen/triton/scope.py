"""What is known while a kernel is written: names, memory, blocks, ranges of variables, and the bodies that are open.

Bodies nest as the loops do. A value is written into the outermost body in which it does not change, so that what is the same in all
steps of a loop is computed before it; there it stands before the loop, which is appended when its body is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tcomp.codegen.names import Names
from tcomp.codegen.triton.tree import Literal, Set, TExpression, TStatement, call, shape
from tcomp.codegen.triton.types import Value, named, triton_type
from tcomp.ir.dtypes import DType, i32
from tcomp.ir.expressions import Index, Number, as_index, zero
from tcomp.ir.index import Bounds, interval
from tcomp.ir.tile import Argument, Axis, Loop
from tcomp.ir.walk import substitute_index

LONGEST = 6
"""Operations nested into one expression before it gets a name."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Elements that have been loaded: under which conditions, by their code, and what stands where these do not hold."""

    conditions: frozenset[TExpression]
    fill: Number | None
    value: Value


@dataclass(slots=True)
class Body:
    """A body that is being written. `runs` says whether it is proved to run at least once where it stands."""

    depth: int
    runs: bool
    statements: list[TStatement] = field(default_factory=list)
    memo: dict[object, Value] = field(default_factory=dict)
    loads: dict[object, list[Loaded]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """An argument or a buffer: the name of a pointer to its first element, and how it is laid out, in elements."""

    pointer: str
    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]
    is_constant: bool


@dataclass(frozen=True, slots=True)
class Register:
    """A block: the name of the tensor that holds it, with a dimension for each of its axes of more than one point."""

    name: str
    dtype: DType
    axes: tuple[tuple[str, int], ...]
    is_set: bool = False


class State:
    """The state of a kernel that is being written."""

    def __init__(self, names: Names, bounds: Bounds, padding: Mapping[Axis, int], checks: Mapping[tuple[str, int, bool], int]) -> None:
        self.names = names
        self.bounds = bounds
        self.padding = padding
        self.checks = checks
        self.bodies = [Body(0, True)]
        self.variables: dict[str, Value] = {}
        self.steps: dict[str, Index] = {}
        self.memory: dict[str, Memory] = {}
        self.registers: dict[str, Register] = {}
        self.versions: Counter[str] = Counter()
        self.changed: dict[str, int] = {}

    @property
    def body(self) -> Body:
        """The innermost body."""
        return self.bodies[-1]

    @property
    def dtypes(self) -> dict[str, DType]:
        """The element type of every name in sight."""
        places: dict[str, Memory | Register] = {**self.memory, **self.registers}
        return {name: place.dtype for name, place in places.items()}

    @property
    def certain_depth(self) -> int:
        """The depth of the outermost body that runs whenever the innermost one does, which what reads memory must not leave."""
        return next((body.depth for body in reversed(self.bodies) if not body.runs), 0)

    def padded(self, axis: Axis) -> int:
        """How many points of an axis a tensor holds: a power of two."""
        return self.padding.get(replace(axis, limit=None), next_power(axis.size))

    def find(self, key: object) -> Value | None:
        """A value that was computed in a body that is open."""
        return next((body.memo[key] for body in reversed(self.bodies) if key in body.memo), None)

    def find_loads(self, key: object) -> list[Loaded]:
        """What has been loaded from some addresses in bodies that are open, and not been written since."""
        return [loaded for body in reversed(self.bodies) for loaded in body.loads.get(key, ())]

    def keep(self, base: str, value: Value, key: object) -> Value:
        """Give a value a name, in the outermost body where it does not change, and remember it."""
        body = self.bodies[value.depth]
        name = self.names.number(base)
        body.statements.append(Set(name, value.code))
        body.memo[key] = named(name, value)
        return body.memo[key]

    def settle(self, base: str, value: Value, key: object, is_shared: bool = False) -> Value:
        """Name a computed value if it is used again, changes less often than the innermost body runs, or is long."""
        if value.weight and (is_shared or value.weight > LONGEST or (value.axes and value.depth < self.body.depth)):
            return self.keep(base, value, key)
        self.body.memo[key] = value
        return value

    def declare(self, argument: Argument, pointer: str) -> None:
        """Let a name stand for an argument."""
        self.memory[argument.name] = Memory(pointer, argument.dtype, argument.shape, argument.strides, argument.role == "in")

    def write(self, name: str) -> None:
        """Note that memory or a block changes here."""
        self.versions[name] += 1
        self.changed[name] = self.body.depth

    def initialise(self, name: str) -> None:
        """Give a block a value of zeros, where none of its own comes before one is wanted."""
        register = self.registers[name]
        sizes = tuple(size for _, size in register.axes)
        start = Literal(zero(register.dtype))
        self.body.statements.append(Set(register.name, call("tl.full", shape(sizes), start, triton_type(register.dtype))))
        self.registers[name] = replace(register, is_set=True)

    def version(self, name: str) -> tuple[str, int]:
        """What tells the contents of a name from what they were before."""
        return name, self.versions[name]

    def depth_of(self, name: str) -> int:
        """The depth of the innermost body in which memory or a block changes."""
        return self.changed.get(name, 0)

    def range_of(self, axis: str, size: int) -> Value:
        """The points of an axis, 0, 1, ..., as a tensor of one dimension."""
        key = "range", axis, size
        found = self.bodies[0].memo.get(key)
        if found is not None:
            return found
        name = self.names.take(axis)
        self.bodies[0].statements.append(Set(name, call("tl.arange", Literal(0), Literal(size))))
        self.bodies[0].memo[key] = named(name, Value(Literal(0), i32, frozenset({axis})))
        return self.bodies[0].memo[key]

    def stepped(self, index: Index) -> Index:
        """An index with the variables of loops over constant ranges written as start + step * number of the step."""
        return substitute_index(index, self.steps) if self.steps else index

    @contextmanager
    def enter(self, loop: Loop, variable: Value, runs: bool) -> Iterator[Body]:
        """The body of a loop."""
        outside = self.bounds, self.steps, self.variables
        depth = self.body.depth + 1
        self.bind(loop, replace(variable, depth=depth))
        body = Body(depth, runs)
        self.bodies.append(body)
        yield body
        self.bodies.pop()
        self.bounds, self.steps, self.variables = outside

    def bind(self, loop: Loop, variable: Value) -> None:
        """Let a loop's variable stand for a value, and note its range."""
        self.variables = {**self.variables, loop.variable: variable}
        extents = dict(self.bounds.extents)
        if loop.start.is_constant and loop.stop.is_constant:
            count = max(0, -(-(loop.stop.constant - loop.start.constant) // loop.step))
            number = f"{loop.variable}#"
            extents[number] = as_index(count)
            self.steps = {**self.steps, loop.variable: loop.start + as_index(number) * loop.step}
        low = interval(loop.start, self.bounds)[0]
        if low is not None and low >= 0:
            extents[loop.variable] = loop.stop
        self.bounds = replace(self.bounds, extents=extents)


def next_power(size: int) -> int:
    """The next power of two."""
    return 1 << (size - 1).bit_length()
