"""Lower a group and its schedule to a tile program.

    group    Y: f32[m:128, n:768] = sum(k:512) x0[m, k] * x1[n // 32, k, n % 32]; Z: f32[m, n] = maximum(Y[m, n] + x2[n], 0.0)
    schedule contract tiles (m:8, n:32) order (n, m, k) parallel (n, m) lanes n
      =>
    parallel n.1 in 0 .. 24 { parallel m.1 in 0 .. 16 {
      block Y: f32[m.0:8, n.0:32]
      Y[m.0, n.0] over (m.0:8, n.0:32) = 0.0
      for k in 0 .. 512 { Y[m.0, n.0] over (m.0:8, n.0:32) sum= x0[8*m.1 + m.0, k] * x1[n.1, k, n.0] }
      Z_out[8*m.1 + m.0, 32*n.1 + n.0] over (m.0:8, n.0:32) = maximum(Y[m.0, n.0] + x2[32*n.1 + n.0], 0.0)
    } }

Every kind of loop nest is a module of its name in `tcomp.passes.lower`, `lower.cpu` or `lower.gpu`; what they share is here and in
`tcomp.passes.lower.lowering`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from tcomp.ir.cascade import Symbol
from tcomp.ir.schedule import GpuLaunch, KernelSchedule
from tcomp.ir.target import Gpu, Target
from tcomp.ir.tile import TileStatement
from tcomp.passes.bind.arguments import Bound, bound_part
from tcomp.passes.bind.axes import join_arguments
from tcomp.passes.einsums.group import Group
from tcomp.passes.guess.again import choose_again
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.lower.cpu.chain import lower_chain
from tcomp.passes.lower.cpu.contract import lower_contract
from tcomp.passes.lower.gpu.chain import lower_gpu_chain
from tcomp.passes.lower.gpu.contract import lower_gpu_contract
from tcomp.passes.lower.gpu.nest import lower_gpu_nest
from tcomp.passes.lower.gpu.scan import lower_gpu_scan
from tcomp.passes.lower.gpu.scatter import lower_gpu_scatter
from tcomp.passes.lower.guard import guard_loads
from tcomp.passes.lower.lowering import Lowering, finish_kernel
from tcomp.passes.lower.nest import lower_nest
from tcomp.passes.lower.scan import lower_scan
from tcomp.passes.lower.scatter import lower_scatter
from tcomp.passes.schedule.cpu import choose_schedule
from tcomp.passes.schedule.gpu import gpu_candidates

LowerKind: TypeAlias = Callable[[Lowering], tuple[TileStatement, ...]]

CPU_KINDS: Mapping[str, LowerKind] = {
    "contract": lower_contract,
    "nest": lower_nest,
    "chain": lower_chain,
    "scan": lower_scan,
    "scatter": lower_scatter,
}

GPU_KINDS: Mapping[str, LowerKind] = {
    "contract": lower_gpu_contract,
    "nest": lower_gpu_nest,
    "chain": lower_gpu_chain,
    "fill": lower_gpu_nest,
    "scan": lower_gpu_scan,
    "scatter": lower_gpu_scatter,
}


def propose(bound: Bound, target: Target, *, is_atomic: bool = False) -> Iterator[tuple[KernelSchedule, frozenset[str]]]:
    """The schedules worth trying for a group, the most promising one first, each with what later phases compute again."""
    if isinstance(target, Gpu):
        for schedule in gpu_candidates(bound, target, "kernel", is_atomic=is_atomic):
            yield schedule, bound.group.again
        return
    schedule = choose_schedule(bound, target, "kernel")
    group = bound.group
    if group.kind == "chain":
        part = bound_part(group.parts[1], {e.name: e for e in group.members}, group)
        yield schedule, choose_again(replace(part, outer=()), schedule)
    else:
        yield schedule, choose_again(group, schedule) if group.kind == "nest" else group.again


def lower_group(
    group: Group, bound: Bound, schedule: KernelSchedule, symbols: tuple[Symbol, ...], again: frozenset[str] = frozenset()
) -> Candidate:
    """Lower a group, which is bound to its arguments; what is in `again` is not kept for later phases."""
    group = group if again == group.again else replace(group, again=again)
    bound = bound if again == bound.group.again else replace(bound, group=replace(bound.group, again=again))
    whole = bound
    bound = join_arguments(bound, schedule.joined)
    lowering = Lowering(guard_loads(bound, symbols), schedule, symbols)
    kinds = GPU_KINDS if isinstance(schedule.launch, GpuLaunch) else CPU_KINDS
    kernel, names = finish_kernel(lowering, kinds[schedule.kind](lowering))
    return Candidate(group, whole, schedule, kernel, tuple(bound.operands[name] for name in names))
