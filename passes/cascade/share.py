"""Share common einsums: what is computed twice is computed once.

    A: f32[i:8] = exp(X[i])
    B: f32[j:8] = exp(X[j])
    C: f32[i:8] = A[i] + B[i]
      =>
    A: f32[i:8] = exp(X[i])
    C: f32[i:8] = A[i] + A[i]
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement
from tcomp.ir.expressions import Expr, Load
from tcomp.ir.traverse import map_einsum_loads, rename_ranks
from tcomp.ir.walk import map_load_indices


def share_einsums(cascade: Cascade) -> Cascade:
    """Replace reads of an einsum equal to an earlier one by reads of that; outputs stay. The same cascade if none is repeated."""
    known: dict[Hashable, Einsum] = {}
    replaced: dict[str, str] = {}
    statements: list[Statement] = []
    for statement in cascade.statements:
        if isinstance(statement, Iteration):
            body = tuple(_renamed(e, replaced) for e in statement.body)
            same = all(a is b for a, b in zip(body, statement.body))
            statements.append(statement if same else replace(statement, body=body))
            continue
        einsum = _renamed(statement, replaced)
        first = known.setdefault(_key(einsum), einsum)
        if first is not einsum and not any(name in cascade.outputs for name, _ in einsum.targets):
            replaced.update((name, other) for (name, _), (other, _) in zip(einsum.targets, first.targets))
            continue
        statements.append(einsum)
    return cascade.with_statements(tuple(statements))


def _key(einsum: Einsum) -> Hashable:
    """The einsum with ranks named by position and targets without names."""
    renamed = rename_ranks(einsum, {rank.name: f"r{p}" for p, rank in enumerate(einsum.ranks)})
    return replace(renamed, targets=tuple(("", dtype) for _, dtype in einsum.targets))


def _renamed(einsum: Einsum, names: dict[str, str]) -> Einsum:
    """Read other tensors instead."""
    if not names or not any(name in names for name in einsum.reads()):
        return einsum

    def read(load: Load) -> Expr:
        load = map_load_indices(load, read)
        return Load(names[load.tensor], load.index, load.outside) if load.tensor in names else load

    return map_einsum_loads(einsum, read)
