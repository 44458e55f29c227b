"""The float64 reference is float64 throughout, and errors are measured against it without mercy."""

import math

import pytest
import torch

from tcomp.reference import divide_errors, is_right, list_tensors, measure_error, run_reference
from tcomp.zoo import build


class Narrowing(torch.nn.Module):
    """Computes in float32 whatever comes in, as many models do in their softmax."""

    def forward(self, x):
        return (x.float().softmax(-1, dtype=torch.float32).to(torch.bfloat16) * torch.ones(3, dtype=torch.float32),)


def test_the_reference_computes_in_float64_what_the_module_narrows():
    x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    (output,) = run_reference(Narrowing(), (x,))
    assert output.dtype == torch.float64
    assert torch.equal(output, x.double().softmax(-1))


@pytest.mark.parametrize("name", ["llama", "mamba", "bert"])
def test_the_reference_of_a_model_is_float64_and_near_eager(name):
    module, inputs = build(name, size="small")
    with torch.no_grad():
        eager = list_tensors(module(*inputs))
    reference = run_reference(module, inputs)
    assert all(output.dtype == torch.float64 for output in reference)
    assert 0 < measure_error(eager, reference) < 1e-5
    assert {value.dtype for value in module.parameters()} == {torch.float32}


def error(output, reference):
    return measure_error([torch.tensor(output)], [torch.tensor(reference)])


def test_the_error_is_relative_to_the_largest_value():
    assert error([0.0, 8.5], [0.25, 8.0]) == 0.5 / 8
    assert error([1.0], [1.0]) == 0
    assert error([0.0], [0.0]) == 0
    assert error([1e-30], [0.0]) == math.inf
    assert measure_error([torch.ones(0)], [torch.ones(0)]) == 0


@pytest.mark.parametrize(
    ("output", "reference"),
    [
        ([math.nan], [1.0]),
        ([1.0], [math.nan]),
        ([math.inf], [-math.inf]),
        ([math.inf], [math.nan]),
        ([math.nan], [math.inf]),
        ([math.inf], [1.0]),
        ([1.0, 2.0], [1.0]),
        ([1, 2], [1, 3]),
        ([True], [False]),
    ],
)
def test_what_is_plainly_wrong_has_an_infinite_error(output, reference):
    assert error(output, reference) == math.inf


@pytest.mark.parametrize("same", [[math.nan, 1.0], [math.inf, -math.inf, 2.0], [1, 2], [True, False]])
def test_equal_outputs_have_no_error(same):
    assert error(same, same) == 0


def test_a_missing_output_is_an_infinite_error():
    assert measure_error([], [torch.ones(1)]) == math.inf


def test_outputs_are_found_in_whatever_holds_them():
    one, two = torch.ones(1), torch.ones(2, requires_grad=True)
    found = list_tensors({"a": one, "b": (two, None, 3)})
    assert [tuple(value.shape) for value in found] == [(1,), (2,)]
    assert not found[1].requires_grad


def test_errors_are_divided():
    assert divide_errors(3e-7, 1e-7) == pytest.approx(3)
    assert divide_errors(0.0, 0.0) == 1
    assert divide_errors(1e-9, 0.0) == math.inf
    assert divide_errors(math.inf, 1e-7) == math.inf
    assert divide_errors(math.inf, math.inf) == 1


@pytest.mark.parametrize(
    ("mine", "eagers", "dtype", "right"),
    [
        (2e-6, 1e-6, torch.float32, True),
        (2.1e-6, 1e-6, torch.float32, False),
        (1e-7, 0.0, torch.float32, True),
        (2e-7, 0.0, torch.float32, False),
        (5e-3, 0.0, torch.bfloat16, True),
        (0.0, 0.0, torch.int64, True),
        (math.inf, 0.0, torch.int64, False),
        (math.inf, 1.0, torch.float32, False),
    ],
)
def test_right_is_twice_eagers_error_or_one_unit(mine, eagers, dtype, right):
    assert is_right(mine, eagers, [torch.ones(1, dtype=dtype)]) is right
