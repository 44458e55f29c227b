"""Objects among results: which are opened, which are handed out as they are, and which are refused."""

import dataclasses
import enum
import threading
from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import tcomp
from tcomp.capture.capture import capture
from tcomp.capture.objects import flatten_results, is_plain_kind
from tcomp.capture.run import run_captured
from tcomp.ir.errors import Unsupported
from tcomp.structure import Structure
from tests.captures import Function

Pair = namedtuple("Pair", "first second")


class Store:
    """A cache of keys and values, layer by layer."""

    made = 0

    def __init__(self, **attributes):
        Store.made += 1
        vars(self).update(attributes)


class Kind(enum.Enum):
    PLAIN = 1


@dataclasses.dataclass
class Output:
    value: torch.Tensor
    store: Store | None = None


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Copied(Store):
    def __deepcopy__(self, memo):
        return self


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4).requires_grad_(False)
        self.norm = nn.LayerNorm(4).requires_grad_(False)

    def forward(self, x):
        y = self.linear(x)
        layers = [Store(key=y, value=y.T, weight=self.linear.weight), Store(key=y * 2, size=y.shape[0])]
        store = Store(layers=layers, last=layers[-1], norm=self.norm, kind=Kind.PLAIN, make=Store, more={"pair": Pair(y, (x, 1))})
        store.itself = store
        return {"output": Output(y.relu(), store), "store": store, "x": x}


def unflatten(result):
    leaves, structure = flatten_results(result, lambda value: False)
    assert isinstance(structure, Structure) and not structure.is_leaf()
    return structure.unflatten(leaves)


def check_layer(run, module):
    for x in (torch.randn(3, 4), torch.randn(3, 4)):
        want, got = module(x), run(x)
        torch.testing.assert_close(got["output"].value, want["output"].value)
        ours, theirs = got["store"], want["store"]
        assert vars(ours).keys() == vars(theirs).keys() and type(ours) is Store
        assert ours is got["output"].store and ours.itself is ours and ours.last is ours.layers[1]
        assert ours.norm is module.norm and ours.kind is Kind.PLAIN and ours.make is Store
        assert ours.layers[1].size == 3
        for mine, other in zip(ours.layers, theirs.layers, strict=True):
            torch.testing.assert_close(mine.key, other.key)
        torch.testing.assert_close(ours.layers[0].value, theirs.layers[0].value, check_stride=True)
        assert ours.layers[0].value.data_ptr() == ours.layers[0].key.data_ptr() == ours.more["pair"].first.data_ptr()
        assert ours.layers[0].weight is module.linear.weight and ours.more["pair"].second[0] is x and got["x"] is x


def test_objects_come_out_as_from_the_module():
    module = Layer()
    captured = capture(module, (torch.randn(3, 4),))
    check_layer(lambda x: run_captured(captured, (x,)), module)


def test_objects_come_out_of_one_program():
    module = Layer()
    compiled = tcomp.compile(module, (torch.randn(3, 4),), fallback="error")
    check_layer(compiled, module)
    assert len(compiled.programs) == 1 and not compiled.detours


def test_objects_are_new_at_every_call_and_their_constructor_does_not_run():
    compiled = tcomp.compile(Layer(), (torch.randn(3, 4),))
    before = Store.made
    first, second = compiled(torch.randn(3, 4)), compiled(torch.randn(3, 4))
    assert Store.made == before
    assert first["store"] is not second["store"] and first["store"].layers is not second["store"].layers


def test_sizes_within_objects_follow_the_inputs():
    compiled = tcomp.compile(Layer(), (torch.randn(3, 4),), dynamic=True, fallback="error")
    assert [compiled(torch.randn(size, 4))["store"].last.size for size in (3, 5, 9)] == [3, 5, 9]
    assert len(compiled.programs) == 1


def test_what_the_module_has_had_before_is_its_own():
    class Holding(nn.Module):
        def __init__(self):
            super().__init__()
            self.settings = SimpleNamespace(size=3)

        def forward(self, x):
            return Store(value=x * self.settings.size, settings=self.settings)

    module = Holding()
    with pytest.raises(Unsupported, match="an output of type SimpleNamespace that the module has had before"):
        capture(module, (torch.ones(2),))
    compiled = tcomp.compile(module, fallback="silent")
    for _ in range(2):
        module.settings = SimpleNamespace(size=3)
        assert compiled(torch.randn(3, 4)).settings is module.settings


def test_what_was_recorded_keeps_no_objects_of_the_recording():
    seen = []

    def forward(x):
        seen.append(Store(value=x + 1))
        return seen.pop()

    captured = capture(Function(forward), (torch.ones(2),))
    torch.testing.assert_close(run_captured(captured, (torch.ones(2),)).value, torch.full((2,), 2.0))


@pytest.mark.parametrize("value", [[1], {"a": 2}, OrderedDict(b=3), (4, [5]), Pair(6, {7: None}), SimpleNamespace(c=8)])
def test_containers_within_objects(value):
    made = unflatten(Store(value=value, again=value))
    assert made.value == value and type(made.value) is type(value)
    assert made.value is made.again and made.value is not value


def test_a_container_may_hold_itself_only_where_it_can_be_filled_later():
    items = []
    items.append(Store(items=items))
    made = unflatten(items[0])
    assert made.items[0] is made
    ordered = OrderedDict()
    ordered["all"] = ordered
    with pytest.raises(Unsupported, match="an output of type OrderedDict that holds itself"):
        unflatten(Store(value=ordered))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (Slotted(1), "flattened output 0.value"),
        (Copied(), "flattened output 0.value"),
        ([object()], r"flattened output 0.value\[0\]"),
        (threading.Lock(), "flattened output 0.value"),
        ((lambda x: lambda: x)(3), "flattened output 0.value"),
    ],
)
def test_what_is_more_than_its_attributes_is_refused(value, where):
    assert not is_plain_kind(type(value))
    with pytest.raises(Unsupported, match="an output of type") as caught:
        flatten_results(Store(value=value), lambda value: False)
    assert str(caught.value.where) == where.replace("\\", "")


def test_objects_as_keys_are_refused():
    with pytest.raises(Unsupported, match="an output of type Store as a key of a dictionary"):
        flatten_results(Store(value={Store(): 1}), lambda value: False)


def test_objects_among_arguments_are_not_handed_out_as_they_are():
    class Holding(nn.Module):
        def forward(self, x, more):
            return Store(value=x + more["y"], more=more)

    captured = capture(Holding(), (torch.ones(2), {"y": torch.ones(2)}))
    given = {"y": torch.full((2,), 3.0)}
    made = run_captured(captured, (torch.ones(2), given))
    assert made.more["y"] is given["y"]
    torch.testing.assert_close(made.value, torch.full((2,), 4.0))


def test_objects_cannot_be_saved(tmp_path):
    compiled = tcomp.compile(Layer(), (torch.randn(3, 4),))
    with pytest.raises(Unsupported, match="objects among the outputs cannot be stored"):
        compiled.save(tmp_path / "saved")
