"""When tensors are alive, and how many bytes of them at once."""

from tcomp.ir.cascade import Symbol
from tcomp.ir.expressions import as_index
from tcomp.passes.plan.lifetimes import Lifetime, live_bytes, smallest_bytes, smallest_lives

N = as_index("N")


def test_bytes_alive_are_aligned_and_counted_from_the_first_step_to_the_last():
    lives = (Lifetime("a", as_index(100), 0, 1), Lifetime("b", as_index(64), 1, 3), Lifetime("c", as_index(0), 0, 3))
    assert live_bytes(lives, 5) == [128, 192, 64, 64, 0]
    assert live_bytes((), 2) == [0, 0]
    assert live_bytes((), 0) == []


def test_sizes_are_smallest_where_symbols_are():
    assert smallest_bytes(N * 4 + 3, [Symbol("N", 2, 9)]) == 11
    assert smallest_bytes(100 - N, [Symbol("N", 2, 9)]) == 91
    assert smallest_bytes(100 - N, [Symbol("N")]) == 0
    lives = (Lifetime("a", N * 4, 0, 1), Lifetime("b", as_index(64), 1, 3))
    assert [life.size for life in smallest_lives(lives, [Symbol("N", 5)])] == [as_index(20), as_index(64)]
