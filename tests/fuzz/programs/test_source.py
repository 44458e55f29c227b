import contextlib
import io

import pytest
import torch

from tcomp.fuzz.programs.program import LAYOUTS, Spec, parse_program
from tcomp.fuzz.programs.source import print_script, print_tensor


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0, 3), (2, 3, 4, 5)])
def test_tensors_have_their_shape_and_type_in_every_layout(layout, shape):
    for dtype in ("float32", "bfloat16", "int64", "bool", "complex64", "uint8"):
        made = eval(print_tensor(Spec(dtype, shape, layout)))
        assert tuple(made.shape) == shape and made.dtype == getattr(torch, dtype)


def test_layouts_are_what_they_are_called():
    assert not eval(print_tensor(Spec("float32", (2, 3), "transposed"))).is_contiguous()
    assert eval(print_tensor(Spec("float32", (2, 3), "sliced"))).stride() == (7, 2)
    assert eval(print_tensor(Spec("float32", (2, 3), "offset"))).storage_offset() == 3
    assert eval(print_tensor(Spec("float32", (2, 3), "expanded"))).stride() == (0, 1)
    assert eval(print_tensor(Spec("float32", (2, 3, 4, 5), "channels_last"))).is_contiguous(memory_format=torch.channels_last)


def test_values_are_what_is_asked_for():
    assert (eval(print_tensor(Spec("float32", (50,), values="positive"))) > 0).all()
    assert eval(print_tensor(Spec("float32", (50,), values="special"))).isnan().any()
    assert set(eval(print_tensor(Spec("int64", (99,), values="below 3"))).tolist()) == {0, 1, 2}


def test_a_script_runs_by_itself_and_is_short():
    program = parse_program("program inference compile numbers=3\ninput x: float32[3]\n  t0 = x + 1\n  return t0\ncall\n")
    script = print_script(program, "values: add: of result", "element 1 is 3")
    assert len(script.splitlines()) <= 15 and "return x + 1" in script
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(script, {})
    first, second = said.getvalue().splitlines()
    assert first == second and first.startswith("tensor(")
