"""Running statements of tile programs in Triton's interpreter, beside the evaluator."""

import numpy

from tcomp.ir.evaluate.arrays import round_float, storage
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import contiguous_strides
from tests.triton_programs import run_interpreted


def make_array(argument, symbols, seed):
    """Floats near one, integers in 0..5."""
    random = numpy.random.default_rng(seed)
    shape = [extent_value(e, symbols) for e in argument.shape]
    steps = [extent_value(e, symbols) for e in argument.strides]
    dtype = argument.dtype
    if dtype.kind == "bool":
        values = random.random(shape) < 0.5
    else:
        values = random.integers(0, 6, shape) if dtype.kind == "int" else random.standard_normal(shape)
    array = numpy.asarray(values).astype(storage(dtype))
    array = round_float(array, dtype) if dtype.is_float and dtype.bits < 32 else array
    if argument.strides == contiguous_strides(argument.shape):
        return array
    memory = numpy.zeros(1 + sum((n - 1) * s for n, s in zip(shape, steps)) if all(shape) else 0, array.dtype)
    numpy.lib.stride_tricks.as_strided(memory, shape, [s * memory.itemsize for s in steps])[...] = array
    return memory


def check(text, folder, symbols=None, arrays=None, rounding=4, shuffle=None):
    """Assert that a kernel gives what the evaluator gives; return what it wrote, by name."""
    kernel = parse_kernel(text)
    symbols = symbols or {}
    made = {a.name: make_array(a, symbols, seed) for seed, a in enumerate(kernel.arguments)}
    made |= {name: array.copy() for name, array in (arrays or {}).items()}
    expected = {name: array.copy() for name, array in made.items()}
    evaluate_kernel(kernel, expected, symbols, shuffle=shuffle)
    assert run_interpreted(kernel, made, folder, symbols) == []
    for argument in kernel.arguments:
        tolerance = rounding * argument.dtype.epsilon
        numpy.testing.assert_allclose(
            made[argument.name].astype(float), expected[argument.name].astype(float), tolerance, tolerance, err_msg=argument.name
        )
    return made
