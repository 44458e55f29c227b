"""Text of tile programs. `tcomp.ir.parse.tile` reads it back."""

from __future__ import annotations

from typing import assert_never

from tcomp.ir.text import print_expression, print_index, print_symbols
from tcomp.ir.tile import Argument, Assign, Axis, Block, Buffer, Kernel, Loop, Prefetch, Scan, TileStatement, contiguous_strides


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


