"""Walking and rewriting einsums: no part is forgotten."""

import pytest

from tcomp.ir.cascade import print_einsum
from tcomp.ir.dtypes import i64
from tcomp.ir.expressions import Load, Ordinal, as_index, print_expression
from tcomp.ir.parse.cascade import parse_einsum
from tcomp.ir.traverse import einsum_loads, map_einsum, map_einsum_loads, move_slots, parts, rename_ranks
from tcomp.ir.walk import map_load_indices

SCATTER = parse_einsum("Y: f32[b:4, I[n, C[n]]:9] = sum(n:N) X[b, n] where M[n] from T[b, _1]")


def test_the_parts_of_an_einsum():
    assert [print_expression(part) for part in parts(SCATTER)] == ["X[b, n]", "M[n]", "T[b, _1]", "i64[b]", "i64[I[n, C[n]]]"]


def test_loads_of_all_parts():
    assert [load.tensor for load in einsum_loads(SCATTER)] == ["X", "M", "T", "I", "C"]


def test_every_load_is_exchanged():
    def read(load):
        load = map_load_indices(load, read)
        return Load(load.tensor.lower(), load.index, load.outside)

    assert print_einsum(map_einsum_loads(SCATTER, read)) == (
        "Y: f32[b:4, i[n, c[n]]:9] = sum(n:N) x[b, n] where m[n] from t[b, _1]"
    )


def test_nothing_changed_is_the_same_einsum():
    assert map_einsum(SCATTER, lambda part: part) is SCATTER
    assert rename_ranks(SCATTER, {"b": "b"}) is SCATTER


def test_ranks_are_renamed_in_every_part():
    renamed = rename_ranks(SCATTER, {"b": "n", "n": "b"})
    assert print_einsum(renamed) == "Y: f32[n:4, I[b, C[b]]:9] = sum(b:N) X[n, b] where M[b] from T[n, _1]"


@pytest.mark.parametrize(("slot", "into"), [(1, "n"), (0, "b + 1")])
def test_a_slot_keeps_its_kind(slot, into):
    old = Ordinal(SCATTER.index[slot], i64)
    new = Ordinal(as_index(into) if into == "n" else as_index("b") + 1, i64)
    with pytest.raises(AssertionError, match="may not become"):
        map_einsum(SCATTER, lambda part: new if part == old else part)


@pytest.mark.parametrize(
    ("before", "slots", "shape", "origin", "after"),
    [
        (
            "Y: f32[i:4, j:6, I[n]:9] = sum(n:N) X[i, j, n] from T[i, j, _2]",
            ("i", None),
            (24, 9),
            (0, 2),
            "Y: f32[i:24, I[n]:9] = sum(n:N) X[i, j, n] from T[i, j, _1]",
        ),
        # Places may change with one another.
        (
            "Y: f32[I[n]:9, J[n]:7] = sum(n:N) X[n] from T[_1, _0]",
            None,
            (7, 9),
            (1, 0),
            "Y: f32[J[n]:7, I[n]:9] = sum(n:N) X[n] from T[_0, _1]",
        ),
        # A slot that has become a rank is called so.
        (
            "Y: f32[I[n]:9, J[n]:7] = sum() X[n] from T[_0, _1]",
            ("n", None),
            (9, 7),
            (0, 1),
            "Y: f32[n:9, J[n]:7] = sum() X[n] from T[n, _1]",
        ),
        ("Y: f32[I[n]:9, d:8] = sum(n:N) X[n, d]", None, (8, 9), (1, 0), "Y: f32[d:8, I[n]:9] = sum(n:N) X[n, d]"),
    ],
)
def test_what_from_calls_slots_follows_them(before, slots, shape, origin, after):
    einsum = parse_einsum(before)
    named = slots or (None,) * len(origin)
    index = tuple(einsum.index[old] if name is None else as_index(name) for name, old in zip(named, origin))
    assert print_einsum(move_slots(einsum, index, tuple(map(as_index, shape)), origin)) == after
