"""Where the threads of an instance wait for one another."""

import pytest

from tcomp.codegen.triton.hazards import find_barriers
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Loop

ARGUMENTS = "in X: f32[8, 40], in I: i64[8], out Y: f32[8, 40], inout Z: f32[40]"


def barriers(body, arguments=ARGUMENTS, symbols=""):
    """The targets of statements, in order; marked with | before those that threads wait before, and + where they wait within."""
    kernel = parse_kernel(f"kernel k({arguments}){symbols} {{ {body} }}")
    found = find_barriers(kernel)
    marks = []

    def visit(statements, path):
        for position, statement in enumerate(statements):
            place = (*path, position)
            if isinstance(statement, Loop):
                visit(statement.body, place)
            elif hasattr(statement, "expression"):
                marks.append("|" * (place in found.before) + statement.target + "+" * (place in found.within))

    visit(kernel.body, ())
    return " ".join(marks)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # what is only read, or only written, or lives in registers
        ("Y[0, n.0] over (n.0:40) = X[0, n.0] Y[1, n.0] over (n.0:40) = X[0, n.0]", "Y Y"),
        ("block b: f32[n.0:8] b[n.0] over (n.0:8) = X[0, n.0] Y[0, n.0] over (n.0:8) = b[n.0]", "b Y"),
        # written, then read
        ("buffer b: f32[8] b[n.0] over (n.0:8) = 0.0 Y[0, n.0] over (n.0:8) = b[n.0]", "b |Y"),
        ("Y[0, n.0] over (n.0:40) = 0.0 Z[n.0] over (n.0:40) = Y[0, 39 - n.0]", "Y |Z"),
        # read, then written; written twice
        ("block c: f32[n.0:40] c[n.0] over (n.0:40) = Z[n.0] Z[n.0] over (n.0:40) = 1.0", "c |Z"),
        ("Z[n.0] over (n.0:40) = 0.0 Z[n.0 + 1] over (n.0:8) = 1.0", "Z |Z"),
        # other elements
        ("Z[n.0] over (n.0:8) = 0.0 Z[n.0 + 8] over (n.0:8) = 1.0", "Z Z"),
        ("Z[n.0] over (n.0:8) = 0.0 Y[0, n.0] over (n.0:8) = Z[n.0 + 8]", "Z Y"),
        ("Z[n.0] over (n.0:8) = 0.0 Y[0, n.0] over (n.0:8) = Z[n.0 + 7]", "Z |Y"),
        # one barrier is enough for all before it
        ("buffer b: f32[8] buffer c: f32[8] b[n.0] over (n.0:8) = 0.0 c[n.0] over (n.0:8) = 0.0 Y[0, n.0] over (n.0:8) = b[n.0] "
         "Y[1, n.0] over (n.0:8) = c[n.0]", "b c |Y Y"),
        # a statement that reads what it writes
        ("Z[n.0] over (n.0:40) sum= X[0, n.0]", "Z+"),
        ("Z[n.0] over (n.0:40) = Z[39 - n.0]", "Z+"),
        ("Z[n.0] over (n.0:40) atomic sum= X[0, n.0]", "Z"),
        # steps of loops
        ("for t in 0 .. 40 step 8 { Z[t + n.0] over (n.0:8) = 0.0 }", "Z"),
        ("for t in 0 .. 40 step 4 { Z[t + n.0] over (n.0:8 < 40 - t) = 0.0 }", "|Z"),
        ("for t in 0 .. 5 { Z[n.0] over (n.0:8) = f32[t] }", "|Z"),
        ("for t in 0 .. 5 { Z[8*t + n.0] over (n.0:8) = f32[t] Y[0, 8*t + n.0] over (n.0:8) = Z[8*t + n.0] }", "Z |Y"),
        ("for t in 0 .. 4 { Y[0, n.0] over (n.0:8) = Z[8*t + n.0] Z[8*t + n.0 + 8] over (n.0:8) = 0.0 }", "|Y Z"),
        ("for t in 0 .. 4 { Y[t, n.0] over (n.0:8) = Z[8*t + n.0] Z[8*t + n.0 + 8] over (n.0:8) = 0.0 }", "|Y Z"),
        ("for t in 0 .. 4 { Y[t, n.0] over (n.0:8) = Z[8*t + n.0 + 8] Z[8*t + n.0] over (n.0:8) = 0.0 }", "Y |Z"),
        ("for t in 0 .. 4 { for u in 0 .. 2 { Z[8*u + n.0] over (n.0:8) = 0.0 } }", "|Z"),
        ("for t in 0 .. 4 { for u in 0 .. 2 { Y[t, 8*u + n.0] over (n.0:8) = 0.0 } }", "Y"),
        # two loops that look alike are not one
        ("for t in 0 .. 4 { Z[8*t + n.0] over (n.0:8) = 0.0 } for t in 0 .. 4 { Y[t, n.0] over (n.0:8) = Z[8*t + n.0] }", "Z |Y"),
        # data may be anything
        ("Z[n.0] over (n.0:8) = 0.0 Y[0, n.0] over (n.0:8) = Z[I[n.0] + 8]", "Z |Y"),
        ("Z[I[n.0]] over (n.0:8) = 0.0 Z[I[n.0]] over (n.0:8) = 1.0", "Z |Z"),
    ],
)  # fmt: skip
def test_barriers(body, expected):
    assert barriers(body) == expected


def test_instances_need_not_wait_for_one_another():
    assert barriers("parallel r in 0 .. 8 { Y[r, n.0] over (n.0:40) = X[r, n.0] }") == "Y"


def test_sizes_keep_elements_apart():
    body = "for t in 0 .. N { Y[t, n.0] over (n.0:40) = 0.0 } for t in 0 .. N { Y[t + N, n.0] over (n.0:40) = 1.0 }"
    arguments = "out Y: f32[2*N, 40]"
    assert barriers(body, arguments, " for N in 1..100") == "Y |Y"
    assert barriers("Y[0, n.0] over (n.0:40) = 0.0 Y[N, n.0] over (n.0:40) = 1.0", arguments, " for N in 1..100") == "Y Y"


def test_barriers_stand_before_the_store_and_before_the_statement():
    text = "kernel k(in X: f32[8], inout Z: f32[8]) { Z[n.0] over (n.0:8) sum= X[n.0] Z[n.0] over (n.0:8) sum= 1.0 }"
    lines = [line.strip() for line in triton_unit(parse_kernel(text), TritonOptions()).source.splitlines()]
    order = [line.split("(")[0].split(" = ")[-1] for line in lines if "barrier" in line or "tl.load(Z" in line or "tl.store(Z" in line]
    wait, load, store = "tl.debug_barrier", "tl.load", "tl.store"
    assert order == [load, wait, store, wait, load, wait, store]
