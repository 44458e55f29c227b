"""All kinds of kernels, and the way from a group and its schedule to a tile program.

    group    Y: f32[m:128, n:768] = sum(k:512) x0[m, k] * x1[n // 32, k, n % 32]; Z: f32[m, n] = maximum(Y[m, n] + x2[n], 0.0)
    schedule contract tiles (m:8, n:32) order (n, m, k) parallel (n, m) lanes n
      =>
    parallel n.1 in 0 .. 24 { parallel m.1 in 0 .. 16 {
      block Y: f32[m.0:8, n.0:32]
      Y[m.0, n.0] over (m.0:8, n.0:32) = 0.0
      for k in 0 .. 512 { Y[m.0, n.0] over (m.0:8, n.0:32) sum= x0[8*m.1 + m.0, k] * x1[n.1, k, n.0] }
      Z_out[8*m.1 + m.0, 32*n.1 + n.0] over (m.0:8, n.0:32) = maximum(Y[m.0, n.0] + x2[32*n.1 + n.0], 0.0)
    } }

A statement founds a group of the first kind in the table that it is for. Lowerings are in `tcomp.passes.lower`, `lower.cpu` and
`lower.gpu`; what they share is in `tcomp.passes.lower.lowering`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tcomp.ir.cascade import Symbol
from tcomp.ir.schedule import GpuLaunch, KernelSchedule
from tcomp.ir.target import Cpu, Gpu, Target
from tcomp.passes.bind.arguments import Bound
from tcomp.passes.bind.axes import join_arguments
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds.chain import CHAIN
from tcomp.passes.kinds.contract import CONTRACT
from tcomp.passes.kinds.kind import Kinds, Proposal
from tcomp.passes.kinds.nest import FILL, NEST
from tcomp.passes.kinds.scan import SCAN
from tcomp.passes.kinds.scatter import SCATTER
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.lower.guard import guard_loads
from tcomp.passes.lower.lowering import Lowering, finish_kernel

KINDS: Kinds = {kind.name: kind for kind in (SCAN, SCATTER, CONTRACT, NEST, CHAIN, FILL)}


def propose(bound: Bound, target: Target, *, is_atomic: bool = False, kinds: Kinds = KINDS) -> Iterator[Proposal]:
    """The schedules worth trying for a group, each once, the most promising one first.

    With `is_atomic` sums of floats into places that are data may be added in any order. Raises Unsupported for a kind of kernel that the
    target lacks.
    """
    kind = kinds[bound.group.kind]
    seen: set[KernelSchedule] = set()
    for schedule, again in kind.for_target(kind.propose, type(target))(bound, target, is_atomic):
        if schedule not in seen:
            seen.add(schedule)
            yield schedule, again


def lower_group(
    group: Group,
    bound: Bound,
    schedule: KernelSchedule,
    symbols: tuple[Symbol, ...],
    again: frozenset[str] = frozenset(),
    kinds: Kinds = KINDS,
) -> Candidate:
    """Lower a group, which is bound to its arguments; what is in `again` is not kept for later phases.

    Raises Unsupported for a kind of kernel that the target lacks.
    """
    group = group if again == group.again else replace(group, again=again)
    whole = bound if again == bound.group.again else replace(bound, group=replace(bound.group, again=again))
    bound = join_arguments(whole, schedule.joined)
    lowering = Lowering(guard_loads(bound, symbols), schedule, symbols)
    kind = kinds[schedule.kind]
    lower = kind.for_target(kind.lower, Gpu if isinstance(schedule.launch, GpuLaunch) else Cpu)
    kernel, names = finish_kernel(lowering, lower(lowering))
    return Candidate(group, whole, schedule, kernel, tuple(bound.operands[name] for name in names))
