"""What other threads do to a module while it is recorded and compiled: nothing of it is undone, and no program is stale."""

import threading

import pytest
import torch
from torch import nn

import tcomp
from tcomp.module import dispatch

LIMIT = 30


class Steps(nn.Module):
    """Multiplies by `k`, which it reads between two moments of its first run that another thread can wait for."""

    def __init__(self):
        super().__init__()
        self.k = 1.0

    def forward(self, x):
        first = not began.is_set()
        began.set()
        assert not first or go_on.wait(LIMIT)
        k = self.k
        read.set()
        assert not first or end.wait(LIMIT)
        return x * k


began, go_on, read, end = (threading.Event() for _ in range(4))


@pytest.fixture
def steps():
    for event in (began, go_on, read, end):
        event.clear()
    return Steps()


def start(compiled):
    thread = threading.Thread(target=compiled, args=(torch.ones(3),))
    thread.start()
    assert began.wait(LIMIT)
    return thread


def test_what_another_thread_assigns_stays(steps):
    compiled = tcomp.compile(steps, fallback="error")
    thread = start(compiled)
    go_on.set()
    assert read.wait(LIMIT)
    steps.k, steps.more, steps.layer = 3.0, 5, nn.ReLU()
    end.set()
    thread.join()
    assert (steps.k, steps.more) == (3.0, 5) and list(steps._modules) == ["layer"]
    assert compiled(torch.ones(3)).tolist() == [3.0] * 3
    assert not compiled.detours


def test_what_another_thread_deletes_is_gone(steps):
    steps.more = 5
    thread = start(tcomp.compile(steps, fallback="error"))
    go_on.set()
    del steps.more
    end.set()
    thread.join()
    assert not hasattr(steps, "more")


def test_a_value_that_was_there_while_it_was_recorded_is_not_that_of_before_and_after(steps):
    compiled = tcomp.compile(steps, fallback="error")
    thread = start(compiled)
    steps.k = 2.0
    go_on.set()
    assert read.wait(LIMIT)
    steps.k = 1.0
    end.set()
    thread.join()
    assert compiled(torch.ones(3)).tolist() == [1.0] * 3


def test_what_is_assigned_while_kernels_are_compiled_is_seen(steps, monkeypatch):
    for event in (began, go_on, end):
        event.set()
    compile_captured = dispatch.compile_captured

    def assign(*args):
        steps.k = 3.0
        return compile_captured(*args)

    monkeypatch.setattr(dispatch, "compile_captured", assign)
    compiled = tcomp.compile(steps, fallback="error")
    compiled(torch.ones(3))
    assert compiled(torch.ones(3)).tolist() == [3.0] * 3


def test_modes_that_change_while_kernels_are_compiled_are_seen(monkeypatch):
    module = nn.Sequential(nn.Dropout(1.0)).eval()
    compile_captured = dispatch.compile_captured

    def train(*args):
        monkeypatch.undo()
        module.train()
        return compile_captured(*args)

    monkeypatch.setattr(dispatch, "compile_captured", train)
    compiled = tcomp.compile(module)
    compiled(torch.ones(3))
    assert compiled(torch.ones(3)).tolist() == [0.0] * 3
    assert module.eval() is module and compiled(torch.ones(3)).tolist() == [1.0] * 3


class Restless(nn.Module):
    """Has another thread assign whenever it runs."""

    def __init__(self):
        super().__init__()
        self.k = 1.0

    def forward(self, x):
        thread = threading.Thread(target=setattr, args=(self, "k", self.k + 1))
        thread.start()
        thread.join()
        return x * 2


def test_a_module_that_is_never_left_alone_runs_as_it_is():
    module = Restless()
    with pytest.raises(tcomp.Unsupported, match="another thread assigns to the module"):
        tcomp.compile(module, fallback="error")(torch.ones(3))
    compiled = tcomp.compile(module)
    assert compiled(torch.ones(3)).tolist() == [2.0] * 3
    with pytest.warns(UserWarning, match=r"another thread assigns .* goes to the original module"):
        assert compiled(torch.ones(3)).tolist() == [2.0] * 3
    k = module.k
    assert compiled(torch.ones(3)).tolist() == [2.0] * 3 and module.k == k + 1, "it is not recorded again"
