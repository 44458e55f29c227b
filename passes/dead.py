"""Drop einsums whose results nothing reads.

    A = exp(X); B = sin(X)   with outputs (A)   =>   A = exp(X)
    iterate t:T { S[t + 1] = S[t] + X[t] from 0; U[t] = S[t + 1] }; Z = S[i + 1]   with outputs (Z)
      =>   iterate t:T { S[t + 1] = S[t] + X[t] from 0 }; Z = S[i + 1]
"""

from __future__ import annotations

from dataclasses import replace

from tcomp.ir.cascade import Cascade, Einsum, Iteration, Statement


def drop_dead(cascade: Cascade) -> Cascade:
    """Keep only einsums that some output depends on; the same cascade if all do. Inputs stay: they are the signature."""
    needed = set(cascade.outputs)
    kept: list[Statement] = []
    for statement in reversed(cascade.statements):
        body = _keep_needed(statement.body if isinstance(statement, Iteration) else (statement,), needed)
        if not body:
            continue
        if isinstance(statement, Iteration):
            kept.append(statement if len(body) == len(statement.body) else replace(statement, body=body))
        else:
            kept.append(statement)
    return cascade.with_statements(tuple(reversed(kept)))


def _keep_needed(body: tuple[Einsum, ...], needed: set[str]) -> tuple[Einsum, ...]:
    """The einsums of a statement that are needed, and what they read, which enters `needed`: a step reads the one before."""
    kept: set[str] = set()
    while True:
        found = [e for e in body if e.name not in kept and any(name in needed for name, _ in e.targets)]
        if not found:
            return tuple(e for e in body if e.name in kept)
        kept.update(e.name for e in found)
        needed.update(name for e in found for name in e.reads())
