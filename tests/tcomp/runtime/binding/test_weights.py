"""Whatever changes a weight is noticed: no call answers with stale ones."""

import threading
from dataclasses import replace

import pytest
import torch
from compiled import Function, make_linear, random
from torch import nn

import tcomp
from tcomp.capture.capture import capture
from tcomp.options import Options
from tcomp.program.sizes import spec_of
from tcomp.runtime.binding.weights import Snapshot, Stale, Weights
from tcomp.stages.graph import compile_captured


def fill(module):
    with torch.no_grad():
        module[0].weight.mul_(2)


def load_state(module):
    module.load_state_dict({name: value * 3 for name, value in module.state_dict().items()})


def assign_state(module):
    module.load_state_dict({name: value * 3 for name, value in module.state_dict().items()}, assign=True)


def set_data(module):
    module[0].weight.data = random(8, 8, seed=7)


def replace_parameter(module):
    module[0].weight = nn.Parameter(random(8, 8, seed=7), requires_grad=False)


def replace_bias(module):
    module[0].bias.data = random(8, seed=3)


def replace_module(module):
    module[0] = nn.Linear(8, 6).requires_grad_(False)


def exchange_activation(module):
    module[1] = nn.Tanh()


def make_transposed(module):
    module[0].weight.data = random(8, 8, seed=5).t()


def convert(module):
    module.to(torch.bfloat16).to(torch.float32)


CHANGES = [
    fill, load_state, assign_state, set_data, replace_parameter, replace_bias, replace_module, exchange_activation, make_transposed,
    convert,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed(change):
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    before = compiled(random(4, 8))
    change(module)
    after = compiled(random(4, 8))
    torch.testing.assert_close(after, module(random(4, 8)))
    assert before.shape != after.shape or not torch.equal(before, after)


def test_another_element_type_compiles_again():
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    module.double()
    torch.testing.assert_close(compiled(random(4, 8).double()), module(random(4, 8).double()))


def test_weights_that_stay_are_folded_once(monkeypatch):
    module = make_linear()
    compiled = tcomp.compile(module, (random(4, 8),))
    weights = compiled.variants[0].execution.weights
    folded = []
    fold = weights._fold
    monkeypatch.setattr(weights, "_fold", lambda *arguments: (folded.append(1), fold(*arguments)))
    compiled(random(4, 8))
    assert folded == []
    fill(module)
    compiled(random(4, 8))
    compiled(random(4, 8))
    assert folded == [1]


def test_weights_of_inference_mode_are_never_stale():
    with torch.inference_mode():
        module = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        with pytest.warns(UserWarning, match="inference mode"):
            compiled = tcomp.compile(module, (random(4, 8),))
        for _ in range(2):
            module[0].weight.mul_(2)
            torch.testing.assert_close(compiled(random(4, 8)), module(random(4, 8)))


def test_tied_weights_that_part_are_noticed():
    module = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)).requires_grad_(False)
    module[1].weight = module[0].weight
    compiled = tcomp.compile(module, (random(4, 8),))
    torch.testing.assert_close(compiled(random(4, 8)), module(random(4, 8)))
    module[1].weight = nn.Parameter(random(8, 8, seed=4), requires_grad=False)
    torch.testing.assert_close(compiled(random(4, 8)), module(random(4, 8)))


def test_tensors_that_no_name_reaches_are_constants_too():
    table = random(8)
    compiled = tcomp.compile(Function(lambda x: (x * table).sum() + table.exp()), (random(8),))
    for _ in range(2):
        torch.testing.assert_close(compiled(random(8)), (random(8) * table).sum() + table.exp())
        table.add_(1)


def test_calls_from_several_threads_do_not_meet():
    module = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 8), nn.Softmax(-1)).requires_grad_(False)
    compiled = tcomp.compile(module, (random(32, 64),))
    wrong = []

    def work(seed):
        x = random(32, 64, seed=seed)
        want = module(x)
        for _ in range(50):
            if not torch.allclose(compiled(x), want, atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_made_from_weights_is_listed():
    own, other = torch.ones(2), torch.ones(3)
    copy, buffer = other.clone(), torch.empty(4)
    snapshot = Snapshot({"own": own, "other": other}, {"own": own, "other": copy}, frozenset(), ({"folded": buffer}, {}), None)
    assert [tensor.data_ptr() for tensor in snapshot.list_made()] == [copy.data_ptr(), buffer.data_ptr()]


def test_constants_elsewhere_are_copied_and_followed():
    """Of a program on a GPU, which the device "meta" stands for: a table on the CPU has a copy there."""
    table, weight = torch.ones(3), torch.ones(2, device="meta")
    program = compile_captured(capture(Function(lambda x: x * table), (torch.ones(3),)), Options())
    (name,) = program.constants
    constants = {name: program.constants[name], "weight": spec_of(weight)}
    program = replace(program, device=torch.device("meta"), moved=frozenset({name}), constants=constants, stages=())
    tensors = {name: table, "weight": weight}
    weights = Weights(program, lambda: tensors, lambda *arguments: None)
    first = weights.current()
    assert first.placed[name].device.type == "meta"
    assert first.placed["weight"] is weight
    assert weights.current() is first
    table.add_(1)
    assert weights.current() is not first
    tensors["weight"] = torch.ones(2)
    with pytest.raises(Stale, match="weight"):
        weights.forget()


def test_copies_elsewhere_lie_as_the_program_expects():
    table = torch.arange(12.0).reshape(3, 4)[:, :2]
    program = compile_captured(capture(Function(lambda x: x * table), (torch.ones(3, 2),)), Options())
    (name,) = program.constants
    program = replace(program, device=torch.device("meta"), moved=frozenset({name}), stages=())
    copy = Weights(program, lambda: {name: table}, lambda *arguments: None).current().placed[name]
    assert copy.stride() == table.stride() == (4, 1)
