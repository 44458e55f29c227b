"""Stages tell of indices outside their tensors, as eager does, and survive them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from compiled import Function, check
from torch import nn

import tcomp
from tcomp.machine.devices import CPU
from tcomp.program.program import EagerCall, EagerStage, Slot
from tcomp.program.sizes import spec_of
from tcomp.runtime.binding.call import Allocator, Bindings
from tcomp.runtime.runners import EagerRunner


class Lookup(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 24)

    def forward(self, ids):
        return self.words(ids) * 2


def put(x, index, values):
    return x.index_put((index,), values)


def add_at(x, index, values):
    return x.scatter_add(0, index, values)


X, I, V = torch.arange(35.0).reshape(7, 5), torch.tensor([0, 6, 3]), torch.ones(3, 5)
CASES = {
    "embedding": (Lookup().eval(), (torch.tensor([0, 49, 3]),), 0, 50),
    "gather": (lambda x, i: x.gather(0, i), (X, I[:, None].repeat(1, 5)), 1, 7),
    "index": (lambda x, i: x[i], (X, I), 1, 7),
    "index_select": (lambda x, i: x.index_select(1, i % 5 + i // 5 * 0), (X, I), None, 5),
    "index_put": (put, (X, I, V), 1, 7),
    "scatter_add": (add_at, (X, I[:, None].repeat(1, 5), V), 1, 7),
}


def compile_case(name):
    module, inputs, place, extent = CASES[name]
    module = module if isinstance(module, nn.Module) else Function(module)
    return check(module.requires_grad_(False), *inputs), inputs, place, extent


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] is not None])
def test_an_index_outside_its_tensor_raises_what_eager_raises(name):
    compiled, inputs, place, extent = compile_case(name)
    for bad in (extent, -extent - 1, 2**40, -(2**63)):
        outside = list(inputs)
        outside[place] = inputs[place].clone()
        outside[place].view(-1)[1] = bad
        # Once more: what was raised before leaves nothing behind.
        for _ in range(20):
            with pytest.raises(tcomp.IndexOutOfRange, match=f"outside the range 0 to {extent - 1}") as caught:
                compiled(*outside)
        assert isinstance(caught.value, IndexError)
    check(compiled.original, *inputs, compiled=compiled)


def test_what_eager_counts_from_the_end_is_no_error():
    check(Function(lambda x, i: x[i]), X, torch.tensor([-1, -7, 2]))
    check(Function(put), X, torch.tensor([-1, -7, 2]), V)


def test_embedding_counts_nothing_from_the_end():
    compiled, _, _, _ = compile_case("embedding")
    with pytest.raises(IndexError, match=r"an index into words\.weight is outside the range 0 to 49") as caught:
        compiled(torch.tensor([0, -1, 3]))
    assert "test_runners.py" in caught.value.where


def test_indices_that_stay_inside_by_themselves_pass():
    compile_case("index_select")


def test_calls_at_once_do_not_mix():
    compiled, _, _, _ = compile_case("embedding")
    good, bad = torch.arange(48).reshape(2, 24)[0, :3].contiguous(), torch.tensor([0, 50, 3])

    def call(number):
        try:
            compiled(bad if number % 2 else good)
        except IndexError:
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(call, range(200))) == [bool(number % 2) for number in range(200)]


def test_sizes_that_are_symbols_are_named_by_their_value():
    compiled = tcomp.compile(Function(lambda x, i: x[i]), (X, I), dynamic=True)
    with pytest.raises(IndexError, match="0 to 8"):
        compiled(torch.zeros(9, 5), torch.tensor([1, 9]))
    check(compiled.original, torch.rand(9, 5), torch.tensor([1, 8]), compiled=compiled)


def test_an_error_leaves_inputs_that_are_written_as_they_were():
    def write(x, i):
        x.add_(x[i].sum())

    compiled = check(Function(write), X, I)
    before = X.clone()
    with pytest.raises(IndexError):
        compiled(X, torch.tensor([0, 7, 1]))
    assert torch.equal(X, before)


def test_weights_that_are_indexed_when_they_are_folded_are_checked():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.arange(6.0))
            self.register_buffer("place", torch.tensor([0, 5]))

        def forward(self, x):
            return x + self.table[self.place].exp()

    module = Folded()
    compiled = check(module, torch.ones(2))
    module.place[1] = 6
    with pytest.raises(IndexError, match="0 to 5"):
        compiled(torch.ones(2))
    module.place[1] = 4
    check(module, torch.ones(2), compiled=compiled)


def test_on_a_gpu_operators_are_timed_until_they_are_done(monkeypatch):
    device, waits = torch.device("cuda", 0), []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    call = EagerCall(torch.ops.aten.exp.default, (Slot(0),), {}, 1, "exp", "", "")
    told = []
    for place, count in ((device, 2), (CPU, 0)):
        waits.clear()
        values = [torch.ones(2), None]
        EagerRunner(EagerStage((call,)), (), place).run_measured(values, (), None, lambda *clock: told.append(clock))
        assert waits == [device] * count
        torch.testing.assert_close(values[1], torch.ones(2).exp())
    assert [name for name, _ in told] == ["exp", "exp"]


def test_tensors_are_made_where_the_program_is():
    spec = spec_of(torch.empty(2, 3))
    assert Allocator(spec, (), torch.device("meta")).make(()).device.type == "meta"
    x = torch.ones(2, 3)
    assert Allocator(spec, (), CPU).fit(x, ()) is x
    # A single number on the CPU is copied to where the others are.
    moved = Allocator(spec_of(torch.tensor(1.0)), (), torch.device("meta")).fit(torch.tensor(1.0), ())
    assert moved.device.type == "meta"
    bound = Allocator(spec_of(torch.tensor(1.0)), (), CPU)
    number = torch.tensor(1.0)
    assert bound.fit(number, ()) is number


def test_bindings_do_not_trust_single_numbers_on_a_gpu():
    compiled = tcomp.compile(Function(lambda x, s: x * s), (torch.ones(3), torch.tensor(2.0)))
    (program,) = compiled.programs
    (stage,) = program.stages
    trusted = len(program.inputs)
    assert Bindings(stage, (), trusted, CPU).unchecked == []
    assert [slot for slot, _ in Bindings(stage, (), trusted, torch.device("cuda", 0)).unchecked] == [1]
