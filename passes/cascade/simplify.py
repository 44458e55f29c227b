"""Simplify expressions by the rule tables, innermost first and until no rule applies.

    Y: f32[i:8] = select(i64[i] < 8, (X[i] else 0.0) * 1.0, 0.0)
      =>
    Y: f32[i:8] = X[i]

Conditions see the ranges of the einsum's ranks. With `strict`, only rules that keep every rounding run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement
from tcomp.ir.expressions import Apply, Atom, Constant, Expr, Index, Load, Ordinal, Quotient, Remainder, Value, Variable, atom_index
from tcomp.ir.index import Bounds
from tcomp.ir.operators import OPERATORS
from tcomp.ir.walk import map_arguments, rebuild, value_index, walk_index
from tcomp.passes.cascade.rules.arithmetic import ARITHMETIC
from tcomp.passes.cascade.rules.logic import LOGIC
from tcomp.passes.cascade.rules.position import POSITION
from tcomp.passes.cascade.rules.rule import Context, Rule, root_of
from tcomp.passes.einsums.rebuild import map_expressions
from tcomp.passes.einsums.slots import replace_slots

RULES: tuple[Rule, ...] = (*ARITHMETIC, *LOGIC, *POSITION)

LARGEST_ROUNDS = 1000
"""Rewrites of one node; more means that two rules undo each other."""


def simplify(cascade: Cascade, *, strict: bool = False) -> Cascade:
    """Simplify all expressions of a cascade; the same cascade if no rule applies anywhere."""
    rules = rules_by_root(strict)
    tensors = cascade.tensors()
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}

    def change(einsum: Einsum, bounds: Bounds) -> Einsum:
        simplifier = Simplifier(rules, Context(dtypes, shapes, bounds))
        slots = tuple(simplifier.simplify_values(i) for i in einsum.index)
        new = replace_slots(einsum, slots, cascade, tensors)
        if new.ranks != einsum.ranks:
            # What was simplified so far knows other ranges.
            return change(new, new.bounds(cascade.symbols))
        new = map_expressions(new, lambda expression, _: simplifier.simplify(expression), bounds)
        if new.where is not None and new.where == Constant(True, simplifier.context.dtype(new.where)):
            new = replace(new, where=None)
        return new

    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Einsum):
            statements.append(change(statement, statement.bounds(cascade.symbols)))
            continue
        body = tuple(change(e, _bounds_inside(e, statement, cascade)) for e in statement.body)
        same = all(a is b for a, b in zip(body, statement.body))
        statements.append(statement if same else replace(statement, body=body))
    return cascade.with_statements(tuple(statements))


def simplify_strictly(cascade: Cascade) -> Cascade:
    """Simplify a cascade by the rules that keep every rounding."""
    return simplify(cascade, strict=True)


def _bounds_inside(einsum: Einsum, iteration: Iteration, cascade: Cascade) -> Bounds:
    """The bounds of an einsum of an iteration, whose rank it may only use in a carried slot."""
    bounds = einsum.bounds(cascade.symbols)
    return Bounds({**bounds.extents, iteration.rank.name: iteration.rank.extent}, bounds.symbols)


def rules_by_root(strict: bool) -> dict[str, tuple[Rule, ...]]:
    """The rules that may run, listed under each root."""
    table: dict[str, tuple[Rule, ...]] = {}
    for rule in RULES:
        if rule.exact or not strict:
            for root in rule.roots:
                table[root] = (*table.get(root, ()), rule)
    return table


class Simplifier:
    """Simplifies the expressions of one einsum, each shared node once."""

    def __init__(self, rules: Mapping[str, tuple[Rule, ...]], context: Context) -> None:
        self.rules = rules
        self.context = context
        # Keyed by identity, which is cheaper than structure; the node is kept so that its id stays its own.
        self.done: dict[int, tuple[Expr, Expr]] = {}

    def simplify(self, expression: Expr) -> Expr:
        """The simplified expression; the same object if no rule applies."""
        known = self.done.get(id(expression))
        if known is not None:
            return known[1]
        result = self._simplify_parts(expression)
        for _ in range(LARGEST_ROUNDS):
            new = self.apply_rules(result)
            if new is None:
                self.done[id(expression)] = (expression, result)
                return result
            result = self._simplify_parts(new)
        raise AssertionError(f"rules undo each other: {result}")

    def apply_rules(self, node: Expr) -> Expr | None:
        """What the first rule that applies makes of a node; a commutative operator is tried in both orders."""
        rules = self.rules.get(root_of(node), ())
        for rule in rules:
            new = rule.rewrite(node, self.context)
            if new is not None:
                return new
        if not isinstance(node, Apply) or not rules or not OPERATORS[node.operator].commutative:
            return None
        swapped = Apply(node.operator, node.arguments[::-1])
        return next((new for rule in rules if (new := rule.rewrite(swapped, self.context)) is not None), None)

    def simplify_values(self, index: Index) -> Index:
        """Simplify the expressions inside an index."""
        if not any(True for _ in walk_index(index)):
            return index

        def change(atom: Atom) -> Index:
            match atom:
                case Value(expression):
                    return value_index(self.simplify(expression))
                case Quotient(a, b):
                    return self.simplify_values(a) // self.simplify_values(b)
                case Remainder(a, b):
                    return self.simplify_values(a) % self.simplify_values(b)
                case Variable():
                    return atom_index(atom)

        new = rebuild(index, change)
        return index if new == index else new

    def _simplify_parts(self, expression: Expr) -> Expr:
        match expression:
            case Load(tensor, index, outside):
                slots = tuple(self.simplify_values(i) for i in index)
                return expression if all(a is b for a, b in zip(slots, index)) else Load(tensor, slots, outside)
            case Ordinal(index, dtype):
                inside = self.simplify_values(index)
                return expression if inside is index else Ordinal(inside, dtype)
            case _:
                return map_arguments(expression, self.simplify)
