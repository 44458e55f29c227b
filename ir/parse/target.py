"""The parser of targets, whose grammar `tcomp.ir.target` states."""

from __future__ import annotations

from tcomp.ir.parse.lexer import Cursor
from tcomp.ir.target import Cpu, Gpu, Target


def parse_target(text: str) -> Target:
    """Parse a target: `parse_target(str(t)) == t`. Raises ParseError with line, column and a caret."""
    cursor = Cursor(text)
    cursor.expect("target", help='a target starts: target "name" {')
    name = cursor.expect_string("the target's name")
    cursor.expect("{")
    return _read_gpu(cursor, name) if cursor.accept("architecture") else _read_cpu(cursor, name)


def _read_gpu(cursor: Cursor, name: str) -> Gpu:
    architecture = cursor.expect_integer("the compute capability, as in 90")
    cursor.expect("multiprocessors")
    multiprocessors = cursor.expect_integer("the number of multiprocessors")
    cursor.expect("shared")
    shared = cursor.expect_integer("the bytes of shared memory")
    cursor.expect("registers")
    registers = cursor.expect_integer("the number of registers")
    cursor.expect("cache")
    l2 = cursor.expect_integer("the bytes of the second cache")
    return Gpu(name, architecture, multiprocessors, shared, registers, l2, *_read_end(cursor))


def _read_cpu(cursor: Cursor, name: str) -> Cpu:
    cursor.expect("isa")
    isa = cursor.expect_string("the instruction sets")
    cursor.expect("vector")
    bits = cursor.expect_integer("the bits of a vector")
    cursor.expect("bits")
    registers = cursor.expect_integer("the number of vector registers")
    cursor.expect("registers")
    cursor.expect("cores")
    cores = cursor.expect_integer("the number of cores")
    cursor.expect("cache")
    l1 = cursor.expect_integer("the bytes of the first cache")
    cursor.expect(",")
    l2 = cursor.expect_integer("the bytes of the second cache")
    cursor.expect(",")
    l3 = cursor.expect_integer("the bytes of the third cache")
    return Cpu(name, isa, bits, registers, cores, l1, l2, l3, *_read_end(cursor))


def _read_end(cursor: Cursor) -> tuple[str, float | None, float | None]:
    cursor.expect("compiler")
    compiler = cursor.expect_string("the compiler")
    peak = _read_rate(cursor) if cursor.accept("peak") else None
    bandwidth = _read_rate(cursor) if cursor.accept("bandwidth") else None
    cursor.expect("}")
    cursor.expect_end()
    return compiler, peak, bandwidth


def _read_rate(cursor: Cursor) -> float:
    if cursor.token.kind != "number":
        cursor.fail(f"expected a rate, found {cursor.describe()}", help="write operations or bytes per second, as in 3.1e+11")
    return float(cursor.advance().text)
