"""Whether the same objects are in the same places: told alike for few places and for many."""

import pytest

from tcomp.runtime.binding import watch
from tcomp.runtime.binding.watch import Watch


@pytest.fixture(params=["a function without a loop", "loops"])
def most(request, monkeypatch):
    monkeypatch.setattr(watch, "MOST_SPELT", 64 if request.param == "a function without a loop" else -1)


def make():
    table, row = {"a": [1], "it's \\ {x}\n": (2,)}, [object(), object()]
    return table, row, Watch([(table, "a"), (table, "it's \\ {x}\n"), (row, 1)], [table])


CHANGES = {
    "another object": lambda table, row: table.update({"a": [1]}),
    "another object in a list": lambda table, row: row.__setitem__(1, object()),
    "a place that is gone": lambda table, row: table.pop("a"),
    "an index that is gone": lambda table, row: row.pop(),
    "one more": lambda table, row: table.update(b=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_is_seen(most, change):
    table, row, places = make()
    check = places.make_check()
    assert check()
    row[0] = object()
    assert check(), "that place is not watched"
    table["a"] = table["a"]
    assert check() and check()
    CHANGES[change](table, row)
    assert not check()


def test_what_two_watch_is_watched_as_each_found_it(most):
    _, row, places = make()
    other = Watch([(row, 0)])
    check = places.joined(other).make_check()
    assert check()
    row[0] = object()
    assert not check()


def test_nothing_is_as_it_was(most):
    assert Watch().make_check()()


def test_keys_that_no_text_stands_for():
    key = object()
    table = {key: 1}
    check = Watch([(table, key)]).make_check()
    assert check()
    table[key] = 2
    assert not check()


class Holder:
    """Whose attributes the interpreter writes as it finds fastest after some calls."""

    def __init__(self):
        self.value, self.other = object(), object()

    def replace(self):
        self.value = object()

    def write_elsewhere(self):
        self.other = object()


WRITES = {
    "an assignment": lambda holder: holder.replace(),
    "setattr": lambda holder: setattr(holder, "value", object()),
    "the dictionary": lambda holder: vars(holder).update(value=object()),
    "a dictionary in its place": lambda holder: vars(holder).__ior__({"value": object()}),
    "a removal": lambda holder: delattr(holder, "value"),
}


@pytest.mark.parametrize("write", WRITES)
def test_every_write_to_an_object_is_seen(most, write):
    for _ in range(100):
        holder = Holder()
        check = Watch([(vars(holder), "value")]).make_check()
        assert check() and check()
        holder.write_elsewhere()
        assert check() and check()
        WRITES[write](holder)
        assert not check() and not check()
