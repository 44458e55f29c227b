"""Statements that belong together, as models have them: what rewrites and fusion are made for, with a twist now and then.

The twists matter more than the idioms: a rewriting that is right for what it was made for may be wrong for what looks like it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.generators.cascades import EXTENTS, RANKS, make_read, make_value
from tcomp.ir.cascade import Einsum, Iteration, Rank, Statement, Tensor
from tcomp.ir.dtypes import f32, i64
from tcomp.ir.expressions import Expr, Index, Load, Ordinal, apply, as_index, constant

MOST_STEPS = 5
"""Of a recurrence that is written out."""


def make_contraction(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A sum of products of two or three reads, and perhaps what becomes of it: a factor, a bias, a function."""
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in RANKS[: choices.integer(2, 4)]]
    summed = choices.integer(1, len(ranks) - 1)
    order = choices.shuffle(ranks)
    free, reduced = order[summed:], order[:summed]
    product: Expr = _read(choices, tensors, ranks)
    for _ in range(choices.integer(1, 2)):
        product = apply("mul", product, _read(choices, tensors, choices.pick([ranks, free, reduced])))
    inner = _store(f"{name}.dot", free, product, "sum", reduced)
    if chance(choices, 1, 6):
        last = reduced[0]
        position = Ordinal(as_index(last.name), i64)
        inner = replace(inner, where=apply("ne", position, constant(choices.integer(0, 2), i64)))
    value: Expr = Load(inner.name, inner.index)
    for _ in range(choices.integer(0, 2)):
        others: list[Expr] = [constant(0.5, f32), _read(choices, tensors, free), _read(choices, tensors, free[:1])]
        operands = [value, choices.pick(others)]
        operands = operands[::-1] if chance(choices, 1, 3) else operands
        value = apply(choices.pick(["add", "mul", "mul", "sub", "sub", "maximum"]), *operands)
    value = apply(choices.pick(["tanh", "sigmoid", "abs"]), value) if chance(choices, 1, 3) else value
    return inner, _store(name, free, value)


def make_softmax(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A softmax along some rank, in three steps, perhaps without the maximum, or with another one; then a sum of it times something."""
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in "ij"]
    along, kept = (ranks[1:], ranks[:1]) if chance(choices, 2, 3) else (ranks[:1], ranks[1:])
    scores = _store(f"{name}.s", ranks, apply("tanh", make_value(choices, tensors, ranks, 1)))
    score = Load(scores.name, scores.index)
    peak = _store(f"{name}.m", kept, score, choices.pick(["max", "max", "max", "min", "sum"]), along)
    away = apply("sub", score, Load(peak.name, peak.index)) if chance(choices, 4, 5) else score
    power = _store(f"{name}.e", ranks, apply("exp", away))
    raised = Load(power.name, power.index)
    total = _store(f"{name}.d", kept, raised, "sum", along)
    share = apply("div", raised, Load(total.name, total.index))
    if chance(choices, 1, 2):
        return scores, peak, power, total, _store(name, ranks, share)
    more = Rank("k", as_index(choices.pick(EXTENTS)))
    product = apply("mul", share, _read(choices, tensors, [*along, more]))
    return scores, peak, power, total, _store(name, [*kept, more], product, "sum", along)


def make_attention(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A contraction, a softmax along a rank of it that is perhaps masked, and a contraction with that: what becomes one kernel."""
    i, j, e, d = (Rank(letter, as_index(choices.pick([1, 3, 4, 6, 8, 16]))) for letter in "ijed")
    source = choices.pick([t for t in tensors if t.dtype == f32 and len(t.shape) > 1])

    def operand(suffix: str, rows: Rank, columns: Rank) -> Einsum:
        extents = (rows.extent, columns.extent)
        index = tuple(as_index(rank.name) % extent for rank, extent in zip((rows, columns), source.shape))
        rest = tuple(as_index(0) for _ in source.shape[2:])
        value = apply("tanh", Load(source.name, (*index, *rest)))
        return Einsum(((f"{name}.{suffix}", f32),), (as_index(rows.name), as_index(columns.name)), extents, value)

    q, k, v = operand("q", i, e), operand("k", j, e), operand("v", j, d)
    scores = _store(f"{name}.s", [i, j], apply("mul", Load(q.name, q.index), Load(k.name, k.index)), "sum", [e])
    score: Expr = Load(scores.name, scores.index)
    if chance(choices, 1, 2):
        seen = apply("le", Ordinal(as_index("j"), i64), Ordinal(as_index("i") + choices.integer(0, 2), i64))
        score = apply("select", seen, score, constant(-math.inf, f32))
    masked = _store(f"{name}.x", [i, j], score)
    value = Load(masked.name, masked.index)
    peak = _store(f"{name}.m", [i], value, "max", [j])
    power = _store(f"{name}.e", [i, j], apply("exp", apply("sub", value, Load(peak.name, peak.index))))
    total = _store(f"{name}.d", [i], Load(power.name, power.index), "sum", [j])
    share = _store(f"{name}.a", [i, j], apply("div", Load(power.name, power.index), Load(total.name, total.index)))
    result = _store(name, [i, d], apply("mul", Load(share.name, share.index), Load(v.name, v.index)), "sum", [j])
    return q, k, v, scores, masked, peak, power, total, share, result


def make_view(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A map that only renames positions, read beyond its edges, in two ways perhaps, with values outside that may differ from its own."""
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in "ab"[: choices.integer(1, 2)]]
    view = _store(f"{name}.v", ranks, _read(choices, tensors, ranks))
    extents = [rank.extent if chance(choices, 2, 3) else as_index(choices.pick(EXTENTS)) for rank in ranks]
    over = [Rank(letter, extent) for letter, extent in zip("ij", extents)]

    def read() -> Expr:
        walked = over if chance(choices, 2, 3) else choices.shuffle(over)
        slots = [as_index(rank.name) + choices.pick([0, 0, -2, -1, 1]) for rank in walked]
        return Load(view.name, tuple(slots), choices.pick([0.0, 0.0, 1.0, -2.0]))

    value = apply(choices.pick(["add", "mul", "maximum"]), read(), read()) if chance(choices, 1, 2) else read()
    monoid, reduced = choices.pick([(None, []), (None, []), ("sum", over[-1:]), ("max", over[-1:])])
    return view, _store(name, over[: len(over) - len(reduced)], value, monoid, reduced)


def make_window(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A sum of products in a sliding window, as convolutions are, of one channel each or of all; two of one tensor with other edges."""
    places, window = (Rank(letter, as_index(choices.pick(EXTENTS))) for letter in "pr")
    source = choices.pick([t for t in tensors if t.dtype == f32 and t.shape])
    channels = [Rank("c", source.shape[0])] if len(source.shape) > 1 else []
    step, start = choices.integer(1, 2), choices.integer(-2, 1)
    free = [*channels, places]
    made = []
    for part in range(choices.integer(1, 2)):
        slot = as_index("p") * step + as_index("r") + start
        index = [*(as_index(rank.name) for rank in channels), slot, *(as_index(0) for _ in source.shape[2:])]
        element = Load(source.name, tuple(index), choices.pick([0.0, 0.0, 1.0]))
        product = apply("mul", element, _read(choices, tensors, choices.pick([[window], [*channels, window]])))
        made.append(_store(f"{name}.{part}", free, product, "sum", [window]))
    values = [Load(e.name, e.index) for e in made]
    return *made, _store(name, free, values[0] if len(values) == 1 else apply("sub", *values))


def make_twins(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Two einsums that are the same, or nearly: ranks called otherwise, operands exchanged; and what reads both."""
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in "ij"]
    a, b = _read(choices, tensors, ranks), _read(choices, tensors, ranks)
    operator = choices.pick(["add", "sub", "mul", "maximum"])
    monoid, reduced = choices.pick([(None, []), ("sum", ranks[1:]), ("max", ranks[1:])])
    free = ranks if monoid is None else ranks[:1]
    first = _store(f"{name}.a", free, apply(operator, a, b), monoid, reduced)
    second = _store(f"{name}.b", free, apply(operator, *choices.pick([(a, b), (b, a)])), monoid, reduced)
    both = apply(choices.pick(["sub", "mul", "add"]), Load(first.name, first.index), Load(second.name, second.index))
    return first, second, _store(name, free, both)


def make_unrolled(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A recurrence that is written out step by step, perhaps with a step that is not like the others."""
    width = [Rank("d", as_index(choices.pick(EXTENTS)))]
    source = choices.pick([t for t in tensors if t.dtype == f32 and t.shape])
    decay = _read(choices, tensors, width)
    odd = choices.integer(1, 2 * MOST_STEPS)
    before: Expr = constant(0.0, f32)
    statements: list[Statement] = []
    count = choices.integer(2, MOST_STEPS)
    for step in range(count):
        places = [as_index(step % source.shape[0].constant), *(make_slot_inside(choices, e.constant, width) for e in source.shape[1:])]
        value = apply("add", apply("mul", before, decay), Load(source.name, tuple(places)))
        value = apply("maximum", value, constant(0.0, f32)) if step == odd else value
        made = _store(name if step == count - 1 else f"{name}.{step}", width, value)
        statements.append(made)
        before = Load(made.name, made.index)
    return tuple(statements)


def make_recurrence(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """An iteration of several members, whose state is read at its place or at others, or summed over; and what reads some steps of it."""
    step, place = (Rank(letter, as_index(choices.pick(EXTENTS))) for letter in "td")
    other = Rank("e", place.extent)
    t, d, e = map(as_index, "tde")
    state, made, kept = f"{name}.s", f"{name}.p", f"{name}.y"
    turned = choices.pick([d, d, place.extent - 1 - d])
    before = apply("tanh", apply("add", Load(state, (t, turned)), _read(choices, tensors, [step, place])))
    member = Einsum(((made, f32),), (t, d), (step.extent, place.extent), before)
    start: Expr = constant(0.0, f32) if chance(choices, 1, 2) else _read(choices, tensors, [place])
    if chance(choices, 1, 2):
        factor: Expr = constant(0.25, f32) if chance(choices, 1, 2) else Load(state, (t, e))
        value = apply("mul", Load(made, (t, e)), factor)
        where = apply("ne", Ordinal(e, i64), constant(1, i64)) if chance(choices, 1, 4) else None
        monoid = choices.pick(["sum", "max"])
        carried = Einsum(((state, f32),), (t + 1, d), (step.extent + 1, place.extent), value, monoid, (other,), where, start)
    else:
        value = apply(choices.pick(["add", "mul", "maximum"]), Load(made, (t, turned)), Load(state, (t, d)))
        carried = Einsum(((state, f32),), (t + 1, d), (step.extent + 1, place.extent), value, None, (), None, start)
    both = apply("sub", Load(state, (t + choices.integer(0, 1), d)), Load(made, (t, d)))
    last = Einsum(((kept, f32),), (t, d), (step.extent, place.extent), both)
    members = (member, carried, last) if chance(choices, 2, 3) else (member, carried)
    found, steps = choices.pick([(state, step.extent + 1), (made, step.extent), (members[-1].name, members[-1].shape[0])])
    at = choices.pick([steps - 1, steps - 1, as_index(0)])
    return Iteration(step, members), _store(name, [place], apply("neg", Load(found, (at, d))))


def make_slot_inside(choices: Choices, extent: int, ranks: Sequence[Rank]) -> Index:
    """An index that stays inside a dimension."""
    rank = choices.pick(ranks)
    bare = as_index(rank.name)
    return bare if rank.extent.constant <= extent else bare % extent


def _read(choices: Choices, tensors: Sequence[Tensor], ranks: Sequence[Rank]) -> Load:
    return make_read(choices, choices.pick([t for t in tensors if t.dtype == f32][-4:]), ranks)


def _store(name: str, free: Sequence[Rank], value: Expr, monoid: str | None = None, reduced: Sequence[Rank] = ()) -> Einsum:
    index, shape = tuple(as_index(rank.name) for rank in free), tuple(rank.extent for rank in free)
    return Einsum(((name, f32),), index, shape, value, monoid, tuple(reduced))


IDIOMS: tuple[Callable[[Choices, str, Sequence[Tensor]], tuple[Statement, ...]], ...] = (
    *[make_contraction] * 3,
    *[make_softmax] * 2,
    make_attention,
    *[make_view] * 2,
    make_window,
    make_twins,
    make_unrolled,
    make_recurrence,
)
