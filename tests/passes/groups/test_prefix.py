"""Which iterations only fold, and that this is read off them when they are bound to memory."""

import pytest

from tcomp.ir.expressions import print_expression
from tcomp.passes.bind.arguments import bind_group
from tcomp.passes.einsums.group import Prefix
from tcomp.passes.groups.prefix import prefix_of
from tcomp.passes.guess.fuse import fuse
from tests.gpu_groups import place_tensors, read_cascade

INPUTS = "X: f32[9, 4, 6], Y: f32[9, 4, 6]"
STEP = "S: f32[t + 1:10, i:4, j:6]"


def make_group(body):
    cascade = read_cascade(f"iterate t:9 {{ {body} }}", INPUTS, "S")
    (group,) = fuse(cascade)
    return cascade, group


@pytest.mark.parametrize(
    ("body", "fact", "value", "maps"),
    [
        (f"{STEP} = S[t, i, j] + X[t, i, j] from 0.0", Prefix("S", "sum", 1), "x0[t, i]", []),
        (f"{STEP} = exp(Y[t, i, j]) * S[t, i, j] from 1.0", Prefix("S", "prod", 0), "exp(x0[t, i])", []),
        (
            f"{STEP} = maximum(S[t, i, j], X[t, i, j]) from 0.0 Z: f32[t:9, i:4, j:6] = exp(S[t + 1, i, j])",
            Prefix("S", "max", 1),
            "x0[t, i]",
            ["Z"],
        ),
    ],
)
def test_what_only_folds(body, fact, value, maps):
    cascade, group = make_group(body)
    assert group.fact == fact
    bound = bind_group(group, place_tensors(cascade))
    fold = prefix_of(bound.group)
    assert (fold.state.name, fold.monoid, print_expression(fold.value)) == (fact.state, fact.monoid, value)
    assert [e.name for e in fold.maps] == maps


@pytest.mark.parametrize(
    "body",
    [
        f"{STEP} = S[t, i, j] - X[t, i, j] from 0.0",
        f"{STEP} = X[t, i, j] * S[t, i, j] + Y[t, i, j] from 0.0",
        f"{STEP} = S[t, i, j] + X[t, i, j] * S[t, i, j] from 0.0",
        f"{STEP} = sum(k:4) S[t, i, k] * X[t, k, j] from 0.0",
        f"{STEP} = S[t, i, j] + X[t, i, j] from 0.0 Z: f32[t:9, i:4, j:6] = exp(S[t, i, j])",
    ],
)
def test_what_does_more(body):
    _, group = make_group(body)
    assert group.kind == "scan"
    assert group.fact is None
    assert prefix_of(group) is None
