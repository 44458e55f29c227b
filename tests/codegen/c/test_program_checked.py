"""Programs that check their kernels: what is right passes and stays right, and each planted fault is found."""

import ctypes
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from c_programs import find_compiler

from tcomp.codegen.c import build
from tcomp.codegen.c.build import build_program, load_program
from tcomp.codegen.c.program import driver_source, program_source
from tcomp.codegen.c.toolchain import KNOWN_FLAGS, find_toolchain
from tcomp.ir.errors import KernelFault, ToolchainError
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.tile import parse_kernel

ROOT = Path(__file__).resolve().parents[3]


def run(folder, kernel, *arrays, plan=None, symbols=(), arena=None, toolchain=None, times=1):
    """Run a kernel on float32 arrays, its arguments in order, in a program that checks it."""
    kernel = parse_kernel(kernel)
    names = [argument.name for argument in kernel.arguments]
    plan = parse_plan(plan or f"plan ({', '.join(names)}) arena 0 {{\n  k({', '.join(f'{name} + 0' for name in names)})\n}}")
    toolchain = toolchain or find_compiler()
    function = load_program(build_program(plan, {"k": kernel}, toolchain=toolchain, cache_directory=folder, checked=True))
    pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
    values = (ctypes.c_int64 * max(1, len(symbols)))(*symbols)
    for _ in range(times):
        assert function(pointers, None if arena is None else arena.ctypes.data, values, 2, 0) == 0


def count(*shape):
    return numpy.arange(numpy.prod(shape), dtype=numpy.float32).reshape(shape)


COLUMNS = """kernel columns(in X: f32[4, 32], in W: f32[4, 16], out Y: f32[32, 16]) {
  parallel j in 0 .. 2 {
    block acc: f32[j.0:8, i.0:32]
    acc[j.0, i.0] over (j.0:8, i.0:32) = 0.0
    for r in 0 .. 4 {
      acc[j.0, i.0] over (j.0:8, i.0:32) sum= X[r, i.0] * W[r, 8*j + j.0]
    }
    Y[i.0, 8*j + j.0] over (j.0:8, i.0:32) = acc[j.0, i.0]
  }
}"""


def test_stores_between_those_of_another_instance_are_left_alone(tmp_path):
    x, w, y = count(4, 32), count(4, 16), numpy.zeros((32, 16), numpy.float32)
    run(tmp_path, COLUMNS, x, w, y, times=20)
    numpy.testing.assert_array_equal(y, x.T @ w)


def test_stores_that_a_compiler_invents_are_found(tmp_path):
    toolchain = find_toolchain()
    reckless = replace(toolchain, flags=tuple(flag for flag in toolchain.flags if flag not in KNOWN_FLAGS))
    if reckless == toolchain or toolchain.lanes != 16:
        pytest.skip("what is planted is GCC's predictive commoning, on this kernel with AVX-512")
    x, w, y = count(4, 32), count(4, 16), numpy.zeros((32, 16), numpy.float32)
    with pytest.raises(KernelFault, match="on two threads") as caught:
        # On a busy machine the threads do not always run at once.
        run(tmp_path, COLUMNS, x, w, y, toolchain=reckless, times=200)
    assert "step 0, columns_" in caught.value.where
    assert "KNOWN_FLAGS" in caught.value.help


def test_instances_that_write_the_same_memory_are_found(tmp_path):
    kernel = "kernel k(in X: f32[64], out Y: f32[1]) { parallel i in 0 .. 64 { Y[0] over () = X[i] } }"
    with pytest.raises(KernelFault, match="on two threads"):
        run(tmp_path, kernel, count(64), numpy.zeros(1, numpy.float32), times=200)


def test_reading_results_before_they_are_written_is_found(tmp_path):
    kernel = "kernel k(in X: f32[64], out Y: f32[64]) { parallel i in 0 .. 64 step 16 { Y[i + i.0] over (i.0:16) sum= X[i + i.0] } }"
    with pytest.raises(KernelFault, match="what its results' memory held before"):
        run(tmp_path, kernel, count(64), count(64))


def test_writing_to_inputs_is_found(tmp_path, monkeypatch):
    kernel = "kernel k(inout X: f32[64]) { parallel i in 0 .. 64 step 16 { X[i + i.0] over (i.0:16) sum= 1.0 } }"
    honest = driver_source
    monkeypatch.setattr(build, "driver_source", lambda *a, **k: honest(*a, **k).replace("{TCOMP_INOUT", "{TCOMP_IN"))
    with pytest.raises(KernelFault, match="only reads"):
        run(tmp_path, kernel, count(64))


def test_what_is_changed_in_place_is_changed_once(tmp_path):
    kernel = "kernel k(in X: f32[64], inout Y: f32[64]) { parallel i in 0 .. 64 step 16 { Y[i + i.0] over (i.0:16) sum= X[i + i.0] } }"
    y = count(64)
    run(tmp_path, kernel, count(64), y)
    assert (y == 2 * count(64)).all()


GROW = """kernel grow(in X: f32[N], out Y: f32[N]) for N in 0.. {
  parallel i in 0 .. N step 16 { Y[i + i.0] over (i.0:16 < N - i) = X[i + i.0] * 2.0 } }"""
CHAIN = "plan (X, Y) arena 4*N + 64 for N in 0.. {\n  k(X + 0, arena + 64)\n  k(arena + 64, arena + 64)\n  k(arena + 64, Y + 0)\n}"


@pytest.mark.parametrize("size", [0, 1, 16, 333, 20_000, 300_000])
def test_steps_over_an_arena_and_in_place(tmp_path_factory, size):
    x, y, arena = count(size), numpy.zeros(size + 1, numpy.float32), numpy.zeros(4 * size + 64, numpy.uint8)
    run(tmp_path_factory.getbasetemp() / "checked", GROW, x, y, plan=CHAIN, symbols=(size,), arena=arena)
    assert (y == numpy.append(8 * x, 0)).all()
    assert (arena[:64] == 0).all(), "nothing else is written"


def test_results_may_lie_between_others(tmp_path):
    kernel = """kernel k(in X: f32[64], out Y: f32[64] strides (2)) {
      parallel i in 0 .. 64 step 4 { Y[i + i.0] over (i.0:4) = X[i + i.0] } }"""
    y = -count(128)
    run(tmp_path, kernel, count(64), y)
    assert (y[::2] == count(64)).all() and (y[1::2] == -count(128)[1::2]).all()


def test_the_checked_driver_reads_well(golden):
    golden.check("c_driver_checked.txt", program_source(parse_plan(CHAIN), {"k": parse_kernel(GROW)}, checked=True))


def test_a_library_that_needs_the_sanitizer_is_refused_without(tmp_path):
    library = tmp_path / "program.so"
    library.write_bytes(b"\x7fELF __asan_init")
    if hasattr(ctypes.CDLL(None), "__asan_init"):
        pytest.skip("the address sanitizer is loaded")
    with pytest.raises(ToolchainError, match="has to be loaded before Python") as caught:
        load_program(library)
    assert "LD_PRELOAD" in caught.value.help


SANITIZED = """
import sys
sys.path[:0] = ["tests", "tests/codegen/c"]
from pathlib import Path
import numpy
from test_program_checked import count, run
from tcomp.codegen.c.toolchain import find_toolchain
x = numpy.frombuffer(bytearray(300), numpy.float32, 64, offset=int(sys.argv[3]))
run(Path(sys.argv[1]), sys.argv[2], x, count(64), toolchain=find_toolchain(("gcc",), ("address", "undefined")))
print("ran to its end")
"""
COPY = "kernel copy(in X: f32[64], out Y: f32[60]) {{ parallel i in 0 .. {0} {{ Y[i] over () = X[i] }} }}"
SHIFT = "kernel shift(in X: f32[64], out Y: f32[60]) { parallel i in 0 .. 60 { Y[i] over () = X[64 * i] } }"


def find_preload():
    """What the address sanitizer of GCC needs to have loaded; empty if it is not installed."""
    if shutil.which("gcc") is None:
        return ""
    ask = [["gcc", f"-print-file-name={name}"] for name in ("libasan.so", "libstdc++.so")]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in ask]
    return " ".join(found) if all(Path(path).is_absolute() for path in found) else ""


@pytest.mark.parametrize(
    ("kernel", "offset", "said"),
    [
        (COPY.format(60), 0, "ran to its end"),
        # The memory has room for 64: the checking program gives a kernel no more than its argument.
        (COPY.format(61), 0, "heap-buffer-overflow"),
        (SHIFT, 0, "heap-buffer-overflow"),
        (COPY.format(60), 2, "misaligned address"),
    ],
)
def test_sanitizers_see_what_leaves_an_argument_or_is_undefined(tmp_path, kernel, offset, said):
    preload = find_preload()
    if not preload:
        pytest.skip("GCC's address sanitizer is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", SANITIZED, str(tmp_path), kernel, str(offset)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said in done.stdout + done.stderr
    assert (done.returncode == 0) == (said == "ran to its end")
