"""What a compiled cascade has to tell: its texts, its kernels, and why each computes what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tcomp.ir.cascade import Cascade, print_cascade, print_einsum
from tcomp.ir.schedule import GpuLaunch
from tcomp.ir.tile import Kernel
from tcomp.passes.cost.work import find_work
from tcomp.passes.einsums.group import Group
from tcomp.passes.kinds.kind import list_members
from tcomp.passes.kinds.table import KINDS
from tcomp.passes.program import Compiled
from tcomp.program.reports import KernelReport, StageReport


def make_report(compiled: Compiled, print_kernel: Callable[[Kernel], str]) -> StageReport:
    """Everything that can be told about a compiled cascade, as text."""
    kernels: dict[str, KernelReport] = {}
    for part in (compiled.main, compiled.prelude):
        table, memories = dict(part.kernels), dict(part.memories)
        for name, group, schedule, operands in zip(part.steps, part.groups, part.schedule.kernels, part.operands):
            known = kernels.get(name)
            if known is not None:
                kernels[name] = replace(known, calls=known.calls + 1)
                continue
            source = print_kernel(table[name])
            if name in dict(part.products):
                source = f"# PyTorch's matrix product takes the place of this kernel\n{source}"
            kernels[name] = KernelReport(
                name=name,
                kind=group.kind,
                source=source,
                einsums=tuple((einsum.name, print_einsum(einsum)) for einsum in group.members),
                origins=tuple(dict.fromkeys(str(einsum.source) for einsum in group.members if str(einsum.source))),
                why=explain_group(group, is_gpu=isinstance(schedule.launch, GpuLaunch)),
                loops=schedule.loops,
                calls=1,
                is_prelude=part is compiled.prelude,
                work=find_work(group, memories),
                operands=operands,
            )
    left = [part.cascade for part in (compiled.prelude, compiled.main) if part.cascade.statements]
    return StageReport(
        cascade=print_cascade(compiled.source, sources=True),
        optimised="\n\n".join(print_cascade(cascade, sources=True) for cascade in left),
        einsums=(_count(compiled.source), sum(map(_count, left))),
        schedule=str(compiled.schedule),
        plan=str(compiled.main.plan),
        kernels=tuple(kernels.values()),
    )


def _count(cascade: Cascade) -> int:
    return sum(1 for _ in cascade.einsums())


def explain_group(group: Group, *, is_gpu: bool = False) -> str:
    """Why the einsums of a group are one kernel, in a sentence."""
    alone, together = KINDS[group.kind].tell(group, is_gpu)
    kept = [name for name in group.names if name not in group.stored]
    unstored = f"; {list_members(kept)} never reach{'es' * (len(kept) == 1)} memory" if kept else ""
    return alone + (f"; {together}" if len(group.members) > 1 else "") + unstored
