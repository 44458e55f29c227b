"""Random cascades that verify, evaluate without error, and do not amplify roundings: every construct of the IR, valid by construction.

`make_cascade` draws one. Each row of `KINDS` makes one statement, or a few that belong together, over the tensors there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from tcomp.fuzz.choices import Choices, chance
from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Statement, Tensor
from tcomp.ir.dtypes import f32, i64
from tcomp.ir.evaluate.expressions import extent_value
from tcomp.ir.expressions import Expr, Index, Load, Ordinal, apply, as_index, constant
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.walk import value_index

RANKS = "ijkmn"
EXTENTS = (1, 2, 3, 4, 6, 8)
SIDES = (1, 2, 4, 5, 8, 13, 16)
"""Extents of matrix products, with whole and partial tiles of four to sixteen lanes."""
MOST_POINTS = 1 << 15
"""Of one einsum: pairs of pairs have millions, which the evaluators of tile programs would walk one by one for minutes."""
USUAL = 12
"""Size of a symbol, where none is said."""
UNARY = ("neg", "abs", "sigmoid", "tanh")
BINARY = ("add", "sub", "mul", "mul", "maximum")
INDICES = "Ids"
"""The input that holds indices, in 0..3."""
TABLE = "T"
"""The input that has more rows than that."""

Kind = Callable[[Choices, str, Sequence[Tensor]], tuple[Statement, ...]]
"""Makes statements, the last of which stores a tensor of the given name, over some tensors."""


def make_cascade(
    choices: Choices, largest: int = 6, kinds: Sequence[Kind] | None = None, more_inputs: Sequence[Tensor] = ()
) -> Cascade | None:
    """A cascade of at most `largest` statements (or groups of them) over f32 inputs, weights and one tensor of indices in 0..3.

    None if it came out with too many points.
    """
    inputs = [Tensor(INDICES, i64, (as_index(choices.pick(EXTENTS)),)), Tensor(TABLE, f32, (as_index(6), as_index(4)))]
    for position in range(choices.integer(1, 3)):
        shape = tuple(as_index(choices.pick(EXTENTS)) for _ in range(choices.integer(0, 3)))
        inputs.append(Tensor(f"X{position}", f32, shape, weight=chance(choices, 1, 2)))
    inputs += more_inputs
    tensors = list(inputs)
    statements: list[Statement] = []
    for position in range(choices.integer(1, largest)):
        for statement in choices.pick(kinds or KINDS)(choices, f"t{position}", tensors):
            statements.append(statement)
            body = statement.body if isinstance(statement, Iteration) else (statement,)
            tensors += [Tensor(name, dtype, e.shape) for e in body for name, dtype in e.targets]
    names = [tensor.name for tensor in tensors[len(inputs) :]]
    more = choices.shuffle(names)[: choices.integer(0, min(2, len(names)))]
    cascade = Cascade("random", tuple(inputs), tuple(statements), tuple(dict.fromkeys((*more, names[-1]))))
    return cascade if count_points(cascade) <= MOST_POINTS else None


def count_points(cascade: Cascade, sizes: Mapping[str, int] | None = None) -> int:
    """The points of the largest einsum of a cascade; symbols that have no size are of a usual one."""
    known = {symbol.name: max(symbol.low, USUAL) for symbol in cascade.symbols} | dict(sizes or {})
    return max((prod(extent_value(rank.extent, known) for rank in einsum.ranks) for einsum in cascade.einsums()), default=0)


def make_product(choices: Choices) -> Cascade:
    """A sum of products of two tensors, with shared ranks, several ranks of rows, either operand turned, and a map of the result."""
    letters = iter("bcijklmn")
    counts = [choices.integer(low, high) for low, high in ((0, 1), (0, 2), (1, 2), (1, 2))]
    together, left, right, summed = ([Rank(next(letters), as_index(choices.pick(SIDES))) for _ in range(count)] for count in counts)
    operands = []
    for name, own in (("X", left), ("W", right)):
        order = choices.shuffle([*together, *own, *summed])
        tensor = Tensor(name, f32, tuple(rank.extent for rank in order), weight=chance(choices, 1, 2))
        operands.append((tensor, Load(name, tuple(as_index(rank.name) for rank in order))))
    (first, x), (second, w) = operands
    free = choices.shuffle([*together, *left, *right])
    index, shape = tuple(as_index(rank.name) for rank in free), tuple(rank.extent for rank in free)
    product = Einsum((("P", f32),), index, shape, apply("mul", x, w), "sum", tuple(summed))
    after = Einsum((("Z", f32),), index, shape, apply("tanh", Load("P", index)))
    outputs = choices.pick([("Z",), ("P",), ("P", "Z")])
    return Cascade("product", (first, second), (product, after) if "Z" in outputs else (product,), outputs)


def make_slot(choices: Choices, extent: int, ranks: Sequence[Rank], *, may_leave: bool) -> tuple[Index, bool]:
    """An index into a dimension of this extent, over ranks; second, whether it may be outside."""
    fitting = [rank for rank in ranks if rank.extent.constant <= extent]
    match choices.pick(["constant"] + ["bare"] * 6 * bool(fitting) + ["flip", "shift", "split", "wrap", "nest"] * bool(ranks)):
        case "bare":
            return as_index(choices.pick(fitting).name), False
        case "flip" if fitting:
            return extent - 1 - as_index(choices.pick(fitting).name), False
        case "shift" if may_leave:
            return as_index(choices.pick(ranks).name) + choices.integer(-2, 2), True
        case "split" if len(ranks) > 1:
            outer, inner = choices.shuffle(ranks)[:2]
            joined = as_index(outer.name) * inner.extent + as_index(inner.name)
            return (joined, False) if outer.extent.constant * inner.extent.constant <= extent else (joined % extent, False)
        case "wrap":
            rank = choices.pick(ranks)
            divided = as_index(rank.name) // choices.pick([1, 2, 4])
            return divided if extent > rank.extent.constant else divided % extent, False
        case "nest":
            return _nest(choices, ranks) % extent, False
    return as_index(choices.integer(0, extent - 1)), False


def _nest(choices: Choices, ranks: Sequence[Rank]) -> Index:
    """A quotient or remainder of a sum, and one of that: what reshapes of reshapes make."""
    index = as_index(choices.pick(ranks).name) * choices.pick([1, 2, 4, 6]) + choices.pick([0, 1, 5])
    index = index + as_index(choices.pick(ranks).name) if chance(choices, 1, 2) else index
    for divisor in choices.pick([(2, 2), (4, 2), (6, 2), (8, 4), (12, 3), (6, 4)]):
        index = index // divisor if chance(choices, 1, 2) else index % divisor
    return index


def make_read(choices: Choices, tensor: Tensor, ranks: Sequence[Rank]) -> Load:
    """A load of a tensor at some index over ranks."""
    found = [make_slot(choices, extent.constant, ranks, may_leave=True) for extent in tensor.shape]
    outside = choices.pick([0.0, 1.0]) if any(leaves for _, leaves in found) else None
    return Load(tensor.name, tuple(index for index, _ in found), outside)


def make_value(choices: Choices, tensors: Sequence[Tensor], ranks: Sequence[Rank], depth: int = 2) -> Expr:
    """An f32 expression over some tensors."""
    floats = [tensor for tensor in tensors if tensor.dtype == f32]
    choice = choices.integer(0, 6 if depth else 1)
    if choice <= 1:
        # Recent tensors first: chains are what fusion is about.
        recent = floats[-3:] if chance(choices, 1, 2) else floats
        return make_read(choices, choices.pick(recent), ranks)
    if choice == 2:
        return constant(choices.pick([0.5, -2.0, 1.0, 0.0, 4.0]), f32)
    if choice == 3:
        return apply(choices.pick(UNARY), make_value(choices, tensors, ranks, depth - 1))
    a, b = make_value(choices, tensors, ranks, depth - 1), make_value(choices, tensors, ranks, depth - 1)
    if choice == 4 and ranks:
        position = Ordinal(as_index(choices.pick(ranks).name), i64)
        return apply("select", apply("lt", position, constant(choices.integer(0, 4), i64)), a, b)
    return apply(choices.pick(BINARY), a, b)


def make_map_or_reduction(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A map, or a reduction with a monoid of one component."""
    count = choices.integer(0, 4)
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in RANKS[:count]]
    base = choices.pick(tensors[-2:])
    for position, extent in enumerate(base.shape[:count]):
        ranks[position] = Rank(RANKS[position], extent)
    monoid = choices.pick([None, None, "sum", "sum", "max"]) if ranks else None
    split = choices.integer(0, count - 1) if monoid is not None else count
    order = choices.shuffle(ranks)
    free, reduced = order[:split], tuple(order[split:])
    index, shape = tuple(as_index(rank.name) for rank in free), tuple(rank.extent for rank in free)
    expression = make_value(choices, tensors, ranks)
    where = _leave_one_out(order[0]) if monoid is not None and chance(choices, 1, 4) else None
    return (Einsum(((name, f32),), index, shape, expression, monoid, reduced, where),)


def make_tuple_reduction(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Argmax or welford of a tensor over its last dimension."""
    tensor = choices.pick([t for t in tensors if t.dtype == f32 and t.shape])
    ranks = [Rank(RANKS[p], extent) for p, extent in enumerate(tensor.shape)]
    monoid = MONOIDS[choices.pick(["argmax", "welford"])]
    targets = tuple((f"{name}.{k}", dtype) for k, dtype in enumerate(monoid.state_dtypes(f32)))
    index = tuple(as_index(rank.name) for rank in ranks)
    return (Einsum(targets, index[:-1], tensor.shape[:-1], Load(tensor.name, index), monoid.name, (ranks[-1],)),)


def make_scatter(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A fold into places that integers name, some of which are ranks in disguise, into what another tensor holds or into nothing."""
    ranks = [Rank(letter, as_index(choices.pick(EXTENTS))) for letter in RANKS[: choices.pick([1, 2, 3, 3])]]
    bare = ranks[: choices.pick([0, 1, 2, 2])]
    slots = [(as_index(rank.name), rank.extent) for rank in bare]
    made: list[Einsum] = []
    for place in range(choices.integer(1, 2)):
        rank = choices.pick([*ranks, *ranks[len(bare) :] * 2])
        # Extents near those of the ranks: that is where a slot may be a rank.
        extent = max(1, rank.extent.constant + choices.pick([0, 0, 0, 1, -1]))
        slot, vectors = _make_place(choices, f"{name}.at{place}", rank, extent, tensors)
        slots.append((slot, as_index(extent)))
        made += vectors
    slots = choices.shuffle(slots) if chance(choices, 1, 2) else slots
    index, shape = zip(*slots)
    reduced = tuple(rank for rank in ranks if rank not in bare)
    new = _fill(f"{name}.new", [rank.extent for rank in ranks], make_value(choices, tensors, ranks, 1), ranks)
    value = Load(new.name, new.index) if chance(choices, 1, 2) else make_value(choices, tensors, ranks, 1)
    scatter = Einsum(((name, f32),), index, shape, value, choices.pick(["sum", "last", "max"]), reduced)
    old = _fill(f"{name}.old", shape, make_value(choices, tensors, scatter.slot_ranks, 1), scatter.slot_ranks)
    starts = [None, constant(0.5, f32), old.expression, Load(old.name, old.index), Load(old.name, old.index)]
    where = _leave_one_out(ranks[-1]) if chance(choices, 1, 4) else None
    return *made, new, old, replace(scatter, where=where, initial=choices.pick(starts))


def make_scan(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """A decaying sum along a rank, from nothing or from what another tensor holds."""
    steps, width = as_index(choices.pick(EXTENTS)), as_index(choices.pick(EXTENTS))
    ranks = [Rank("t", steps), Rank("d", width)]
    state = Load(name, (as_index("t"), as_index("d")))
    update = apply("add", apply("mul", state, constant(0.5, f32)), make_value(choices, tensors, ranks, 1))
    slot, shape = (as_index("t") + 1, as_index("d")), (steps + 1, width)
    start = constant(0.0, f32) if chance(choices, 1, 2) else make_value(choices, tensors, ranks[1:], 1)
    return (Iteration(ranks[0], (Einsum(((name, f32),), slot, shape, update, None, (), None, start),)),)


def make_gather(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """Rows of a tensor, named by integers in 0..3."""
    ids = next(t for t in tensors if t.name == INDICES)
    tensor = choices.pick([t for t in tensors if t.dtype == f32 and t.shape and t.shape[0].constant > 3])
    row = value_index(Load(ids.name, (as_index("i"),)))
    row = (row + choices.integer(0, 5)) % tensor.shape[0] if chance(choices, 1, 3) else row
    rest = tuple(as_index(RANKS[p]) for p in range(1, len(tensor.shape)))
    shape = (ids.shape[0], *tensor.shape[1:])
    return (Einsum(((name, f32),), (as_index("i"), *rest), shape, Load(tensor.name, (row, *rest))),)


def make_pairs(choices: Choices, name: str, tensors: Sequence[Tensor]) -> tuple[Statement, ...]:
    """All pairs of elements of a tensor whose dimensions are one in some order, compared with one another or with sums of them."""
    tensor = choices.pick([t for t in tensors if t.dtype == f32 and len(t.shape) > 1])
    extents = [extent.constant for extent in tensor.shape]
    kept = choices.integer(0, len(extents) - 2)
    order = [*range(kept), *choices.shuffle(range(kept, len(extents)))]
    ranks = [Rank(RANKS[place], as_index(extents[d])) for place, d in enumerate(order[:kept])]
    length = prod(extents[d] for d in order[kept:])
    place, index = as_index("p"), {}
    for d in reversed(order[kept:]):
        index[d] = place % extents[d]
        place = place // extents[d]
    index.update((d, as_index(ranks[p].name)) for p, d in enumerate(order[:kept]))
    batch = tuple(as_index(rank.name) for rank in ranks)
    shape = (*(rank.extent for rank in ranks), as_index(length))
    value = apply("mul", Load(tensor.name, tuple(index[d] for d in range(len(extents)))), constant(0.5, f32))
    flat = Einsum(((f"{name}.flat", f32),), (*batch, as_index("p")), shape, value)
    first, second = (Load(flat.name, (*batch, as_index(letter))) for letter in "pq")
    both = apply(choices.pick(["sub", "mul", "maximum"]), first, second)
    free = [Rank("p", as_index(length)), Rank("q", as_index(length))]
    monoid = choices.pick([None, None, "sum", "max"])
    reduced = () if monoid is None else (free.pop(choices.integer(0, 1)),)
    slots, sizes = (*batch, *(as_index(r.name) for r in free)), (*shape[:-1], *(r.extent for r in free))
    return flat, Einsum(((name, f32),), slots, sizes, both, monoid, reduced)


def _make_place(
    choices: Choices, name: str, rank: Rank, extent: int, tensors: Sequence[Tensor]
) -> tuple[Index, tuple[Einsum, ...]]:
    """A slot that walks a rank through a vector of places, and the einsum that makes them, or none where an input holds them.

    The places are what `torch.arange` gives, or what arithmetic makes of it; some meet, some are outside, some count from the end.
    """
    ids = next(t for t in tensors if t.name == INDICES)
    i, count = as_index("i"), rank.extent
    patterns = [i, i, i, i, i + 1, i * 2, count - 1 - i, i // 2, i % 3, i - 1, as_index(1)]
    made: tuple[Einsum, ...] = ()
    if ids.shape[0] != count or chance(choices, 2, 3):
        made = (Einsum(((name, i64),), (i,), (count,), Ordinal(choices.pick(patterns), i64)),)
    element = Load(name if made else ids.name, (as_index(rank.name),))
    if chance(choices, 1, 2):
        return value_index(element), made
    from_end = apply("add", element, constant(extent, i64))
    return value_index(apply("select", apply("lt", element, constant(0, i64)), from_end, element)), made


def _fill(name: str, shape: Sequence[Index], expression: Expr, ranks: Sequence[Rank]) -> Einsum:
    """A map of an expression over ranks."""
    return Einsum(((name, f32),), tuple(as_index(rank.name) for rank in ranks), tuple(shape), expression)


def _leave_one_out(rank: Rank) -> Expr:
    """A condition that one point of a rank does not meet: the only one, if it has no second."""
    return apply("ne", Ordinal(as_index(rank.name), i64), constant(min(1, rank.extent.constant - 1), i64))


KINDS: tuple[Kind, ...] = (
    *[make_map_or_reduction] * 8,
    make_tuple_reduction,
    make_scatter,
    make_scatter,
    make_scan,
    make_gather,
    make_pairs,
)
