"""Complex tensors as pairs, against eager."""

import math

import pytest
import torch

from tcomp.ir.dtypes import f32
from tcomp.ir.errors import Unsupported
from tcomp.lowerings import LOWERINGS, PAIRED
from tcomp.stages.lower_graph import find_unsupported, lower_graph
from tcomp.torch_types import dtype_of
from tests.lowering_support import capture, check, execute, find_mismatch

aten = torch.ops.aten
DTYPES = (torch.complex64, torch.complex128)


def example(shape, dtype=torch.complex64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=dtype, generator=generator)


def edges(dtype=torch.complex64):
    """Numbers on the axes, near the circle of magnitude 1, large, small, and zeros of either sign."""
    parts = [0.0, -0.0, 0.25, -0.5, 1.0, -1.0, 0.70710678, 3.0, -40.0, 1e-20, 1e18]
    return torch.tensor([complex(a, b) for a in parts for b in parts], dtype=dtype)


MOVES = {
    "view": lambda x: x.view(2, 12).t(),
    "expand": lambda x: x[:, :1].expand(4, 6) + x,
    "slice": lambda x: x[1:, ::2],
    "select": lambda x: (x[1], x[:, -1]),
    "split": lambda x: x.split([2, 4], 1),
    "unbind": lambda x: x.unbind(0),
    "diagonal": lambda x: x.diagonal(1),
    "unfold": lambda x: x.unfold(1, 3, 2),
    "flip": lambda x: x.flip(0).roll(2, 1),
    "triangle": lambda x: (x.tril(), x.triu(1)),
    "repeat": lambda x: x.repeat(2, 1, 2),
    "pad": lambda x: (torch.nn.functional.pad(x, (1, 2)), torch.nn.functional.pad(x, (1, -1, 1, 0), value=2.0)),
    "stack": lambda x: torch.stack([x, x.conj()], 1),
    "cat": lambda x: torch.cat([x, x.real[:2]], 0),
    "clone": lambda x: x.clone(memory_format=torch.contiguous_format),
    "real and imaginary": lambda x: (x.real, x.imag, torch.view_as_real(x)),
    "of parts": lambda x: (torch.complex(x.imag, x.real), torch.view_as_complex(torch.view_as_real(x * 2).flip(0))),
    "wider": lambda x: x.to(torch.complex128),
    "narrower": lambda x: x.to(torch.complex64),
    "nonzero": lambda x: (x.bool(), x.any(1), x.all(), x.count_nonzero(0), x.logical_not(), x.logical_and(x.real)),
    "filled": lambda x: (torch.ones_like(x), torch.full_like(x, 2 - 3j), torch.zeros_like(x), x.new_full((2,), 1)),
    "unit": lambda x: torch.eye(3, dtype=x.dtype) * x[0, 0],
    "chosen": lambda x: (torch.where(x.real > 0, x, 0), torch.where(x.real > 0, x.imag, x), x.masked_fill(x.imag > 0, 1j)),
    "by index": lambda x: (x[torch.tensor([2, 0, -1])], x.index_select(1, torch.tensor([1, 3])), x.gather(1, torch.ones(4, 2).long())),
    "put": lambda x: x.index_put((torch.tensor([1, 1]),), x[:2] * 2, accumulate=True),
    "scatter": lambda x: x.scatter_add(1, torch.ones(4, 2).long(), x[:, :2]),
    "sums": lambda x: (x.sum(), x.sum(1, keepdim=True), x.mean(0), x.cumsum(1), (x * 2).sum(0), (x + 1).cumsum(0)),
    "products of halves": lambda x: (x * 1j).t().reshape(3, 8)[:, 1:].sum(0),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_moves(name, dtype):
    check(MOVES[name], example((4, 6), dtype), terms=24)


FUNCTIONS = {
    "abs": torch.abs,
    "angle": torch.angle,
    "conj": lambda x: x.conj().resolve_conj(),
    "cos": torch.cos,
    "cosh": torch.cosh,
    "cube": lambda x: x**3,
    "exp": torch.exp,
    "inverse square": lambda x: x**-2,
    "is finite": lambda x: (x.isfinite(), x.isnan(), x.isinf()),
    "log": torch.log,
    "log10": torch.log10,
    "log2": torch.log2,
    "neg": torch.neg,
    "norm": lambda x: (torch.linalg.vector_norm(x), torch.linalg.vector_norm(x, 1, 0)),
    "power": lambda x: x ** (1.5 - 0.5j),
    "reciprocal": torch.reciprocal,
    "root": lambda x: x**0.5,
    "rsqrt": torch.rsqrt,
    "sgn": torch.sgn,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_functions(name, dtype):
    check(FUNCTIONS[name], example((5, 7), dtype), terms=4)


@pytest.mark.parametrize("name", ["abs", "angle", "conj", "log", "reciprocal", "sgn", "sqrt", "tanh"])
def test_functions_at_the_edges(name):
    # In complex128: there, eager calls the C library for each element, at whatever place in memory it stands.
    check(FUNCTIONS[name], edges(torch.complex128), ulps=16, terms=1)


def test_functions_do_not_overflow_before_their_results_do():
    x = torch.tensor([1e38 + 1e38j, 1e-38 + 1e-38j, 60 + 1j, -60 + 2j, 1e30 - 1j], dtype=torch.complex64)
    for function in (torch.sqrt, torch.reciprocal, torch.tanh, lambda x: x / torch.tensor(2e38 - 2e38j)):
        (got,) = execute(capture(function, x), [x])
        assert find_mismatch(got, function(x), ulps=16) is None


BINARY = {
    "add": torch.add,
    "add scaled": lambda x, y: torch.add(x, y, alpha=2 - 1j),
    "sub": torch.sub,
    "rsub": lambda x, y: torch.rsub(x, y),
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "eq": lambda x, y: (x == y, x == x.real, x != y),
    "addcmul": lambda x, y: torch.addcmul(x, x, y, value=0.5j),
    "addcdiv": lambda x, y: torch.addcdiv(x, x, y, value=2),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arithmetic(name, dtype):
    x, y = example((3, 4), dtype), example((4,), dtype, 1)
    check(BINARY[name], x, y, terms=4)
    check(lambda x, y: BINARY[name](x, y * 1j), x, y, terms=8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_and_real_tensors_beside_complex_ones(dtype):
    x, real, whole = example((3, 4), dtype), torch.randn(4), torch.arange(4)
    check(lambda x: (x * 2, 2j * x, x - 1.5, 3 / x, (1 + 2j) - x, 2j**x), x, terms=4)
    check(lambda x, r: (x * r, r / x, x + r, r - x), x, real, terms=4)
    check(lambda x, w: (x * w, w + x), x, whole, terms=4)
    check(lambda r: (r * 1j, torch.polar(r.abs(), r), torch.exp(1j * r)), real, terms=4)


def test_types_are_those_of_eager():
    narrow, wide = example((2, 3)), torch.randn(3, dtype=torch.float64)
    number = torch.tensor(2 - 1j, dtype=torch.complex128)
    check(lambda x, w, n: (x * w, x * n, w[:2] * n, x + n.real), narrow, wide, number, terms=4)


def test_infinities_multiply_as_in_eager():
    infinity, nan = math.inf, math.nan
    values = [complex(infinity, 0), complex(1, infinity), complex(nan, 1), complex(infinity, -infinity), 1 + 2j, 0j]
    x = torch.tensor(values * 6, dtype=torch.complex128)
    y = torch.tensor([v for v in values for _ in values], dtype=torch.complex128)
    check(lambda x, y: (x * y, x + y, x * 2, x.abs(), x == y), x, y)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products(dtype):
    a, b = example((3, 5), dtype), example((5, 4), dtype, 1)
    check(torch.mm, a, b, terms=10)
    check(lambda a, b: a.conj() @ (b * 1j), a, b, terms=10)
    check(torch.bmm, example((2, 3, 5), dtype), example((2, 5, 4), dtype, 1), terms=10)
    check(torch.addmm, example((4,), dtype, 2), a, b, terms=10)
    check(lambda x, a, b: torch.addmm(x, a, b, beta=1j, alpha=2 - 1j), example((3, 4), dtype, 2), a, b, terms=10)
    for decompose in (True, False):
        check(torch.mv, a, b[:, 0].contiguous(), terms=10, decompose=decompose)
        check(torch.dot, a[0], a[1], terms=10, decompose=decompose)
        check(torch.vdot, a[0], a[1], terms=10, decompose=decompose)
    check(lambda x, w: torch.einsum("bixy,ioxy->boxy", x, w), example((2, 3, 4, 5), dtype), example((3, 6, 4, 5), dtype, 1), terms=12)


def test_a_product_is_two_real_products_over_one_right_matrix():
    cascade = str(check(torch.mm, example((3, 5)), example((5, 4), seed=1), terms=10))
    assert cascade.count("sum(") == 2
    assert cascade.count("* mm_flat[") == 2



def test_writes_through_views():
    def function(x):
        y = x.clone()
        torch.view_as_real(y)[..., 0].mul_(2)
        y.imag.add_(1)
        y[:, 1:3] = x[:, :2] * 1j
        y[0] = 2.0
        return y

    check(function, example((4, 6)))


def test_sizes_may_be_symbols():
    check(lambda x: ((x * 1j + x.conj()).sum(1), x.reshape(-1), x @ x.t()), example((4, 6)), dynamic=True, terms=12)


def test_inputs_and_results_lie_in_memory_as_pairs():
    cascade = lower_graph(capture(lambda x: x * 2j, example((3, 4))))
    assert str(cascade).startswith("cascade main(x_1: f32[3, 4, 2])")
    assert [str(extent) for extent in next(e for e in cascade.einsums() if e.name == cascade.outputs[0]).shape] == ["3", "4", "2"]
    assert dtype_of(torch.complex64) == f32


def test_sums_of_pairs_read_them_once():
    assert len(list(lower_graph(capture(lambda x: x.sum(0), example((3, 4)))).einsums())) == 1


def test_lowerings_for_real_numbers_are_never_given_complex_ones():
    """Of all operators: one that has no lowering of its own for complex numbers is refused."""
    for operator in LOWERINGS:
        if operator in PAIRED or operator._schema.arguments[0].name != "self":
            continue
        for value in (example((3, 4)), torch.ones(3, 4)):
            graph = torch.fx.Graph()
            node = graph.placeholder("x")
            node.meta["val"] = value
            call = graph.call_function(operator, (node,))
            # The rest of the arguments is not looked at: a complex operand or result alone is reason enough.
            call.meta["val"] = example((3, 4))
            graph.output((call,))
            reasons = find_unsupported(torch.fx.GraphModule(torch.nn.Module(), graph)).values()
            assert ["no lowering for complex numbers" in str(reason) for reason in reasons] == [True], operator


def test_a_comparison_that_is_not_of_complex_numbers_is_refused():
    with pytest.raises(Unsupported, match="complex numbers"):
        lower_graph(capture(lambda x: torch.cumprod(x, 0), example((3, 4)), decompose=False))
