"""What changes a cascade: `MUTATORS` is the table. Each row says what it does; what comes of it need not be legal, but mostly is.

A mutator is given a cascade and tensors of another one to take parts from; it returns the cascade it is given where it finds nothing to
change. Whoever calls it has the result checked, and takes none that breaks a rule or cannot be evaluated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tcomp.fuzz.choices import Choices, chance
from tcomp.fuzz.edits import exchange, resize
from tcomp.fuzz.generators.cascades import INDICES, KINDS, MOST_POINTS, TABLE, UNARY, count_points, make_slot, make_value
from tcomp.fuzz.generators.idioms import IDIOMS
from tcomp.fuzz.generators.rules import PATTERNS
from tcomp.fuzz.generators.types import TYPED
from tcomp.ir.cascade import Cascade, Einsum, Rank
from tcomp.ir.dtypes import f32
from tcomp.ir.expressions import Apply, Constant, Expr, Load, apply, constant
from tcomp.ir.traverse import map_einsum_loads, map_einsums, statement_einsums
from tcomp.ir.walk import walk

SIZES = (0, 1, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33)
"""Of ranks and dimensions: none, one, primes, and powers of two with their neighbours."""
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e-3)
MONOIDS = ("sum", "max", "min", "prod")

Mutator = Callable[[Choices, Cascade], Cascade]


@dataclass(frozen=True, slots=True)
class Row:
    """A mutator, what it does, and how often it is taken beside the others."""

    change: Mutator
    what: str
    weight: int = 1


def add_statement(choices: Choices, cascade: Cascade) -> Cascade:
    """A statement more, at the end, whose result is an output."""
    tensors = [t for t in cascade.tensors().values() if all(e.is_constant for e in t.shape)]
    if any(t not in tensors for t in cascade.inputs if t.name in (INDICES, TABLE)):
        return cascade
    name = fresh(cascade, "u")
    made = choices.pick([*KINDS, *IDIOMS, *TYPED, *PATTERNS * 4])(choices, name, tensors)
    stored = [target for statement in made for e in statement_einsums(statement) for target, _ in e.targets]
    wanted = name if name in stored else stored[-1]
    kept = cascade.outputs if chance(choices, 1, 2) else cascade.outputs[1:]
    return replace(cascade, statements=(*cascade.statements, *made), outputs=(*kept, wanted))


def drop_statement(choices: Choices, cascade: Cascade) -> Cascade:
    """A statement less; who read it reads an input, or nothing, where shapes agree."""
    place = choices.integer(0, len(cascade.statements) - 1)
    gone = {name for e in statement_einsums(cascade.statements[place]) for name, _ in e.targets}
    table = cascade.tensors()
    spare = {name: [t.name for t in cascade.inputs if t.shape == table[name].shape and t.dtype == table[name].dtype] for name in gone}

    def read(load: Load) -> Expr:
        if load.tensor not in gone:
            return load
        return replace(load, tensor=spare[load.tensor][0]) if spare[load.tensor] else constant(0.5, table[load.tensor].dtype)

    rest = [*cascade.statements[:place], *cascade.statements[place + 1 :]]
    outputs = tuple(name for name in cascade.outputs if name not in gone)
    if not rest or not outputs:
        return cascade
    return map_einsums(replace(cascade, statements=tuple(rest), outputs=outputs), lambda e: map_einsum_loads(e, read))


def resize_rank(choices: Choices, cascade: Cascade) -> Cascade:
    """All extents of one size become another, wherever they stand."""
    sizes = sorted({e.constant for t in cascade.tensors().values() for e in t.shape if e.is_constant and e.constant > 0})
    if not sizes:
        return cascade
    old, new = choices.pick(sizes), choices.pick(SIZES)
    return resize(cascade, old, new)


def change_slot(choices: Choices, cascade: Cascade) -> Cascade:
    """One index of one load is another."""

    def change(einsum: Einsum) -> Einsum:
        loads = [node for node in walk(einsum.expression) if isinstance(node, Load) and node.index]
        if not loads:
            return einsum
        chosen = choices.pick(loads)
        place = choices.integer(0, len(chosen.index) - 1)
        extent = cascade.tensors()[chosen.tensor].shape[place]
        if not extent.is_constant or extent.constant < 1:
            return einsum
        slot, leaves = make_slot(choices, extent.constant, _static_ranks(einsum), may_leave=True)
        index = (*chosen.index[:place], slot, *chosen.index[place + 1 :])
        outside = 0.0 if leaves and chosen.outside is None else chosen.outside
        return replace(einsum, expression=exchange(einsum.expression, chosen, Load(chosen.tensor, index, outside)))

    return _change_one(choices, cascade, change)


def change_value(choices: Choices, cascade: Cascade) -> Cascade:
    """A part of an expression is another expression."""
    tensors = list(cascade.tensors().values())

    def change(einsum: Einsum) -> Einsum:
        before = _names_before(cascade, einsum)
        parts = [node for node in walk(einsum.expression) if _is_float(node, cascade)]
        known = [t for t in tensors if t.name in before and all(e.is_constant and e.constant > 0 for e in t.shape)]
        if not parts or not any(t.dtype == f32 for t in known):
            return einsum
        new = make_value(choices, known, _static_ranks(einsum), 1)
        return replace(einsum, expression=exchange(einsum.expression, choices.pick(parts), new))

    return _change_one(choices, cascade, change)


def change_operator(choices: Choices, cascade: Cascade) -> Cascade:
    """One operator is another of as many arguments, or a constant another number."""
    twos, ones = ("add", "sub", "mul", "maximum", "minimum"), UNARY

    def change(einsum: Einsum) -> Einsum:
        found = [n for n in walk(einsum.expression) if isinstance(n, Apply) and n.operator in (*twos, *ones)]
        numbers = [n for n in walk(einsum.expression) if isinstance(n, Constant) and n.dtype == f32]
        if not found and not numbers:
            return einsum
        chosen = choices.pick([*found, *numbers])
        if isinstance(chosen, Constant):
            new: Expr = constant(choices.pick(NUMBERS), f32)
        else:
            assert isinstance(chosen, Apply)
            new = Apply(choices.pick(twos if chosen.operator in twos else ones), chosen.arguments)
        return replace(einsum, expression=exchange(einsum.expression, chosen, new))

    return _change_one(choices, cascade, change)


def change_monoid(choices: Choices, cascade: Cascade) -> Cascade:
    """A reduction folds otherwise."""

    def change(einsum: Einsum) -> Einsum:
        return replace(einsum, reduce=choices.pick(MONOIDS)) if einsum.reduce in MONOIDS else einsum

    return _change_one(choices, cascade, change)


def turn_order(choices: Choices, cascade: Cascade) -> Cascade:
    """The reduced ranks of an einsum are in another order, which changes no result but that of `last` and positions."""
    return _change_one(choices, cascade, lambda einsum: replace(einsum, reduced=tuple(choices.shuffle(einsum.reduced))))


def wrap_identity(choices: Choices, cascade: Cascade) -> Cascade:
    """An expression is wrapped in what changes nothing: times one, minus zero, twice negated."""

    def change(einsum: Einsum) -> Einsum:
        if not _is_float(einsum.expression, cascade):
            return einsum
        wrapped = choices.pick(
            [
                apply("mul", einsum.expression, constant(1.0, f32)),
                apply("sub", einsum.expression, constant(0.0, f32)),
                apply("neg", apply("neg", einsum.expression)),
            ]
        )
        return replace(einsum, expression=wrapped)

    return _change_one(choices, cascade, change)


def repeat_operand(choices: Choices, cascade: Cascade) -> Cascade:
    """One load takes the place of another of the same einsum: the same operand twice."""

    def change(einsum: Einsum) -> Einsum:
        loads = [node for node in walk(einsum.expression) if isinstance(node, Load) and _is_float(node, cascade)]
        return replace(einsum, expression=exchange(einsum.expression, choices.pick(loads), choices.pick(loads))) if loads else einsum

    return _change_one(choices, cascade, change)


def change_outputs(choices: Choices, cascade: Cascade) -> Cascade:
    """Other tensors are the outputs, in another order, some of which others read."""
    names = [name for e in cascade.einsums() for name, _ in e.targets]
    return replace(cascade, outputs=tuple(choices.shuffle(names)[: choices.integer(1, min(3, len(names)))]))


def change_weights(choices: Choices, cascade: Cascade) -> Cascade:
    """An input is a weight, or is none any more."""
    place = choices.integer(0, len(cascade.inputs) - 1)
    inputs = list(cascade.inputs)
    inputs[place] = replace(inputs[place], weight=not inputs[place].weight)
    return replace(cascade, inputs=tuple(inputs))


MUTATORS: tuple[Row, ...] = (
    Row(add_statement, "a statement more", 3),
    Row(drop_statement, "a statement less"),
    Row(resize_rank, "another size", 2),
    Row(change_slot, "another index of a load", 3),
    Row(change_value, "another part of an expression", 2),
    Row(change_operator, "another operator, or number"),
    Row(change_monoid, "another monoid"),
    Row(turn_order, "another order of reduced ranks"),
    Row(wrap_identity, "an identity around an expression"),
    Row(repeat_operand, "the same operand twice"),
    Row(change_outputs, "other outputs"),
    Row(change_weights, "a weight more or less"),
)


def mutate(choices: Choices, cascade: Cascade) -> Cascade:
    """The cascade with one change; itself where nothing could be changed, or it became too large."""
    changed = choices.pick([row.change for row in MUTATORS for _ in range(row.weight)])(choices, cascade)
    return changed if 0 < count_points(changed) <= MOST_POINTS else cascade


def fresh(cascade: Cascade, stem: str) -> str:
    """A name that no tensor of the cascade begins with."""
    taken = tuple(cascade.tensors())
    return next(name for number in range(len(taken) + 1) if not any(t.startswith(name := f"{stem}{number}") for t in taken))


def _static_ranks(einsum: Einsum) -> list[Rank]:
    return [rank for rank in einsum.ranks if rank.extent.is_constant]


def _change_one(choices: Choices, cascade: Cascade, change: Callable[[Einsum], Einsum]) -> Cascade:
    """Change one einsum, of a statement or inside an iteration."""
    chosen = choices.pick(list(cascade.einsums()))
    return map_einsums(cascade, lambda einsum: change(einsum) if einsum is chosen else einsum)


def _is_float(node: Expr, cascade: Cascade) -> bool:
    match node:
        case Load(tensor):
            return cascade.tensors()[tensor].dtype == f32
        case Constant(_, dtype):
            return dtype == f32
        case Apply(operator):
            return operator in ("add", "sub", "mul", "maximum", "minimum", "div", "exp", *UNARY) and all(
                _is_float(argument, cascade) for argument in node.arguments
            )
        case _:
            return False


def _names_before(cascade: Cascade, einsum: Einsum) -> set[str]:
    """The tensors that are there when an einsum is computed."""
    names = {tensor.name for tensor in cascade.inputs}
    for statement in cascade.statements:
        inner = statement_einsums(statement)
        if any(e is einsum for e in inner):
            return names
        names |= {name for e in inner for name, _ in e.targets}
    return names
