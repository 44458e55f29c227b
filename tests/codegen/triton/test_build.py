"""Kernels compile for GPUs that are not here, side by side, into a cache of our own; what they use is read from the machine code."""

import contextlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import triton

from tcomp import ToolchainError
from tcomp.codegen.triton import build as triton_build
from tcomp.codegen.triton.build import TRITON_LOCK, compile_all, compile_function, find_tensor_cores, make_launchers, read_resources
from tcomp.codegen.triton.files import build_module
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.codegen.triton.module import load_functions
from tcomp.ir.parse.tile import parse_kernel
from tcomp.machine.gpus import describe_gpu

GPU = describe_gpu("sm_90")
MATMUL = """
kernel matmul(in X: bf16[128, 64], in W: bf16[64, 128], out Y: f32[128, 128]) warps 4 stages 2 {
  parallel m in 0 .. 128 step 64 {
    block acc: f32[m.0:64, n.0:128]
    acc[m.0, n.0] over (m.0:64, n.0:128) = sum(k.0:64) f32(X[m + m.0, k.0]) * f32(W[k.0, n.0])
    Y[m + m.0, n.0] over (m.0:64, n.0:128) = acc[m.0, n.0]
  }
}
"""
SCALE = """
kernel scale(in X: f32[1024], out Y: f32[1024]) warps 4 stages 2 {
  parallel i in 0 .. 1024 step 512 {
    Y[i + i.0] over (i.0:512) = X[i + i.0] * 2.0
  }
}
"""


def load(text, folder):
    unit = triton_unit(parse_kernel(text), TritonOptions())
    return load_functions(build_module([unit], folder), "jit")[unit.symbol], unit


@pytest.mark.parametrize(("architecture", "instructions"), [("sm_90", "wgmma"), ("sm_80", "mma")])
def test_a_matrix_product_uses_tensor_cores(architecture, instructions, tmp_path):
    target = describe_gpu(architecture)
    compiled = compile_function(*load(MATMUL, tmp_path), target, tmp_path)
    resources = read_resources(compiled, target)
    assert resources.tensor_cores == instructions
    assert 0 < resources.registers <= 255
    assert resources.spilled == 0
    assert 0 < resources.shared <= target.shared
    assert resources.binary == len(compiled.asm["cubin"]) > 0


def test_pointers_are_taken_to_be_aligned_unless_told(tmp_path):
    function, unit = load(SCALE, tmp_path)
    aligned = compile_function(function, unit, GPU, tmp_path).asm["ptx"]
    assert "ld.global.v4" in aligned
    first, second = (parameter.name for parameter in unit.parameters)
    one = compile_function(function, unit, GPU, tmp_path, {first}).asm["ptx"]
    assert "ld.global.v4" not in one
    assert "st.global.v4" in one
    none = compile_function(function, unit, GPU, tmp_path, {first, second}).asm["ptx"]
    assert "global.v4" not in none


def test_several_compile_at_once_and_each_is_reported(tmp_path):
    compilations = [(*load(text, tmp_path), frozenset()) for text in (MATMUL, SCALE)]
    told = []
    compiled = compile_all(compilations, GPU, tmp_path, lambda *report: told.append(report), jobs=2)
    assert [kernel.metadata.name for kernel in compiled] == [unit.symbol for _, unit, _ in compilations]
    assert sorted(name for name, _, _ in told) == ["matmul", "scale"]
    assert [(done, total) for _, done, total in told] == [(1, 2), (2, 2)]
    assert compile_all([], GPU, tmp_path, lambda *report: None) == []


def test_what_does_not_compile_is_an_error_among_the_results(tmp_path):
    function, unit = load(SCALE, tmp_path)
    broken = triton.jit(load_functions(_write(tmp_path, "def broken(X, Y):\n    tl.store(Y, tl.no_such_thing(X))\n"), "jit")["broken"].fn)
    results = compile_all([(broken, unit, frozenset()), (function, unit, frozenset())], GPU, tmp_path, lambda *report: None)
    assert isinstance(results[0], ToolchainError)
    assert "the kernel scale for sm_90" in str(results[0])
    assert "no_such_thing" in results[0].where
    assert results[0].help
    assert results[1].asm["ptx"]
    with pytest.raises(ToolchainError, match="does not compile"):
        compile_function(broken, unit, GPU, tmp_path)


def _write(folder, text):
    path = folder / "broken.py"
    path.write_text(f"import triton.language as tl\n\n\n{text}")
    return path


def test_the_cache_is_ours_and_others_stay_as_they_were(tmp_path, monkeypatch):
    before = triton.knobs.cache.dir
    compile_function(*load(SCALE, tmp_path), GPU, tmp_path)
    assert triton.knobs.cache.dir == before
    assert "TRITON_CACHE_DIR" not in os.environ
    folder = tmp_path / "triton"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("*.cubin"))
    # What is cached is not compiled again.
    monkeypatch.setattr(triton.backends.nvidia.compiler.CUDABackend, "make_ttir", None)
    compile_function(*load(SCALE, tmp_path), GPU, tmp_path)


def test_a_cache_that_others_can_write_is_not_used(tmp_path):
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton").chmod(0o777)
    with pytest.warns(UserWarning, match="other users can write|works without its cache"):
        compile_function(*load(SCALE, tmp_path), GPU, tmp_path)
    assert list((tmp_path / "triton").iterdir()) == []


def test_the_oldest_entries_go_when_the_cache_is_full(tmp_path):
    for number in range(4):
        entry = tmp_path / f"entry{number}"
        entry.mkdir()
        (entry / "kernel.cubin").write_bytes(b"x" * 100)
        os.utime(entry / "kernel.cubin", (number, number))
    (tmp_path / "stray").write_text("")
    triton_build._evict(tmp_path, limit=250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entry2", "entry3", "stray"]


def test_without_the_tool_the_driver_is_asked(tmp_path, monkeypatch):
    compiled = compile_function(*load(SCALE, tmp_path), GPU, tmp_path)
    known = read_resources(compiled, GPU)
    monkeypatch.setattr(triton_build.subprocess, "run", _fail)
    with pytest.raises(ToolchainError, match="nothing tells what the kernel") as caught:
        read_resources(compiled, GPU)
    assert caught.value.help
    loaded = SimpleNamespace(asm=compiled.asm, metadata=compiled.metadata, module=1, n_regs=known.registers, n_spills=2)
    resources = read_resources(loaded, GPU)
    assert (resources.registers, resources.spilled) == (known.registers, 8)


def _fail(*arguments, **options):
    raise OSError("no such file")


@pytest.mark.parametrize(
    ("ptx", "instructions"),
    [
        ("add.f32 %f1, %f2, %f3;", ""),
        ("mma.sync.aligned.m16n8k16.row.col.f32.bf16 {%f1};", "mma"),
        ("wgmma.mma_async.sync.aligned.m64n16k8.f32 {%f1};\nmma.sync.aligned", "wgmma"),
        ("tcgen05.mma.cta_group::1.kind::f16 [%r1];", "tcgen05"),
    ],
)
def test_tensor_cores_are_known_by_their_instructions(ptx, instructions):
    assert find_tensor_cores(ptx) == instructions


@pytest.fixture
def _driver(monkeypatch):
    monkeypatch.setattr(triton_build.triton.runtime, "driver", SimpleNamespace(active=SimpleNamespace(get_current_device=lambda: 0)))


@pytest.mark.usefixtures("_driver")
def test_launchers_load_kernels_and_pass_everything_on(tmp_path):
    calls, inside = [], threading.local()

    @contextlib.contextmanager
    def on_device():
        inside.it = True
        yield
        inside.it = False

    class Compiled:
        def _init_handles(self):
            assert inside.it
            assert triton.knobs.cache.dir == str(tmp_path / "triton")
            calls.append("loaded")

        def __getitem__(self, grid):
            return lambda *arguments, stream: calls.append((grid, arguments, stream))

    first, second = make_launchers([Compiled(), Compiled()], tmp_path, on_device, jobs=2)
    assert calls == ["loaded", "loaded"]
    second(7, 3, [1, 2])
    first(1, 0, [])
    assert calls[2:] == [((7, 1, 1), (1, 2), 3), ((1, 1, 1), (), 0)]


def test_one_thread_may_compile_while_it_interprets():
    with TRITON_LOCK, TRITON_LOCK:
        pass


@pytest.mark.usefixtures("_driver")
def test_a_driver_that_refuses_a_kernel_is_one_clear_error(tmp_path):
    class Compiled:
        metadata = SimpleNamespace(name="greedy")

        def _init_handles(self):
            raise triton.runtime.errors.OutOfResources(300000, 232448, "shared memory")

    with pytest.raises(ToolchainError, match="greedy cannot be loaded") as caught:
        make_launchers([Compiled()], tmp_path, contextlib.nullcontext)
    assert "shared memory" in caught.value.where


def test_modules_are_kept_by_their_text(tmp_path):
    units = [triton_unit(parse_kernel(text), TritonOptions()) for text in (MATMUL, SCALE)]
    path = build_module(units, tmp_path)
    assert build_module(units, tmp_path) == path
    assert build_module(units[:1], tmp_path) != path
    assert set(load_functions(path, "jit")) == {unit.symbol for unit in units}
    path.write_text("tampered")
    assert build_module(units, tmp_path) == path
    assert "tampered" not in Path(path).read_text()
