"""Interpreted programs: arguments in the order of a unit's parameters, scratch memory, checks counted by step."""

import torch
from triton_libraries import GATHER, SCALE, make_library

from tcomp.ir.expressions import as_index
from tcomp.program.kernels import KernelStep
from tcomp.runtime.gpu.interpreter import InterpretedProgram
from tcomp.runtime.gpu.layout import Layouts


def run(library, sizes, *tensors):
    symbols = library.symbols
    program = InterpretedProgram(library, lambda snapshot: [(0, tensors[0])])
    layout = Layouts(library, symbols).read(sizes)
    return program.run(None, list(enumerate(tensors))[1:-1], [(len(tensors) - 1, tensors[-1])], layout)


def test_a_kernel_reads_and_writes_tensors_of_the_caller(tmp_path):
    x, y = torch.randn(1024), torch.empty(1024)
    assert run(make_library(SCALE, tmp_path), (), x, y) is None
    assert torch.equal(y, 2 * x)


def test_symbols_scratch_and_faults_are_passed(tmp_path):
    x, y, index = torch.arange(8.0), torch.empty(5), torch.tensor([7, 0, 3, 3, 1])
    library = make_library(GATHER, tmp_path)
    assert library.kernels[0].unit.scratch
    assert run(library, (5,), x, index, y) is None
    assert torch.equal(y, x[index] + 3)


def test_the_first_check_that_failed_is_told(tmp_path):
    x, y = torch.arange(8.0), torch.empty(2)
    library = make_library(GATHER, tmp_path, (0, 0, 0), (0, 8, 4))
    assert [step.first_check for step in library.steps if isinstance(step, KernelStep)] == [0, 1]
    assert run(library, (1,), x, torch.tensor([1, 2]), y) is None
    assert run(library, (1,), x, torch.tensor([1, 8]), y) == 1
    assert run(library, (1,), x, torch.tensor([-1, 8]), y) == 0


def test_a_step_without_instances_does_nothing(tmp_path):
    library = make_library(GATHER, tmp_path)
    y = torch.ones(1)
    assert run(library, (0,), torch.arange(8.0), torch.empty(0, dtype=torch.int64), y) is None
    assert y.item() == 1
    assert library.steps[0].grid == as_index("n")
