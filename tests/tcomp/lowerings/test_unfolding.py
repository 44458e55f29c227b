"""Windows as columns, and back, against eager."""

import pytest
import torch

from tests.lowering_support import check

aten = torch.ops.aten

OPTIONS = [
    # kernel, dilation, padding, stride
    ((2, 3), (1, 1), (0, 0), (1, 1)),
    ((2, 3), (2, 1), (1, 2), (2, 3)),
    ((3, 3), (2, 2), (2, 2), (2, 3)),
    ((2, 2), (1, 1), (0, 0), (3, 3)),
    ((1, 1), (1, 1), (0, 0), (1, 1)),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_columns(options):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 9)
    columns = aten.im2col(x, *options)
    check(lambda x: aten.im2col(x, *options), x, decompose=False)
    check(lambda x: aten.im2col(x, *options), x[0], decompose=False)
    check(lambda x: aten.col2im(x, [8, 9], *options), columns, terms=9, decompose=False)
    check(lambda x: aten.col2im(x, [8, 9], *options), columns[0].bfloat16(), decompose=False)
