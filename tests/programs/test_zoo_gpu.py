"""The zoo on a GPU that is not there: small models right in the interpreter, and every kernel of the full ones compiled ahead.

What the compiler reports of them is held here: shared memory within the limit, no register spilled, and tensor cores wherever two
matrices meet.
"""

import pytest
import torch

pytest.importorskip("triton")

import tcomp
from tcomp.codegen.triton.build import Compilation, compile_all, read_resources
from tcomp.codegen.triton.files import build_module
from tcomp.codegen.triton.kernel import TritonOptions, triton_unit
from tcomp.codegen.triton.module import load_functions
from tcomp.reference import is_right, list_tensors, measure_error, run_reference
from tcomp.zoo import NAMES, build
from tests.gpu_targets import AMPERE, HOPPER, compile_model

TENSOR_CORE_KINDS = {"contract", "chain"}
LARGEST_SPILL = 64
"""Bytes a thread may spill where no matrices are multiplied."""
SMALLEST_SIDE = 16
"""Sides of the tiles that two matrices need for tensor cores."""


def compile_ahead(program, target, folder):
    """Every kernel of a program, compiled: (kernel, schedule, resources)."""
    units = [triton_unit(kernel, TritonOptions()) for _, kernel in program.kernels]
    functions = load_functions(build_module(units, folder), "jit")
    compilations: list[Compilation] = [(functions[unit.symbol], unit, frozenset()) for unit in units]
    compiled = compile_all(compilations, target, folder, lambda name, done, total: None)
    schedules = {schedule.name: schedule for schedule in program.schedule.kernels}
    for unit, one in zip(units, compiled, strict=True):
        if isinstance(one, Exception):
            raise one
        yield unit.kernel, schedules[unit.kernel.name], read_resources(one, target)


def multiplies_matrices(schedule):
    """Whether a schedule has a tile that tensor cores can multiply: rows, lanes and depth."""
    return schedule.kind in TENSOR_CORE_KINDS and sum(size >= SMALLEST_SIDE for _, size in schedule.tiles) >= 3


def check_resources(program, target, folder, tensor_cores):
    found = list(compile_ahead(program, target, folder))
    assert found
    for kernel, schedule, resources in found:
        what = f"{kernel.name}: {schedule.loops}, {resources}"
        assert resources.shared <= target.shared, what
        if multiplies_matrices(schedule):
            assert resources.tensor_cores in tensor_cores, what
            assert resources.spilled == 0, what
        assert resources.spilled <= LARGEST_SPILL, what
    return found


@pytest.mark.parametrize("name", NAMES)
def test_small_models_are_right_in_the_interpreter(name):
    module, inputs = build(name, size="small")
    compiled = tcomp.compile(module, inputs, backend="triton", interpret=True)
    with torch.no_grad():
        outputs, eager = list_tensors(compiled(*inputs)), list_tensors(module(*inputs))
    reference = run_reference(module, inputs)
    error, eager_error = measure_error(outputs, reference), measure_error(eager, reference)
    assert is_right(error, eager_error, eager), f"{error:.2e}, eager {eager_error:.2e}"


@pytest.mark.parametrize("name", ["bert", "llama", "resnet50"])
def test_small_models_of_narrow_floats_are_right_in_the_interpreter(name):
    module, inputs = build(name, size="small", dtype=torch.bfloat16)
    compiled = tcomp.compile(module, inputs, backend="triton", interpret=True)
    with torch.no_grad():
        outputs, eager = list_tensors(compiled(*inputs)), list_tensors(module(*inputs))
    reference = run_reference(module, inputs)
    error, eager_error = measure_error(outputs, reference), measure_error(eager, reference)
    assert is_right(error, eager_error, eager), f"{error:.2e}, eager {eager_error:.2e}"


@pytest.mark.parametrize("name", NAMES)
def test_full_models_compile_for_hopper(name, tmp_path):
    found = check_resources(compile_model(*build(name), HOPPER), HOPPER, tmp_path, {"wgmma"})
    assert any(resources.tensor_cores == "wgmma" for _, _, resources in found)


@pytest.mark.parametrize("name", ["bert", "llama", "resnet50"])
def test_full_models_of_narrow_floats_compile_for_hopper(name, tmp_path):
    check_resources(compile_model(*build(name, dtype=torch.bfloat16), HOPPER), HOPPER, tmp_path, {"wgmma"})


@pytest.mark.parametrize("name", NAMES)
def test_small_models_compile_for_ampere(name, tmp_path):
    check_resources(compile_model(*build(name, size="small"), AMPERE), AMPERE, tmp_path, {"mma"})
