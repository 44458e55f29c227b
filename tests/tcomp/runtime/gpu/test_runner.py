"""Modules compiled to Triton kernels, run in the interpreter: the same results as eager, in every way a module may be called."""

import copy
import threading
import time
import warnings

import pytest
import torch
from compiled import Function, check, check_same, make_linear, random
from torch import nn

import tcomp
from tcomp.capture.capture import capture
from tcomp.machine.cuda import Cuda
from tcomp.machine.devices import CPU
from tcomp.options import make_options
from tcomp.program.kernels import TritonLibrary
from tcomp.program.program import CompiledStage
from tcomp.runtime.gpu import runner as triton_runtime
from tcomp.runtime.gpu.runner import TritonPrelude, make_loader
from tcomp.stages.graph import compile_captured

TRITON = {"backend": "triton", "interpret": True}

CASES = {
    "linear": (make_linear(), (random(4, 8),)),
    "norms": (nn.Sequential(nn.Linear(8, 24), nn.GELU(), nn.LayerNorm(24), nn.Linear(24, 3), nn.Softmax(-1)), (random(5, 8),)),
    "convolution": (nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)), (random(2, 2, 6, 6),)),
    "attention": (Function(lambda q, k: ((q @ k.mT).softmax(-1) @ k, k.sum(0))), (random(2, 5, 4), random(2, 5, 4, seed=1))),
    "bfloat16": (Function(lambda x: (x @ x).relu() + x), (random(9, 9).bfloat16(),)),
    "embedding": (nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4)), (torch.tensor([1, 2, 9]),)),
    "scan": (Function(lambda x: x.cumsum(1)), (random(3, 7),)),
    "views and writes": (Function(lambda x: (x.add_(1)[1:].t(), {"n": x.sum()}, 3)), (random(3, 4),)),
    "constants": (Function(lambda x: torch.tensor([1.0, 2.0, 3.0]) * x), (random(3),)),
    "nothing": (Function(lambda x: x), (random(3),)),
    "empty": (Function(lambda x: (x * 2, x.sum())), (torch.empty(0, 3),)),
    "strides": (Function(lambda x: x.exp()), (random(4, 6)[:, ::2].t(),)),
}


@pytest.mark.parametrize("name", CASES)
def test_modules_compute_what_eager_does(name):
    module, inputs = CASES[name]
    check(module.requires_grad_(False), *inputs, **TRITON)


def test_buffers_are_updated():
    module = nn.BatchNorm2d(3).train().requires_grad_(False)
    check(module, random(2, 3, 4, 4), **TRITON)


def test_symbolic_sizes_share_one_program():
    module = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3), nn.Softmax(-1)).requires_grad_(False)
    compiled = tcomp.compile(module, (random(4, 8),), dynamic=True, **TRITON)
    for rows in (2, 7, 70):
        check(module, random(rows, 8), compiled=compiled)
    assert len(compiled.programs) == 1


def test_weights_are_folded_again_when_they_change():
    table = random(8)
    module = Function(lambda x: x * table.exp().sum())
    compiled = tcomp.compile(module, (random(3),), **TRITON)
    assert compiled.memory.folded > 0
    for _ in range(3):
        check_same(compiled(random(3)), module(random(3)))
        table.add_(0.5)


def test_the_prelude_is_loaded_once(monkeypatch):
    loaded = []
    original = TritonPrelude.__init__

    def load(self, *arguments):
        loaded.append(arguments)
        original(self, *arguments)

    monkeypatch.setattr(TritonPrelude, "__init__", load)
    table = random(8)
    compiled = tcomp.compile(Function(lambda x: x * table.exp().sum()), (random(3),), **TRITON)
    for _ in range(3):
        table.add_(0.5)
        compiled(random(3))
    assert len(loaded) == 1


def test_an_index_outside_is_told_at_once():
    module = nn.Embedding(10, 4).requires_grad_(False)
    compiled = tcomp.compile(module, (torch.tensor([1]),), **TRITON)
    with pytest.raises(tcomp.IndexOutOfRange, match="an index into weight is outside the range 0 to 9") as caught:
        compiled(torch.tensor([10]))
    assert "embedding" in caught.value.where
    check(module, torch.tensor([9]), compiled=compiled)


def test_a_scatter_outside_is_told_and_its_prelude_too():
    with pytest.raises(tcomp.IndexOutOfRange):
        table, position = random(5), torch.tensor([7, 1])
        tcomp.compile(Function(lambda x: x + table[position].exp().sum()), (random(1),), **TRITON)


def test_operators_left_to_pytorch_run_between():
    module = Function(lambda x: torch.linalg.matrix_exp(x @ x).exp() + 1)
    compiled = tcomp.compile(module, (random(3, 3),), fallback="silent", **TRITON)
    check_same(compiled(random(3, 3)), module(random(3, 3)))
    (fallback,) = compiled.measure_fallbacks(random(3, 3))
    assert 0 < fallback.share < 1


def test_gradients_go_through_torch_compile():
    module = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    other = copy.deepcopy(module)
    compiled = torch.compile(module, backend="tcomp", options={**TRITON, "fallback": "error"})
    for function in (compiled, other):
        function(random(2, 4)).square().sum().backward()
    for ours, theirs in zip(module.parameters(), other.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)
    torch._dynamo.reset()


def test_a_compiled_module_with_gradients_keeps_its_options():
    module = nn.Linear(4, 3)
    compiled = tcomp.compile(module, (random(2, 4),), **TRITON)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = compiled(random(2, 4))
    assert result.requires_grad
    torch.testing.assert_close(result, module(random(2, 4)))
    torch._dynamo.reset()


def test_threads_take_turns_in_the_interpreter():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),), **TRITON)
    wrong = []

    def work(seed):
        x = random(4, 8, seed=seed)
        for _ in range(3):
            if not torch.allclose(compiled(x), module(x), atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("precision", ["ieee", "tf32", "tf32x3"])
def test_the_precision_is_that_of_the_options(precision):
    compiled = tcomp.compile(make_linear(), (random(4, 8),), precision=precision, **TRITON)
    (stage,) = compiled.programs[0].stages
    assert stage.main.precision == precision
    assert f'"{precision}"' in compiled.kernels[0].source


def test_kernels_that_are_not_kept_lie_in_a_private_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TCOMP_CACHE_DIR", str(tmp_path / "cache"))
    compiled = tcomp.compile(make_linear(), (random(4, 8),), cache=False, **TRITON)
    check_same(compiled(random(4, 8)), make_linear()(random(4, 8)))
    assert not (tmp_path / "cache").exists()


def test_equal_kernels_of_two_programs_share_a_module():
    first, second = (tcomp.compile(make_linear(), (random(4, 8),), **TRITON) for _ in range(2))
    paths = [compiled.programs[0].stages[0].main.kernels[0].path for compiled in (first, second)]
    assert paths[0] == paths[1]


def library_of(module, *inputs):
    program = compile_captured(capture(module, inputs), make_options(TRITON))
    (stage,) = program.stages
    assert isinstance(stage, CompiledStage)
    assert isinstance(stage.main, TritonLibrary)
    return stage.main


def test_a_loader_compiles_and_loads_what_it_is_asked_for(monkeypatch):
    loaded = []
    monkeypatch.setattr(triton_runtime, "make_launchers", lambda *given: loaded.append(given) or [1, 2])
    library = library_of(make_linear(), random(4, 8))
    cuda = Cuda(torch.device("cuda", 0))
    load = make_loader(library, cuda)
    unaligned = frozenset({library.kernels[0].unit.parameters[0].name})
    assert load([(0, frozenset()), (0, unaligned)]) == [1, 2]
    ((compiled, folder, on_device),) = loaded
    assert [kernel.metadata.name for kernel in compiled] == [library.kernels[0].unit.symbol] * 2
    assert (folder / "triton").is_dir()
    assert on_device == cuda.on_device


def test_a_kernel_that_does_not_compile_is_one_error(monkeypatch):
    error = tcomp.ToolchainError("Triton does not compile the kernel")
    monkeypatch.setattr(triton_runtime, "compile_variants", lambda *arguments: [error])
    with pytest.raises(tcomp.ToolchainError, match="does not compile"):
        make_loader(library_of(make_linear(), random(4, 8)), Cuda(CPU))([(0, frozenset())])


def test_on_a_gpu_a_library_goes_to_that_device(monkeypatch):
    made = []
    monkeypatch.setattr(triton_runtime, "DeviceProgram", lambda *arguments, is_recorded: made.append((arguments, is_recorded)))
    library = library_of(make_linear(), random(4, 8))
    triton_runtime.load_program(library, torch.device("cuda", 1), lambda snapshot: (), is_recorded=True)
    ((known, cuda, _, _), is_recorded), *_ = made
    assert (known, cuda.device, is_recorded) == (library, torch.device("cuda", 1), True)
    assert cuda.device != CPU


def test_a_run_is_measured_until_it_is_done():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),), **TRITON)
    told = []
    start = time.perf_counter()
    compiled.variants[0].execution.run([random(4, 8)], lambda *clock: told.append(clock))
    ((label, seconds),) = told
    assert label == ""
    assert 0 < seconds < time.perf_counter() - start
