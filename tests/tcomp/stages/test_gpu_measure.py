"""Measured kernels: the fastest is taken, equal ones are measured once, and what cannot run is never chosen."""

import math

import pytest
import torch
from compiled import Function, check_same, random
from fake_cuda import FakeCuda, FakeLoader
from measures import each

import tcomp.options
from tcomp.codegen.triton.kernel import TritonOptions
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import ONE, ZERO, as_index
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.plan import Matrix, MatrixProduct
from tcomp.machine.devices import CPU
from tcomp.machine.gpus import describe_gpu
from tcomp.passes.pipeline import compile_cascade
from tcomp.program.kernels import LibraryStep
from tcomp.stages import makers
from tcomp.stages.gpu_measure import TYPICAL_SIZE, GpuMeasurer, time_kernel

GPU = describe_gpu("sm_90")
SCALE = """
kernel scale(in X: f32[8, n], in I: i64[8], out Y: f32[8, n]) for n in 1..100 warps 4 stages 2 {
  parallel i in 0 .. n {
    Y[i.0, i] over (i.0:8) = X[value(I[i.0]), i] * 2.0
  }
}
"""


class Clock(FakeCuda):
    """A device that takes as long as the test says, and runs what it measures once."""

    def __init__(self, *seconds):
        super().__init__()
        self.seconds = list(seconds)
        self.count = 0

    def measure(self, launch):
        launch()
        self.count += 1
        return self.seconds.pop(0)


@pytest.fixture
def make(tmp_path):
    def make(cuda):
        return GpuMeasurer(GPU, TritonOptions(), tmp_path, cuda, FakeLoader)

    return make


def test_equal_kernels_are_measured_once_and_with_indices_inside(make):
    cuda = Clock(0.5)
    measure, kernel = make(cuda), parse_kernel(SCALE)
    assert measure([(kernel, None)]) == [0.5]
    assert measure([(parse_kernel(SCALE.replace("kernel scale", "kernel other")), None)]) == [0.5]
    assert cuda.count == 1
    assert TYPICAL_SIZE > 100


def test_what_cannot_run_takes_forever(make):
    class Broken(Clock):
        def measure(self, launch):
            raise RuntimeError("out of memory")

    assert make(Broken())([(parse_kernel(SCALE), None)]) == [math.inf]


def test_a_product_is_measured_in_the_place_of_its_kernel(make):
    text = """
    kernel product(in X: f32[4, 6], in W: f32[6, 5], out Y: f32[4, 5]) warps 4 stages 2 {
      parallel i in 0 .. 4 {
        Y[i, j.0] over (j.0:5) = sum(k.0:6) X[i, k.0] * W[k.0, j.0]
      }
    }
    """

    def matrix(number, rows, columns):
        return Matrix(number, tuple(map(as_index, (1, rows, columns))), (ZERO, as_index(columns), ONE))

    product = MatrixProduct(f32, matrix(0, 4, 6), matrix(1, 6, 5), matrix(2, 4, 5))
    cuda = Clock(0.25, 0.5)
    measure = make(cuda)
    assert measure([(parse_kernel(text), product), (parse_kernel(text), None)]) == [0.25, 0.5]


def test_a_kernel_is_timed_on_the_current_stream():
    cuda, started = Clock(0.125), []
    assert time_kernel(lambda *call: started.append(call), [1, 2], 7, cuda) == 0.125
    assert started == [(7, 1, [1, 2])]


CASCADE = """cascade f(X: f32[64, 64], W: f32[64, 64]) -> (Z) {
  Y: f32[i:64, j:64] = sum(k:64) X[i, k] * W[k, j]
  Z: f32[i:64, j:64] = maximum(Y[i, j], 0.0)
}"""


@pytest.mark.parametrize(("library", "kernels"), [(0.1, 2), (1e9, 1)])
def test_the_library_is_chosen_where_it_is_faster(library, kernels):
    def measure(kernel, product):
        return library if product else 1.0 if "Y" in kernel.name else 0.2

    compiled = compile_cascade(parse_cascade(CASCADE), {}, GPU, measure=each(measure))
    assert len(compiled.main.plan.steps) == kernels
    assert len(compiled.main.products) == (kernels == 2)


class Prefer(GpuMeasurer):
    """Finds the library's products faster than any kernel."""

    def __init__(self, *arguments):
        pass

    def __call__(self, trials):
        return [0.1 if product else 1.0 if "mm" in kernel.name else 0.2 for kernel, product in trials]


def test_a_tuned_program_calls_the_library_and_says_so(monkeypatch):
    monkeypatch.setattr(makers, "find_measure", lambda *arguments: Prefer())
    module = Function(lambda x, y: ((x @ y).relu(), x @ x))
    inputs = random(16, 16), random(16, 16, seed=1)
    compiled = tcomp.compile(module, inputs, backend="triton", interpret=True)
    steps = compiled.programs[0].stages[0].main.steps
    assert [step.operation for step in steps if isinstance(step, LibraryStep)] == ["mm", "mm"]
    check_same(compiled(*inputs), module(*inputs))
    text = tcomp.explain(compiled)
    assert text.count("uses  torch.mm in its place, since that was measured to be faster") == 2
    products = [kernel for kernel in compiled.kernels if isinstance(compiled.uses[kernel.name], LibraryStep)]
    assert all(kernel.source.startswith("# PyTorch's matrix product takes the place of this kernel\n") for kernel in products)


def test_only_a_gpu_that_is_here_is_measured():
    options = tcomp.options.make_options({"backend": "triton"})
    assert makers.find_measure(options, CPU, GPU, TritonOptions(), None) is None
    assert makers.find_measure(tcomp.options.make_options({"tune": True}), CPU, GPU, TritonOptions(), None) is None


def test_on_a_gpu_one_measures(monkeypatch, tmp_path):
    monkeypatch.setattr(makers, "find_obstacle", lambda device, interpret: None)
    measure = makers.find_measure(tcomp.options.make_options({"tune": True}), torch.device("cuda", 0), GPU, TritonOptions(), tmp_path)
    assert isinstance(measure, GpuMeasurer)
