"""A kind of kernel is a record: this one, which no guess proposes, needs nothing but this file."""

import numpy
import pytest

from tcomp.ir.errors import Illegal, Unsupported
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.expressions import Load
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.target import Cpu
from tcomp.ir.walk import walk
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds.kind import Kind
from tcomp.passes.kinds.table import KINDS
from tcomp.passes.lower.lowering import parallel_nest
from tcomp.passes.pipeline import apply
from tests.gpu_targets import HOPPER
from tests.program_runner import random_inputs, run_compiled, small_target


def found(statement, static, symbols):
    """A map that reads two tensors, each once."""
    is_pair = getattr(statement, "is_map", False) and sum(isinstance(node, Load) for node in walk(statement.expression)) == 2
    return Group("pair", (statement,), statement.free) if is_pair else None


def propose(bound, target, is_atomic):
    """Point by point."""
    names = tuple(rank.name for rank in bound.group.outer)
    yield KernelSchedule("kernel", bound.group.names, "pair", (), names, names), frozenset()


def lower(lowering):
    """One statement under the loops of its ranks."""
    group = lowering.bound.group
    (einsum,) = group.members
    lowering.cut(group.outer)
    axes = lowering.axes(rank.name for rank in group.outer)
    return parallel_nest(lowering, lowering.schedule.order, (lowering.store(einsum, lowering.expression(einsum.expression), axes),))


def tell(group, is_gpu):
    """What it is."""
    return f"{group.members[0].name} pairs two tensors", ""


PAIR = Kind("pair", "one loop a rank", tell, propose={Cpu: propose}, lower={Cpu: lower}, found=found)

CASCADE = parse_cascade("""cascade c(X: f32[6, 8], Y: f32[6, 8]) -> (Z) {
  S: f32[i:6, j:8] = X[i, j] + Y[i, j]
  Z: f32[i:6, j:8] = exp(S[i, j])
}""")


def schedule(target, kernels, rest="address S 0 arena 192"):
    return parse_schedule(f'schedule for "{target.name}" {{ {kernels} {rest} }}')


def test_a_kind_of_another_file_computes_and_is_told():
    target = small_target()
    text = "kernel s = pair(S) tile (i:4) order (i) parallel (i) lanes i kernel z = nest(Z) tile (i:4) order (i) parallel (i) lanes i"
    compiled = apply(CASCADE, schedule(target, text), target, kinds={**KINDS, PAIR.name: PAIR})
    assert [group.kind for group in compiled.main.groups] == ["pair", "nest"]
    inputs = random_inputs(CASCADE)
    numpy.testing.assert_allclose(run_compiled(compiled, inputs)["Z"], evaluate(CASCADE, inputs, float64=True)["Z"])
    assert PAIR.tell(compiled.main.groups[0], False)[0] == "S pairs two tensors"


def test_a_kind_that_a_target_lacks_is_unsupported():
    with pytest.raises(Unsupported, match="there are no kernels of kind pair for a GPU") as caught:
        PAIR.for_target(PAIR.lower, type(HOPPER))
    assert "another kind" in caught.value.help
    text = "kernel s = pair(S) order (i) parallel (i) warps 1 stages 2 kernel z = nest(Z) order (i) parallel (i) warps 1 stages 2"
    with pytest.raises(Illegal, match="there are no kernels of kind pair for a GPU") as refused:
        apply(CASCADE, schedule(HOPPER, text), HOPPER, kinds={**KINDS, PAIR.name: PAIR})
    assert refused.value.clause == ("kernel", 0)


def test_a_kind_takes_what_it_says():
    target = small_target()
    with pytest.raises(Illegal, match="Z cannot be computed by a pair") as caught:
        apply(CASCADE, schedule(target, "kernel s = nest(S) kernel z = pair(Z)"), target, kinds={**KINDS, PAIR.name: PAIR})
    assert "nest" in caught.value.help
    with pytest.raises(Illegal, match="there is no kind of kernel 'pair'"):
        apply(CASCADE, schedule(target, "kernel s = pair(S) kernel z = nest(Z)"), target)
