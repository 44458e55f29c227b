"""What a compiled cascade has to tell: its texts, its kernels, and why each computes what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from tcomp.ir.cascade import Cascade, print_cascade, print_einsum
from tcomp.ir.schedule import GpuLaunch
from tcomp.ir.tile import Kernel
from tcomp.passes.einsums.group import Group
from tcomp.passes.program import Compiled
from tcomp.program.reports import KernelReport, StageReport


def make_report(compiled: Compiled, print_kernel: Callable[[Kernel], str]) -> StageReport:
    """Everything that can be told about a compiled cascade, as text."""
    kernels: dict[str, KernelReport] = {}
    for part in (compiled.main, compiled.prelude):
        table = dict(part.kernels)
        for name, group, schedule in zip(part.steps, part.groups, part.schedule.kernels):
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
                why=explain_group(group, one_pass=isinstance(schedule.launch, GpuLaunch)),
                loops=schedule.loops,
                calls=1,
                is_prelude=part is compiled.prelude,
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


def explain_group(group: Group, *, one_pass: bool = False) -> str:
    """Why the einsums of a group are one kernel, in a sentence; `one_pass` says how a chain is computed: on GPUs in one loop."""
    over = ", ".join(f"{rank.name}:{rank.extent}" for rank in group.outer) or "a single point"
    first, rest = group.members[0].name, [einsum.name for einsum in group.members[1:]]
    joined = _enumerate(rest)
    match group.kind:
        case "contract":
            alone = f"{first} is a contraction over {over}"
            together = f"; {joined} over the same ranks, computed on its tile before it is stored"
        case "nest":
            inner = ", ".join(f"{rank.name}:{rank.extent}" for rank in group.inner)
            alone = f"{first} runs over {over}" + (f", inside it over {inner}" if inner else "")
            together = f"; {joined} over the same ranks, so that what they share is read once"
        case "scan":
            assert group.iterative is not None
            alone = f"{first} is computed step by step along {group.iterative.name}, independently over {over}"
            together = f"; {joined} in the same steps"
        case "scatter":
            alone = f"{first} stores where its indices say, independently over {over}"
            together = f"; {joined} with it"
        case "fill":
            alone = f"{first} gets the values over {over} that others are then stored among"
            together = f"; {joined} with it"
        case "chain":
            rows = " and ".join(part.root.name for part in group.parts if part.kind == "contract")
            between = [name for part in group.parts if part.kind == "nest" for name in part.names]
            if one_pass:
                walked = ", ".join(f"{rank.name}:{rank.extent}" for rank in group.inner)
                alone = f"{rows} are contractions over {over}, in one pass over {walked} between them"
                together = f"; {_enumerate(between)} run along, and sums are corrected where a maximum that they subtract moves"
            else:
                alone = f"{rows} are contractions over {over}, chained through rows that stay in cache"
                together = f"; {_enumerate(between)} on those rows between them"
        case _:
            assert_never(group.kind)
    kept = [name for name in group.names if name not in group.stored]
    unstored = f"; {_enumerate(kept)} never reach{'es' * (len(kept) == 1)} memory" if kept else ""
    return alone + (together if rest else "") + unstored


def _enumerate(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
