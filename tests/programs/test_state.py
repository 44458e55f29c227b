"""A module's own state: forward's assignments happen as in eager or are refused, and what it reads is never stale."""

import copy
import threading
import types
import warnings

import pytest
import torch
from torch import nn

import tcomp
from tcomp.capture.refusals import ChangesState

FACTOR = 1.0
TABLE = {"factor": 1.0}


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("total", torch.zeros(4))
        self.state = None
        self.count = 0
        self.factor = 1.0
        self.flag = False
        self.seen = []
        self.table = {"factor": 1.0}
        self.options = types.SimpleNamespace(depth=1, inner=types.SimpleNamespace(factor=1.0))


class BufferReassigned(Base):
    def forward(self, x):
        self.total = self.total + x.sum(0)
        return self.linear(x) + self.total


class AttributeKept(Base):
    def forward(self, x):
        self.state = x if self.state is None else self.state * 0.5 + x
        return self.linear(self.state)


class Counted(Base):
    def forward(self, x):
        self.count += 1
        return self.linear(x) * self.count


class Appended(Base):
    def forward(self, x):
        self.seen.append(x.mean())
        return self.linear(x) + len(self.seen)


class DictionaryWritten(Base):
    def forward(self, x):
        self.table["last"] = self.linear(x)
        return self.table["last"] * 2


class DataAssigned(Base):
    def forward(self, x):
        self.linear.weight.data = self.linear.weight.data * 0.5
        return self.linear(x)


class MaskMadeOnce(Base):
    def forward(self, x):
        if self.state is None:
            self.state = torch.ones(x.shape[-1]).cumsum(0)
        return self.linear(x) * self.state


class ObjectWritten(Base):
    def forward(self, x):
        self.options.depth = self.options.depth + 1
        return self.linear(x) * self.options.depth


ASSIGNING = [BufferReassigned, AttributeKept, Counted, Appended, DictionaryWritten, DataAssigned, MaskMadeOnce, ObjectWritten]


def describe(value):
    if isinstance(value, torch.Tensor):
        return ("tensor", type(value), value.tolist())
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, types.SimpleNamespace):
        return describe(vars(value))
    return value


def state_of(module):
    own = {name: describe(module.__dict__[name]) for name in ("state", "count", "factor", "seen", "table", "options")}
    return own, {name: tensor.tolist() for name, tensor in module.state_dict().items()}


@pytest.fixture(autouse=True)
def _silent():
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("kind", ASSIGNING)
def test_assignments_happen_at_every_call(kind):
    torch.manual_seed(0)
    ours, theirs = kind().eval(), kind().eval()
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    with torch.no_grad():
        compiled = tcomp.compile(ours)
        for _ in range(4):
            x = torch.randn(2, 4)
            torch.testing.assert_close(compiled(x), theirs(x))
    (own, tensors), (wanted, wanted_tensors) = state_of(ours), state_of(theirs)
    assert tensors.keys() == wanted_tensors.keys()
    assert own.keys() == wanted.keys() and own["count"] == wanted["count"] and len(own["seen"]) == len(wanted["seen"])
    for name, tensor in ours.state_dict().items():
        assert type(tensor) is torch.Tensor
        torch.testing.assert_close(tensor, theirs.state_dict()[name])
    if isinstance(theirs.state, torch.Tensor):
        assert type(ours.state) is torch.Tensor
        torch.testing.assert_close(ours.state, theirs.state)


@pytest.mark.parametrize("kind", ASSIGNING)
def test_recording_leaves_the_module_as_it_was(kind):
    module = kind().eval()
    weight, before = module.linear.weight, state_of(module)
    with pytest.raises(ChangesState, match="assigns self"):
        tcomp.compile(module, (torch.randn(2, 4),), fallback="error")
    assert state_of(module) == before
    assert module.linear.weight is weight and weight.is_leaf and weight.requires_grad and weight.device.type == "cpu"
    assert all(type(value) is not torch._subclasses.FakeTensor for value in module.__dict__.values())


def test_what_was_assigned_is_named():
    with pytest.raises(ChangesState, match=r"assigns self.options\.depth while"):
        tcomp.compile(ObjectWritten().eval(), (torch.randn(2, 4),), fallback="error")


def test_a_module_that_fails_while_it_is_recorded_is_left_as_it_was():
    class Fails(Base):
        def forward(self, x):
            self.count += 1
            return self.linear(x) @ x

    module = Fails().eval()
    with pytest.raises(tcomp.TcompError):
        tcomp.compile(module, (torch.randn(2, 4),), fallback="error")
    assert module.count == 0


def test_a_cache_filled_at_the_first_call_is_compiled_then():
    module = MaskMadeOnce().eval()
    x = torch.randn(2, 4)
    with torch.no_grad():
        compiled = tcomp.compile(module)
        assert [torch.allclose(compiled(x), module(x)) for _ in range(3)] == [True] * 3
    assert len(compiled.programs) == 1


class Reads(Base):
    factor_of_class = 1.0

    def forward(self, x):
        y = self.linear(x) * self.factor * self.table["factor"] * self.options.inner.factor * FACTOR * TABLE["factor"]
        y = y * self.factor_of_class * self.scaled
        return scale(y.relu() if self.flag else y) + len(self.seen)

    @property
    def scaled(self):
        return self.count + 1


def scale(x):
    return x * TABLE.get("other", 1.0)


def set_global(name, value):
    globals()[name] = value


CHANGES = {
    "float": lambda m: setattr(m, "factor", 2.0),
    "flag": lambda m: setattr(m, "flag", True),
    "read by a property": lambda m: setattr(m, "count", 2),
    "entry of a dictionary": lambda m: m.table.__setitem__("factor", 3.0),
    "another dictionary": lambda m: setattr(m, "table", {"factor": 5.0}),
    "deep in objects": lambda m: setattr(m.options.inner, "factor", 3.0),
    "list": lambda m: m.seen.append(1),
    "of the class": lambda m: setattr(Reads, "factor_of_class", 2.0),
    "hides that of the class": lambda m: setattr(m, "factor_of_class", 4.0),
    "global": lambda m: set_global("FACTOR", 2.0),
    "entry of a global": lambda m: TABLE.__setitem__("factor", 2.0),
    "read by a function that is called": lambda m: TABLE.__setitem__("other", 2.0),
    "forward": lambda m: setattr(m, "forward", types.MethodType(lambda self, x: x + 1, m)),
    "default dtype": lambda m: (torch.set_default_dtype(torch.float64), setattr(m, "factor", torch.tensor(2.0)))[0],
    "submodule": lambda m: setattr(m, "linear", nn.Linear(4, 3)),
    "tensor": lambda m: setattr(m, "factor", torch.full((4,), 2.0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_forward_reads_is_never_stale(name):
    module, x = Reads().eval(), torch.randn(3, 4)
    kept = dict(TABLE)
    try:
        with torch.no_grad():
            compiled = tcomp.compile(module, (x,))
            before = compiled(x)
            CHANGES[name](module)
            wanted = module(x)
            assert wanted.shape != before.shape or wanted.dtype != before.dtype or not torch.equal(wanted, before)
            torch.testing.assert_close(compiled(x), wanted)
            torch.testing.assert_close(compiled(x), wanted)
    finally:
        torch.set_default_dtype(torch.float32)
        set_global("FACTOR", 1.0)
        TABLE.clear()
        TABLE.update(kept)
        Reads.factor_of_class = 1.0


@pytest.mark.parametrize("come", [
    lambda m: setattr(m, "extra", 2.0),
    lambda m: m.register_buffer("extra", torch.full((4,), 2.0)),
    lambda m: setattr(m, "extra", nn.Parameter(torch.full((4,), 2.0), requires_grad=False)),
])  # fmt: skip
def test_what_forward_looked_for_in_vain_may_come(come):
    class Looks(Base):
        def forward(self, x):
            y = self.linear(x)
            return y * self.extra if hasattr(self, "extra") else y

    module, x = Looks().eval(), torch.randn(3, 4)
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,))
        come(module)
        torch.testing.assert_close(compiled(x), module(x))
        del module.extra
        torch.testing.assert_close(compiled(x), module(x))


def test_values_that_come_back_find_their_program():
    module, x = Reads().eval(), torch.randn(3, 4)
    with torch.no_grad():
        compiled = tcomp.compile(module)
        for flag in (False, True, False, True, False):
            module.flag = flag
            torch.testing.assert_close(compiled(x), module(x))
    assert len(compiled.programs) == 2


def test_what_forward_does_not_read_compiles_nothing_again():
    module, x = Reads().eval(), torch.randn(3, 4)
    with torch.no_grad():
        compiled = tcomp.compile(module)
        for step in range(20):
            module.step = step
            compiled(x)
    assert len(compiled.programs) == 1


def test_a_value_that_keeps_changing_goes_through_torch_compile():
    module, x = Reads().eval(), torch.randn(3, 4)
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = tcomp.compile(module)
        for step in range(12):
            module.factor = 1.0 + step
            torch.testing.assert_close(compiled(x), module(x))
    assert len(compiled.programs) == 8
    assert any("Reads.factor has had 8 values" in str(warning.message) for warning in caught)


def test_modules_and_parameters_appended():
    module, x = nn.Sequential(nn.Linear(4, 8)).eval(), torch.randn(3, 4)
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,))
        for layer in (nn.ReLU(), nn.Linear(8, 3)):
            module.append(layer)
            torch.testing.assert_close(compiled(x), module(x))
        del module[0], module[0]
        y = torch.randn(3, 8)
        torch.testing.assert_close(compiled(y), module(y))


def clip(module):
    for parameter in module.parameters():
        parameter.data.clamp_(-0.05, 0.05)


def step_fused(module):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1, fused=True)
    with torch.enable_grad():
        module(torch.randn(5, 16)).square().sum().backward()
    optimizer.step()


def train_statistics(module):
    module.train()
    module(torch.randn(50, 16) * 3 + 1)
    module.eval()


WRITES = {
    "data in place": lambda m: m[0].weight.data.mul_(2),
    "one element of data": lambda m: m[0].weight.data[3].__setitem__(5, 9.0),
    "numpy": lambda m: m[0].weight.detach().numpy().__setitem__((1, 2), 7.0),
    "clipped": clip,
    "fused optimizer": step_fused,
    "statistics of batches": train_statistics,
    "data assigned": lambda m: setattr(m[0].weight, "data", m[0].weight.data * 2),
}


@pytest.mark.parametrize("name", WRITES)
def test_weights_are_never_stale(name):
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).eval(), torch.randn(3, 16)
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,))
        before = compiled(x)
        WRITES[name](module)
        wanted = module(x)
        assert not torch.allclose(wanted, before)
        torch.testing.assert_close(compiled(x), wanted)


def test_large_weights_are_sampled_and_refreshed():
    """A whole write is seen in weights above 64 KiB; one element may not be, which is what refresh is for."""
    module, x = nn.Linear(256, 256).eval(), torch.randn(3, 256)
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,))
        module.weight.data.add_(1)
        torch.testing.assert_close(compiled(x), module(x))
        module.weight.data[100, 77] = 50.0
        tcomp.refresh(compiled)
        torch.testing.assert_close(compiled(x), module(x))


def test_only_compiled_modules_are_refreshed():
    with pytest.raises(tcomp.TcompError, match="a Linear has no programs to forget"):
        tcomp.refresh(nn.Linear(2, 2))


def test_zeros_without_memory_are_zeros():
    module = nn.Linear(4, 4).eval()
    with torch.no_grad():
        compiled = tcomp.compile(module)
        zeros = torch._efficientzerotensor(2, 4)
        torch.testing.assert_close(compiled(torch.ones(2, 4)), module(torch.ones(2, 4)))
        torch.testing.assert_close(compiled(zeros), module(torch.zeros(2, 4)))

    class Weighed(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("zeros", torch._efficientzerotensor(4, 4))

        def forward(self, x):
            return self.linear(x) @ (self.zeros + 1) + x @ self.zeros

    weighed, x = Weighed().eval(), torch.randn(2, 4)
    with torch.no_grad():
        compiled = tcomp.compile(weighed, (x,))
        torch.testing.assert_close(compiled(x), weighed(x))
        torch.testing.assert_close(compiled(x), weighed(x))

    class Hessian(nn.Module):
        def forward(self, x):
            return torch.func.hessian(lambda a: (a**3).sum())(x)

    x = torch.randn(3)
    torch.testing.assert_close(tcomp.compile(Hessian())(x), torch.diag(6 * x))


def test_memory_that_was_freed_is_an_error():
    module, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), torch.randn(2, 4)
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,))
        wanted = compiled(x)
        gone = torch.randn(2, 4)
        gone.untyped_storage().resize_(0)
        with pytest.raises(tcomp.TcompError, match="memory was freed"):
            compiled(gone)
        storage, kept = module[0].weight.untyped_storage(), module[0].weight.detach().clone()
        size = storage.nbytes()
        storage.resize_(0)
        with pytest.raises(tcomp.TcompError, match="memory was freed"):
            compiled(x)
        storage.resize_(size)
        module[0].weight.copy_(kept)
        torch.testing.assert_close(compiled(x), wanted)


def test_two_threads_while_an_attribute_changes():
    module, x = Reads().eval(), torch.randn(3, 4)
    wrong = []
    with torch.no_grad():
        compiled = tcomp.compile(module, (x,))
        answers = []
        for flag in (False, True):
            module.flag = flag
            answers.append(compiled(x))

    def call():
        with torch.no_grad():
            for _ in range(300):
                result = compiled(x)
                if not any(torch.allclose(result, answer) for answer in answers):
                    wrong.append(result)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(300):
        module.flag = step % 2 == 0
    for thread in threads:
        thread.join()
    assert wrong == []
