"""Objects among arguments that are more than what they hold: told by identity, held by the module, changed, or ever new."""

import threading
import weakref
from collections import deque

import pytest
import torch
from torch import nn

import tcomp
from tcomp.capture.arguments import flatten_arguments
from tcomp.capture.capture import capture
from tcomp.capture.run import run_captured
from tcomp.ir.errors import Unsupported
from tests.captures import Function
from tests.objects import Cache, Cell, Decoder, Layer


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
        ours, theirs = ([Cell(keys=torch.ones(length, 11)) for length in lengths] for _ in range(2))
        x = torch.full((1, 11), 2.0)
        torch.testing.assert_close(compiled(ours, x), module(theirs, x))
        assert [cell.keys.shape for cell in ours] == [cell.keys.shape for cell in theirs]

    for length in range(2, 8):
        check_lengths(length, length)
    assert [len(program.symbols) for program in compiled.programs] == [0, 2]
    for length in range(2, 8):
        check_lengths(length, 9)
    assert [len(program.symbols) for program in compiled.programs] == [0, 2, 3]
