"""What is set right in Triton's interpreter while a kernel of ours runs."""

import numpy
import pytest
import torch
import triton.language as tl
from triton.runtime.interpreter import ReduceOps, ScanOps, interpreter_builder

from tcomp.codegen.triton.interpreter import InterpretedKernel, decode, encode

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

TYPES = [(tl.bfloat16, torch.bfloat16), (tl.float8e4nv, torch.float8_e4m3fn), (tl.float8e5, torch.float8_e5m2), (tl.float16, torch.float16)]


@pytest.mark.parametrize(("dtype", "kind"), TYPES, ids=str)
def test_every_number_of_a_narrow_float_is_decoded_and_encoded(dtype, kind):
    bits = torch.arange(2 ** (8 * kind.itemsize), dtype=torch.int64)
    codes = bits.to(torch.uint8 if kind.itemsize == 1 else torch.int16)
    expected = codes.view(kind).float().numpy()
    held = codes.view(kind).numpy() if kind == torch.float16 else codes.numpy().view(f"u{kind.itemsize}")
    wide = decode(held, dtype).astype(numpy.float32)
    numpy.testing.assert_array_equal(wide, expected)
    numpy.testing.assert_array_equal(numpy.signbit(wide)[expected == 0], numpy.signbit(expected)[expected == 0])
    numbers = ~numpy.isnan(expected)
    numpy.testing.assert_array_equal(encode(expected, dtype)[numbers], held[numbers])
    assert numpy.isnan(decode(encode(numpy.array([numpy.nan], numpy.float32), dtype), dtype)).all()


@pytest.mark.parametrize(("dtype", "kind"), TYPES, ids=str)
def test_floats_are_rounded_to_nearest_even(dtype, kind):
    random = numpy.random.default_rng(0)
    wide = (random.standard_normal(5000) * 2.0 ** random.integers(-20, 9, 5000)).astype(numpy.float32)
    wide = numpy.concatenate([wide, wide.astype(numpy.float16).astype(numpy.float32) * 1.0625, [0.0, -0.0]]).astype(numpy.float32)
    wide = wide[abs(wide) < 440]
    numpy.testing.assert_array_equal(decode(encode(wide, dtype), dtype), torch.from_numpy(wide).to(kind).float().numpy())


def folds(X, Y, Z):
    i = tl.arange(0, 4)
    j = tl.arange(0, 8)
    x = tl.load(X + i[:, None] * 8 + j[None, :])
    tl.store(Y + i, tl.reduce(x, 1, smaller))
    tl.store(Y + 4, tl.reduce(x, None, smaller))
    tl.store(Z + i[:, None] * 8 + j[None, :], tl.associative_scan(x, 1, smaller))


def smaller(a, b):
    return tl.minimum(a, b)


def test_folds_and_scans():
    x, y, z = torch.randn(4, 8), torch.zeros(5), torch.zeros(4, 8)
    InterpretedKernel(folds)[(1,)](x, y, z)
    torch.testing.assert_close(y, torch.cat([x.amin(1), x.amin()[None]]), rtol=0, atol=0)
    torch.testing.assert_close(z, x.cummin(1).values, rtol=0, atol=0)


def products(X, Y):
    i = tl.arange(0, 16)
    x = tl.load(X + i[:, None] * 16 + i[None, :])
    tl.store(Y + i[:, None] * 16 + i[None, :], tl.dot(x, x))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e5m2, torch.float16, torch.float32], ids=str)
def test_products(kind):
    x, y = torch.randn(16, 16).to(kind), torch.zeros(16, 16)
    InterpretedKernel(products)[(1,)](x, y)
    torch.testing.assert_close(y, x.float() @ x.float(), rtol=1e-5, atol=1e-5)


def truths(X, Y, n):
    i = tl.arange(0, 8)
    is_few = n < 5
    tl.store(Y + i, tl.load(X + i, mask=is_few & (i < 6), other=-1.0))


def test_a_scalar_that_is_compared_masks_a_tensor():
    x, y = torch.randn(8), torch.zeros(8)
    for n in (4, 5):
        InterpretedKernel(truths)[(1,)](x, y, n)
        assert torch.equal(y, torch.where(torch.arange(8) < 6 if n < 5 else torch.zeros(8, dtype=torch.bool), x, -1.0))


def fails(X):
    tl.store(X, tl.load(X).no_such_method())


def test_the_interpreter_is_put_back_as_it_was_also_after_an_error():
    before = dict(vars(interpreter_builder)), ReduceOps.generic_reduce, ScanOps.generic_scan
    InterpretedKernel(products)[(1,)](torch.zeros(16, 16), torch.zeros(16, 16))
    with pytest.raises(Exception, match="no_such_method"):
        InterpretedKernel(fails)[(1,)](torch.zeros(1))
    after = {name: value for name, value in vars(interpreter_builder).items() if name.startswith("create_")}
    assert after == {name: value for name, value in before[0].items() if name.startswith("create_")}
    assert (ReduceOps.generic_reduce, ScanOps.generic_scan) == before[1:]
