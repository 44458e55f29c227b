"""Splitting off tails: which limits a body has, what the tails are, and what is left when one is settled."""

import pytest

from tcomp.codegen.c.limits import Limit, drop_certain, find_limits, set_limit, tail_of
from tcomp.ir.expressions import as_index
from tcomp.ir.index import Bounds
from tcomp.ir.parse.tile import parse_kernel
from tcomp.ir.tile import Axis, Loop

BODY = parse_kernel("""kernel k(in X: f32[N, 100], out Y: f32[N, 100]) for N in 40..90 {
  Y[i.0, j.0] over (i.0:8 < N - i, j.0:32 < 100 - j) = 1.0
  for k in 0 .. N { Y[i.0, j.0] over (i.0:4 < N - i, j.0:32) = X[k, j.0] }
}""").body
N, I, J = map(as_index, ("N", "i", "j"))


def axes_of(body):
    return [body[0].axes, body[1].body[0].axes]


def test_limits_are_found_with_their_largest_size():
    assert find_limits(BODY, frozenset({"N", "i", "j"})) == [Limit(N - I, 8), Limit(100 - J, 32)]


def test_limits_over_variables_not_known_yet_are_left_for_later():
    assert find_limits(BODY, frozenset({"N", "i"})) == [Limit(N - I, 8)]


def test_a_limit_that_does_not_matter_is_dropped():
    assert axes_of(set_limit(BODY, N - I, None)) == [
        (Axis("i.0", 8), Axis("j.0", 32, 100 - J)),
        (Axis("i.0", 4), Axis("j.0", 32)),
    ]


def test_a_known_tail_shrinks_the_axes_that_are_longer():
    assert axes_of(set_limit(BODY, N - I, 5)) == [
        (Axis("i.0", 5), Axis("j.0", 32, 100 - J)),
        (Axis("i.0", 4), Axis("j.0", 32)),
    ]


def test_limits_that_are_proved_full_need_no_branch():
    body, left = drop_certain(BODY, [Limit(N - 30, 8), Limit(N - I, 8)], Bounds({}, {"N": (40, 90)}))
    assert left == [Limit(N - I, 8)]
    assert body == BODY


@pytest.mark.parametrize(
    ("loop", "limit", "tail"),
    [
        (Loop("for", "j", as_index(100), (), step=32), Limit(100 - J, 32), 4),
        (Loop("for", "j", as_index(96), (), step=32), Limit(96 - J, 32), 0),
        (Loop("for", "j", as_index(100), (), start=as_index(10), step=32), Limit(100 - J, 32), 26),
        (Loop("for", "j", N, (), step=32), Limit(N - J, 32), None),
        (Loop("for", "j", as_index(100), (), step=16), Limit(100 - J, 32), None),
        (Loop("for", "j", as_index(100), (), step=8), Limit(100 - J, 32), None),
        (Loop("for", "j", as_index(100), (), step=32), Limit(90 - J, 32), None),
        (Loop("for", "j", as_index(4), (), step=1), Limit(100 - 32 * J, 32), 4),
        (Loop("for", "j", as_index(3), (), step=1), Limit(100 - 32 * J, 32), 0),
        (Loop("for", "j", as_index(1), (), step=1), Limit(20 - 32 * J, 32), 20),
        (Loop("for", "j", as_index(3), (), step=1), Limit(N - 32 * J, 32), None),
        (Loop("for", "j", as_index(3), (), step=1), Limit(2 * J, 32), None),
        (Loop("for", "i", as_index(100), (), step=32), Limit(100 - J, 32), None),
    ],
)
def test_tails_of_known_loops_are_known(loop, limit, tail):
    assert tail_of(limit, (loop,), Bounds()) == tail
