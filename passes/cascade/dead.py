"""Drop einsums whose results nothing reads.

    A: f32[i:8] = exp(X[i])
    iterate t:8 {
      S: f32[t + 1:9] = S[t] + X[t] from 0.0
      U: f32[t:8] = S[t + 1] * A[t]
    }
    Z: f32[i:8] = S[i + 1]
      =>
    iterate t:8 {
      S: f32[t + 1:9] = S[t] + X[t] from 0.0
    }
    Z: f32[i:8] = S[i + 1]

if Z is an output, and neither A nor U is.
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
