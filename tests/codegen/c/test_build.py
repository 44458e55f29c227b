"""Programs from plan to library: steps in order, shared kernels, the cache, determinism."""

import ctypes
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from c_programs import find_compiler

from tcomp.codegen.c import build
from tcomp.codegen.c.build import build_program, load_program
from tcomp.codegen.c.program import program_source
from tcomp.codegen.c.toolchain import SUPPORT
from tcomp.ir.errors import ToolchainError
from tcomp.ir.parse.plan import parse_plan
from tcomp.ir.parse.tile import parse_kernel

SCALE = parse_kernel("""kernel scale(in X: f32[N], out Y: f32[N]) for N in 1..1000 {
  parallel i in 0 .. N step 16 { Y[i + i.0] over (i.0:16 < N - i) = X[i + i.0] * 2.0 } }""")
SHIFT = parse_kernel("""kernel shift(in X: f32[N], out Y: f32[N]) for N in 1..1000 {
  parallel i in 0 .. N { Y[i] over () = (X[i + 1] else 0.0) } }""")
PLAN = parse_plan("""plan (X, Y) arena 8*N + 64 for N in 1..1000 {
  a(X + 0, arena + 0)
  b(arena + 0, arena + 4*N + 60)
  c(arena + 4*N + 60, Y + 0)
}""")
KERNELS = {"a": SCALE, "b": SHIFT, "c": SCALE}


def build_in(folder, plan=PLAN, kernels=KERNELS, toolchain=None):
    return build_program(plan, kernels, toolchain=toolchain or find_compiler(), cache_directory=folder)


def run(library, size, threads=2, flush=0, x=None):
    x = numpy.arange(size, dtype=numpy.float32) if x is None else x
    y, arena = numpy.zeros(size, numpy.float32), numpy.zeros(8 * size + 64, numpy.uint8)
    pointers = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
    assert load_program(library)(pointers, arena.ctypes.data, (ctypes.c_int64 * 1)(size), threads, flush) == 0
    return y


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 16, 333])
def test_steps_run_in_order_over_arena_and_symbols(tmp_path_factory, size, threads):
    expected = 4 * numpy.append(numpy.arange(1, size), 0)
    library = build_in(tmp_path_factory.getbasetemp() / "shared")
    for _ in range(20):
        assert (run(library, size, threads) == expected).all()


def test_sizes_are_divided_down(tmp_path):
    """How many instances there are is no division of C's where what is divided may be negative."""
    kernel = parse_kernel("""kernel few(in X: f32[N], out Y: f32[N]) for N in 0..1000 {
      parallel i in 0 .. (N - 3) // 2 + (N - 3) % 2 + 2 { Y[i] over () = X[i] * 2.0 } }""")
    plan = parse_plan("plan (X, Y) arena 64 for N in 0..1000 {\n  a(X + 0, Y + 0)\n}")
    library = build_in(tmp_path, plan, {"a": kernel})
    assert [numpy.count_nonzero(run(library, n, x=numpy.ones(n, numpy.float32))) for n in (1, 2, 3, 4, 8)] == [1, 2, 2, 3, 5]


def test_equal_kernels_are_emitted_once(tmp_path):
    names = subprocess.run(["nm", build_in(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert sum(" t scale_" in line for line in names.splitlines()) == 1
    assert [line.split()[-1] for line in names.splitlines() if " T tcomp" in line] == [
        "tcomp_fingerprint",
        "tcomp_run",
        "tcomp_run_part",
        "tcomp_run_timed",
    ]


def test_a_second_build_compiles_nothing(tmp_path, monkeypatch):
    first = build_in(tmp_path)
    monkeypatch.setattr(build, "compile_objects", None)
    assert build_in(tmp_path) == first


def test_another_program_reuses_the_kernels(tmp_path, monkeypatch):
    build_in(tmp_path)
    compiled = []
    honest = build.compile_objects
    monkeypatch.setattr(build, "compile_objects", lambda t, c, **named: compiled.extend(c := list(c)) or honest(t, c, **named))
    build_in(tmp_path, parse_plan("plan (X, Y) arena 0 for N in 1..9 {\n  other(X + 0, Y + 0)\n}"), {"other": SHIFT})
    assert [c.source.stem for c in compiled] == ["driver"]


def test_another_compiler_does_not_get_the_same_objects(tmp_path):
    real = find_compiler()
    other = replace(real, identity="another identity")
    assert build_in(tmp_path) != build_in(tmp_path, toolchain=other)


@pytest.mark.parametrize("change", [{"flags": (*find_compiler().flags, "-O1")}, {"link_flags": ("-lm",)}])
def test_other_flags_do_not_get_the_same_library(tmp_path, change):
    assert build_in(tmp_path) != build_in(tmp_path, toolchain=replace(find_compiler(), **change))


def test_a_program_that_checks_its_kernels_is_another(tmp_path):
    checked = build_program(PLAN, KERNELS, toolchain=find_compiler(), cache_directory=tmp_path, checked=True)
    assert checked != build_in(tmp_path)
    assert (run(checked, 40) == 4 * numpy.append(numpy.arange(1, 40), 0)).all()


@pytest.mark.parametrize("suffix", [".so", ".o"])
def test_a_damaged_entry_is_built_again(tmp_path, suffix):
    library = build_in(tmp_path)
    for path in tmp_path.glob(f"??/*{suffix}"):
        path.write_bytes(path.read_bytes()[:-9])
    if suffix == ".o":
        library.unlink()
    assert (run(build_in(tmp_path), 40) == 4 * numpy.append(numpy.arange(1, 40), 0)).all()


def test_a_library_that_cannot_be_loaded_is_an_error(tmp_path):
    (tmp_path / "bad.so").write_bytes(b"nothing")
    with pytest.raises(ToolchainError, match=r"bad\.so cannot be loaded"):
        load_program(tmp_path / "bad.so")


def test_a_compiler_without_openmp_borrows_it_when_loading(tmp_path):
    real = find_compiler()
    serial = replace(real, has_openmp=False)
    assert (run(build_in(tmp_path, toolchain=serial), 40, threads=4) == 4 * numpy.append(numpy.arange(1, 40), 0)).all()


def test_narrower_vectors_compute_the_same(tmp_path):
    real = find_compiler()
    for lanes in (4, 8):
        narrow = replace(real, identity=f"{lanes} lanes", lanes=lanes)
        assert (run(build_in(tmp_path, toolchain=narrow), 333) == 4 * numpy.append(numpy.arange(1, 333), 0)).all()


def test_flushing_denormals_is_on_only_during_the_run(tmp_path):
    tiny = numpy.full(40, 1e-40, numpy.float32)
    library = build_in(tmp_path)
    assert run(library, 40, flush=0, x=tiny)[0] != 0
    assert run(library, 40, flush=1, x=tiny)[0] == 0
    assert (tiny * numpy.float32(2))[0] != 0, "the mode of the calling thread is restored"


def test_every_source_that_decides_what_c_comes_out_is_hashed():
    """All that building a program imports of ours, as the interpreter has it, wherever it lies."""
    code = """import json, sys
from tcomp.codegen.c import build
used = [module.__file__ for name, module in sys.modules.items() if name.startswith(("tcomp.ir", "tcomp.codegen"))]
print(json.dumps([used, [str(path) for path in build.list_generator()]]))"""
    used, hashed = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert len(used) > 30
    assert {Path(path).resolve() for path in used} - {Path(path).resolve() for path in hashed} == set()


def test_every_header_is_hashed(tmp_path, monkeypatch):
    """A header in a folder of its own, too."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "more.h").write_text("")
    monkeypatch.setattr(build, "SUPPORT", tmp_path)
    before = build.hash_support()
    (tmp_path / "deeper" / "more.h").write_text("\n")
    assert build.hash_support() != before


def test_the_support_headers_are_hashed(tmp_path, monkeypatch):
    before = build.hash_support()
    (tmp_path / "vector.h").write_text((SUPPORT / "vector.h").read_text() + "\n")
    monkeypatch.setattr(build, "SUPPORT", tmp_path)
    assert build.hash_support() != before


PRINT = """
import sys
from dataclasses import replace
sys.path[:0] = ["tests", "tests/codegen/c"]
from test_build import KERNELS, PLAN
from tile_programs import NAMES, read_kernel
from tcomp.codegen.c.kernel import kernel_source
from tcomp.codegen.c.program import program_source
print(program_source(PLAN, KERNELS))
for name in NAMES:
    print(kernel_source(read_kernel(name)))
"""


def test_two_hash_seeds_give_the_same_bytes():
    root = Path(__file__).resolve().parents[3]
    texts = [
        subprocess.run(
            [sys.executable, "-c", PRINT],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert b"tcomp_run" not in texts[0]
    assert b"TCOMP_DEFINE_RUN" in texts[0]


def test_the_driver_reads_well(golden):
    golden.check("c_driver.txt", program_source(PLAN, KERNELS))
