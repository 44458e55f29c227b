"""Convolutions and their gradients against eager."""

import pytest
import torch
import torch.nn.functional as F

from tests.lowering_support import check

aten = torch.ops.aten

PLAIN = [
    # input, weight, stride, padding, dilation, groups
    ((2, 4, 9), (6, 4, 3), [1], [0], [1], 1),
    ((2, 4, 9), (6, 2, 3), [2], [1], [2], 2),
    ((1, 3, 8, 7), (5, 3, 3, 2), [1, 1], [1, 1], [1, 1], 1),
    ((2, 4, 9, 8), (6, 4, 3, 3), [2, 3], [1, 0], [1, 1], 1),
    ((2, 4, 9, 8), (6, 4, 1, 1), [2, 2], [0, 0], [1, 1], 1),
    ((2, 4, 9, 8), (6, 4, 4, 4), [4, 4], [0, 0], [1, 1], 1),
    ((2, 4, 9, 8), (8, 2, 3, 2), [1, 2], [2, 1], [2, 1], 2),
    ((2, 4, 9, 8), (4, 1, 3, 3), [2, 2], [1, 1], [1, 1], 4),
    ((2, 4, 9, 8), (8, 1, 3, 3), [1, 1], [1, 1], [2, 2], 4),
    ((2, 4, 9, 8), (4, 4, 3, 3), [3, 2], [2, 2], [2, 2], 1),
    ((1, 2, 5, 6, 4), (4, 2, 3, 2, 2), [1, 2, 2], [1, 0, 1], [1, 1, 1], 1),
    ((1, 1, 1, 1), (1, 1, 1, 1), [1, 1], [0, 0], [1, 1], 1),
    ((0, 2, 4, 4), (3, 2, 3, 3), [1, 1], [1, 1], [1, 1], 1),
]

TRANSPOSED = [
    # input, weight, stride, padding, output_padding, dilation, groups
    ((2, 4, 5), (4, 6, 3), [1], [0], [0], [1], 1),
    ((2, 4, 5), (4, 3, 4), [2], [1], [1], [1], 2),
    ((2, 4, 5, 4), (4, 6, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1], 1),
    ((2, 4, 5, 4), (4, 6, 2, 5), [3, 2], [0, 2], [2, 1], [1, 1], 1),
    ((2, 4, 5, 4), (4, 6, 3, 2), [2, 1], [0, 1], [0, 0], [2, 3], 1),
    ((2, 4, 5, 4), (4, 1, 3, 3), [2, 2], [1, 1], [0, 0], [1, 1], 4),
    ((1, 2, 3, 4, 2), (2, 3, 2, 3, 2), [2, 1, 2], [0, 1, 0], [1, 0, 0], [1, 1, 1], 1),
]

CASES = [(x, w, s, p, d, False, [0] * len(s), g) for x, w, s, p, d, g in PLAIN] + [
    (x, w, s, p, d, True, o, g) for x, w, s, p, o, d, g in TRANSPOSED
]


def terms(weight, transposed) -> int:
    """Elements in the longest sum, over channels and taps."""
    count = weight.numel() // weight.shape[1 if transposed else 0]
    return 2 * max(count, 1)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
def test_convolution(case, has_bias):
    size, kernel, stride, padding, dilation, transposed, output_padding, groups = case
    torch.manual_seed(0)
    x, weight = torch.randn(size), torch.randn(kernel)
    bias = torch.randn(kernel[1] * groups if transposed else kernel[0]) if has_bias else None

    def convolve(x, weight, bias):
        return aten.convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)

    check(convolve, x, weight, bias, terms=terms(weight, transposed))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolution_backward(case):
    size, kernel, stride, padding, dilation, transposed, output_padding, groups = case
    torch.manual_seed(0)
    x, weight = torch.randn(size), torch.randn(kernel)
    y = aten.convolution(x, weight, None, stride, padding, dilation, transposed, output_padding, groups)

    def backward(gradient, x, weight):
        options = (stride, padding, dilation, transposed, output_padding, groups)
        return aten.convolution_backward(gradient, x, weight, [y.shape[1]], *options, [True, True, True])

    check(backward, torch.randn_like(y), x, weight, terms=2 * max(weight.numel(), y.numel() // y.shape[1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floats_round_once(dtype):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(s).to(dtype) for s in ((2, 8, 6, 6), (4, 8, 3, 3), (4,)))
    cascade = check(lambda x, w, b: F.conv2d(x, w, b, padding=1), x, weight, bias, terms=2)
    wide = "f64" if dtype == torch.float64 else "f32"
    assert cascade.statements[0].dtype.name == wide


def test_integers():
    x, weight = torch.randint(-9, 9, (2, 3, 6, 6)), torch.randint(-9, 9, (4, 3, 3, 3))
    check(lambda x, w: aten.convolution(x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1), x, weight)


def test_the_mask_says_which_gradients_are_computed():
    x, weight, gradient = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3), torch.randn(1, 3, 3, 3)

    def backward(gradient, x, weight):
        return aten.convolution_backward(gradient, x, weight, [3], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [False, True, False])[1]

    cascade = check(backward, gradient, x, weight, terms=50)
    assert len(cascade.statements) == 1


def test_a_padded_convolution_is_one_contraction():
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    (einsum,) = check(lambda x, w: F.conv2d(x, w, stride=2, padding=1), x, weight, terms=60).statements[:1]
    assert str(einsum.expression.arguments[0].index[2]) == "2*k + s - 1"
    assert einsum.where is None


def test_depthwise_has_no_channel_rank():
    x, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3)
    (einsum,) = check(lambda x, w: F.conv2d(x, w, padding=1, groups=4), x, weight, terms=20).statements[:1]
    assert [r.extent.constant for r in einsum.reduced] == [3, 3]
    assert str(einsum.expression.arguments[0].index[1]) == "j"


def test_symbolic_batch():
    x, weight = torch.randn(3, 4, 8, 8), torch.randn(6, 4, 3, 3)
    cascade = check(lambda x, w: F.conv2d(x, w, padding=1), x, weight, terms=80, dynamic=True)
    assert cascade.symbols


def test_the_gradient_of_a_small_network():
    """Convolutions, pooling and their gradients together, as autograd differentiates them."""
    torch.manual_seed(0)

    def loss(parameters, x, labels):
        dense, bias, depthwise, linear = parameters
        h = F.max_pool2d(F.relu(F.conv2d(x, dense, bias, stride=2, padding=1)), 3, 2, 1)
        h = F.adaptive_avg_pool2d(F.gelu(F.conv2d(h, depthwise, padding=1, groups=4)), (2, 3))
        return F.cross_entropy(F.avg_pool2d(h, 2).flatten(1) @ linear, labels)

    parameters = (torch.randn(4, 3, 3, 3), torch.randn(4), torch.randn(4, 1, 3, 3), torch.randn(4, 5))
    x, labels = torch.randn(2, 3, 17, 16), torch.tensor([1, 4])
    check(lambda p, x, y: torch.func.grad(loss)(p, x, y), parameters, x, labels, terms=100)
