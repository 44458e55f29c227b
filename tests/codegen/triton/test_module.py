"""Loading modules of kernels."""

import torch
import triton

from tcomp.codegen.triton.interpreter import InterpretedKernel
from tcomp.codegen.triton.kernel import TritonOptions, module_source, triton_unit
from tcomp.codegen.triton.module import load_functions
from tcomp.ir.parse.tile import parse_kernel

TEXT = "kernel {name}(in X: f32[8], out Y: f32[8]) {{ Y[n.0] over (n.0:8) = {function}(X[n.0]) }}"


def make_module(folder):
    units = [
        triton_unit(parse_kernel(TEXT.format(name=name, function=function)), TritonOptions())
        for name, function in (("one", "tanh"), ("two", "exp"), ("one", "tanh"))
    ]
    path = folder / "kernels.py"
    path.write_text(module_source(units))
    return [unit.symbol for unit in units], path


def test_kernels_are_functions_of_the_compiler_or_of_the_interpreter(tmp_path):
    (one, two, again), path = make_module(tmp_path)
    assert one == again
    compiled, interpreted = load_functions(path, "jit"), load_functions(path, "interpret")
    assert list(compiled) == list(interpreted) == [one, two]
    assert all(isinstance(function, triton.JITFunction) for function in compiled.values())
    assert all(isinstance(function, InterpretedKernel) for function in interpreted.values())
    assert isinstance(compiled[one].fn.__globals__["tanh_single"], triton.JITFunction)
    x, y = torch.randn(8), torch.zeros(8)
    interpreted[one][(1,)](x, y)
    torch.testing.assert_close(y, torch.tanh(x))


def test_a_module_has_each_function_once(tmp_path):
    _, path = make_module(tmp_path)
    text = path.read_text()
    assert text.count("def tanh_single(") == 1 and text.count("def one_") == 1 and "def erfc(" not in text
    assert text.startswith('"""') and "import triton.language as tl" in text
