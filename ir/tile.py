"""The tile program: one kernel for either target, as loops over blocks.

    kernel    := "kernel" NAME "(" argument {"," argument} ")" ["for" symbol {"," symbol}] ["warps" INT "stages" INT]
                 "{" {statement} "}"
    argument  := ("in" | "out" | "inout") NAME ":" dtype "[" extents "]" ["strides" "(" indices ")"]
    statement := loop | buffer | block | assign | scan | prefetch
    loop      := ("parallel" | "for") NAME "in" index ".." index ["step" INT] "{" {statement} "}"
    buffer    := "buffer" NAME ":" dtype "[" extents "]"
    block     := "block" NAME ":" dtype "[" axes "]"
    assign    := NAME "[" index {"," index} "]" "over" "(" axes ")" [["atomic"] MONOID] "="
                 [MONOID "(" axes ")"] expr ["where" expr]
    scan      := "scan" NAME "over" "(" axes ")" "=" MONOID "(" NAME ")" expr
    prefetch  := "prefetch" NAME "[" index {"," index} "]"
    axis      := NAME ":" INT ["<" index]

A *block* lives in registers: it is indexed by its axis variables alone and is unrolled over them. A *buffer* is local memory of
one parallel instance, indexed freely. An argument is memory of the program; strides are in elements (contiguous if not stated).

An *axis* is a static number of lanes or unrolled points that exist together; with a limit, only points below it exist (the others
are neither read nor written and contribute the identity to a reduction). The last axis of a statement is the one a CPU spreads
over vector lanes.

Meaning of an assign: for all points of `over` (all at once: no point sees another's write), target[index] becomes the expression,
folded over the reduced axes by the second monoid; with the first monoid, the old value is folded with the new one. Statements run
in order; `for` runs in order; instances of `parallel` are independent and may run in any order. Points where `where` is false are
not written (or not folded, when axes are reduced), but what they load must be in bounds or state a value outside. A target's index
that contains an element of a tensor may be outside: such points are not written. A compiled kernel reports them, and loads by
data that are outside, which read element 0. `parallel`
loops are outermost and perfectly nested: a kernel that has one is nothing but its nest. A loop whose step does not divide its
range ends with a partial step: axes there carry a limit. `tcomp.ir.check.tile` lists the rules, `tcomp.ir.evaluate.tile` runs
a kernel.

An `atomic` merge reads and writes its element in one step, so instances of a parallel loop may meet there; in which order they
come, and so how a sum of floats rounds, is open.

A scan gives each point of a block the fold of the expression over the points of one axis up to its own, that one included; the block
has the statement's axes. Only GPUs have kernels with scans: on a CPU the rank is walked in a loop.

`warps` are the groups of 32 threads that run one parallel instance on a GPU, `stages` the steps of a loop that are under way at
once there: the loads of later steps overlap the arithmetic of earlier ones. A kernel without them is one for a CPU.

A prefetch says that memory around an element will be read soon; it means nothing, and the element need not exist.

    kernel linear(in X: f32[128, 768], in W: f32[24, 768, 32], in b: f32[768], out Y: f32[128, 768]) {
      parallel n in 0 .. 24 {
        parallel m in 0 .. 128 step 8 {
          block acc: f32[m.0:8, n.0:32]
          acc[m.0, n.0] over (m.0:8, n.0:32) = 0.0
          for k in 0 .. 768 {
            acc[m.0, n.0] over (m.0:8, n.0:32) sum= X[m + m.0, k] * W[n, k, n.0]
          }
          Y[m + m.0, 32*n + n.0] over (m.0:8, n.0:32) = maximum(acc[m.0, n.0] + b[32*n + n.0], 0.0)
        }
      }
    }
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

from tcomp.ir.cascade import Symbol, print_symbols
from tcomp.ir.dtypes import DType
from tcomp.ir.expressions import ZERO, Expr, Index, as_index, print_expression, print_index


@dataclass(frozen=True, slots=True)
class Argument:
    """Memory passed to the kernel. Strides are in elements."""

    name: str
    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]
    role: Literal["in", "out", "inout"]


@dataclass(frozen=True, slots=True)
class Axis:
    """A static extent of points that exist together; only those below `limit` (over loop variables and symbols) if stated."""

    name: str
    size: int
    limit: Index | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block in registers, declared with its axes."""

    name: str
    dtype: DType
    axes: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Local memory of one parallel instance, contiguous; extents are static."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Assign:
    """`target[index] over axes (merge)= reduce(reduced) expression where predicate`."""

    target: str
    index: tuple[Index, ...]
    axes: tuple[Axis, ...]
    expression: Expr
    merge: str | None = None
    reduce: str | None = None
    reduced: tuple[Axis, ...] = ()
    where: Expr | None = None
    is_atomic: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """`target over axes = monoid(along) expression`, folded up to each point of the axis `along`."""

    target: str
    axes: tuple[Axis, ...]
    monoid: str
    along: str
    expression: Expr

    @property
    def as_map(self) -> Assign:
        """The assign that reads and writes what the scan does, without the fold."""
        return Assign(self.target, tuple(as_index(axis.name) for axis in self.axes), self.axes, self.expression)


@dataclass(frozen=True, slots=True)
class Prefetch:
    """A hint that memory around `tensor[index]` will be read soon; the index is over loop variables and symbols."""

    tensor: str
    index: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop over start, start + step, ... below stop."""

    kind: Literal["parallel", "for"]
    variable: str
    stop: Index
    body: tuple[TileStatement, ...]
    start: Index = ZERO
    step: int = 1


TileStatement: TypeAlias = Loop | Buffer | Block | Assign | Scan | Prefetch


@dataclass(frozen=True, slots=True)
class Kernel:
    """One tile program. `notes` (what was fused, the schedule) go into the generated code's header and do not affect equality."""

    name: str
    arguments: tuple[Argument, ...]
    body: tuple[TileStatement, ...]
    symbols: tuple[Symbol, ...] = ()
    warps: int = 0
    stages: int = 0
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return print_kernel(self)


def walk_statements(body: tuple[TileStatement, ...]) -> Iterator[TileStatement]:
    """Yield all statements, outer before inner."""
    for statement in body:
        yield statement
        if isinstance(statement, Loop):
            yield from walk_statements(statement.body)


def span_elements(shape: Sequence[Index], strides: Sequence[Index]) -> Index:
    """Elements from the first of a tensor to the end of its last: the memory it takes, gaps between rows included.

    Everything that allocates or bounds memory asks here. Where a symbolic extent is zero the number may be below zero: for no elements.
    """
    if ZERO in shape:
        return ZERO
    reach = as_index(1)
    for extent, stride in zip(shape, strides, strict=True):
        reach = reach + (extent - 1) * stride
    return reach


def span_bytes(dtype: DType, shape: Sequence[Index], strides: Sequence[Index]) -> Index:
    """Bytes from the first element of a tensor to the end of its last."""
    return span_elements(shape, strides) * dtype.bytes


def contiguous_strides(shape: tuple[Index, ...]) -> tuple[Index, ...]:
    """Row-major strides, in elements."""
    strides: list[Index] = []
    step = as_index(1)
    for extent in reversed(shape):
        strides.append(step)
        step = step * extent
    return tuple(reversed(strides))


def print_axis(axis: Axis) -> str:
    """Print an axis: `m.0:8 < M - m`."""
    limit = "" if axis.limit is None else f" < {print_index(axis.limit)}"
    return f"{axis.name}:{axis.size}{limit}"


def print_argument(argument: Argument) -> str:
    """Print an argument, with its strides unless it is contiguous."""
    text = f"{argument.role} {argument.name}: {argument.dtype}[{', '.join(print_index(e) for e in argument.shape)}]"
    if argument.strides != contiguous_strides(argument.shape):
        text += f" strides ({', '.join(print_index(s) for s in argument.strides)})"
    return text


def print_assign(assign: Assign) -> str:
    """Print an assign on one line."""
    text = f"{assign.target}[{', '.join(print_index(i) for i in assign.index)}]"
    text += f" over ({', '.join(print_axis(a) for a in assign.axes)}) "
    text += "atomic " if assign.is_atomic else ""
    text += f"{assign.merge}= " if assign.merge else "= "
    if assign.reduce:
        text += f"{assign.reduce}({', '.join(print_axis(a) for a in assign.reduced)}) "
    text += print_expression(assign.expression)
    return text if assign.where is None else f"{text} where {print_expression(assign.where)}"


def _print_body(body: tuple[TileStatement, ...], indent: str) -> list[str]:
    lines: list[str] = []
    for statement in body:
        match statement:
            case Loop(kind, variable, stop, inner, start, step):
                by = f" step {step}" if step != 1 else ""
                lines.append(f"{indent}{kind} {variable} in {print_index(start)} .. {print_index(stop)}{by} {{")
                lines += _print_body(inner, indent + "  ")
                lines.append(f"{indent}}}")
            case Buffer(name, dtype, shape):
                lines.append(f"{indent}buffer {name}: {dtype}[{', '.join(map(str, shape))}]")
            case Block(name, dtype, axes):
                lines.append(f"{indent}block {name}: {dtype}[{', '.join(print_axis(a) for a in axes)}]")
            case Scan(target, axes, monoid, along, expression):
                over = ", ".join(print_axis(a) for a in axes)
                lines.append(f"{indent}scan {target} over ({over}) = {monoid}({along}) {print_expression(expression)}")
            case Prefetch(tensor, index):
                lines.append(f"{indent}prefetch {tensor}[{', '.join(print_index(i) for i in index)}]")
            case Assign():
                lines.append(indent + print_assign(statement))
            case _:
                assert_never(statement)
    return lines


def print_kernel(kernel: Kernel) -> str:
    """Print a tile program so that it parses back to an equal one."""
    arguments = ", ".join(print_argument(a) for a in kernel.arguments)
    launch = f" warps {kernel.warps} stages {kernel.stages}" if kernel.warps else ""
    head = f"kernel {kernel.name}({arguments}){print_symbols(kernel.symbols)}{launch} {{"
    return "\n".join([head, *_print_body(kernel.body, "  "), "}"])
