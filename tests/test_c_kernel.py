"""Compiled kernels against the evaluator of tile programs."""

import numpy
import pytest
from compiled import Run, run_compiled
from tile_programs import CASES, read_kernel

from tcomp.ir.evaluate_dtypes import round_float, storage
from tcomp.ir.tile_evaluate import evaluate_kernel
from tcomp.ir.tile_parser import parse_kernel


@pytest.mark.parametrize(("name", "make"), CASES)
def test_tile_programs_compute_what_the_evaluator_computes(name, make, tmp_path):
    kernel, case = read_kernel(name), make()
    arrays = {}
    for argument in kernel.arguments:
        held = storage(argument.dtype)
        found = case.inputs.get(argument.name)
        array = numpy.zeros(case.expected[argument.name].shape, held) if found is None else found.astype(held)
        arrays[argument.name] = round_float(array, argument.dtype) if argument.dtype.is_float else array
    expected = {n: a.copy() for n, a in arrays.items()}
    evaluate_kernel(kernel, expected, case.symbols)
    run_compiled([Run(kernel, arrays, case.symbols)], tmp_path)
    for target in case.expected:
        numpy.testing.assert_allclose(arrays[target], expected[target], rtol=1e-4, atol=1e-4)
