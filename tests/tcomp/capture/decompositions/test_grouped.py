"""Products of groups of rows and histograms are eager's, in one program."""

import pytest
import torch
from torch import nn

import tcomp
from tcomp.capture.decompositions.grouped import MOST_ROWS
from tests.captures import Function, check, targets

aten = torch.ops.aten


class Experts(nn.Module):
    """Rows times the matrices of their groups, which lie turned, as linear layers have them."""

    def __init__(self, groups, depth, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(groups, width, depth), requires_grad=False)

    def forward(self, x, ends):
        return nn.functional.grouped_mm(x, self.weight.transpose(1, 2), offs=ends)


ENDS = [
    (5, [0, 2, 2, 5]),
    (4, [4]),
    (3, [0, 0, 0, 3, 3, 3]),
    (64, [1, 40, 40, 64]),
    (64, [64, 64, 64, 64]),
    (64, [0, 0, 0, 64]),
    (200, [3, 100, 107, 200]),
    (MOST_ROWS * 3, [MOST_ROWS, 2 * MOST_ROWS, 3 * MOST_ROWS]),
]


@pytest.mark.parametrize(("count", "ends"), ENDS)
def test_products_of_groups(count, ends):
    module, ends = Experts(len(ends), 8, 12), torch.tensor(ends, dtype=torch.int32)
    x = torch.randn(count, 8)
    compiled = tcomp.compile(module, (x, ends), fallback="error")
    for other in (ends, torch.tensor([count] * len(ends), dtype=torch.int32)):
        torch.testing.assert_close(compiled(x, other), module(x, other), atol=1e-4, rtol=1e-4)
    assert sum(stage.folded != {} for program in compiled.programs for stage in program.stages) == 1


def test_one_program_serves_all_counts_of_rows():
    module, compiled = Experts(3, 8, 12), None
    for count in (40, 64, 7, 200):
        x, ends = torch.randn(count, 8), torch.tensor([count // 3, count // 3, count], dtype=torch.int32)
        compiled = compiled or tcomp.compile(module, (x, ends), dynamic=True, fallback="error")
        torch.testing.assert_close(compiled(x, ends), module(x, ends), atol=1e-4, rtol=1e-4)
    assert len(compiled.programs) == 1 and not compiled.fixed_sizes


def test_the_rows_behind_all_groups_harm_nobody():
    module, x, ends = Experts(2, 8, 12), torch.randn(64, 8), torch.tensor([10, 30], dtype=torch.int32)
    compiled = tcomp.compile(module, (x, ends), fallback="error")
    got = compiled(x, ends)
    torch.testing.assert_close(got[:30], module(x, ends)[:30], atol=1e-4, rtol=1e-4)
    assert got.shape == (64, 12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("bins", "low", "high"), [(8, 0, 7), (10, -1, 1), (3, 0.1, 0.7), (100, -5, 5), (1, 0, 1)])
def test_histograms(dtype, bins, low, high):
    values = torch.cat([torch.randn(500), torch.arange(-10, 10), torch.tensor([low, high, float("inf"), -float("inf")])]).to(dtype)
    captured = check(lambda x: torch.histc(x, bins, low, high), values.reshape(4, -1))
    assert aten.histc.default not in targets(captured)
    compiled = tcomp.compile(Function(lambda x: torch.histc(x, bins, low, high)), (values,), fallback="error")
    assert torch.equal(compiled(values), torch.histc(values, bins, low, high))


def test_what_is_left_to_eager():
    assert targets(check(lambda x: torch.histc(x, 4), torch.randn(9))) == [aten.histc.default]
