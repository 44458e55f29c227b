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

Every kind of loop nest is a module `lower_<kind>`; what they share is here and in `tcomp.passes.lowering`.
"""

from __future__ import annotations

from typing import assert_never

from tcomp.ir.cascade import Symbol
from tcomp.ir.schedule import KernelSchedule
from tcomp.ir.tile import Kernel
from tcomp.passes.arguments import Bound
from tcomp.passes.lower_chain import lower_chain
from tcomp.passes.lower_contract import lower_contract
from tcomp.passes.lower_nest import lower_nest
from tcomp.passes.lower_scan import lower_scan, lower_scatter
from tcomp.passes.lowering import Lowering, finish_kernel


def lower_group(bound: Bound, schedule: KernelSchedule, symbols: tuple[Symbol, ...]) -> tuple[Kernel, tuple[str, ...]]:
    """Lower one group; returns its kernel, and for each of its arguments the name of the operand in `bound.operands`."""
    lowering = Lowering(bound, schedule, symbols)
    match schedule.kind:
        case "contract":
            body = lower_contract(lowering)
        case "nest":
            body = lower_nest(lowering)
        case "chain":
            body = lower_chain(lowering)
        case "scan":
            body = lower_scan(lowering)
        case "scatter":
            body = lower_scatter(lowering)
        case _:
            assert_never(schedule.kind)
    return finish_kernel(lowering, body)
