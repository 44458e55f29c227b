"""Layouts tell where tensors lie for given sizes; PyTorch's products work on memory by address."""

from pathlib import Path

import pytest
import torch

from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.ir.dtypes import bf16, f32
from tcomp.ir.expressions import ZERO, as_index
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Place
from tcomp.machine.gpus import describe_gpu
from tcomp.program.kernels import KernelStep, LibraryStep, TensorPlace, TritonKernel, TritonLibrary
from tcomp.runtime.gpu.layout import (
    ARENA,
    MOST_LAYOUTS,
    Address,
    KernelCall,
    Layouts,
    LibraryCall,
    allocate,
    call_library,
    is_multiple,
    view_memory,
)

COPY = """
kernel copy(in X: f32[n], out Y: f32[n]) for n in 1.. warps 4 stages 2 {
  parallel i in 0 .. n {
    buffer B: f32[1]
    B[0] over () = X[i]
    Y[i] over () = B[0]
  }
}
"""
N = as_index("n")


def make_library(*steps, externals=("X", "Y"), symbols=("n",), arena=ZERO, text=COPY):
    unit = triton_unit(parse_kernel(text), TritonOptions())
    kernel = TritonKernel(("copy",), unit, Path("copy.py"))
    return TritonLibrary((kernel,), steps, externals, symbols, arena, (), describe_gpu("sm_90"), "ieee")


def copy_step(offset=ZERO):
    return KernelStep(0, (Place("X", ZERO), Place("arena", offset)), N, 0)


def test_offsets_and_instances_follow_the_sizes():
    library = make_library(copy_step(64 * N), arena=128 * N)
    layouts = Layouts(library, ("m", "n"))
    layout = layouts.read((7, 3))
    assert layout.calls == (KernelCall(0, 3, (Address(0, 0, True), Address(ARENA, 192, True)), 0),)
    assert (layout.arena, layout.symbols) == (384, {"n": 3})
    assert layout.scratch == 3 * library.kernels[0].unit.scratch > 0
    assert layouts.read((7, 3)) is layout
    assert layouts.read((7, 4)).calls[0].grid == 4


def test_layouts_are_forgotten_when_there_are_many():
    layouts = Layouts(make_library(copy_step()), ("n",))
    first = layouts.read((1,))
    for size in range(2, MOST_LAYOUTS + 2):
        layouts.read((size,))
    assert layouts.read((1,)) == first
    assert layouts.read((1,)) is not first


def test_a_library_of_fixed_sizes_has_one_layout():
    text = COPY.replace("n in 1..", "m in 1..").replace("for m in 1.. ", "").replace("[n]", "[8]").replace(".. n", ".. 8")
    library = make_library(KernelStep(0, (Place("X", ZERO), Place("Y", as_index(4))), as_index(8), 0), symbols=(), text=text)
    layouts = Layouts(library, ("batch",))
    assert layouts.read((1,)) is layouts.read((2,))
    assert [address.is_aligned for address in layouts.read((1,)).calls[0].addresses] == [True, False]


@pytest.mark.parametrize(
    ("index", "is_divisible"),
    [(ZERO, True), (as_index(32), True), (as_index(8), False), (N * 64, True), (N * 64 + 16, True), (N * 64 + 4, False), (N * 8, False),
     (N * N * 16, True)],
)  # fmt: skip
def test_multiples_are_known_for_all_sizes(index, is_divisible):
    assert is_multiple(index, 16) is is_divisible


def test_memory_is_aligned_and_as_large_as_asked():
    for size in (0, 1, 1000):
        memory = allocate(size, torch.device("cpu"))
        assert memory.numel() == size
        assert size == 0 or memory.data_ptr() % 256 == 0


def test_views_of_memory_lie_at_the_byte_given():
    memory = torch.arange(12, dtype=torch.float32)[2:]
    assert view_memory(memory, 8, torch.float32).tolist() == [4.0]
    assert view_memory(memory, 8, torch.float32, (2, 2), (1, 3)).tolist() == [[4.0, 7.0], [5.0, 8.0]]
    assert view_memory(memory, 38, torch.bfloat16).data_ptr() == memory.data_ptr() + 38
    # Nothing lies behind the end, and nothing in an empty tensor.
    assert view_memory(memory, 40, torch.float32).numel() == 0
    assert view_memory(torch.empty(0), 0, torch.float32).numel() == 0
    assert memory.untyped_storage().nbytes() == 48


def tensor_place(base, offset, dtype, *shape, strides=None):
    indices = tuple(map(as_index, shape))
    steps = tuple(map(as_index, strides or torch.empty(shape).stride()))
    return TensorPlace(Place(base, as_index(offset)), dtype, indices, steps)


@pytest.mark.parametrize(
    ("operation", "shapes"),
    [
        ("mm", ((3, 4), (4, 5), (3, 5))),
        ("addmm", ((3, 5), (3, 4), (4, 5), (3, 5))),
        ("bmm", ((2, 3, 4), (2, 4, 5), (2, 3, 5))),
        ("baddbmm", ((2, 3, 5), (2, 3, 4), (2, 4, 5), (2, 3, 5))),
    ],
)
@pytest.mark.parametrize("dtype", [f32, bf16], ids=str)
def test_products_of_the_library(operation, shapes, dtype):
    torch_dtype = torch.float32 if dtype is f32 else torch.bfloat16
    *inputs, out = shapes
    places = [tensor_place(f"X{n}", 16 * n, dtype, *shape) for n, shape in enumerate(inputs)]
    # The result lies transposed in the arena.
    strides = (*torch.empty(out).stride()[:-2], 1, out[-2])
    step = LibraryStep("product", operation, tuple(places), tensor_place("arena", 64, dtype, *out, strides=strides))
    library = make_library(step, externals=tuple(f"X{n}" for n in range(len(inputs))), symbols=())
    (call,) = Layouts(library, ()).read(()).calls
    assert isinstance(call, LibraryCall)
    memories = {n: torch.zeros(200, dtype=torch_dtype) for n in range(len(inputs))}
    tensors = []
    for number, shape in enumerate(inputs):
        tensor = view_memory(memories[number], 16 * number, torch_dtype, shape, torch.empty(shape).stride()).normal_()
        tensors.append(tensor)
    memories[ARENA] = allocate(512, torch.device("cpu"))
    call_library(call, memories.__getitem__)
    got = view_memory(memories[ARENA], 64, torch_dtype, out, strides)
    torch.testing.assert_close(got, getattr(torch, operation)(*tensors))
