"""Objects among arguments: what a module assigns to them, every call assigns to those it is given."""

import gc
import weakref
from functools import cached_property
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import tcomp
from tcomp.capture.capture import capture
from tcomp.module import dispatch
from tests.captures import Function
from tests.objects import Cache, Cell, Decoder, Growing, Layer, check


@pytest.mark.parametrize("kind", [Layer, Growing])
def test_a_cache_is_filled_by_every_call(kind):
    module = Decoder()
    compiled = tcomp.compile(module, fallback="error")
    for _ in range(2):
        ours, theirs = Cache(kind), Cache(kind)
        for rows in (3, 1, 1, 1, 1):
            x = torch.randn(rows, 4)
            got, want = compiled(x, ours), module(x, theirs)
            torch.testing.assert_close(got.value, want.value)
            assert got.cache is ours
            torch.testing.assert_close(ours.layers[1].keys, theirs.layers[1].keys)
            assert [layer.filled for layer in ours.layers] == [layer.filled for layer in theirs.layers]
            assert type(ours.layers[0].filled) is int
    assert not compiled.detours and len(compiled.programs) <= 4


def test_what_is_written_in_place_stays_the_tensor_it_was():
    module, cache = Decoder(), Cache(Layer)
    compiled = tcomp.compile(module, fallback="error")
    compiled(torch.randn(2, 4), cache)
    layers, keys = cache.layers, cache.layers[0].keys
    compiled(torch.randn(1, 4), cache)
    assert cache.layers is layers and layers[0].keys is keys
    assert keys[2].abs().sum() > 0 and keys[3].abs().sum() == 0


def test_preparing_assigns_nothing():
    cache = Cache(Layer)
    compiled = tcomp.compile(Decoder(), (torch.randn(2, 4), cache), fallback="error")
    assert cache.layers == [] and len(compiled.programs) == 1
    compiled(torch.randn(2, 4), cache)
    assert len(cache.layers) == 2 and len(compiled.programs) == 1


def assign(cell):
    cell.new, cell.old = cell.old * 2, cell.new
    return cell.new + 1


def delete(cell):
    if hasattr(cell, "gone"):
        cell.kept = cell.gone + 1
        del cell.gone
    return cell.kept * 2


def move(cell):
    value = cell.a
    del cell.a
    cell.a = value + 1
    return value


def nest(cell):
    cell.store["y"] = cell.store["x"] * 2
    cell.store["list"].append(cell.store["y"].sum())
    cell.store["list"].insert(0, 3)
    return cell.store["y"]


def show(cell):
    cell.view = cell.x[1:]
    cell.same = cell.x
    cell.x.add_(1)
    return cell.view * 1


def put_into(cell, other):
    cell.other, other.back = other, cell
    other.value = cell.value + other.value
    return other.value


def make_new(cell):
    cell.inner = Cell(value=cell.x * 2, size=cell.x.shape, outer=cell)
    return cell.inner.value


def count(cell):
    cell.count += 1
    cell.total = cell.total + cell.x * cell.count
    return cell.total


def swap_items(cell):
    cell.items[0], cell.items[1] = cell.items[1], cell.items[0]
    return cell.items[0] - cell.items[1]


def give_back(cell):
    return {"cell": cell, "again": [cell, cell.x + 1]}


def clear(cell):
    total = sum(cell.items)
    cell.items.clear()
    cell.items.extend([total, total * 2])
    cell.store.clear()
    cell.store["total"] = total
    return total


@pytest.mark.parametrize(
    ("function", "makers"),
    [
        (assign, [lambda: Cell(old=torch.ones(3), new=torch.zeros(3))]),
        (delete, [lambda: Cell(gone=torch.ones(3))]),
        (move, [lambda: Cell(a=torch.ones(3), b=1)]),
        (nest, [lambda: Cell(store={"x": torch.ones(2), "list": [None]})]),
        (make_new, [lambda: SimpleNamespace(x=torch.arange(4.0), flag=True)]),
        (count, [lambda: Cell(x=torch.arange(4.0), total=torch.zeros(4), count=0)]),
        (swap_items, [lambda: Cell(items=[torch.arange(4.0), torch.ones(4)])]),
        (clear, [lambda: Cell(items=[torch.arange(4.0), torch.ones(4)], store={"total": 0, 1: (2, "x")})]),
    ],
)
def test_assignments_are_those_of_eager(function, makers):
    if function is make_new:
        module, cell = Function(function), makers[0]()
        tcomp.compile(module, fallback="error")(cell)
        assert cell.inner.outer is cell and cell.inner.size == (4,)
        torch.testing.assert_close(cell.inner.value, cell.x * 2)
        return
    check(function, *makers)


def test_objects_meet_as_they_do_in_eager():
    ours = Cell(value=torch.ones(2)), Cell(value=torch.ones(2))
    compiled = tcomp.compile(Function(put_into), fallback="error")
    compiled(*ours)
    assert ours[0].other is ours[1] and ours[1].back is ours[0]
    # Now each holds the other.
    compiled(*ours)
    torch.testing.assert_close(ours[1].value, torch.full((2,), 3.0))
    # And one that is passed twice is one.
    one = Cell(value=torch.ones(2))
    torch.testing.assert_close(compiled(one, one), torch.full((2,), 2.0))
    assert one.other is one and one.back is one and len(compiled.programs) == 3


def test_objects_come_back_themselves():
    cell = Cell(x=torch.ones(2))
    given = tcomp.compile(Function(give_back), fallback="error")(cell)
    assert given["cell"] is cell and given["again"][0] is cell


def test_views_that_are_assigned_show_the_callers_memory():
    check(show, lambda: Cell(x=torch.arange(4.0)), calls=1)
    cell = Cell(x=torch.arange(4.0))
    tcomp.compile(Function(show), fallback="error")(cell)
    assert cell.same is cell.x and cell.view.untyped_storage().data_ptr() == cell.x.untyped_storage().data_ptr()


def test_lists_and_tuples_of_objects():
    check(lambda cells, pair: cells[0].x + cells[1].x + pair[1]["one"].x, lambda: [Cell(x=torch.ones(2)), Cell(x=torch.zeros(2))],
          lambda: (1, {"one": Cell(x=torch.ones(2))}), programs=1)  # fmt: skip


def test_python_values_in_objects_decide():
    module = Function(lambda cell, x: x * 2 if cell.is_double else x + cell.name.count("a"))
    compiled = tcomp.compile(module, fallback="error")
    for is_double, name in [(True, ""), (False, "a"), (False, "banana"), (True, "")]:
        x = torch.randn(3)
        torch.testing.assert_close(compiled(Cell(is_double=is_double, name=name), x), module(Cell(is_double=is_double, name=name), x))
    assert len(compiled.programs) == 3


def test_a_counter_becomes_a_symbol():
    compiled = check(count, lambda: Cell(x=torch.arange(4.0), total=torch.zeros(4), count=3), calls=6)
    assert len(compiled.programs) == 2


def test_too_many_values_are_named():
    class Scaling(nn.Module):
        def forward(self, x, cell):
            return x * cell.store["scale"][1]

    compiled = tcomp.compile(Scaling(), fallback="silent")
    for number in range(12):
        cell = Cell(store={"scale": [1.0, number + 0.5]})
        torch.testing.assert_close(compiled(torch.ones(2), cell), torch.full((2,), number + 0.5))
    assert len(compiled.programs) == 8
    assert "the argument cell.store['scale'][1] has had 8 values" in tcomp.explain(compiled)


def test_what_is_not_read_makes_no_difference():
    class Batch:
        def __init__(self, x, number):
            self.x = x
            self.names = [f"sample {number}"]
            self.time = number * 0.5
            self.inner = Cell(note=str(number), scale=2.0)

    compiled = tcomp.compile(Function(lambda batch: batch.x * batch.inner.scale), fallback="error")
    for number in range(12):
        torch.testing.assert_close(compiled(Batch(torch.ones(3), number)), torch.full((3,), 2.0))
    assert len(compiled.programs) == 1
    # All of what is looked at as a whole counts.
    compiled = tcomp.compile(Function(lambda batch: batch.x * len(vars(batch.inner)["note"])), fallback="error")
    for number in (1, 2, 33):
        torch.testing.assert_close(compiled(Batch(torch.ones(3), number)), torch.full((3,), float(len(str(number)))))
    assert len(compiled.programs) == 3


def test_classes_are_as_they_were():
    class Own(Cell):
        pass

    with pytest.raises(tcomp.TcompError):
        capture(Function(lambda cell: cell.missing), (Own(x=torch.ones(2)),))
    assert "__getattribute__" not in vars(Own)


def test_what_cannot_be_compiled_is_tried_some_times(monkeypatch):
    tried = []
    real = dispatch.capture
    monkeypatch.setattr(dispatch, "capture", lambda *args, **kwargs: (tried.append(0), real(*args, **kwargs))[1])
    compiled = tcomp.compile(Function(lambda x, n: x * n if x.sum() > 0 else x - n), fallback="silent")
    for size in range(1, 16):
        for factor in (size / 2, "a" if size == 9 else size / 4):
            x = torch.ones(size)
            if isinstance(factor, float):
                torch.testing.assert_close(compiled(x, factor), x * factor)
    assert 8 <= len(tried) <= 10


class Lazy:
    def __init__(self, x):
        self.x = x

    @property
    def half(self):
        return self.x / 2

    @cached_property
    def double(self):
        return self.x * 2


def test_properties_and_what_they_cache():
    check(lambda lazy: lazy.double + lazy.half, lambda: Lazy(torch.arange(3.0)))


def test_nothing_keeps_the_objects():
    cell = Cell(x=torch.ones(2), inner=Cell(y=torch.ones(2)))
    compiled = tcomp.compile(Function(lambda cell: cell.x + cell.inner.y), fallback="error")
    compiled(cell)
    compiled(cell)
    seen = weakref.ref(cell), weakref.ref(cell.inner)
    del cell
    gc.collect()
    assert [see() for see in seen] == [None, None]
