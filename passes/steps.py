"""The passes of the pipeline that decide something or change what is carried, each from one state to the next.

What they do is told where it is done, in the rooms below; here they ask who decides, and keep what was decided for the schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Tensor
from tcomp.ir.expressions import Index
from tcomp.ir.schedule import GroupSchedule
from tcomp.ir.tile import contiguous_strides
from tcomp.passes.bind import layout, windows
from tcomp.passes.bind.arguments import Memory
from tcomp.passes.cascade.dead import drop_dead
from tcomp.passes.cascade.fold import fold_weights
from tcomp.passes.cascade.inline import inline_views
from tcomp.passes.cascade.normalise import normalise_ranks as normalise
from tcomp.passes.cascade.operands import prepare_operands as prepare
from tcomp.passes.cascade.positions import expand_positions as expand
from tcomp.passes.decisions import Layouts
from tcomp.passes.einsums.group import Group, leave_out
from tcomp.passes.groups import apart, chain, parts, prologue, rolling, rows, scatter, sink, widen
from tcomp.passes.lower.candidate import Candidate
from tcomp.passes.state import Part, Whole


def normalise_ranks(state: Whole) -> Whole:
    """Drop unit dimensions, and split ranks that are only walked in parts."""
    outside = {n: state.outside.get(n) or contiguous_strides(t.shape) for n, t in find_external(state.cascade).items()}
    cascade, outside = normalise(state.cascade, outside)
    return replace(state, cascade=inline_views(cascade), outside=outside)


def expand_positions(state: Whole) -> Whole:
    """Compute constants of positions where they are read."""
    cascade, expanded = expand(state.cascade, state.decide.is_expanded)
    return replace(state, cascade=drop_dead(cascade), expanded=expanded)


def prepare_operands(state: Whole) -> Whole:
    """Make padding and packing explicit."""
    cascade, pinned, packings = prepare(state.cascade, lambda e, static: state.decide.choose_packing(e, static, state.cascade))
    return replace(state, cascade=drop_dead(cascade), pinned=pinned, packings=packings)


def expand_weights(state: Whole) -> Whole:
    """Let contractions compute weights that are stored in fewer bits."""
    found = prologue.find_prologues(state.cascade, state.decide.is_prologue)
    statements = (found.get(s.name, s) if isinstance(s, Einsum) else s for s in state.cascade.statements)
    return replace(state, cascade=drop_dead(state.cascade.with_statements(tuple(statements))), prologues=found)


def split_weights(state: Whole, *, is_strict: bool) -> tuple[Part, Part]:
    """The prelude, of what depends on weights alone, and the rest."""
    prelude, main = fold_weights(state.cascade, state.prologues)
    outside = {**state.outside, **_separate_copies(prelude, main, state.outside)}
    first = Part(prelude, outside, state.target, state.decide.of_prelude(prelude), is_strict, state.pinned, {})
    return first, Part(main, outside, state.target, state.decide.of_main(main), is_strict, state.pinned, state.prologues)


def _separate_copies(
    prelude: Cascade, main: Cascade, outside: Mapping[str, tuple[Index, ...]]
) -> dict[str, tuple[Index, ...]]:
    """Strides of results that are copied from folded values, and of those: in the result's order, without its gaps."""
    made = prelude.tensors()
    copied = {n: s for n, s in outside.items() if f"{n}.out" in main.outputs}
    dense = {n: layout.dense_strides(made[n].shape, s) for n, s in copied.items()}
    return dense | {f"{n}.out": s for n, s in copied.items()}


def find_external(cascade: Cascade) -> dict[str, Tensor]:
    """The inputs and outputs of a cascade."""
    tensors = cascade.tensors()
    return {n: tensors[n] for n in (*(t.name for t in cascade.inputs), *cascade.outputs)}


def fuse(part: Part) -> Part:
    """Put einsums into groups, one for each kernel, and weights that are expanded before the contractions that read them."""
    groups = part.decide.fuse(prologue.without(part.cascade, part.prologues))
    return replace(part, groups=prologue.attach_prologues(groups, part.prologues))


def sink_maps(part: Part) -> Part:
    """Compute maps in the map that alone reads them."""
    names = part.decide.choose_sinking(part.groups)
    if not names:
        return part
    groups, gone = sink.sink_maps(part.groups, part.cascade, names)
    return replace(part, groups=groups, fates=(*part.fates, *(GroupSchedule(group.names, "sink") for group in gone)))


def widen_groups(part: Part) -> Part:
    """Keep narrow floats wide inside kernels."""
    return replace(part, groups=widen.widen_groups(part.groups, part.cascade, part.decide.is_wide))


def chain_groups(part: Part) -> Part:
    """Make one kernel of three."""
    return replace(
        part, groups=chain.chain_groups(part.groups, part.cascade, part.target, part.decide.is_chained, strict=part.is_strict)
    )


def split_sums(part: Part) -> Part:
    """Compute reductions of a GPU in parts."""
    cuts = _Cuts(part)
    groups = parts.split_groups(part.groups, part.cascade, lambda group, e: cuts.note(group, part.decide.choose_parts(group, e)))
    return replace(part, groups=groups, fates=(*part.fates, *cuts.fates))


def split_rows(part: Part) -> Part:
    """Compute rows of a CPU's nests in parts."""
    cuts = _Cuts(part)
    groups = rows.split_rows(part.groups, part.cascade, lambda group: cuts.note(group, part.decide.choose_cut(group)))
    return replace(part, groups=groups, fates=(*part.fates, *cuts.fates))


class _Cuts:
    """Notes which groups are computed in parts."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.fates: list[GroupSchedule] = []

    def note(self, group: Group, found: tuple[str, int] | None) -> tuple[str, int] | None:
        """What was decided, as it is."""
        if found is not None:
            self.fates.append(GroupSchedule(leave_out(group.names, self.part.prologues), "parts", found))
        return found


def take_apart(part: Part) -> Part:
    """Make two kernels of a contraction and the maps on its tile."""
    groups: list[Group] = []
    fates = list(part.fates)
    for group in part.groups:
        found = apart.take_apart(group) if part.decide.is_apart(group) else None
        groups += found or (group,)
        if found is not None:
            fates.append(GroupSchedule(leave_out(group.names, part.prologues), "apart"))
    return replace(part, groups=tuple(groups), fates=tuple(fates))


def expand_scatters(part: Part) -> Part:
    """Fill what others are then stored among."""
    return replace(part, groups=scatter.expand_scatters(part.groups))


def arrange(part: Part) -> Part:
    """Order the kernels."""
    return replace(part, groups=part.decide.arrange(part.groups))


def roll_steps(part: Part) -> Part:
    """Say of how many steps of an iteration memory has what."""
    return replace(part, groups=rolling.roll_steps(part.groups, part.cascade.outputs, part.target))


def open_windows(part: Part) -> Part:
    """Compute iterations in turns with what they read."""
    return replace(part, groups=windows.open_windows(part.groups, part.cascade.outputs, part.decide.choose_window))


def lay_out(part: Part) -> Part:
    """Say where the dimensions of every tensor lie."""
    outside = find_external(part.cascade).items()
    memories = {n: Memory(t.dtype, t.shape, part.outside.get(n) or contiguous_strides(t.shape)) for n, t in outside}
    return replace(part, layouts=Layouts(memories, layout.lay_out(part.groups, memories, part.decide.choose_order, part.pinned)))


def choose_kernels(part: Part) -> Part:
    """Schedule and lower each group."""
    assert part.layouts is not None
    found: list[Candidate] = []
    fates = list(part.fates)
    for group, seen, steps in windows.run_windows(part.groups, part.layouts.memories):
        chosen = part.decide.choose(group, seen, steps, part.layouts)
        found += chosen
        if [candidate.group.names for candidate in chosen] != [group.names]:
            fates.append(GroupSchedule(leave_out(group.names, part.prologues), "apart"))
    return replace(part, kernels=tuple(found), fates=tuple(fates))


def place(part: Part) -> Part:
    """Say in which order kernels run, what is written over what, and where everything lies."""
    assert part.layouts is not None
    return replace(part, placed=part.decide.place(part.kernels, part.layouts.memories, frozenset(find_external(part.cascade))))
