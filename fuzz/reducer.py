"""The reducer: a smaller seed that fails in the same way.

Candidates come from the coarsest to the finest: the schedule, passes, the machine, statements, outputs, inputs, extents, expressions,
numbers. The first one that still fails in the same bucket takes the seed's place, and the search begins again there (Zeller and
Hildebrandt's minimisation, over typed parts rather than lines). A candidate that breaks a rule never fails in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tcomp.fuzz.edits import exchange, fix_size, resize
from tcomp.fuzz.seed import Seed
from tcomp.ir.cascade import Cascade, Einsum, Statement, Tensor
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import Apply, Expr, Index, Load, as_index, constant
from tcomp.ir.target import Cpu
from tcomp.ir.traverse import map_einsum, map_einsum_loads, map_einsums, statement_einsums
from tcomp.ir.walk import substitute, walk

S = TypeVar("S")
PLAIN = Cpu("4 lanes", "x86_64", 128, 16, 1, 32 << 10, 1 << 20, 8 << 20, "cc")
"""The machine that nothing depends on, if nothing does."""


def reduce_seed(
    seed: Seed, fails: Callable[[Seed], bool], seconds: float = 60.0, report: Callable[[Seed], None] = lambda seed: None
) -> Seed:
    """The smallest seed found, within some seconds, for which `fails` is true, as it is for the given one; `report` sees each step."""
    return reduce_by(seed, list_smaller, fails, seconds, report)


def reduce_by(
    seed: S,
    smaller: Callable[[S], Iterator[S]],
    fails: Callable[[S], bool],
    seconds: float = 60.0,
    report: Callable[[S], None] = lambda seed: None,
) -> S:
    """The same for whatever has a text, and a list of what is a step smaller."""
    deadline = time.monotonic() + seconds
    tried: set[str] = set()
    progress = True
    while progress and time.monotonic() < deadline:
        progress = False
        for candidate in smaller(seed):
            if time.monotonic() > deadline:
                break
            text = str(candidate)
            if text in tried:
                continue
            tried.add(text)
            if fails(candidate):
                seed, progress = candidate, True
                report(seed)
                break
    return seed


def list_smaller(seed: Seed) -> Iterator[Seed]:
    """Seeds that are a step smaller, the largest steps first."""
    if seed.schedule is not None:
        yield replace(seed, schedule=None)
    for name, size in seed.sizes:
        rest = tuple(pair for pair in seed.sizes if pair[0] != name)
        schedule = None if seed.schedule is None else replace(seed.schedule, cascade="")
        yield replace(seed, cascade=fix_size(seed.cascade, name, size), sizes=rest, schedule=schedule)
        for smaller in dict.fromkeys((1, 2, size // 2, size - 1)):
            if 0 < smaller < size:
                yield replace(seed, sizes=tuple((n, smaller if n == name else s) for n, s in seed.sizes))
    yield from _list_shorter_passes(seed)
    for cascade in _list_smaller_cascades(seed.cascade):
        # A schedule is for one cascade; it may be said to be for any.
        schedule = None if seed.schedule is None else replace(seed.schedule, cascade="")
        yield replace(seed, cascade=cascade, schedule=schedule)
    if seed.strict:
        yield replace(seed, strict=False)
    if seed.target != PLAIN and seed.schedule is None:
        yield replace(seed, target=PLAIN)
    for number in (0, 1, 2):
        if seed.numbers > number:
            yield replace(seed, numbers=number)


def _list_shorter_passes(seed: Seed) -> Iterator[Seed]:
    if seed.passes:
        yield replace(seed, passes=())
    for place in range(len(seed.passes)):
        yield replace(seed, passes=seed.passes[:place] + seed.passes[place + 1 :])


def _list_smaller_cascades(cascade: Cascade) -> Iterator[Cascade]:
    yield from _list_single_outputs(cascade)
    yield from _list_without_statements(cascade)
    yield from _list_without_inputs(cascade)
    yield from _list_smaller_extents(cascade)
    yield from _list_simpler_einsums(cascade)
    for place, tensor in enumerate(cascade.inputs):
        if tensor.weight:
            yield replace(cascade, inputs=(*cascade.inputs[:place], replace(tensor, weight=False), *cascade.inputs[place + 1 :]))


def _list_single_outputs(cascade: Cascade) -> Iterator[Cascade]:
    """With one output, what it does not need left out; or with an output less."""
    for name in cascade.outputs if len(cascade.outputs) > 1 else ():
        yield _drop_unread(replace(cascade, outputs=(name,)))
    for einsum in cascade.einsums():
        if cascade.outputs != (einsum.name,):
            yield _drop_unread(replace(cascade, outputs=(einsum.name,)))


def _list_without_statements(cascade: Cascade) -> Iterator[Cascade]:
    """Without a statement: what it stored is an input."""
    for place, statement in enumerate(cascade.statements):
        if len(cascade.statements) == 1:
            return
        inner = statement_einsums(statement)
        made = [Tensor(name, dtype, e.shape) for e in inner for name, dtype in e.targets]
        if {t.name for t in made} & set(cascade.outputs):
            continue
        rest = (*cascade.statements[:place], *cascade.statements[place + 1 :])
        yield _drop_unread(replace(cascade, inputs=(*cascade.inputs, *made), statements=rest))


def _list_without_inputs(cascade: Cascade) -> Iterator[Cascade]:
    """Without an input: it is read as a number."""
    for tensor in cascade.inputs:
        number = constant(1.0, tensor.dtype) if tensor.dtype.is_float else constant(0, tensor.dtype)
        if tensor.dtype.kind != "bool":
            yield _drop_unread(_replace_loads(cascade, tensor.name, number))


def _list_smaller_extents(cascade: Cascade) -> Iterator[Cascade]:
    """With one size, wherever it stands, smaller."""
    sizes = sorted({e.constant for t in cascade.tensors().values() for e in t.shape if e.is_constant}, reverse=True)
    for old in sizes:
        for new in dict.fromkeys((1, 2, old // 2, old - 1)):
            if 0 < new < old:
                yield resize(cascade, old, new)


def _list_simpler_einsums(cascade: Cascade) -> Iterator[Cascade]:
    """With a part of an einsum less: its condition, its start, an argument in place of an operator, a number in place of a part."""
    for einsum in cascade.einsums():
        for simpler in _list_simpler(einsum, {t.name: t for t in cascade.tensors().values()}):
            yield _drop_unread(_replace_einsum(cascade, einsum, simpler))


def _list_simpler(einsum: Einsum, tensors: dict[str, Tensor]) -> Iterator[Einsum]:
    if einsum.where is not None:
        yield replace(einsum, where=None)
    if einsum.initial is not None:
        yield replace(einsum, initial=None)
    for node in walk(einsum.expression):
        if isinstance(node, Apply):
            for argument in node.arguments:
                yield replace(einsum, expression=exchange(einsum.expression, node, argument))
        if isinstance(node, (Apply, Load)) and einsum.dtype == f32:
            yield replace(einsum, expression=exchange(einsum.expression, node, constant(1.0, f32)))
        if isinstance(node, Load):
            shape = tensors[node.tensor].shape
            for place, index in enumerate(node.index):
                for slot in _list_plainer(index, shape[place], einsum):
                    outside = node.outside
                    load = Load(node.tensor, (*node.index[:place], slot, *node.index[place + 1 :]), outside)
                    yield replace(einsum, expression=exchange(einsum.expression, node, load))
    for rank in einsum.reduced:
        if len(einsum.reduced) > 1 or einsum.reduce in ("sum", "max", "min"):
            fewer = tuple(r for r in einsum.reduced if r is not rank)
            without = _fix_rank(einsum, rank.name)
            yield replace(without, reduced=fewer, reduce=einsum.reduce if fewer else None)


def _list_plainer(index: Index, extent: Index, einsum: Einsum) -> Iterator[Index]:
    """A rank by itself, or the first position."""
    if index.as_variable is None:
        for rank in einsum.ranks:
            if rank.extent == extent:
                yield as_index(rank.name)
    if not index.is_constant:
        yield as_index(0)


def _fix_rank(einsum: Einsum, name: str) -> Einsum:
    """The einsum at the first position of a rank."""
    return map_einsum(einsum, lambda part: substitute(part, {name: as_index(0)}))


def _replace_loads(cascade: Cascade, name: str, value: Expr) -> Cascade:
    return map_einsums(cascade, lambda e: map_einsum_loads(e, lambda load: value if load.tensor == name else load))


def _replace_einsum(cascade: Cascade, old: Einsum, new: Einsum) -> Cascade:
    return map_einsums(cascade, lambda e: new if e is old else e)


def _drop_unread(cascade: Cascade) -> Cascade:
    """Without statements and inputs that no output depends on."""
    needed = set(cascade.outputs)
    kept: list[Statement] = []
    for statement in reversed(cascade.statements):
        inner = statement_einsums(statement)
        if {name for e in inner for name, _ in e.targets} & needed:
            kept.append(statement)
            needed |= {name for e in inner for name in e.reads()}
    return replace(cascade, statements=tuple(reversed(kept)), inputs=tuple(t for t in cascade.inputs if t.name in needed))
