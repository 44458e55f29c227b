"""Views against eager; each is a map of one load, so nothing is computed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tcomp.ir.errors import Unsupported
from tcomp.ir.expressions import Load
from tcomp.stages.lower_graph import find_unsupported, lower_graph
from tests.lowering_support import capture, check, execute, find_mismatch

aten = torch.ops.aten


def numbered(*shape, dtype=torch.int64):
    return torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)


VIEWS = {
    "view": lambda x: x.view(6, 20),
    "view_split": lambda x: x.view(2, 3, 2, 2, 5, 1),
    "view_across": lambda x: x.view(8, 15),
    "view_ones": lambda x: x.view(1, 2, 1, 3, 4, 5, 1),
    "flatten": lambda x: x.flatten(),
    "permute": lambda x: x.permute(2, -1, 0, 1),
    "transpose": lambda x: x.transpose(1, -1),
    "movedim": lambda x: x.movedim(0, 2),
    "expand": lambda x: x[:, :1].expand(2, 3, -1, 5),
    "expand_more": lambda x: x.expand(7, 2, 3, 4, 5),
    "slice": lambda x: x[:, 1:3, ::2, 1:-1],
    "slice_negative": lambda x: x[:, -2:, -100:2],
    "slice_empty": lambda x: x[:, 2:1],
    "select": lambda x: x[1, :, -1],
    "squeeze": lambda x: x[:, :1].squeeze(),
    "squeeze_dim": lambda x: x[:, :1].squeeze(1),
    "squeeze_nothing": lambda x: x.squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(-1).unsqueeze(0),
    "split": lambda x: x.split(2, 2),
    "split_uneven": lambda x: x.split(3, -1),
    "split_with_sizes": lambda x: x.split([1, 3], 2),
    "chunk": lambda x: x.chunk(2, 1),
    "unbind": lambda x: x.unbind(1),
    "narrow": lambda x: x.narrow(3, 1, 3),
    "unfold": lambda x: x.unfold(3, 3, 2),
    "unfold_first": lambda x: x.unfold(0, 2, 1),
    "diagonal": lambda x: x.diagonal(),
    "diagonal_above": lambda x: x.diagonal(1, -1, 1),
    "diagonal_below": lambda x: x.diagonal(-2, 2, 3),
    "repeat": lambda x: x.repeat(2, 1, 3, 1, 2),
    "as_strided": lambda x: x.as_strided((3, 4), (7, 2), 5),
    "as_strided_transposed": lambda x: x.permute(3, 1, 0, 2).as_strided((5, 3), (11, 4)),
    "alias": lambda x: x.alias() if hasattr(x, "alias") else aten.alias(x),
    "detach": lambda x: x.detach(),
    "clone": lambda x: x.clone(),
    "t": lambda x: x[0, 0].t(),
}


@pytest.mark.parametrize("decompose", [True, False], ids=["core", "kept"])
@pytest.mark.parametrize("name", VIEWS)
def test_views(name, decompose):
    cascade = check(VIEWS[name], numbered(2, 3, 4, 5), decompose=decompose)
    assert all(isinstance(einsum.expression, Load) and einsum.is_map for einsum in cascade.einsums())


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.bool), ids=str)
def test_views_keep_the_type(dtype):
    check(lambda x: x.view(6, 4).t()[1:], numbered(2, 3, 4, dtype=dtype))


DYNAMIC = {
    "merge": lambda x: x.view(x.shape[0] * x.shape[1], 8),
    "split": lambda x: x.view(x.shape[0], x.shape[1], 2, 4),
    "heads": lambda x: x.view(x.shape[0], x.shape[1], 2, 4).transpose(1, 2).reshape(-1, x.shape[1], 4),
    "flatten": lambda x: x.flatten(),
    "slice": lambda x: x[:, 1:-1, 2:],
    "last": lambda x: x[:, -1],
    "expand": lambda x: x.unsqueeze(1).expand(-1, 3, -1, -1),
    "repeat": lambda x: x.repeat(2, 3, 1),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "chunk": lambda x: x.chunk(2, -1),
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_views_of_symbolic_sizes_serve_other_sizes(name):
    graph = capture(DYNAMIC[name], numbered(3, 5, 8), dynamic=True)
    assert not find_unsupported(graph)
    assert lower_graph(graph).symbols
    other = numbered(4, 6, 8)
    want = torch.utils._pytree.tree_leaves(DYNAMIC[name](other))
    for g, w in zip(execute(graph, [other]), want, strict=True):
        assert find_mismatch(g, w) is None


@pytest.mark.parametrize(
    ("source", "shape", "expected"),
    [
        ((12, 64), (768,), "x_1[i // 64, i % 64]"),
        ((768,), (12, 64), "x_1[64*i + j]"),
        ((2, 3, 4), (2, 12), "x_1[i, j // 4, j % 4]"),
        ((2, 1, 3), (2, 3), "x_1[i, 0, j]"),
        ((4, 6), (8, 3), "x_1[i // 2, j + 3*(i % 2)]"),
        ((2, 8, 8), (2, 4, 2, 8), "x_1[i, 2*j + k, l]"),
    ],
)
def test_reshapes_are_plain_indices(source, shape, expected):
    (einsum,) = check(lambda x: x.view(shape), numbered(*source)).einsums()
    assert str(einsum.expression.tensor) == "x_1"
    assert f"x_1[{', '.join(str(i) for i in einsum.expression.index)}]" == expected


@settings(max_examples=60, deadline=None)
@given(st.permutations([2, 2, 3, 1, 5]), st.permutations([4, 3, 5, 1]), st.integers(0, 3))
def test_any_reshape(source, shape, empty):
    source, shape = list(source), list(shape)
    if empty == 0:
        source[0] = shape[0] = 0
    check(lambda x: x.view(shape), numbered(*source))


def test_views_of_nothing():
    check(lambda x: x.view(0, 5, 2), numbered(3, 0))
    check(lambda x: x.repeat(2, 2), numbered(3, 0))
    check(lambda x: x.repeat(0, 2), numbered(3, 2))
    check(lambda x: x.view(()), numbered(1, 1))
    check(lambda x: x.expand(3, 2), torch.tensor(5))
    check(lambda x: x.unfold(0, 1, 1), torch.tensor(5))


def test_as_strided_of_a_tensor_with_gaps_is_refused():
    graph = capture(lambda x: x[:, ::2].as_strided((2,), (1,)), numbered(4, 4), decompose=False)
    (reason,) = find_unsupported(graph).values()
    assert isinstance(reason, Unsupported)
    assert "gaps" in str(reason) and "contiguous" in reason.help


def test_as_strided_beyond_its_tensor_is_refused():
    graph = capture(lambda x: x[4:8].as_strided((2,), (1,), 0), numbered(10), decompose=False)
    (reason,) = find_unsupported(graph).values()
    assert "beyond" in str(reason) and "owns the memory" in reason.help


def test_a_size_that_is_no_polynomial_is_refused():
    graph = capture(lambda x: x.diagonal(), numbered(3, 5), dynamic=True)
    with pytest.raises(Unsupported, match="Min") as error:
        lower_graph(graph)
    assert "dynamic=False" in error.value.help and "diagonal" in error.value.where
