"""Single groups on a GPU: bound to memory, lowered by a schedule that is written down, run and compared with the evaluator."""

import functools
from types import SimpleNamespace

import numpy

from tcomp.ir.check.cascade import check_cascade
from tcomp.ir.check.schedule import check_schedule
from tcomp.ir.check.tile import check_kernel
from tcomp.ir.evaluate.cascade import evaluate
from tcomp.ir.evaluate.tile import evaluate_kernel
from tcomp.ir.expressions import ZERO
from tcomp.ir.parse.cascade import parse_cascade
from tcomp.ir.parse.schedule import parse_schedule
from tcomp.ir.plan import Place, Plan, Step
from tcomp.ir.schedule import Schedule
from tcomp.ir.target import Gpu
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.bind.arguments import Memory, bind_group
from tcomp.passes.check import describe_difference
from tcomp.passes.guess.fuse import fuse
from tcomp.passes.kinds.table import lower_group, propose
from tests import program_runner
from tests.program_runner import random_inputs

SMALL = Gpu("small", 90, 2, 232448, 65536, 50 << 20, "triton")
HOPPER = Gpu("sm_90", 90, 132, 232448, 65536, 50 << 20, "triton")


def read_cascade(text, inputs, outputs="Z", symbols=""):
    """A verified cascade of the statements in a text."""
    cascade = parse_cascade(f"cascade c({inputs}) -> ({outputs}){symbols} {{ {text} }}")
    check_cascade(cascade)
    return cascade


def place_tensors(cascade, strides=None):
    """Memory for every tensor of a cascade, contiguous where no strides are given."""
    steps = strides or {}
    return {n: Memory(t.dtype, t.shape, steps.get(n) or contiguous_strides(t.shape)) for n, t in cascade.tensors().items()}


def bind(cascade, group=None, strides=None):
    """A group of a cascade, its only one unless another is given, bound to memory."""
    if group is None:
        (group,) = fuse(cascade)
    return bind_group(group, place_tensors(cascade, strides))


def read_kernel_schedule(text, target="test"):
    """A kernel's schedule: `read_kernel_schedule("kernel k = nest(Z) order (i) warps 1 stages 2")`."""
    (kernel,) = parse_schedule(f'schedule for "{target}" {{ {text} }}').kernels
    check_schedule(Schedule((kernel,)))
    return kernel


def lower(bound, schedule, symbols=()):
    """The verified kernel of a group, and its operands."""
    candidate = lower_group(bound.group, bound, schedule, symbols)
    check_kernel(candidate.kernel)
    return candidate.kernel, candidate.operands


def list_schedules(bound, target=HOPPER, **options):
    """The schedules worth trying for a group, the most promising first."""
    return [schedule for schedule, _ in propose(bound, target, **options)]


def make_candidate(bound, target=HOPPER, symbols=()):
    """A group lowered by the most promising of its schedules."""
    schedule, again = next(propose(bound, target))
    return lower_group(bound.group, bound, schedule, symbols, again)


def run_kernels(cascade, kernels, inputs=None, symbols=None, strides=None):
    """Run pairs of a kernel and its operands one after another, and assert that outputs are those of the evaluator."""
    memory = program_runner.Memory(symbols or {}, float64=True, run=functools.partial(evaluate_kernel, float64=True, shuffle=1))
    inputs = inputs or random_inputs(cascade, symbols)
    declared = {t.name for t in cascade.inputs}
    arrays = {}
    for name, tensor in cascade.tensors().items():
        arrays[name] = memory.allocate(name, tensor, (strides or {}).get(name))
        arrays[name][...] = inputs[name] if name in declared else (numpy.nan if tensor.dtype.is_float else 77)
    named, steps = [], []
    for number, (kernel, operands) in enumerate(kernels):
        places = tuple(Place(o.tensor, o.memory.offset * o.memory.dtype.bytes) for o in operands)
        named.append((f"k{number}", kernel))
        steps.append(Step(f"k{number}", places))
    plan = Plan(tuple(arrays), ZERO, tuple(steps))
    memory.run(SimpleNamespace(kernels=named, plan=plan))
    expected = evaluate(cascade, inputs, symbols, float64=True)
    for name in cascade.outputs:
        message = describe_difference(arrays[name].reshape(-1), expected[name].reshape(-1))
        assert message is None, f"{name}: {message}\n" + "\n".join(str(kernel) for kernel, _ in kernels)


def check_group(cascade, schedule, symbols=None, strides=None):
    """Lower the only group of a cascade by the text of a schedule, run it, and return the kernel."""
    found = lower(bind(cascade, strides=strides), read_kernel_schedule(schedule), cascade.symbols)
    run_kernels(cascade, [found], symbols=symbols, strides=strides)
    return found[0]
