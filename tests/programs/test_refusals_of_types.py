"""Element types that eager refuses are refused when compiled, though PyTorch's decompositions would compute with them."""

import pytest
import torch
from compiled import Function, random
from torch.nn import functional

import tcomp

X, WIDE, WHOLE, FLAGS = random(4, 4), random(4, 4).double(), torch.arange(16).reshape(4, 4), random(4, 4) > 0
REFUSED = {
    "matrices": (torch.mm, (X, WIDE)),
    "a layer": (functional.linear, (WIDE, X)),
    "a bias": (functional.linear, (random(2, 4, 4), X, random(4).double())),
    "narrow matrices": (torch.matmul, (X, X.bfloat16())),
    "a filter": (functional.conv1d, (random(1, 4, 4), random(2, 4, 2).double())),
    "parameters of a norm": (lambda x, w: functional.layer_norm(x, (4,), w), (WIDE, random(4))),
    "statistics": (functional.batch_norm, (WIDE, random(4), random(4).abs())),
    "what is stored": (lambda x, v: x.index_put((torch.tensor([1]),), v), (X, WIDE[:1])),
    "ends": (torch.lerp, (X, WIDE, X)),
    "targets": (functional.cross_entropy, (X, torch.tensor([0, 1, 2, 3]).int())),
    "class weights": (functional.cross_entropy, (X, torch.tensor([0, 1, 2, 3]), random(4).double())),
    "the softmax of integers": (lambda x: x.softmax(0), (WHOLE,)),
    "the softplus of integers": (functional.softplus, (WHOLE,)),
    "the variance of integers": (torch.var, (WHOLE,)),
    "the absolute value of bools": (torch.abs, (FLAGS,)),
    "a difference of bools": (lambda x: 1 - x, (FLAGS,)),
    "bits of floats": (torch.bitwise_and, (X, X)),
    "a negative power of integers": (lambda x: x**-1, (WHOLE + 1,)),
    "quotients of integers": (torch.addcdiv, (WHOLE, WHOLE, WHOLE + 1)),
    "narrow indices": (lambda x, i: x.index_select(0, i), (X, torch.tensor([1], dtype=torch.int16))),
    "indices to take": (torch.take, (X, torch.tensor([1], dtype=torch.int32))),
}
SERVED = {
    "a norm of narrow floats": (lambda x, w: functional.layer_norm(x, (4,), w), (X.bfloat16(), random(4))),
    "a quotient of floats": (torch.addcdiv, (X, WHOLE, X)),
    "bits of bools": (torch.bitwise_and, (FLAGS, WHOLE)),
    "a sum of types": (torch.add, (X, WIDE)),
    "whole powers": (lambda x: x**2, (WHOLE,)),
}


def compile_both(function):
    torch._dynamo.reset()
    yield tcomp.compile(Function(function), fallback="silent")
    yield torch.compile(function, backend="tcomp", dynamic=False)


@pytest.mark.parametrize("name", REFUSED)
def test_types_that_eager_refuses(name):
    function, inputs = REFUSED[name]
    with pytest.raises(RuntimeError):
        function(*inputs)
    for compiled in compile_both(function):
        with torch.no_grad(), pytest.raises(RuntimeError):
            compiled(*inputs)


@pytest.mark.parametrize("name", SERVED)
def test_types_that_eager_serves(name):
    function, inputs = SERVED[name]
    for compiled in compile_both(function):
        torch.testing.assert_close(compiled(*inputs), function(*inputs))


def test_the_error_is_that_of_eager():
    compiled = tcomp.compile(torch.nn.Linear(4, 4).requires_grad_(False), fallback="silent")
    with pytest.raises(RuntimeError, match=r"have the same dtype"):
        compiled(WIDE)
    with pytest.raises(tcomp.TcompError, match="expected tensors of the same dtype"):
        compiled.prepare(WIDE)
