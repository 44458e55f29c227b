"""The models of the zoo, small: what they compute compiled, against float64 and beside eager."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import tcomp
from tcomp.module.compiled_module import CompiledModule
from tcomp.passes.check import check_program
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tcomp.zoo import NAMES, build
from tests.gpu_targets import HOPPER, compile_model
from tests.program_runner import small_target

WORDS = 101
"""The vocabulary of the small language models."""


@dataclass
class Case:
    module: nn.Module
    compiled: CompiledModule
    inputs: tuple[torch.Tensor, ...]


@pytest.fixture(scope="module", params=[(name, dtype) for dtype in (torch.float32, torch.bfloat16) for name in NAMES], ids=str)
def case(request):
    name, dtype = request.param
    module, inputs = build(name, size="small", dtype=dtype)
    fallback = "error" if dtype == torch.float32 else "warn"
    return Case(module, tcomp.compile(module, inputs, fallback=fallback), inputs)


def check(case, inputs):
    """The error of the compiled module is no more than twice eager's own, dtypes and strides are eager's."""
    with torch.no_grad():
        got, eager = list_tensors(case.compiled(*inputs)), list_tensors(case.module(*inputs))
    assert [(tensor.dtype, tensor.stride()) for tensor in got] == [(tensor.dtype, tensor.stride()) for tensor in eager]
    exact = run_reference(case.module, inputs)
    error, eager_error = measure_error(got, exact), measure_error(eager, exact)
    assert is_right(error, eager_error, eager), f"error {error:.3g}, eager's {eager_error:.3g}"
    return got


def draw_others(inputs):
    """Inputs of the same kinds with other values."""
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(value.shape, generator=generator).to(value.dtype)
        if value.is_floating_point()
        else torch.randint(WORDS, value.shape, generator=generator)
        for value in inputs
    )


def differ(first, second):
    return all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("target", [small_target(), HOPPER], ids=lambda target: target.name)
@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_proved_to_stay_inside_their_memory(name, target):
    assert check_program(compile_model(*build(name, size="small"), target)) == ()


@pytest.mark.parametrize("name", ["bert", "llama", "convnext", "gpt2"])
def test_so_they_are_for_any_size(name):
    """Not even that GPT-2 has an embedding for every position is taken for granted: positions are checked as data is."""
    assert check_program(compile_model(*build(name, size="small"), small_target(), dynamic=True)) == ()


def test_results_are_as_right_as_those_of_eager(case):
    first = check(case, case.inputs)
    second = check(case, draw_others(case.inputs))
    assert differ(first, second)
    assert len(case.compiled.programs) == 1
    assert case.compiled.fallbacks == ()


def test_weights_written_in_place_are_noticed(case):
    before = check(case, case.inputs)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in (*case.module.parameters(), *case.module.buffers()):
            if tensor.is_floating_point():
                tensor.mul_((1 + 0.2 * torch.rand(tensor.shape, generator=generator)).to(tensor.dtype))
    assert differ(before, check(case, case.inputs))
    assert len(case.compiled.programs) == 1
