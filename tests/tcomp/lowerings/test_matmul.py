"""Matrix products against eager."""

import pytest
import torch

import tcomp
from tcomp.ir.dtypes import f32
from tcomp.stages.lower_graph import find_unsupported
from tests.compiled import Function
from tests.lowering_support import capture, check, execute, find_mismatch
from tests.tcomp.lowerings.test_pointwise import example

aten = torch.ops.aten
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.int64)


def pair(first, second, dtype):
    return example(first, dtype), example(second, dtype, 1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products(dtype):
    check(torch.mm, *pair((3, 5), (5, 4), dtype), terms=5)
    check(torch.bmm, *pair((2, 3, 5), (2, 5, 4), dtype), terms=5)
    for decompose in (True, False):
        check(torch.mv, *pair((3, 5), (5,), dtype), terms=5, decompose=decompose)
        check(torch.dot, *pair((5,), (5,), dtype), terms=5, decompose=decompose)
    check(torch.matmul, *pair((2, 1, 3, 5), (4, 5, 2), dtype), terms=5)
    check(torch.outer, *pair((3,), (4,), dtype))
    check(lambda a, b: torch.einsum("bij,bkj->bik", a, b), *pair((2, 3, 5), (2, 4, 5), dtype), terms=5)


@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (2, 3), (0, 1), (0, 2)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_with_a_bias(dtype, beta, alpha):
    scales = {"beta": beta, "alpha": alpha}
    for bias in ((3, 4), (4,), (1, 4), (), (3, 1)):
        x = example(bias, dtype, 2)
        check(lambda x, a, b: torch.addmm(x, a, b, **scales), x, *pair((3, 5), (5, 4), dtype), terms=5)
    check(
        lambda x, a, b: aten.baddbmm(x, a, b, **scales),
        example((4,), dtype, 2).expand(2, 3, 4),
        *pair((2, 3, 5), (2, 5, 4), dtype),
        terms=5,
        decompose=False,
    )
    check(lambda x, a, b: aten.addmv(x, a, b, **scales), example((3,), dtype, 2), *pair((3, 5), (5,), dtype), terms=5, decompose=False)
    if dtype.is_floating_point:
        x = example((3, 4), dtype, 2)
        check(lambda x, a, b: aten.addbmm(x, a, b, **scales), x, *pair((2, 3, 5), (2, 5, 4), dtype), terms=10, decompose=False)


def test_a_bias_times_nothing_is_not_read():
    nan = torch.full((3, 4), torch.nan)
    check(lambda x, a, b: torch.addmm(x, a, b, beta=0), nan, *pair((3, 5), (5, 4), torch.float32), terms=5)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16), ids=str)
def test_linear_maps(dtype):
    for decompose in (True, False):
        for shape in ((5,), (3, 5), (2, 3, 5)):
            check(torch.nn.functional.linear, *pair(shape, (4, 5), dtype), terms=5, decompose=decompose)
            check(torch.nn.functional.linear, *pair(shape, (4, 5), dtype), example((4,), dtype, 2), terms=5, decompose=decompose)
    check(lambda x, w: aten.linear.default(x, w), *pair((2, 3, 5), (4, 5), dtype), terms=5, decompose=False)


def test_products_of_nothing():
    check(torch.mm, torch.randn(3, 0), torch.randn(0, 4))
    check(torch.mm, torch.randn(0, 3), torch.randn(3, 4))


def test_bytes_multiply_into_integers():
    a = torch.randint(-128, 128, (17, 8), dtype=torch.int8)
    check(torch._int_mm, a, torch.randint(-128, 128, (8, 8), dtype=torch.int8), decompose=False)


def test_a_product_is_a_plain_sum_and_the_bias_a_map():
    cascade = check(torch.addmm, torch.randn(4), torch.randn(3, 5), torch.randn(5, 4), terms=5)
    assert str(cascade).splitlines()[1:3] == [
        "  addmm_product: f32[i:3, j:4] = sum(r:5) arg1_1[i, r] * arg2_1[r, j]",
        "  addmm: f32[i:3, j:4] = addmm_product[i, j] + arg0_1[j]",
    ]


def test_narrow_products_are_summed_in_f32_and_rounded_once():
    cascade = check(torch.mm, *pair((3, 5), (5, 4), torch.bfloat16), terms=1)
    first, second = cascade.einsums()
    assert first.dtype == f32 and second.is_map


def test_products_of_bools_are_refused():
    (reason,) = find_unsupported(capture(aten.mm, torch.ones(2, 2) > 0, torch.ones(2, 2) > 0)).values()
    assert "bool" in str(reason) and "convert" in reason.help


def test_products_of_symbolic_sizes_serve_other_sizes():
    graph = capture(lambda x, w: torch.relu(x @ w.t()), torch.randn(2, 3, 8), torch.randn(5, 8), dynamic=True)
    arguments = [torch.randn(4, 6, 8), torch.randn(5, 8)]
    assert find_mismatch(execute(graph, arguments)[0], torch.relu(arguments[0] @ arguments[1].t()), 8) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_products_in_a_wider_type(dtype):
    """PyTorch has them on GPUs only; every product of two such numbers is exact in f32."""
    for op, shapes in ((aten.mm.dtype, ((3, 5), (5, 4))), (aten.bmm.dtype, ((2, 3, 5), (2, 5, 4)))):
        a, b = pair(*shapes, dtype)
        compiled = tcomp.compile(Function(lambda a, b, op=op: op(a, b, torch.float32)), (a, b), fallback="error")
        torch.testing.assert_close(compiled(a, b), a.float() @ b.float())
