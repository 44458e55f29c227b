"""Objects among arguments: what a module assigns to them, every call assigns to those it is given."""

import gc
import threading
import weakref
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import tcomp
from tcomp.capture.arguments import flatten_arguments
from tcomp.capture.capture import capture
from tcomp.capture.run import run_captured
from tcomp.ir.errors import Unsupported
from tcomp.module import dispatch
from tests.captures import Function


class Cell:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Layer:
    """A layer of a cache that is filled in place, up to its length."""

    def __init__(self, length):
        self.length = length
        self.keys = None
        self.filled = 0

    def update(self, new):
        if self.keys is None:
            self.keys = new.new_zeros(self.length, new.shape[-1])
            self.count = torch.zeros((), dtype=torch.int64)
        place = torch.arange(new.shape[0]) + self.count
        self.keys.index_copy_(0, place, new)
        self.count.add_(new.shape[0])
        self.filled += new.shape[0]
        return self.keys


class Growing(Layer):
    def update(self, new):
        self.keys = new if self.keys is None else torch.cat([self.keys, new])
        self.filled += new.shape[0]
        return self.keys


class Cache:
    def __init__(self, kind, length=8):
        self.kind = kind
        self.length = length
        self.layers = []

    def update(self, new, index):
        while len(self.layers) <= index:
            self.layers.append(self.kind(self.length))
        return self.layers[index].update(new)


@dataclass
class Output:
    value: Tensor
    cache: Cache | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2)).requires_grad_(False)

    def forward(self, x, cache=None):
        for index, layer in enumerate(self.layers):
            keys = cache.update(layer(x), index)
            x = x + (x @ keys.mT).softmax(-1) @ keys
        return Output(x, cache)


def describe(value):
    """All that an object holds, to be compared."""
    match value:
        case Tensor():
            return value.dtype, value.stride(), value.tolist()
        case list() | tuple() | deque():
            return type(value), [describe(item) for item in value]
        case dict():
            return [(key, describe(item)) for key, item in value.items()]
        case _ if hasattr(value, "__dict__") and not isinstance(value, type):
            return type(value), describe(vars(value))
    return value


def check(function, *makers, calls=3, programs=None):
    """Compare calls of a module with eager's: what they return, and what they make of their arguments."""
    module = Function(function)
    compiled = tcomp.compile(module, fallback="error")
    ours, theirs = ([make() for make in makers] for _ in range(2))
    for _ in range(calls):
        assert describe(compiled(*ours)) == describe(module(*theirs))
        assert describe(ours) == describe(theirs)
    assert not compiled.detours
    if programs is not None:
        assert len(compiled.programs) == programs
    return compiled


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


@pytest.mark.parametrize("held", [threading.Lock(), {torch.ones(1)}, nn.Linear(2, 2), lambda x: x, iter(())])
def test_what_is_more_than_its_attributes_stays_whole(held):
    leaves, _, wholes = flatten_arguments((Cell(x=torch.ones(2), held=held),), {})
    assert wholes == () and [type(leaf) for leaf in leaves] == [Cell]
    cell = Cell(x=torch.ones(2), held=held)
    with pytest.raises(Unsupported, match="an input of type Cell, which holds a "):
        capture(Function(lambda cell: cell.x), (cell,))
    torch.testing.assert_close(tcomp.compile(Function(lambda cell: cell.x * 2), fallback="silent")(cell), torch.full((2,), 2.0))


def test_an_object_that_the_module_holds_too_is_not_split_in_two():
    class Holding(nn.Module):
        def __init__(self, cell):
            super().__init__()
            self.cell = cell

        def forward(self, cell):
            cell.x = cell.x + 1
            return self.cell.x * 2

    ours, theirs = Cell(x=torch.ones(2)), Cell(x=torch.ones(2))
    module = Holding(ours)
    with pytest.raises(Unsupported, match="an argument of type Cell that the module holds too"):
        capture(module, (ours,))
    compiled = tcomp.compile(module, fallback="silent")
    for _ in range(3):
        torch.testing.assert_close(compiled(ours), Holding(theirs)(theirs))
    torch.testing.assert_close(ours.x, theirs.x)


@pytest.mark.parametrize("kind", [dict, weakref.WeakKeyDictionary, set])
def test_objects_that_are_told_by_identity_stay_with_eager(kind):
    class Knowing(nn.Module):
        def __init__(self, cell):
            super().__init__()
            self.known = kind([cell]) if kind is set else kind({cell: 1})

        def forward(self, cell):
            return cell.x * 2 if cell in self.known else cell.x - 1

    one, other = Cell(x=torch.ones(2)), Cell(x=torch.ones(2))
    module = Knowing(one)
    compiled = tcomp.compile(module, fallback="silent")
    for cell in (one, other, one):
        torch.testing.assert_close(compiled(cell), module(cell))
    assert vars(Cell).keys().isdisjoint({"__hash__", "__getattribute__"})


class Scaled(Cell):
    scale = 2.0

    def multiply(self, x):
        return x * self.scale * FACTOR


FACTOR = 3.0


@pytest.mark.parametrize("place", ["class", "global", "method"])
def test_what_methods_of_objects_read_is_watched(place, monkeypatch):
    compiled = tcomp.compile(Function(lambda cell, x: cell.multiply(x)), fallback="error")
    assert compiled(Scaled(a=1), torch.ones(1)).item() == 6
    if place == "class":
        monkeypatch.setattr(Scaled, "scale", 5.0)
    elif place == "global":
        monkeypatch.setitem(globals(), "FACTOR", 7.5)
    else:
        monkeypatch.setattr(Scaled, "multiply", lambda self, x: x * 15)
    assert compiled(Scaled(a=1), torch.ones(1)).item() == 15
    monkeypatch.undo()
    assert compiled(Scaled(a=1), torch.ones(1)).item() == 6 and len(compiled.programs) == 2


def test_objects_that_may_be_compared_with_one_of_the_module_stay_with_eager():
    class Holding(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = Cell(x=1)

        def forward(self, x, cell):
            return x * (2 if cell is self.cell else 3)

    module = Holding()
    compiled = tcomp.compile(module, fallback="silent")
    assert [compiled(torch.ones(1), cell).item() for cell in (module.cell, Cell(x=1), module.cell, Cell(x=1))] == [2, 3, 2, 3]
    compiled = tcomp.compile(module, fallback="silent")
    assert [compiled(torch.ones(1), cell).item() for cell in (Cell(x=1), module.cell, Cell(x=1))] == [3, 2, 3]


def test_writes_to_other_containers_in_objects_are_eagers():
    def push(cell):
        cell.queue.append(cell.queue[0] + 1)
        return cell.queue[-1]

    ours, theirs = Cell(queue=deque([torch.ones(2)])), Cell(queue=deque([torch.ones(2)]))
    module = Function(push)
    compiled = tcomp.compile(module, fallback="silent")
    for _ in range(3):
        torch.testing.assert_close(compiled(ours), module(theirs))
    assert len(ours.queue) == len(theirs.queue) == 4


def test_failures_leave_objects_as_they_were():
    def fail(cell):
        cell.x = cell.x + 1
        return cell.table[cell.index]

    cell = Cell(x=torch.ones(2), table=torch.arange(3.0), index=torch.tensor([1]))
    compiled = tcomp.compile(Function(fail), (cell,), fallback="error")
    before, cell.index = cell.x, torch.tensor([5])
    with pytest.raises(IndexError):
        compiled(cell)
    assert cell.x is before


def test_shared_memory_in_objects_is_written_as_in_eager():
    def write(cell):
        cell.a.add_(1)
        return cell.b * 2

    def make():
        x = torch.arange(4.0)
        return Cell(a=x, b=x[1:])

    module = Function(write)
    compiled = tcomp.compile(module, fallback="silent")
    ours, theirs = make(), make()
    torch.testing.assert_close(compiled(ours), module(theirs))
    torch.testing.assert_close(ours.b, theirs.b)


def test_every_thread_has_its_own_objects():
    module = Decoder()
    compiled = tcomp.compile(module, fallback="error")
    faults = []

    def work(seed):
        generator = torch.Generator().manual_seed(seed)
        ours, theirs = Cache(Layer, 40), Cache(Layer, 40)
        for _ in range(30):
            x = torch.randn(1, 4, generator=generator)
            if not torch.allclose(compiled(x, ours).value, module(x, theirs).value, atol=1e-5):
                faults.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_captured_graphs_assign_too():
    cell = Cell(x=torch.ones(2))

    def step(cell):
        cell.x = cell.x * 3
        return cell

    captured = capture(Function(step), (cell,))
    assert cell.x.tolist() == [1, 1]
    assert run_captured(captured, (cell,)) is cell and cell.x.tolist() == [3, 3]


def test_inputs_are_told_by_their_classes():
    compiled = tcomp.compile(Decoder(), (torch.randn(2, 4), Cache(Layer)), fallback="error")
    assert "float32[2, 4], Cache with 0 tensors on cpu" in repr(compiled)


def test_programs_for_objects_cannot_be_saved(tmp_path):
    compiled = tcomp.compile(Function(lambda cell: cell.x * 2), (Cell(x=torch.ones(2)),))
    with pytest.raises(Unsupported, match="objects among the inputs cannot be stored"):
        compiled.save(tmp_path / "saved")


def write_zero(cell):
    cell.n = 0
    cell.flag = True
    cell.t = None
    return cell.x * 1


def test_assignments_that_change_nothing_at_first_do_later():
    compiled = tcomp.compile(Function(write_zero), fallback="error")
    for values in ({}, {"n": 3}, {"flag": False}, {"t": 5, "n": 2}, {"t": torch.ones(2)}):
        cell = Cell(**{"x": torch.ones(2), "n": 0, "flag": True, "t": None, **values})
        compiled(cell)
        assert (cell.n, cell.flag, cell.t) == (0, True, None)
    assert len(compiled.programs) == 1


def test_another_class_is_given_by_eager():
    class Other(Cell):
        pass

    def change(cell):
        cell.__class__ = Other
        return cell.x + 1

    cell = Cell(x=torch.ones(2))
    tcomp.compile(Function(change), fallback="silent")(cell)
    assert type(cell) is Other


@pytest.mark.parametrize("make", [lambda cell: {cell: cell.x * 2}, lambda cell: {cell.x: cell.x * 2}])
def test_objects_and_tensors_as_keys_are_the_callers(make):
    cell = Cell(x=torch.ones(2))
    compiled = tcomp.compile(Function(make), fallback="silent")
    for _ in range(3):
        (key,) = compiled(cell)
        assert key is cell or key is cell.x


def test_tensors_that_are_one_are_told():
    module = Function(lambda a, b: a * (2.0 if a is b else 3.0))
    compiled = tcomp.compile(module, fallback="error")
    x, y = torch.ones(2), torch.ones(2)
    assert [compiled(*given)[0].item() for given in ((x, y), (x, x), (y, x), (y, y))] == [3, 2, 3, 2]
    of_object = tcomp.compile(Function(lambda cell: cell.a * (2.0 if cell.a is cell.b else 3.0)), fallback="error")
    assert [of_object(Cell(a=a, b=b))[0].item() for a, b in ((x, y), (x, x), (y, x))] == [3, 2, 3]


def test_a_tensor_that_is_passed_twice_is_written_once(tmp_path):
    def add(a, b):
        a.add_(1)
        return a * b

    compiled = tcomp.compile(Function(add), fallback="error")
    x = torch.ones(3)
    torch.testing.assert_close(compiled(x, x), torch.full((3,), 4.0))
    assert not compiled.detours and len(compiled.programs[0].inputs) == 1
    module = Function(add)
    tcomp.compile(module, (x, x)).save(tmp_path / "saved")
    loaded = tcomp.load(tmp_path / "saved", module)
    torch.testing.assert_close(loaded(x, x), torch.full((3,), 9.0))
    torch.testing.assert_close(loaded(x, torch.ones(3)), torch.full((3,), 4.0))


def test_a_parameter_of_the_module_is_told():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2).requires_grad_(False)

        def forward(self, x, w):
            return x * (2 if w is self.linear.weight else 3)

    module = Own()
    compiled = tcomp.compile(module, fallback="silent")
    given = [module.linear.weight, torch.ones(2, 2), module.linear.weight]
    assert [compiled(torch.ones(1), w).item() for w in given] == [2, 3, 2]


def test_containers_come_back_themselves():
    def give(cell, x, values):
        cell.store["y"] = x * 2
        return cell.store, cell.items, values, [values]

    cell = Cell(store={}, items=[torch.ones(1)])
    compiled = tcomp.compile(Function(give), fallback="error")
    for _ in range(2):
        values = [torch.ones(2), 3]
        store, items, again, (inner,) = compiled(cell, torch.ones(2), values)
        assert store is cell.store and items is cell.items and again is values and inner is values


def test_lists_that_grow_end_in_eager():
    def push(cell, x):
        cell.items.append(x * 2)
        return cell.items[-1]

    cell = Cell(items=[])
    compiled = tcomp.compile(Function(push), fallback="silent")
    for number in range(30):
        compiled(cell, torch.full((2,), float(number)))
    assert [item[0].item() for item in cell.items] == [2.0 * number for number in range(30)]
    assert len(compiled.programs) == 16 and "objects among the arguments" in compiled.detours[0]


def test_counters_in_dictionaries_are_told(recwarn):
    def count_up(values, x):
        values["n"] += 1
        return x * values["n"]

    compiled = tcomp.compile(Function(count_up))
    values = {"n": 0}
    for number in range(1, 5):
        assert compiled(values, torch.ones(1)).item() == number
    assert "assigns argument" in compiled.detours[0]


def test_layers_that_grow_together_have_one_symbol_and_others_their_own():
    def step(cells, x):
        for cell in cells:
            cell.keys = torch.cat([cell.keys, x])
        return sum(cell.keys.sum(0) for cell in cells)

    module = Function(step)
    compiled = tcomp.compile(module, fallback="error")

    def check_lengths(*lengths):
        ours, theirs = ([Cell(keys=torch.ones(length, 3)) for length in lengths] for _ in range(2))
        x = torch.full((1, 3), 2.0)
        torch.testing.assert_close(compiled(ours, x), module(theirs, x))
        assert [cell.keys.shape for cell in ours] == [cell.keys.shape for cell in theirs]

    for length in range(2, 8):
        check_lengths(length, length)
    assert [len(program.symbols) for program in compiled.programs] == [0, 1]
    for length in range(2, 8):
        check_lengths(length, 9)
    assert [len(program.symbols) for program in compiled.programs] == [0, 1, 2]
