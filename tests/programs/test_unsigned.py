"""Unsigned integers of more than 8 bits, which PyTorch hardly computes with, are left to it: whatever it serves is right."""

import pytest
import torch
from compiled import Function, check_same

import tcomp

WIDE = [torch.uint16, torch.uint32, torch.uint64]
PROGRAMS = {
    "there and back": lambda x, dtype: x.to(dtype).to(torch.int32) * 2 + 1,
    "as a result": lambda x, dtype: ((x * 2).to(dtype), x + 1),
    "made": lambda x, dtype: (torch.zeros(4, dtype=dtype), torch.full((2,), 7, dtype=dtype).to(torch.int64) + x[:2]),
    "moved": lambda x, dtype: (x + 1).to(dtype).view(2, 2).t().to(torch.float32) / 2,
    "compared": lambda x, dtype: (x.to(dtype) == (x + 1).to(dtype)).any() | (x == 3),
}


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_unsigned_integers(name, dtype):
    x = torch.tensor([1, 3, 250, 60000])
    program = PROGRAMS[name]
    for function, given in ((lambda x: program(x, dtype), x), (lambda x: program(x.to(torch.int64), dtype), x.to(dtype))):
        torch._dynamo.reset()
        want = function(given)
        check_same(tcomp.compile(Function(function), (given,), fallback="silent")(given), want)
        check_same(torch.compile(function, backend="tcomp", options={"fallback": "silent"})(given), want)


def test_what_pytorch_refuses_is_refused_in_its_words():
    x = torch.tensor([1, 2], dtype=torch.uint32)
    with pytest.raises(NotImplementedError, match="UInt32"):
        x + x
    with pytest.raises(NotImplementedError, match="UInt32"):
        tcomp.compile(Function(lambda x: x + x), (x,), fallback="silent")(x)
