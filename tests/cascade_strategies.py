"""Hypothesis strategies for small cascades that verify, evaluate without error, and do not amplify roundings."""

from dataclasses import replace
from math import prod

from hypothesis import assume, strategies

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Rank, Tensor
from tcomp.ir.dtypes import f32, i64
from tcomp.ir.expressions import Load, Ordinal, apply, as_index, constant
from tcomp.ir.monoids import MONOIDS
from tcomp.ir.target import Cpu
from tcomp.ir.walk import value_index

RANKS = "ijkmn"
EXTENTS = strategies.sampled_from([1, 2, 3, 4, 6, 8])
SIDES = strategies.sampled_from([1, 2, 4, 5, 8, 13, 16])


def extents_of(shape):
    return [extent.constant for extent in shape]


@strategies.composite
def slots(draw, extent, ranks, may_leave):
    """An index into a dimension of this extent, over ranks; second, whether it may be outside."""
    fitting = [rank for rank in ranks if rank.extent.constant <= extent]
    choices = ["constant"] + ["bare"] * 6 * bool(fitting) + ["flip", "shift", "split", "wrap"] * bool(ranks)
    match draw(strategies.sampled_from(choices)):
        case "bare":
            return as_index(draw(strategies.sampled_from(fitting)).name), False
        case "flip" if fitting:
            return extent - 1 - as_index(draw(strategies.sampled_from(fitting)).name), False
        case "shift" if may_leave:
            return as_index(draw(strategies.sampled_from(ranks)).name) + draw(strategies.integers(-2, 2)), True
        case "split" if len(ranks) > 1:
            outer, inner = draw(strategies.permutations(ranks))[:2]
            joined = as_index(outer.name) * inner.extent + as_index(inner.name)
            return (joined, False) if outer.extent.constant * inner.extent.constant <= extent else (joined % extent, False)
        case "wrap":
            rank = draw(strategies.sampled_from(ranks))
            divided = as_index(rank.name) // draw(strategies.sampled_from([1, 2, 4]))
            return divided if extent > rank.extent.constant else divided % extent, False
    return as_index(draw(strategies.integers(0, extent - 1))), False


@strategies.composite
def reads(draw, tensor, ranks):
    """A load of a tensor at some index over ranks."""
    found = [draw(slots(extent, ranks, True)) for extent in extents_of(tensor.shape)]
    outside = draw(strategies.sampled_from([0.0, 1.0])) if any(leaves for _, leaves in found) else None
    return Load(tensor.name, tuple(index for index, _ in found), outside)


@strategies.composite
def values(draw, tensors, ranks, depth=2):
    """An f32 expression over some tensors."""
    floats = [tensor for tensor in tensors if tensor.dtype == f32]
    choice = draw(strategies.integers(0, 6 if depth else 1))
    if choice <= 1:
        # Recent tensors first: chains are what fusion is about.
        recent = floats[-3:] if draw(strategies.booleans()) else floats
        return draw(reads(draw(strategies.sampled_from(recent)), ranks))
    if choice == 2:
        return constant(draw(strategies.sampled_from([0.5, -2.0, 1.0, 0.0, 4.0])), f32)
    if choice == 3:
        operator = draw(strategies.sampled_from(["neg", "abs", "sigmoid", "tanh"]))
        return apply(operator, draw(values(tensors, ranks, depth - 1)))
    a, b = draw(values(tensors, ranks, depth - 1)), draw(values(tensors, ranks, depth - 1))
    if choice == 4 and ranks:
        position = Ordinal(as_index(draw(strategies.sampled_from(ranks)).name), i64)
        return apply("select", apply("lt", position, constant(draw(strategies.integers(0, 4)), i64)), a, b)
    return apply(draw(strategies.sampled_from(["add", "sub", "mul", "mul", "maximum"])), a, b)


@strategies.composite
def maps_and_reductions(draw, name, tensors):
    """A map, or a reduction with a monoid of one component."""
    count = draw(strategies.integers(0, 4))
    ranks = [Rank(letter, as_index(draw(EXTENTS))) for letter in RANKS[:count]]
    base = draw(strategies.sampled_from(tensors[-2:]))
    for position, extent in enumerate(base.shape[:count]):
        ranks[position] = Rank(RANKS[position], extent)
    monoid = draw(strategies.sampled_from([None, None, "sum", "sum", "max"])) if ranks else None
    split = draw(strategies.integers(0, count - 1)) if monoid is not None else count
    order = draw(strategies.permutations(ranks))
    free, reduced = order[:split], tuple(order[split:])
    index, shape = tuple(as_index(rank.name) for rank in free), tuple(rank.extent for rank in free)
    expression = draw(values(tensors, ranks))
    where = None
    if monoid is not None and draw(strategies.integers(0, 3)) == 0:
        where = apply("ne", Ordinal(as_index(order[0].name), i64), constant(1, i64))
    return Einsum(((name, f32),), index, shape, expression, monoid, reduced, where)


@strategies.composite
def tuple_reductions(draw, name, tensors):
    """Argmax or welford of a tensor over its last dimension."""
    found = [t for t in tensors if t.dtype == f32 and t.shape]
    tensor = draw(strategies.sampled_from(found))
    ranks = [Rank(RANKS[p], extent) for p, extent in enumerate(tensor.shape)]
    monoid = MONOIDS[draw(strategies.sampled_from(["argmax", "welford"]))]
    targets = tuple((f"{name}.{k}", dtype) for k, dtype in enumerate(monoid.state_dtypes(f32)))
    index = tuple(as_index(rank.name) for rank in ranks)
    return Einsum(targets, index[:-1], tensor.shape[:-1], Load(tensor.name, index), monoid.name, (ranks[-1],))


@strategies.composite
def places(draw, name, rank, extent, tensors):
    """A slot that walks a rank through a vector of places, and the einsum that makes them, or None where an input holds them.

    The places are what `torch.arange` gives, or what arithmetic makes of it; some meet, some are outside, some count from the end.
    """
    ids = next(t for t in tensors if t.name == "Ids")
    i, count = as_index("i"), rank.extent
    patterns = [i, i, i, i, i + 1, i * 2, count - 1 - i, i // 2, i % 3, i - 1, as_index(1)]
    made = None
    if ids.shape[0] != count or draw(strategies.integers(0, 2)):
        made = Einsum(((name, i64),), (i,), (count,), Ordinal(draw(strategies.sampled_from(patterns)), i64))
    element = Load(ids.name if made is None else made.name, (as_index(rank.name),))
    if draw(strategies.booleans()):
        return value_index(element), made
    from_end = apply("add", element, constant(extent, i64))
    return value_index(apply("select", apply("lt", element, constant(0, i64)), from_end, element)), made


def filled(name, shape, expression, ranks):
    """A map of an expression over ranks."""
    return Einsum(((name, f32),), tuple(as_index(rank.name) for rank in ranks), tuple(shape), expression)


@strategies.composite
def scatters(draw, name, tensors):
    """A fold into places that integers name, some of which are ranks in disguise, into what another tensor holds or into nothing."""
    ranks = [Rank(letter, as_index(draw(EXTENTS))) for letter in RANKS[: draw(strategies.sampled_from([1, 2, 3, 3]))]]
    bare = ranks[: draw(strategies.sampled_from([0, 1, 2, 2]))]
    slots = [(as_index(rank.name), rank.extent) for rank in bare]
    made = []
    for place in range(draw(strategies.integers(1, 2))):
        rank = draw(strategies.sampled_from([*ranks, *ranks[len(bare) :] * 2]))
        # Extents near those of the ranks: that is where a slot may be a rank.
        extent = max(1, rank.extent.constant + draw(strategies.sampled_from([0, 0, 0, 1, -1])))
        slot, vector = draw(places(f"{name}.at{place}", rank, extent, tensors))
        slots.append((slot, as_index(extent)))
        made += [vector] if vector is not None else []
    slots = draw(strategies.permutations(slots)) if draw(strategies.booleans()) else slots
    index, shape = zip(*slots)
    reduced = tuple(rank for rank in ranks if rank not in bare)
    new = filled(f"{name}.new", (rank.extent for rank in ranks), draw(values(tensors, ranks, 1)), ranks)
    value = Load(new.name, new.index) if draw(strategies.booleans()) else draw(values(tensors, ranks, 1))
    monoid = draw(strategies.sampled_from(["sum", "last", "max"]))
    scatter = Einsum(((name, f32),), index, shape, value, monoid, reduced)
    old = filled(f"{name}.old", shape, draw(values(tensors, list(scatter.slot_ranks), 1)), scatter.slot_ranks)
    start = draw(strategies.sampled_from([None, constant(0.5, f32), old.expression, Load(old.name, old.index), Load(old.name, old.index)]))
    where = apply("ne", Ordinal(as_index(ranks[-1].name), i64), constant(1, i64)) if draw(strategies.integers(0, 3)) == 0 else None
    return *made, new, old, replace(scatter, where=where, initial=start)


@strategies.composite
def scans(draw, name, tensors):
    """A decaying sum along a rank, from nothing or from what another tensor holds."""
    steps, width = as_index(draw(EXTENTS)), as_index(draw(EXTENTS))
    ranks = [Rank("t", steps), Rank("d", width)]
    state = Load(name, (as_index("t"), as_index("d")))
    update = apply("add", apply("mul", state, constant(0.5, f32)), draw(values(tensors, ranks, 1)))
    slot, shape = (as_index("t") + 1, as_index("d")), (steps + 1, width)
    start = draw(strategies.one_of(strategies.just(constant(0.0, f32)), values(tensors, ranks[1:], 1)))
    return Iteration(ranks[0], (Einsum(((name, f32),), slot, shape, update, None, (), None, start),))


@strategies.composite
def pairs(draw, name, tensors):
    """All pairs of elements of a tensor whose dimensions are one in some order, compared with one another or with sums of them."""
    tensor = draw(strategies.sampled_from([t for t in tensors if t.dtype == f32 and len(t.shape) > 1]))
    extents = extents_of(tensor.shape)
    kept = draw(strategies.integers(0, len(extents) - 2))
    order = [*range(kept), *draw(strategies.permutations(range(kept, len(extents))))]
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
    both = apply(draw(strategies.sampled_from(["sub", "mul", "maximum"])), first, second)
    free = [Rank("p", as_index(length)), Rank("q", as_index(length))]
    monoid = draw(strategies.sampled_from([None, None, "sum", "max"]))
    reduced = () if monoid is None else (free.pop(draw(strategies.integers(0, 1))),)
    slots, sizes = (*batch, *(as_index(r.name) for r in free)), (*shape[:-1], *(r.extent for r in free))
    return flat, Einsum(((name, f32),), slots, sizes, both, monoid, reduced)


@strategies.composite
def gathers(draw, name, tensors):
    """Rows of a tensor, named by an integer tensor whose values are in 0..3."""
    ids = next(t for t in tensors if t.name == "Ids")
    tensor = draw(strategies.sampled_from([t for t in tensors if t.dtype == f32 and t.shape and t.shape[0].constant > 3]))
    row = value_index(Load(ids.name, (as_index("i"),)))
    rest = tuple(as_index(RANKS[p]) for p in range(1, len(tensor.shape)))
    shape = (ids.shape[0], *tensor.shape[1:])
    return Einsum(((name, f32),), (as_index("i"), *rest), shape, Load(tensor.name, (row, *rest)))


KINDS = (*[maps_and_reductions] * 8, tuple_reductions, scatters, scatters, scans, gathers, pairs)


MOST_POINTS = 1 << 15
"""Of one einsum of a random program."""


@strategies.composite
def programs(draw, largest=6, kinds=KINDS):
    """Cascades that verify, over f32 inputs, weights and one tensor of indices in 0..3."""
    inputs = [Tensor("Ids", i64, (as_index(draw(EXTENTS)),)), Tensor("T", f32, (as_index(6), as_index(4)))]
    for position in range(draw(strategies.integers(1, 3))):
        shape = tuple(as_index(draw(EXTENTS)) for _ in range(draw(strategies.integers(0, 3))))
        inputs.append(Tensor(f"X{position}", f32, shape, weight=draw(strategies.booleans())))
    tensors = list(inputs)
    statements = []
    for position in range(draw(strategies.integers(1, largest))):
        made = draw(draw(strategies.sampled_from(kinds))(f"t{position}", tensors))
        for statement in made if isinstance(made, tuple) else (made,):
            statements.append(statement)
            body = statement.body if isinstance(statement, Iteration) else (statement,)
            tensors += [Tensor(name, dtype, e.shape) for e in body for name, dtype in e.targets if dtype == f32]
    names = [t.name for t in tensors if t not in inputs]
    outputs = (*draw(strategies.lists(strategies.sampled_from(names), max_size=2, unique=True)), names[-1])
    cascade = Cascade("random", tuple(inputs), tuple(statements), tuple(dict.fromkeys(outputs)))
    # Pairs of pairs have millions of points, which the evaluators of tile programs would walk one by one for minutes.
    assume(max(prod(rank.extent.constant for rank in einsum.ranks) for einsum in cascade.einsums()) <= MOST_POINTS)
    return cascade


@strategies.composite
def products(draw):
    """A sum of products of two tensors, with shared ranks, several ranks of rows, either operand turned, and a map of the result."""
    shared, rows, lanes, reduced = (draw(strategies.integers(low, high)) for low, high in ((0, 1), (0, 2), (1, 2), (1, 2)))
    letters = iter("bcijklmn")
    groups = [[Rank(next(letters), as_index(draw(SIDES))) for _ in range(count)] for count in (shared, rows, lanes, reduced)]
    together, left, right, summed = groups
    operands = []
    for name, own in (("X", left), ("W", right)):
        order = draw(strategies.permutations([*together, *own, *summed]))
        tensor = Tensor(name, f32, tuple(rank.extent for rank in order), weight=draw(strategies.booleans()))
        operands.append((tensor, Load(name, tuple(as_index(rank.name) for rank in order))))
    (first, x), (second, w) = operands
    free = draw(strategies.permutations([*together, *left, *right]))
    index, shape = tuple(as_index(rank.name) for rank in free), tuple(rank.extent for rank in free)
    product = Einsum((("P", f32),), index, shape, apply("mul", x, w), "sum", tuple(summed))
    after = Einsum((("Z", f32),), index, shape, apply("tanh", Load("P", index)))
    outputs = draw(strategies.sampled_from([("Z",), ("P",), ("P", "Z")]))
    return Cascade("product", (first, second), (product, after) if "Z" in outputs else (product,), outputs)


@strategies.composite
def machines(draw):
    """CPUs for which small cascades need every kind of schedule: caches that hold some of their tensors, or all, or none."""
    lanes = draw(strategies.sampled_from([4, 8, 16]))
    second = draw(strategies.sampled_from([64, 512, 4096, 1 << 20]))
    cores = draw(strategies.sampled_from([1, 2, 8, 64]))
    return Cpu(f"{lanes} lanes", "x86_64", 32 * lanes, 32 if lanes == 16 else 16, cores, second // 8, second, 8 * second, "cc")
