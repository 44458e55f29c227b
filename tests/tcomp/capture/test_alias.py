import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tcomp
from tcomp.capture.capture import capture
from tcomp.capture.refusals import EagerOnly
from tcomp.capture.types import AliasOutput, ConstantOrigin, InputOrigin, NodeOutput, OutputOrigin
from tests.captures import Function, check

aten = torch.ops.aten


def test_output_aliases_of_inputs_keep_their_views():
    captured = check(lambda x: (x, x[1:].t(), x + 1, x.split(2, dim=1)[1]), torch.randn(3, 4))
    first, second, third, fourth = captured.outputs
    assert first == AliasOutput(InputOrigin(0), (), first.val)
    assert [step.op for step in second.steps] == [aten.slice.Tensor, aten.permute.default]
    assert isinstance(third, NodeOutput)
    assert fourth.steps[0].index == 1


def test_output_aliases_of_parameters_and_of_outputs():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3))

        def forward(self, x):
            y = x + self.weight
            return self.weight, y, y, y[1:]

    captured = check(Tied(), torch.randn(3))
    assert captured.outputs[0].of == ConstantOrigin("weight")
    assert [output.of for output in captured.outputs[2:]] == [OutputOrigin(1), OutputOrigin(1)]


def test_output_that_copies_an_input_owns_its_memory():
    def function(x):
        y = torch.empty_like(x)
        return y.copy_(x)

    captured = check(function, torch.randn(3))
    assert isinstance(captured.outputs[0], NodeOutput)


def relu_on_fresh(x):
    return (x + 1).relu_().mul_(2)


def write_row(x):
    y = x * 1
    y[0] = 5
    return y


def write_slice_seen_by_the_whole(x):
    y = x * 1
    part = y[:, 1:3]
    part.add_(10)
    return y, part


def write_whole_seen_by_the_slice(x):
    y = x * 1
    part = y.t()[1:]
    y.zero_()
    part += 1
    return part, y


def write_diagonal(x):
    y = x * 1
    y[:, :3].diagonal().fill_(7)
    return y


def write_through_split(x):
    y = x * 1
    first, second = y.chunk(2, dim=1)
    first.copy_(second)
    return y


def write_through_reshape(x):
    y = x * 1
    y.view(-1).view(2, 6).transpose(0, 1)[2].sub_(1)
    return y


def write_masked(x):
    y = x * 1
    y[y > 0] = -1.0
    return y


def write_converts(x):
    y = torch.zeros(3, 4, dtype=torch.int32)
    y.copy_(x * 10)
    z = torch.ones(3, 4, dtype=torch.bfloat16)
    z.add_(x)
    return y, z


def write_out(x):
    y = torch.empty(3, 4)
    torch.add(x, 1, out=y)
    return y


def write_strided(x):
    y = x * 1
    y.as_strided((2, 2), (4, 1), 1)
    return y.as_strided((2, 2), (4, 1), 1) + 1


def write_loop(x):
    y = torch.empty(3, 4)
    for row in range(3):
        y[row] = x[row].cumsum(0)
    return y


def reshape_in_place(x):
    y = (x * 1).unsqueeze_(0)
    y.squeeze_(0).t_()
    return y.add_(1), y.shape[0]


def reshape_in_place_what_was_written(x):
    y = x.cumsum(1)
    y.add_(1)
    shown = y[1] * 1
    y.mul_(2)
    y.unsqueeze_(0)
    return y, shown


def rebind_literal(x):
    count = torch.tensor([1.0, 2.0])
    count.mul_(3)
    return count, x.sum() + count


OF_A_COPY = [
    write_row,
    write_slice_seen_by_the_whole,
    write_whole_seen_by_the_slice,
    write_diagonal,
    write_through_split,
    write_through_reshape,
    write_masked,
]
OF_FRESH = [
    relu_on_fresh,
    write_converts,
    write_out,
    write_strided,
    write_loop,
    reshape_in_place,
    reshape_in_place_what_was_written,
    rebind_literal,
]


@pytest.mark.parametrize("function", [*OF_A_COPY, *OF_FRESH], ids=lambda function: function.__name__)
def test_writes_in_place_become_pure(function):
    captured = check(function, torch.randn(3, 4))
    assert captured.mutations == ()


@pytest.mark.parametrize("function", OF_A_COPY, ids=lambda function: function.__name__)
def test_writes_in_place_to_the_input_are_mutations(function):
    # The same programs, but with the copy left out: `x * 1` gives x itself.
    class Same(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is aten.mul.Tensor and args[1] == 1 and type(args[1]) is int:
                return args[0]
            return func(*args, **kwargs or {})

    class WithoutCopy(nn.Module):
        def forward(self, x):
            with Same():
                return function(x)

    captured = check(WithoutCopy(), torch.randn(3, 4))
    assert [mutation.of for mutation in captured.mutations] == [InputOrigin(0)]


def test_input_mutations():
    def function(x, y):
        x[:, 0] += 1
        y.t().mul_(x.sum())
        return x.view(-1), y

    captured = check(function, torch.randn(2, 3), torch.randn(3, 2))
    assert [mutation.of for mutation in captured.mutations] == [InputOrigin(0), InputOrigin(1)]
    assert [type(output) for output in captured.outputs] == [AliasOutput, AliasOutput]


def test_swapped_mutations_use_the_old_values():
    def function(x, y):
        old = x.clone()
        x.copy_(y)
        y.copy_(old)

    check(function, torch.randn(3), torch.randn(3))


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.copy_(x[:1]),
        lambda x: x[1:].copy_(x[:-1]),
        lambda x: x[1:].add_(x[:-1]),
        lambda x: x.add_(x[0]),
        lambda x: x.view(4, 2).copy_(x.view(2, 4).T),
        lambda x: torch.add(x[:4], 1, out=x[1:5]),
    ],
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_what_is_written_while_it_is_read_elsewhere_is_eagers_error(write, dynamic):
    with pytest.raises(EagerOnly, match="reads in another place"):
        capture(Function(write), (torch.arange(8.0),), dynamic=dynamic)
    x = torch.arange(8.0)
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        tcomp.compile(Function(write), fallback="silent", dynamic=dynamic)(x)
    assert x.tolist() == list(range(8))


@pytest.mark.parametrize(
    "write", [lambda x: x.add_(x), lambda x: x.mul_(x.view(8)), lambda x: x[:4].copy_(x[4:]), lambda x: x[::2].add_(x[1::2])]
)
def test_what_is_written_may_be_what_is_read(write):
    ours, theirs = torch.arange(8.0), torch.arange(8.0)
    torch.testing.assert_close(tcomp.compile(Function(write), fallback="error")(ours), write(theirs))
    torch.testing.assert_close(ours, theirs)
