"""What a module's Python assigns and reads: forward runs as the user wrote it, and what has changed since is seen at the next call."""

import copy
import warnings
from collections import deque
from types import SimpleNamespace

import pytest
import torch
from compiled import Function, make_linear, random
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

import tcomp
from tcomp.capture.capture import capture
from tcomp.capture.refusals import ChangesState


class Stateful(nn.Module):
    """Calls `step(self, x)`."""

    def __init__(self, step, **attributes):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4), requires_grad=False)
        self.register_buffer("mean", torch.zeros(4))
        for name, value in attributes.items():
            setattr(self, name, value)
        self.step = step

    def forward(self, x):
        return self.step(self, x)


def assign_buffer(self, x):
    self.mean = self.mean * 0.5 + x.mean(0)
    return x - self.mean


def assign_attribute(self, x):
    self.hidden = torch.tanh(x.mean(0) + self.hidden)
    return x + self.hidden


def count(self, x):
    self.counter += 1
    return x * self.counter


def append(self, x):
    self.seen.append(x.sum(0))
    return x + sum(self.seen)


def put_in_dict(self, x):
    self.table["last"] = self.table["last"] + x.sum(0)
    return x * self.table["last"]


def assign_in_object(self, x):
    self.object.total = self.object.total + x.sum(0)
    return x + self.object.total


def assign_data(self, x):
    self.weight.data = self.weight.data.clamp(-0.5, 0.5) - 0.25
    return x * self.weight


def assign_to_submodule(self, x):
    self.part.scale = self.part.scale * 2
    return x * self.part.scale


def fill_cache(self, x):
    if not hasattr(self, "mask"):
        self.mask = torch.arange(4.0) + x.shape[0]
    return x * self.mask


TOTAL = 0


def count_in_global(self, x):
    global TOTAL
    TOTAL += 1
    return x * 2


KINDS = {
    "buffer": lambda: Stateful(assign_buffer),
    "attribute": lambda: Stateful(assign_attribute, hidden=torch.zeros(4)),
    "counter": lambda: Stateful(count, counter=1),
    "list": lambda: Stateful(append, seen=[]),
    "deque": lambda: Stateful(append, seen=deque(maxlen=2)),
    "dictionary": lambda: Stateful(put_in_dict, table={"last": torch.ones(4)}),
    "object": lambda: Stateful(assign_in_object, object=SimpleNamespace(total=torch.zeros(4))),
    "data": lambda: Stateful(assign_data),
    "submodule": lambda: Stateful(assign_to_submodule, part=Stateful(count, scale=1.0)),
    "cache": lambda: Stateful(fill_cache),
    "global": lambda: Stateful(count_in_global),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_forward_assigns_is_as_in_eager_at_every_call(make):
    module = make()
    eager = copy.deepcopy(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = tcomp.compile(module, (random(3, 4),))
        for seed in range(4):
            x = random(3, 4, seed=seed)
            with torch.no_grad():
                torch.testing.assert_close(compiled(x), eager(x))


def list_values(module):
    """Everything the modules of this file hold, tensors as numbers."""

    def read(value):
        if isinstance(value, torch.Tensor):
            assert not isinstance(value, FakeTensor)
            return (id(value), value.data_ptr(), value.device, value.requires_grad, value.tolist())
        if isinstance(value, dict):
            return [(key, read(item)) for key, item in value.items()]
        if isinstance(value, (list, deque)):
            return [read(item) for item in value]
        return read(vars(value)) if isinstance(value, (nn.Module, SimpleNamespace)) else value

    return read(module)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_recording_leaves_the_module_as_it_was_and_says_what_it_assigns(make):
    module = make()
    before = list_values(module), TOTAL
    with pytest.raises(ChangesState, match=r"assigns (self|the global TOTAL)"):
        capture(module, (random(3, 4),))
    assert (list_values(module), TOTAL) == before
    with pytest.raises(ChangesState):
        tcomp.compile(module, (random(3, 4),), fallback="error")
    assert (list_values(module), TOTAL) == before


def test_a_module_that_fails_is_as_it_was():
    def fail(self, x):
        self.counter += 1
        raise ValueError("no")

    module = Stateful(fail, counter=1)
    with pytest.raises(tcomp.TcompError):
        capture(module, (random(3, 4),))
    assert module.counter == 1


def test_gradients_asked_for_within_forward_are_put_back():
    def ask(self, x):
        self.weight.requires_grad_(True)
        return x * self.weight

    module = Stateful(ask)
    with pytest.raises(ChangesState, match=r"self\.weight"):
        capture(module, (random(3, 4),))
    assert not module.weight.requires_grad


def test_a_cache_is_compiled_once_it_is_full():
    module = Stateful(fill_cache)
    compiled = tcomp.compile(module)
    compiled(random(3, 4))
    compiled(random(3, 4))
    assert len(compiled.programs) == 1
    assert not isinstance(module.mask, FakeTensor)


@pytest.mark.parametrize("transform", [torch.func.hessian, torch.func.jacrev, torch.func.grad], ids=["hessian", "jacrev", "grad"])
def test_transforms_within_forward(transform):
    module = Function(lambda x: transform(lambda part: (part**3).sum())(x))
    x = random(4)
    torch.testing.assert_close(tcomp.compile(module, (x,), fallback="silent")(x), module(x))


FACTOR = 2.0
FACTORS = {"a": 1.0}


def read_global(self, x):
    return x * FACTOR * FACTORS["a"]


def change_global(module):
    global FACTOR
    FACTOR += 1


def read_default(self, x):
    return x + torch.ones(4, dtype=torch.get_default_dtype()).mean() * (self.scale if self.flag else 1)


CHANGES = {
    "number": (read_default, lambda module: setattr(module, "scale", 3.0)),
    "flag": (read_default, lambda module: setattr(module, "flag", False)),
    "dictionary": (lambda self, x: x * self.table["k"], lambda module: module.table.update(k=5.0)),
    "nested list": (lambda self, x: x * self.rows[0][1], lambda module: module.rows[0].__setitem__(1, 7.0)),
    "longer list": (lambda self, x: x * len(self.rows), lambda module: module.rows.append([1.0])),
    "tensor": (lambda self, x: x * self.tensor, lambda module: setattr(module, "tensor", torch.full((4,), 3.0))),
    "function": (lambda self, x: self.act(x), lambda module: setattr(module, "act", torch.tanh)),
    "object": (lambda self, x: x * self.object.scale, lambda module: setattr(module.object, "scale", 3.0)),
    "absent": (lambda self, x: x * getattr(self, "late", 1.0), lambda module: setattr(module, "late", 3.0)),
    "class": (lambda self, x: x * self.shared, lambda module: setattr(type(module), "shared", type(module).shared + 1)),
    "forward": (lambda self, x: x * 2, lambda module: setattr(module, "forward", lambda x: x * 3)),
    "global": (read_global, change_global),
    "global dictionary": (read_global, lambda module: FACTORS.update(a=FACTORS["a"] + 1)),
    "listed modules": (lambda self, x: self.parts[0](x), lambda module: module.parts.__setitem__(0, nn.Tanh())),
}


class Reader(Stateful):
    shared = 2.0

    def __init__(self, step):
        table, rows, parts = {"k": 1.0}, [[1.0, 2.0]], [nn.ReLU()]
        super().__init__(step, scale=2.0, flag=True, table=table, rows=rows, tensor=torch.ones(4), act=torch.relu, parts=parts)
        self.object = SimpleNamespace(scale=2.0)


@pytest.mark.parametrize(("step", "change"), CHANGES.values(), ids=CHANGES)
def test_what_forward_reads_is_never_stale(step, change):
    module = Reader(step)
    x = random(3, 4)
    compiled = tcomp.compile(module, (x,))
    with torch.no_grad():
        before = compiled(x)
        assert len(compiled.programs) == 1
        change(module)
        assert not torch.equal(module(x), before)
        torch.testing.assert_close(compiled(x), module(x))


TREES = {
    "append": lambda module: module.append(nn.Tanh()),
    "insert": lambda module: module.insert(0, nn.Tanh()),
    "remove": lambda module: module.__delitem__(1),
    "replace": lambda module: module.__setitem__(1, nn.Tanh()),
}


@pytest.mark.parametrize("change", TREES.values(), ids=TREES)
def test_a_changed_tree_of_modules_is_never_stale(change):
    module = make_linear()
    x = random(4, 8)
    compiled = tcomp.compile(module, (x,))
    with torch.no_grad():
        compiled(x)
        change(module)
        torch.testing.assert_close(compiled(x), module(x))


def test_what_forward_does_not_read_and_equal_values_change_nothing():
    module = Reader(lambda self, x: x * self.scale * self.rows[0][1])
    x = random(3, 4)
    compiled = tcomp.compile(module, (x,))
    compiled(x)
    (program,) = compiled.programs
    module.flag = False
    module.unread = 3
    module.scale = float("2.0")
    module.rows = [[1.0, 2.0]]
    compiled(x)
    assert compiled.programs == (program,)
    assert compiled.programs[0] is program


def test_what_changes_all_the_time_goes_through_torch_compile_with_one_warning():
    module = Reader(lambda self, x: x * self.scale)
    x = random(3, 4)
    compiled = tcomp.compile(module, (x,))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for step in range(14):
            module.scale = float(step)
            torch.testing.assert_close(compiled(x), x * step)
    assert sum("has had 8 values" in str(warning.message) for warning in said) == 1
    tcomp.refresh(compiled)
    compiled(x)
    assert len(compiled.programs) == 1


def test_refresh_takes_nothing_for_granted():
    held = [2.0]

    class Slots:
        __slots__ = ("scale",)

    holder = Slots()
    holder.scale = held[0]
    module = Stateful(lambda self, x: x * self.holder.scale, holder=holder)
    x = random(3, 4)
    compiled = tcomp.compile(module, (x,))
    compiled(x)
    holder.scale = 3.0
    tcomp.refresh(compiled)
    torch.testing.assert_close(compiled(x), x * 3)
    with pytest.raises(tcomp.TcompError, match="has no programs to forget"):
        tcomp.refresh(module)


def test_a_loaded_program_sees_changed_attributes(tmp_path):
    module = Reader(lambda self, x: x * self.scale)
    x = random(3, 4)
    tcomp.compile(module, (x,)).save(tmp_path / "program")
    loaded = tcomp.load(tmp_path / "program", module)
    torch.testing.assert_close(loaded(x), x * 2)
    module.scale = 3.0
    torch.testing.assert_close(loaded(x), x * 3)


@pytest.mark.parametrize("through_torch", [False, True])
def test_a_tensor_that_stands_for_zeros_is_zeros(through_torch):
    module = make_linear().requires_grad_(False)
    compiled = torch.compile(module, backend="tcomp") if through_torch else tcomp.compile(module)
    torch.testing.assert_close(compiled(torch._efficientzerotensor(4, 8)), module(torch.zeros(4, 8)))


def test_memory_that_was_freed_is_an_error():
    module = make_linear().requires_grad_(False)
    compiled = tcomp.compile(module)
    x = random(4, 8)
    compiled(x)
    freed = x.clone()
    freed.untyped_storage().resize_(0)
    with pytest.raises(tcomp.TcompError, match="memory was freed"):
        compiled(freed)
    compiled(x)
    module[0].weight.untyped_storage().resize_(0)
    with pytest.raises(tcomp.TcompError, match="memory was freed"):
        compiled(x)


WRITES = {
    "data": lambda weight: weight.data.mul_(0.5),
    "numpy": lambda weight: weight.detach().numpy().fill(0.25),
    "version": lambda weight: weight.mul_(0.5),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("width", [16, 512])
def test_written_weights_are_never_stale(write, width):
    module = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width)).requires_grad_(False)
    x = random(4, 8)
    compiled = tcomp.compile(module, (x,))
    compiled(x)
    for layer in (module[0], module[2]):
        write(layer.weight)
        torch.testing.assert_close(compiled(x), module(x))


def test_statistics_of_training_are_never_stale():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval().requires_grad_(False)
    x = random(1, 3, 8, 8)
    compiled = tcomp.compile(module, (x,))
    compiled(x)
    module.train()
    module(random(4, 3, 8, 8) * 3 + 1)
    module.eval()
    torch.testing.assert_close(compiled(x), module(x))


class Base:
    k = 3.0


class Settings(Base):
    steps = [1.0, 2.0]  # noqa: RUF012 (that it is changed is what is tried)

    def doubled(self):
        return self.k * 2


class ReadsClass(nn.Module):
    def forward(self, x):
        return x * Settings.k + Settings.steps[0]


class ReadsObject(nn.Module):
    def __init__(self):
        super().__init__()
        self.settings = Settings()

    def forward(self, x):
        return x * self.settings.doubled() + self.settings.steps[0]


@pytest.mark.parametrize("kind", [ReadsClass, ReadsObject])
@torch.no_grad()
def test_attributes_of_classes_are_not_stale(kind, monkeypatch):
    """Those of a plain object's class, and of a class that a function names, its own or inherited."""
    module = kind()
    compiled = tcomp.compile(module)
    x = torch.ones(2)

    def check():
        for _ in range(3):
            assert torch.equal(compiled(x), module(x))

    check()
    monkeypatch.setattr(Base, "k", 8.0)
    check()
    monkeypatch.setattr(Settings, "k", 9.0, raising=False)
    check()
    Settings.steps[0] = 5.0
    check()
    monkeypatch.delattr(Settings, "k")
    check()
    Settings.steps[0] = 1.0
    check()
